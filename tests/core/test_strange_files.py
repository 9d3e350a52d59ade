"""What has one of our names and is no plain file: never waited for, never read without end, said in one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.atomic_file import read_plain
from core.client_key import load_client_key
from core.control_address import read_address
from core.engines.model_files import ModelFolder
from core.errors import AgentNotRunning, StorageError
from core.identity import ensure_agent_id
from core.instance_lock import read_holder
from core.json_file import JsonFile
from core.log_output import LogFile
from core.pause_file import PauseFile
from core.replay_store import ReplayStore
from core.settings_file import read_settings_file
from core.time_use_file import read_stretches

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices as unix has them")

Make = Callable[[Path], None]


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


STRANGE = (make_pipe, make_folder, make_endless)


@pytest.mark.parametrize("make", STRANGE)
def test_only_plain_files_are_read(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError, match="no plain file"):
        read_plain(tmp_path / "x", 10)


def test_a_plain_file_is_read_as_far_as_the_limit_also_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("x")
    assert read_plain(tmp_path / "link", 4) == b"0123"
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path / "missing", 4)


@pytest.mark.parametrize("make", STRANGE)
def test_a_pause_that_cannot_be_read_is_a_pause(tmp_path: Path, make: Make) -> None:
    path = tmp_path / "pause.json"
    make(path)
    saved = PauseFile(path).read()
    assert saved.is_paused
    assert "could not be read (it is no plain file). It was set aside" in saved.problem
    assert json.loads(path.read_bytes()) == {"paused": True, "until": None}  # a pause for the next start too


def test_a_pause_of_gigabytes_is_a_pause(tmp_path: Path) -> None:
    path = tmp_path / "pause.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    saved = PauseFile(path).read()
    assert saved.is_paused
    assert "was damaged" in saved.problem


@pytest.mark.parametrize("make", STRANGE)
def test_settings_that_cannot_be_read_end_the_start_with_words(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "settings.toml")
    with pytest.raises(StorageError, match=r"Cannot read .*settings\.toml: it is no plain file"):
        read_settings_file(tmp_path / "settings.toml")


@pytest.mark.parametrize("make", STRANGE)
def test_every_other_file_of_ours_is_an_error_or_begun_anew(tmp_path: Path, make: Make) -> None:
    for name in ("agent-id", "client-key", "small.json", "time-use.txt", "spent", "control.json", "lock"):
        make(tmp_path / name)
    with pytest.raises(StorageError, match="no plain file"):
        ensure_agent_id(tmp_path / "agent-id")
    assert "no plain file" in load_client_key(tmp_path / "client-key")[1]
    assert JsonFile(tmp_path / "small.json", "something", dict).load() is None
    with pytest.raises(StorageError, match="no plain file"):
        read_stretches(tmp_path / "time-use.txt")
    spent = ReplayStore(tmp_path / "spent")
    assert "cannot be read (it is no plain file). It was set aside" in spent.notice
    assert spent.refuse_issued_before is not None  # what it held may be forgotten
    spent.close()
    with pytest.raises(AgentNotRunning):
        read_address(tmp_path / "control.json")
    assert read_holder(tmp_path / "lock") is None


@pytest.mark.parametrize("make", STRANGE)
def test_what_lies_among_models_and_is_none_is_named(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "strange.gguf")
    inventory = ModelFolder(tmp_path).scan()
    assert inventory.models == ()
    assert [(model.name, model.problem) for model in inventory.damaged] == [("strange", "it is no plain file")]


def test_a_log_that_is_a_pipe_is_not_written_to(tmp_path: Path) -> None:
    make_pipe(tmp_path / "agent.log")
    reader = os.open(tmp_path / "agent.log", os.O_RDONLY | os.O_NONBLOCK)  # with one, opening it to write would succeed
    try:
        with pytest.raises(OSError, match="pipe"):
            LogFile(tmp_path / "agent.log", max_bytes=1000, backups=1).write("line")
    finally:
        os.close(reader)
    with pytest.raises(OSError, match="No such device"):  # and without one it isn't waited for
        LogFile(tmp_path / "agent.log", max_bytes=1000, backups=1).write("line")
