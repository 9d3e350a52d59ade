"""The settings file: nothing of it is ever lost, and a failure leaves it as it was."""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import atomic_file
from core.atomic_file import exclusive, write_atomically
from core.config_values import TomlValue
from core.errors import ConfigError, StorageError
from core.settings_file import (
    MAX_FILE_BYTES,
    FileContent,
    change_settings_file,
    edited_text,
    previous_path,
    read_settings_file,
)
from tests.fakes.disk import FailingDisk, SlowDisk

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes and links")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def accept(before: FileContent, after: FileContent) -> None:
    """A check that allows every change."""


def change(file: Path, **changes: TomlValue | None) -> FileContent:
    return change_settings_file(file, changes, check=accept)


def names_in(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()} - {"settings.toml.lock"}


# Reading


def test_missing_file_says_nothing(file: Path) -> None:
    assert read_settings_file(file) == FileContent()


def test_file_with_windows_line_ends_and_a_byte_order_mark_is_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 'x'\r\n")
    assert read_settings_file(file).values == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    "data",
    [b"a = ", b"a = 1\na = 2\n", b"\xff\xfe", b"\0\0\0\0", b"a = " + b"[" * 100_000, b"#" * (MAX_FILE_BYTES + 1)],
    ids=["cut", "twice", "not UTF-8", "zeros", "deep", "huge"],
)
def test_damaged_file_is_set_aside_and_the_previous_copy_takes_its_place(file: Path, data: bytes) -> None:
    previous_path(file).write_text("a = 7\n")
    file.write_bytes(data)

    content = read_settings_file(file)

    assert content.values == {"a": 7}
    assert file.with_name("settings.toml.damaged-1").read_bytes() == data
    (notice,) = content.notices
    assert str(file) in notice
    assert "settings.toml.damaged-1" in notice
    assert read_settings_file(file).values == {"a": 7}  # the next start doesn't fall back to the defaults


def test_damaged_file_without_a_good_copy_means_defaults_and_stays_told(file: Path) -> None:
    previous_path(file).write_bytes(b"\xff")
    file.write_bytes(b"a = ")
    assert "the defaults are used" in read_settings_file(file).notices[0]
    later = read_settings_file(file)
    assert later.values == {}
    assert "damaged" in later.notices[0]


def test_second_damage_doesnt_overwrite_the_first(file: Path) -> None:
    for data in (b"first = ", b"second = "):
        file.write_bytes(data)
        read_settings_file(file)
    assert file.with_name("settings.toml.damaged-1").read_bytes() == b"first = "
    assert file.with_name("settings.toml.damaged-2").read_bytes() == b"second = "


def test_damaged_file_that_cannot_be_set_aside_stays_and_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    previous_path(file).write_text("a = 7\n")
    file.write_bytes(b"a = ")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    content = read_settings_file(file)
    assert content.values == {"a": 7}
    assert "stays where it is" in content.notices[0]
    assert file.read_bytes() == b"a = "


def test_file_that_cannot_be_read_names_itself_and_the_remedy(file: Path) -> None:
    file.mkdir()
    with pytest.raises(StorageError) as caught:
        read_settings_file(file)
    assert str(file) in caught.value.detail
    assert caught.value.hint


# Changing


def test_first_change_makes_a_readable_file(file: Path) -> None:
    change(file, agent_port=5, engine="ollama", supported_models=["a", "b"], coordinator_tls=True, queue_wait_s=0.5)
    text = file.read_text()
    assert text.startswith("# Settings of the TitanCompute agent.")
    assert text.endswith(
        'agent_port = 5\nengine = "ollama"\nsupported_models = ["a", "b"]\ncoordinator_tls = true\nqueue_wait_s = 0.5\n'
    )
    assert names_in(file.parent) == {"settings.toml"}


def test_change_keeps_comments_order_and_the_previous_copy(file: Path) -> None:
    before = "# mine\nb = 1 # why\n\na = 2\n"
    file.write_text(before)
    change(file, a=3, c="x")
    assert file.read_text() == '# mine\nb = 1 # why\n\na = 3\nc = "x"\n'
    assert previous_path(file).read_text() == before
    change(file, b=None)
    assert file.read_text() == '# mine\n\na = 3\nc = "x"\n'


def test_new_key_goes_before_the_tables(file: Path) -> None:
    file.write_text("a = 1\n[table]\nb = 2\n")
    change(file, b=3)
    assert tomllib.loads(file.read_text()) == {"a": 1, "b": 3, "table": {"b": 2}}


