"""Secrets: where they are kept, that a bad keyring never holds anybody up, and that no value is ever told."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.atomic_file import write_atomically
from core.errors import ConfigError, StorageError
from core.secrets import Keyring, Secret, SecretStore, system_keyring
from tests.fakes.disk import FailingDisk
from tests.fakes.keyrings import (
    BrokenKeyring,
    FakeKeyring,
    ForgetfulKeyring,
    LockedKeyring,
    MissingKeyring,
    PromptingKeyring,
)

KEY = "sk-canary-5f2e"
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes and links")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "secrets"


@pytest.fixture
def prompting() -> Iterator[PromptingKeyring]:
    keyring = PromptingKeyring()
    yield keyring
    keyring.release.set()
    for thread in threading.enumerate():
        if thread.name == "keyring":
            thread.join()


def store(folder: Path, keyring: Keyring, profile: str = "default", **environ: str) -> SecretStore:
    return SecretStore(folder, profile, environ=environ, open_keyring=lambda: keyring, keyring_limit_s=0.05)


def test_keyring_keeps_a_secret_and_no_file_is_made(folder: Path) -> None:
    secrets = store(folder, FakeKeyring())
    assert secrets.get("openai_api_key") is None
    assert secrets.set("openai_api_key", f" {KEY}\n") == ()
    assert secrets.get("openai_api_key") == Secret(KEY, "keyring")
    assert not folder.exists()
    assert secrets.delete("openai_api_key") == ()
    assert secrets.get("openai_api_key") is None
    assert secrets.delete("openai_api_key") == ()  # what isn't there is no error


def test_profiles_have_their_own_secrets(folder: Path) -> None:
    keyring = FakeKeyring()
    store(folder, keyring, "a").set("openai_api_key", KEY)
    assert store(folder, keyring, "b").get("openai_api_key") is None


@pytest.mark.parametrize(
    "keyring",
    [MissingKeyring(), LockedKeyring(), BrokenKeyring(OSError), BrokenKeyring(RuntimeError), ForgetfulKeyring()],
    ids=["none", "locked", "os error", "runtime error", "forgetful"],
)
def test_without_a_usable_keyring_a_private_file_keeps_it_and_says_so(folder: Path, keyring: Keyring) -> None:
    secrets = store(folder, keyring)
    assert secrets.get("openai_api_key") is None
    (notice,) = secrets.set("openai_api_key", KEY)
    assert str(folder / "openai_api_key") in notice
    assert "keyring" in notice
    assert KEY not in notice
    assert secrets.get("openai_api_key") == Secret(KEY, str(folder / "openai_api_key"))
    if sys.platform != "win32":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "openai_api_key").stat().st_mode) == 0o600
    secrets.delete("openai_api_key")
    assert secrets.get("openai_api_key") is None


def test_prompt_that_nobody_answers_holds_nobody_up(folder: Path, prompting: PromptingKeyring) -> None:
    secrets = store(folder, prompting)
    assert secrets.get("openai_api_key") is None
    (notice,) = secrets.set("openai_api_key", KEY)
    assert "did not answer" in notice
    assert secrets.get("openai_api_key") == Secret(KEY, str(folder / "openai_api_key"))
    assert prompting.calls == 1  # once it hung it isn't asked again
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "keyring")


def test_machine_without_the_keyring_package_uses_the_file(folder: Path) -> None:
    def missing() -> Keyring:
        raise ModuleNotFoundError("No module named 'keyring'")

    secrets = SecretStore(folder, "default", environ={}, open_keyring=missing)
    assert len(secrets.set("openai_api_key", KEY)) == 1
    assert secrets.get("openai_api_key") == Secret(KEY, str(folder / "openai_api_key"))


def test_keyring_that_comes_later_takes_over_and_the_file_goes(folder: Path) -> None:
    keyring = FakeKeyring()
    store(folder, MissingKeyring()).set("openai_api_key", "old")
    secrets = store(folder, keyring)
    assert secrets.get("openai_api_key") == Secret("old", str(folder / "openai_api_key"))
    secrets.set("openai_api_key", KEY)
    assert secrets.get("openai_api_key") == Secret(KEY, "keyring")
    assert not (folder / "openai_api_key").exists()


def test_newer_file_wins_over_an_older_keyring_entry(folder: Path) -> None:
    keyring = FakeKeyring()
    store(folder, keyring).set("openai_api_key", "old")
    store(folder, MissingKeyring()).set("openai_api_key", KEY)
    found = store(folder, keyring).get("openai_api_key")
    assert found is not None
    assert found.value == KEY


def test_environment_overrides_and_no_keyring_is_asked(folder: Path) -> None:
    secrets = store(folder, BrokenKeyring(AssertionError), TITAN_OPENAI_API_KEY=f"{KEY}\n")
    assert secrets.get("openai_api_key") == Secret(KEY, "environment TITAN_OPENAI_API_KEY")
    assert store(folder, FakeKeyring(), TITAN_OPENAI_API_KEY="  ").get("openai_api_key") is None


def test_change_under_an_overriding_environment_says_so(folder: Path) -> None:
    secrets = store(folder, FakeKeyring(), TITAN_ENROLMENT_TOKEN=KEY)
    assert "TITAN_ENROLMENT_TOKEN" in secrets.set("enrolment_token", "other")[0]
    assert "TITAN_ENROLMENT_TOKEN" in secrets.delete("enrolment_token")[0]


def test_delete_that_a_keyring_refuses_is_told(folder: Path) -> None:
    (notice,) = store(folder, LockedKeyring()).delete("openai_api_key")
    assert "still does" in notice


@pytest.mark.parametrize("value", ["", "  ", "a b", "a\nb", "a\0b", "schlüssel", "x" * 8193])
def test_value_that_fits_no_header_is_refused_and_not_told(folder: Path, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        store(folder, FakeKeyring()).set("openai_api_key", value)
    assert value.strip() == "" or value not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("name", ["", "other", "../openai_api_key"])
def test_unknown_name_is_refused_everywhere(folder: Path, name: str) -> None:
    secrets = store(folder, FakeKeyring())
    for call in (lambda: secrets.get(name), lambda: secrets.set(name, KEY), lambda: secrets.delete(name)):
        with pytest.raises(ConfigError) as caught:
            call()
        assert "openai_api_key" in caught.value.hint


def test_value_stands_in_no_repr() -> None:
    assert KEY not in repr(Secret(KEY, "keyring"))


@posix_only
@pytest.mark.parametrize("spoil", ["mode", "stranger"])
def test_file_that_others_can_open_is_refused(folder: Path, spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = store(folder, MissingKeyring())
    secrets.set("openai_api_key", KEY)
    if spoil == "mode":
        (folder / "openai_api_key").chmod(0o640)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(StorageError) as caught:
        secrets.get("openai_api_key")
    assert KEY not in str(caught.value)
    assert "chmod 600" in caught.value.hint


@posix_only
@pytest.mark.parametrize("kind", ["link", "folder"])
def test_file_that_is_none_is_refused(folder: Path, kind: str) -> None:
    folder.mkdir(parents=True)
    if kind == "link":
        write_atomically(folder / "kept elsewhere", KEY.encode(), mode=0o600)  # its mode alone gives no reason
        (folder / "openai_api_key").symlink_to(folder / "kept elsewhere")
    else:
        (folder / "openai_api_key").mkdir(mode=0o700)
    with pytest.raises(StorageError):
        store(folder, MissingKeyring()).get("openai_api_key")


def test_full_disk_is_told_without_the_value_and_the_old_secret_stays(folder: Path) -> None:
    store(folder, MissingKeyring()).set("openai_api_key", "old")
    secrets = SecretStore(
        folder, "default", environ={}, open_keyring=MissingKeyring, disk=FailingDisk("write"), keyring_limit_s=1
    )
    with pytest.raises(StorageError) as caught:
        secrets.set("openai_api_key", KEY)
    assert KEY not in str(caught.value)
    assert secrets.get("openai_api_key") == Secret("old", str(folder / "openai_api_key"))


def test_real_keyring_package_on_a_headless_machine_falls_back(folder: Path) -> None:
    # tests/conftest.py picks keyring's own backend for machines that have none
    secrets = SecretStore(folder, "default", environ={}, open_keyring=system_keyring)
    (notice,) = secrets.set("openai_api_key", KEY)
    assert notice.startswith("This machine has no system keyring")
    assert secrets.get("openai_api_key") == Secret(KEY, str(folder / "openai_api_key"))
