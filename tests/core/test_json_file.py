"""The store of the small JSON files: what damage, a full disk and other programs do to one."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from core.errors import StorageError
from core.json_file import MOST_BYTES, JsonFile

WHAT = "list of numbers"


def numbers_of(document: Any) -> list[int]:
    return [int(number) for number in document["numbers"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "numbers.json"


def file_at(path: Path, content: bytes | None = None) -> JsonFile[list[int]]:
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    return JsonFile(path, WHAT, numbers_of)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_what_was_written_is_read_by_the_next_run(path: Path) -> None:
    assert file_at(path).read() is None
    file_at(path).write({"numbers": [1, 2]})
    assert file_at(path).read() == [1, 2]
    assert [entry.name for entry in path.parent.iterdir()] == ["numbers.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"{}",
        b'{"numbers": 3}',
        b'{"numbers": ["x"]}',
        b'{"numbers": [1e999]}',
        b"\xff",
        b"[" * 100_000,
        b'{"numbers": []}'.ljust(MOST_BYTES + 1),
    ],
    ids=lambda content: content[:20].decode("latin-1"),
)
def test_a_damaged_file_is_set_aside_and_logged_once(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = file_at(path, content)
    assert file.read() is None
    assert file.was_set_aside_as == "numbers.json.damaged-1"
    assert path.with_name(file.was_set_aside_as).read_bytes() == content
    assert file.read() is None
    assert file.was_set_aside_as == ""
    assert warnings(caplog) == ["damaged file set aside"]


def test_the_largest_file_that_is_read_is_not_damaged(path: Path) -> None:
    assert file_at(path, b'{"numbers": [7]}'.ljust(MOST_BYTES)).read() == [7]


def test_a_change_begins_with_what_another_program_wrote(path: Path) -> None:
    one, other = file_at(path), file_at(path)
    for file, number in ((one, 1), (other, 2), (one, 3)):
        file.change(lambda numbers, number=number: {"numbers": [*(numbers or []), number]})  # type: ignore[misc]
    assert json.loads(path.read_text()) == {"numbers": [1, 2, 3]}


def test_a_change_of_a_damaged_file_begins_anew(path: Path) -> None:
    file = file_at(path, b"{")
    file.change(lambda numbers: {"numbers": [len(numbers or ())]})
    assert file.read() == [0]
    assert path.with_name("numbers.json.damaged-1").read_bytes() == b"{"


def test_a_change_that_fails_leaves_the_file(path: Path) -> None:
    file = file_at(path, b'{"numbers": [1]}')
    with pytest.raises(ZeroDivisionError):
        file.change(lambda numbers: 1 // 0)
    assert file.read() == [1]


def test_a_file_that_cannot_be_read_is_none_for_load_and_an_error_for_read(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StorageError, match=r"numbers\.json"):
        file_at(path).read()
    assert file_at(path).load() is None
    assert warnings(caplog) == ["file not read"]
    assert path.is_dir()  # what isn't understood isn't touched


def test_a_disk_that_takes_nothing_is_logged_once_until_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be")
    file = file_at(folder / "numbers.json")
    with pytest.raises(StorageError):
        file.write({"numbers": []})
    assert [file.save({"numbers": []}) for _ in range(3)] == [False] * 3
    assert warnings(caplog) == ["file not kept"]
    folder.unlink()
    assert file.save({"numbers": [1]})
    assert file.load() == [1]
    folder.rename(tmp_path / "away")
    folder.write_text("and again")
    assert not file.save({"numbers": []})
    assert warnings(caplog) == ["file not kept"] * 2