def test_value_over_several_lines_is_written_anew(file: Path) -> None:
    file.write_text('models = [\n  "a",\n  "b",\n]\nport = 1\n')
    change(file, models=["c"])
    assert tomllib.loads(file.read_text()) == {"models": ["c"], "port": 1}


def test_file_that_cannot_be_changed_in_place_is_left_alone(file: Path) -> None:
    text = 'models = [\n  "a",\n]\nwhen = 2026-01-01\n'
    file.write_text(text)
    with pytest.raises(StorageError, match="Cannot change"):
        change(file, models=["c"])
    assert file.read_text() == text


def test_change_to_the_same_value_writes_nothing(file: Path) -> None:
    file.write_text("a = 1\n")
    change(file, a=1)
    assert names_in(file.parent) == {"settings.toml"}


def test_refused_change_writes_nothing(file: Path) -> None:
    file.write_text("a = 1\n")

    def refuse(before: FileContent, after: FileContent) -> None:
        assert (before.values, after.values) == ({"a": 1}, {"a": 2})
        raise ConfigError(["no"])

    with pytest.raises(ConfigError):
        change_settings_file(file, {"a": 2}, check=refuse)
    assert file.read_text() == "a = 1\n"
    assert names_in(file.parent) == {"settings.toml"}


def test_change_of_a_damaged_file_starts_from_the_previous_copy(file: Path) -> None:
    previous_path(file).write_text("a = 7\n")
    file.write_bytes(b"a = ")
    content = change(file, b=1)
    assert read_settings_file(file).values == {"a": 7, "b": 1}
    assert "damaged-1" in content.notices[0]


keys = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
flat_values = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8")),
    st.lists(st.text(st.characters(codec="utf-8")), max_size=3),
)


@given(st.dictionaries(keys, flat_values), st.dictionaries(keys, st.none() | flat_values, max_size=3))
def test_any_change_of_flat_values_reads_back(first: dict[str, Any], changes: dict[str, Any]) -> None:
    file = Path("/nowhere/settings.toml")
    text = edited_text(file, FileContent(), first, first)
    wanted = {key: value for key, value in {**first, **changes}.items() if value is not None}
    after = edited_text(file, FileContent(values=first, text=text), wanted, changes)
    assert tomllib.loads(after) == wanted


# Failures of the disk


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_nothing_beside_it(file: Path, call: str) -> None:
    file.write_text("a = 1\n")
    with pytest.raises(StorageError) as caught:
        change_settings_file(file, {"a": 2}, check=accept, disk=FailingDisk(call))
    assert file.read_text() == "a = 1\n"
    assert names_in(file.parent) <= {"settings.toml", "settings.toml.previous"}
    assert "settings.toml" in caught.value.detail
    assert "disk is full" in caught.value.hint


def test_write_that_takes_a_few_bytes_at_a_time_is_whole(file: Path) -> None:
    write_atomically(file, b"0123456789", disk=SlowDisk())
    assert file.read_bytes() == b"0123456789"


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where the folder should be")
    with pytest.raises(StorageError) as caught:
        change(tmp_path / "config" / "settings.toml", a=1)
    assert str(tmp_path / "config") in caught.value.detail
    assert "TITAN_HOME" in caught.value.hint


def test_read_only_file_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("a = 1\n")
    real = os.access
    # Root may write to everything, so the answer that anybody else gets is put in.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    with pytest.raises(StorageError, match="read-only") as caught:
        change(file, a=2)
    assert "writable" in caught.value.hint
    assert file.read_text() == "a = 1\n"


def test_read_only_folder_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("a = 1\n")
    real = os.open

    def refuse_new(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse_new)
    with pytest.raises(StorageError) as caught:
        change(file, a=2)
    assert "Read-only file system" in caught.value.detail
    assert "writable" in caught.value.hint
    assert file.read_text() == "a = 1\n"


@posix_only
def test_linked_file_stays_a_link(tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles" / "agent.toml"
    kept.parent.mkdir()
    kept.write_text("a = 1\n")
    link = tmp_path / "settings.toml"
    link.symlink_to(kept)
    change(link, a=2)
    assert link.is_symlink()
    assert kept.read_text() == "a = 2\n"


@posix_only
def test_new_file_has_the_mode_that_was_asked_for(file: Path) -> None:
    old = os.umask(0)
    try:
        write_atomically(file, b"x", mode=0o600)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_lock_held_by_another_program_is_told_not_waited_for_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_file, "_LOCK_LIMIT_S", 0.0)
    lock = file.with_name("settings.toml.lock")
    with exclusive(lock), pytest.raises(StorageError, match="held by another program"):
        change(file, a=1)
    change(file, a=1)  # given back
