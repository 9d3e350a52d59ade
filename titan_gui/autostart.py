"""Start at login: the switch that the system itself keeps, read anew each time it is asked.

Nothing is remembered here. A person may flip it in the desktop's own settings, and then that is what counts.
"""

from __future__ import annotations

import plistlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from xml.parsers.expat import ExpatError

from core.atomic_file import write_atomically
from core.desktop_file import desktop_exec, desktop_string
from core.paths import DEFAULT_PROFILE, ensure_folder, folder_name, storage_error
from titan_gui.windows_registry import Registry, open_registry

HIDDEN_OPTION = "--hidden"
_RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"
_APPROVED_KEY = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
_LABEL = "org.titancompute.agent"


class Autostart(Protocol):
    """One profile's entry. Every call looks at the system: a few small files or values, no waiting."""

    def is_enabled(self) -> bool: ...
    def enable(self) -> None:
        """Raises StorageError."""

    def disable(self) -> None:
        """Raises StorageError."""


def autostart_of(
    profile: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    platform: str = sys.platform,
    registry: Registry | None = None,
) -> Autostart:
    """`command` starts this program (core.engines.worker_launch.desktop_command); its options are added here."""
    options = [HIDDEN_OPTION] if profile == DEFAULT_PROFILE else ["--profile", profile, HIDDEN_OPTION]
    line = [*command, *options]
    name = "titancompute" if profile == DEFAULT_PROFILE else f"titancompute-{folder_name(profile)}"
    if platform == "win32":
        return RunKeyAutostart(registry or open_registry(), name, line)
    home = Path(environ.get("HOME") or Path.home())
    if platform == "darwin":
        label = _LABEL if profile == DEFAULT_PROFILE else f"{_LABEL}.{folder_name(profile)}"
        return LaunchAgentAutostart(home / "Library" / "LaunchAgents" / f"{label}.plist", label, line)
    config = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(config) if config.startswith("/") else home / ".config"  # the specification ignores relative ones
    return XdgAutostart(folder / "autostart" / f"{name}.desktop", line, profile)


class XdgAutostart:
    """A file in the autostart folder (freedesktop.org's Autostart and Desktop Entry specifications)."""

    def __init__(self, file: Path, command: Sequence[str], profile: str = DEFAULT_PROFILE) -> None:
        self.file = file
        self._command = command
        self._profile = profile

    def is_enabled(self) -> bool:
        """False also when the file is there but hidden, switched off by the desktop, or without a command."""
        entry = _desktop_entry(self.file)
        is_off = entry.get("Hidden", "").lower() == "true"
        is_off = is_off or entry.get("X-GNOME-Autostart-enabled", "").lower() == "false"
        return bool(entry.get("Exec")) and not is_off

    def enable(self) -> None:
        title = "TitanCompute" if self._profile == DEFAULT_PROFILE else f"TitanCompute ({self._profile})"
        lines = (
            "[Desktop Entry]",
            "Type=Application",
            f"Name={desktop_string(title)}",
            "Comment=Share this machine's models",
            f"Exec={desktop_exec(self._command)}",
            "Icon=titancompute",
            "Terminal=false",
            "X-GNOME-Autostart-enabled=true",
        )
        _write(self.file, "\n".join((*lines, "")).encode())

    def disable(self) -> None:
        _remove(self.file)


class LaunchAgentAutostart:
    """A property list that launchd reads at login (launchd.plist(5)). It runs the program once, and lets it end."""

    def __init__(self, file: Path, label: str, command: Sequence[str]) -> None:
        self.file = file
        self._label = label
        self._command = command

    def is_enabled(self) -> bool:
        try:
            content = plistlib.loads(self.file.read_bytes())
        except (OSError, ValueError, ExpatError):
            return False
        is_on = isinstance(content, dict) and content.get("RunAtLoad") is True and content.get("Disabled") is not True
        return is_on and bool(content.get("ProgramArguments"))

    def enable(self) -> None:
        content = {
            "Label": self._label,
            "ProgramArguments": list(self._command),
            "RunAtLoad": True,
            "ProcessType": "Interactive",
        }
        _write(self.file, plistlib.dumps(content))

    def disable(self) -> None:
        _remove(self.file)


class RunKeyAutostart:
    """A value below HKCU's Run key, and the task manager's own switch beside it."""

    def __init__(self, registry: Registry, name: str, command: Sequence[str]) -> None:
        self._registry = registry
        self._name = name
        self._command = command

    def is_enabled(self) -> bool:
        if not self._registry.read(_RUN_KEY, self._name):
            return False
        approved = self._registry.read(_APPROVED_KEY, self._name)
        # The first byte's lowest bit is set where the task manager switched it off; no value means on.
        return not (isinstance(approved, bytes) and approved[:1] and approved[0] & 1)

    def enable(self) -> None:
        self._registry.write(_RUN_KEY, self._name, windows_command_line(self._command))
        self._registry.delete(_APPROVED_KEY, self._name)

    def disable(self) -> None:
        self._registry.delete(_RUN_KEY, self._name)
        self._registry.delete(_APPROVED_KEY, self._name)


def windows_command_line(command: Sequence[str]) -> str:
    """A command as CommandLineToArgvW splits it again: backslashes count only before a quote."""
    return " ".join(_windows_argument(argument) for argument in command)


def _windows_argument(argument: str) -> str:
    text, backslashes = "", 0
    for character in argument:
        if character == "\\":
            backslashes += 1
            continue
        needed = 2 * backslashes + 1 if character == '"' else backslashes
        text += "\\" * needed + character
        backslashes = 0
    if argument and not set(argument) & set(" \t"):
        return text + "\\" * backslashes
    return '"' + text + "\\" * (2 * backslashes) + '"'


def _desktop_entry(file: Path) -> Mapping[str, str]:
    """The keys of the [Desktop Entry] group; none where the file can't be read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    keys: dict[str, str] = {}
    is_inside = False
    for line in map(str.strip, lines):
        if line.startswith("["):
            is_inside = line == "[Desktop Entry]"
        elif is_inside and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            keys[key.strip()] = value.strip()
    return keys


def _write(file: Path, content: bytes) -> None:
    ensure_folder(file.parent)
    write_atomically(file, content)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error("remove", file, error) from error
