"""How a value is written into a .desktop file (freedesktop.org's Desktop Entry specification)."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import AgentError


def desktop_exec(command: Sequence[str]) -> str:
    """A command as the Exec key wants it: two layers of quoting, one of the key and one of every string value."""
    return desktop_string(" ".join(_exec_argument(argument) for argument in command))


def desktop_string(text: str) -> str:
    """Raises AgentError for control characters."""
    _refuse_control_characters(text)
    return text.replace("\\", "\\\\")


def _exec_argument(argument: str) -> str:
    _refuse_control_characters(argument)
    escaped = argument.replace("%", "%%")  # a lone % is a field code
    if argument and not set(argument) & set(" \t\"'\\><~|&;$*?#()`"):
        return escaped
    for special in ("\\", '"', "`", "$"):
        escaped = escaped.replace(special, f"\\{special}")
    return f'"{escaped}"'


def _refuse_control_characters(text: str) -> None:
    if any(ord(character) < 32 for character in text):
        raise AgentError(f"a path or profile with control characters can't stand in a .desktop file: {text!r}")
