"""The settings file as TOML on disk: read, set aside when damaged, changed in place, always replaced whole.

This module knows no setting; core/config.py gives the values their meaning.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.atomic_file import Disk, exclusive, read_plain, set_aside, write_atomically
from core.config_values import TomlValue
from core.errors import StorageError
from core.paths import storage_error

MAX_FILE_BYTES = 1_048_576

_HEADER = (
    "# Settings of the TitanCompute agent. Change them here, in the window, or with `titan config set`.\n"
    "# `titan config show` lists every key; the file as it was before the last change is settings.toml.previous.\n\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """What the settings file says, unchecked, and what happened while it was read."""

    values: dict[str, object] = field(default_factory=dict)
    text: str = ""
    notices: tuple[str, ...] = ()


class _Damaged(Exception):
    """The bytes are no TOML document."""


def previous_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def read_settings_file(path: Path) -> FileContent:
    """Read the file; a missing one says nothing. Raises StorageError when it is there and cannot be read.

    A damaged file is renamed to <name>.damaged-<n> and the copy from before the last change takes its place.
    """
    try:
        return _parse(_read(path))
    except FileNotFoundError:
        return FileContent(notices=_missing_notice(path))
    except _Damaged as damage:
        return _recover(path, str(damage))
    except OSError as error:
        raise storage_error("read", path, error) from error


def is_previous_wanted(path: Path) -> bool:
    """Whether a damaged file was set aside, nothing took its place, and a good copy of before stands beside it."""
    if path.exists() or not _missing_notice(path):
        return False
    return bool(_previous_or_nothing(path)[0].values)


def restore_previous(path: Path) -> None:
    """Put the copy from before the last change in the place of a file that is gone. Raises StorageError."""
    with exclusive(path.with_name(f"{path.name}.lock")):
        content, _ = _previous_or_nothing(path)
        if path.exists() or not content.text:
            raise StorageError(f"There are no previous settings to use in the place of {path}")
        write_atomically(path, content.text.encode())


def change_settings_file(
    path: Path,
    changes: Mapping[str, TomlValue | None],
    *,
    check: Callable[[FileContent, FileContent], None],
    disk: Disk | None = None,
) -> FileContent:
    """Set keys, or remove those whose value is None, as one step against other programs that do the same.

    `check` gets the content before and after, and refuses the change by raising. The owner's comments and order stay,
    except where a value that goes over several lines is changed: then the file is written anew. Raises StorageError;
    the file is then as it was.
    """
    path = path.resolve()  # a link to a file that is kept elsewhere stays a link
    with exclusive(path.with_name(f"{path.name}.lock")):
        before = _read_locked(path)
        values = {**before.values, **changes}
        values = {key: value for key, value in values.items() if value is not None}
        after = FileContent(values=values, text=edited_text(path, before, values, changes), notices=before.notices)
        check(before, after)
        if after.text != before.text:
            if before.text:
                write_atomically(previous_path(path), before.text.encode(), disk=disk)
            write_atomically(path, after.text.encode(), disk=disk)
        return after


def _read(path: Path) -> bytes:
    return read_plain(path, MAX_FILE_BYTES + 1)


def _parse(data: bytes) -> FileContent:
    if len(data) > MAX_FILE_BYTES:
        raise _Damaged(f"it is larger than {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode().removeprefix("\ufeff").replace("\r\n", "\n")
        return FileContent(values=tomllib.loads(text), text=text)
    except RecursionError:
        raise _Damaged("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise _Damaged("it is not UTF-8 text") from None
    except ValueError as error:  # TOMLDecodeError, and numbers or dates that Python cannot hold
        raise _Damaged(str(error)) from None


def _read_locked(path: Path) -> FileContent:
    try:
        return _parse(_read(path))
    except FileNotFoundError:
        return FileContent()
    except _Damaged as damage:
        return _set_aside(path, str(damage))
    except OSError as error:
        raise storage_error("read", path, error) from error


def _recover(path: Path, damage: str) -> FileContent:
    try:
        with exclusive(path.with_name(f"{path.name}.lock")):
            return _read_locked(path)  # another program may have set it aside meanwhile
    except StorageError as error:
        content, source = _previous_or_nothing(path)
        notice = f"{path} is damaged ({damage}); {source}. It stays where it is: {error.detail}"
        return FileContent(values=content.values, text=content.text, notices=(notice,))


def _set_aside(path: Path, damage: str) -> FileContent:
    """Rename the damaged file and put the previous copy in its place; the caller holds the lock."""
    aside = set_aside(path)
    content, source = _previous_or_nothing(path)
    if content.text:
        write_atomically(path, content.text.encode())
    notice = f"{path} was damaged ({damage}); it was set aside as {aside.name}, and {source}"
    return FileContent(values=content.values, text=content.text, notices=(notice,))


def _previous_or_nothing(path: Path) -> tuple[FileContent, str]:
    try:
        return _parse(_read(previous_path(path))), "the settings from before the last change are used"
    except (OSError, _Damaged):
        return FileContent(), "the defaults are used"


def _missing_notice(path: Path) -> tuple[str, ...]:
    """Without this, the second start after a damage would fall back to the defaults without a word."""
    if not path.with_name(f"{path.name}.damaged-1").exists():
        return ()
    return (f"{path} is missing and a damaged one was set aside beside it; the defaults are used",)


def edited_text(
    path: Path, before: FileContent, values: dict[str, object], changes: Mapping[str, TomlValue | None]
) -> str:
    """The text with the changes made in place, proved by reading it again; else written anew."""
    text = before.text or _HEADER
    for key, value in changes.items():
        text = _with_line(text, key, None if value is None else f"{key} = {_toml(value)}")
    for candidate in (text, _written_anew(values)):
        try:
            if candidate is not None and _parse(candidate.encode()).values == values:
                return candidate
        except _Damaged:
            continue
    raise StorageError(f"Cannot change {path} in place: it holds more than keys and values", hint="Edit it by hand.")


def _with_line(text: str, key: str, line: str | None) -> str:
    """Replace, add or remove the line of a top-level key. May be wrong for unusual files: the caller checks."""
    lines = text.removesuffix("\n").split("\n")
    first_table = next((number for number, found in enumerate(lines) if found.lstrip().startswith("[")), len(lines))
    own = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    at = next((number for number, found in enumerate(lines[:first_table]) if own.match(found)), None)
    new = [] if line is None else [line]
    if at is not None:
        lines[at : at + 1] = new
    else:
        lines[first_table:first_table] = new
    return "\n".join(lines) + "\n"


def _written_anew(values: Mapping[str, object]) -> str | None:
    lines = []
    for key, value in values.items():
        if not isinstance(value, bool | int | float | str | list) or not re.fullmatch(r"[A-Za-z0-9_-]+", key):
            return None
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            return None
        lines.append(f"{key} = {_toml(value)}\n")
    return _HEADER + "".join(lines)


def _toml(value: TomlValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            # JSON's escapes are a subset of those of TOML's basic strings; TOML wants DEL escaped too.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
