"""Where the local door is: the file that says it, and the checks on the folder that a unix socket lies in.

No grpc here: a command learns that nobody is running without paying for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from core.atomic_file import read_plain
from core.errors import AgentNotRunning, StorageError
from core.paths import ensure_folder, storage_error

_MAX_FILE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class UnixDoor:
    """A socket in a folder that only this user can enter."""

    path: str


@dataclass(frozen=True, slots=True)
class LoopbackDoor:
    """A port on 127.0.0.1, which any local user can reach: every call must bring the token."""

    port: int
    token: str

    def __repr__(self) -> str:  # a traceback or a log must not show the token
        return f"LoopbackDoor(port={self.port})"


Door = UnixDoor | LoopbackDoor


def not_running() -> AgentNotRunning:
    return AgentNotRunning("No agent is running for this profile", hint="Start it with `titan run`.")


def write_address(address_file: Path, door: Door) -> None:
    """Publish where the door is: 0600, and never half written. Raises StorageError."""
    ensure_folder(address_file.parent)
    temporary = address_file.with_name(f"{address_file.name}.new")
    content = json.dumps({"kind": "unix" if isinstance(door, UnixDoor) else "loopback", **asdict(door)})
    try:
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(content)
        temporary.replace(address_file)
    except OSError as error:
        raise storage_error("write", address_file, error) from error


def remove_address(address_file: Path) -> None:
    with contextlib.suppress(OSError):
        address_file.unlink()


def read_address(address_file: Path) -> Door:
    """The door of the running agent. Raises AgentNotRunning when no door is published (or only a damaged one)."""
    try:
        content = json.loads(read_plain(address_file, _MAX_FILE_BYTES))
        if content["kind"] == "unix":
            door: Door = UnixDoor(str(content["path"]))
        else:
            door = LoopbackDoor(int(content["port"]), str(content["token"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise not_running() from error
    if isinstance(door, UnixDoor) and not Path(door.path).exists():
        raise not_running()
    return door


def prepare_socket_folder(socket: Path) -> None:
    """Make the folder that the socket will lie in, or check it. Raises StorageError unless it is ours alone.

    An existing folder is never changed: making /tmp private by mistake would harm everybody.
    """
    folder = socket.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise storage_error("create", folder, error) from error
    if sys.platform != "win32" and (not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid()):
        raise StorageError(
            f"{folder} is a link or belongs to another user, so the control socket can't lie in it",
            hint="Remove it, or set TITAN_HOME to a folder of your own.",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise StorageError(
            f"{folder} is open to other users (mode {stat.S_IMODE(found.st_mode):04o}), "
            "so the control socket can't lie in it",
            hint=f"Close it with `chmod 700 {folder}`.",
        )


def remove_stale_socket(socket: Path) -> None:
    """Remove what a dead agent left. Only for the holder of the profile's lock. Raises StorageError."""
    try:
        found = socket.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error("read", socket, error) from error
    if not stat.S_ISSOCK(found.st_mode):
        raise StorageError(f"{socket} is no socket, so it isn't ours to replace", hint="Move it away.")
    try:
        socket.unlink()
    except OSError as error:
        raise storage_error("remove", socket, error) from error
