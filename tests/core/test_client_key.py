"""The installation's key for client hashes: made once, kept, and never a reason not to start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.client_key import KEY_BYTES, load_client_key
from tests.fakes.disk import FailingDisk


def test_key_is_made_once_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "data" / "client-key"

    key, notice = load_client_key(path)

    assert (len(key), notice) == (KEY_BYTES, "")
    assert load_client_key(path, is_expected=True) == (key, "")


def test_two_installations_have_two_keys(tmp_path: Path) -> None:
    assert load_client_key(tmp_path / "a")[0] != load_client_key(tmp_path / "b")[0]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_key_is_for_its_owner_only_and_becomes_so_again(tmp_path: Path) -> None:
    path = tmp_path / "client-key"
    key, _ = load_client_key(path)
    assert path.stat().st_mode & 0o777 == 0o600

    path.chmod(0o644)

    assert load_client_key(path) == (key, "")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"x" * (KEY_BYTES + 1)])
def test_damaged_key_is_set_aside_and_said_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "client-key"
    path.write_bytes(content)

    key, notice = load_client_key(path)

    assert len(key) == KEY_BYTES
    assert "damaged and was set aside as client-key.damaged-1" in notice
    assert (tmp_path / "client-key.damaged-1").read_bytes() == content
    assert load_client_key(path) == (key, "")


def test_lost_key_is_said_only_where_there_was_one(tmp_path: Path) -> None:
    key, notice = load_client_key(tmp_path / "client-key", is_expected=True)

    assert len(key) == KEY_BYTES
    assert "is gone" in notice


def test_key_that_cannot_be_kept_holds_for_this_run(tmp_path: Path) -> None:
    key, notice = load_client_key(tmp_path / "client-key", disk=FailingDisk("write"))

    assert len(key) == KEY_BYTES
    assert "holds for this run only. The disk is full: free some space" in notice
    assert list(tmp_path.iterdir()) == []


def test_folder_in_the_keys_place_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "client-key").mkdir()

    key, notice = load_client_key(tmp_path / "client-key")

    assert len(key) == KEY_BYTES
    assert "cannot be kept" in notice
