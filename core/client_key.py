"""The secret of this installation under which clients are hashed: the same client looks the same after a restart,
and different on every other machine, so that ledgers of two owners can't be joined."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from core.atomic_file import Disk, read_plain, set_aside, write_atomically
from core.errors import StorageError
from core.paths import storage_error

KEY_BYTES = 32
_NEW_KEY = "Clients look new from now on: sessions of one client before and after this can't be told to be the same"


def load_client_key(path: Path, *, is_expected: bool = False, disk: Disk | None = None) -> tuple[bytes, str]:
    """The key, 32 bytes, made at the first call and kept in `path` (0600); and a notice for the owner, often "".

    `is_expected`: there is a ledger already, so a missing key was lost. Never raises: where no key can be kept, there
    is one for this run, and the notice says so with the remedy. Blocks for a disk access.
    """
    try:
        kept = _read(path)
        if kept is not None and len(kept) == KEY_BYTES:
            return kept, _protect(path)
        notice = ""
        if kept is not None:
            notice = f"The key for client hashes was damaged and was set aside as {set_aside(path).name}. {_NEW_KEY}"
        elif is_expected:
            notice = f"The key for client hashes is gone ({path}); there is a new one. {_NEW_KEY}"
        key = secrets.token_bytes(KEY_BYTES)
        write_atomically(path, key, mode=0o600, disk=disk)
        return key, notice
    except StorageError as error:
        notice = f"The key for client hashes cannot be kept: {error.detail}. It holds for this run only. {error.hint}"
        return secrets.token_bytes(KEY_BYTES), notice


def _read(path: Path) -> bytes | None:
    try:
        return read_plain(path, KEY_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", path, error) from error


def _protect(path: Path) -> str:
    """Take away what others may do with the file (a copied home, a backup); says so when that fails."""
    if sys.platform == "win32":
        return ""
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        return f"{path} can be read by others ({error.strerror}). Run: chmod 600 {path}"
    return ""
