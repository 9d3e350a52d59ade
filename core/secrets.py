"""API keys and enrolment tokens: environment, else a 0600 file, else the system's keyring.

A secret is written to the keyring; the file is for machines without one, and says so. A file, where there is one, is
always newer than what the keyring holds (a write to the keyring removes it), so it is asked first. No value ever
stands in an error, a notice or a repr.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from core.atomic_file import Disk, write_atomically
from core.config import SECRET_ENVIRONMENT
from core.errors import ConfigError, StorageError
from core.paths import ensure_private_folder, storage_error

KEYRING_LIMIT_S = 3.0
MAX_SECRET_BYTES = 8192

_T = TypeVar("_T")


class Keyring(Protocol):
    """The part of keyring.backend.KeyringBackend that is used. Any call may wait for a prompt, or raise anything."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...
    def delete_password(self, service: str, username: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret and where it came from: "environment TITAN_...", "keyring", or the file's path."""

    value: str = field(repr=False)
    source: str


class _KeyringUnusable(Exception):
    """No backend, locked, too slow, or broken; its text says which, never a value."""


def system_keyring() -> Keyring:
    """The backend that the keyring package picks; imported only when a secret is wanted."""
    import keyring

    return keyring.get_keyring()


class SecretStore:
    """The secrets of one profile. Its calls block (the keyring for at most 3 s): use asyncio.to_thread on the loop."""

    def __init__(
        self,
        folder: Path,
        profile: str,
        *,
        environ: Mapping[str, str] | None = None,
        open_keyring: Callable[[], Keyring] = system_keyring,
        keyring_limit_s: float = KEYRING_LIMIT_S,
        disk: Disk | None = None,
    ) -> None:
        self._folder = folder
        self._service = f"TitanCompute/{profile}"
        self._environ = os.environ if environ is None else environ
        self._open_keyring = open_keyring
        self._limit_s = keyring_limit_s
        self._disk = disk
        self._keyring_fault = ""  # once it hung it would hang again, and leave a thread behind each time

    def get(self, name: str) -> Secret | None:
        """The secret, or None when it is nowhere. Raises ConfigError for an unknown name, StorageError for a bad file.

        A keyring that cannot be asked counts as empty: a headless agent must start without anybody at the screen.
        """
        variable = _environment_name(name)
        if value := self._environ.get(variable, "").strip():
            return Secret(_checked(name, value), f"environment {variable}")
        path = self._folder / name
        if (text := _read_private(path)) is not None:
            return Secret(_checked(name, text.strip()), str(path))
        try:
            kept = self._ask(lambda keyring: keyring.get_password(self._service, name))
        except _KeyringUnusable:
            return None
        return Secret(_checked(name, kept), "keyring") if kept else None

    def set(self, name: str, value: str) -> tuple[str, ...]:
        """Keep the secret; returns notices for the owner. Raises ConfigError and StorageError."""
        variable = _environment_name(name)
        value = _checked(name, value.strip())
        path = self._folder / name
        notices = []
        try:
            self._ask(lambda keyring: _set_and_prove(keyring, self._service, name, value))
            _remove(path)
        except _KeyringUnusable as error:
            ensure_private_folder(self._folder)
            write_atomically(path, f"{value}\n".encode(), mode=0o600, disk=self._disk)
            notices.append(f"{error}: {name} is kept in {path}, readable for this user only, not encrypted")
        if self._environ.get(variable, "").strip():
            notices.append(f"The environment sets {variable}, which is used instead")
        return tuple(notices)

    def delete(self, name: str) -> tuple[str, ...]:
        """Forget the secret; one that isn't there is no error. Returns notices. Raises ConfigError and StorageError."""
        variable = _environment_name(name)
        _remove(self._folder / name)
        notices = []
        try:
            self._ask(lambda keyring: _delete_if_there(keyring, self._service, name))
        except _KeyringUnusable as error:
            notices.append(f"{error}: if it holds {name}, it still does")
        if self._environ.get(variable, "").strip():
            notices.append(f"The environment still sets {variable}")
        return tuple(notices)

    def _ask(self, question: Callable[[Keyring], _T]) -> _T:
        """Ask the keyring in a thread of its own, and give up at the limit. Raises _KeyringUnusable."""
        if self._keyring_fault:
            raise _KeyringUnusable(self._keyring_fault)
        answers: list[_T] = []
        faults: list[str] = []

        def run() -> None:
            try:
                answers.append(question(self._open_keyring()))
            except Exception as error:  # noqa: BLE001 - the thread edge: backends raise D-Bus, OS and their own errors
                faults.append(_fault(error))

        # A daemon: a prompt that nobody answers must not keep the process from ending.
        thread = threading.Thread(target=run, name="keyring", daemon=True)
        thread.start()
        thread.join(self._limit_s)
        if answers:
            return answers[0]
        if not faults:
            self._keyring_fault = f"The system's keyring did not answer within {self._limit_s:g} s"
        raise _KeyringUnusable(faults[0] if faults else self._keyring_fault)


def _fault(error: Exception) -> str:
    """The kind of the error alone: a backend's text may quote what it was given."""
    if isinstance(error, _KeyringUnusable):
        return str(error)
    if type(error).__name__ == "NoKeyringError":
        return "This machine has no system keyring"
    return f"The system's keyring cannot be used ({type(error).__name__})"


def _set_and_prove(keyring: Keyring, service: str, name: str, value: str) -> None:
    keyring.set_password(service, name, value)
    if keyring.get_password(service, name) != value:  # keyring's null backend takes everything and keeps nothing
        raise _KeyringUnusable("The system's keyring keeps nothing")


def _delete_if_there(keyring: Keyring, service: str, name: str) -> None:
    if keyring.get_password(service, name) is not None:
        keyring.delete_password(service, name)


def _environment_name(name: str) -> str:
    try:
        return SECRET_ENVIRONMENT[name]
    except KeyError:
        known = ", ".join(SECRET_ENVIRONMENT)
        raise ConfigError([f"There is no secret called {name[:80]!r}"], hint=f"The secrets are: {known}.") from None


def _checked(name: str, value: str) -> str:
    """A secret goes into a header or a call's metadata: one line of ASCII, no blanks."""
    fits = 0 < len(value) <= MAX_SECRET_BYTES and value.isascii() and value.isprintable() and " " not in value
    if not fits:
        raise ConfigError(
            [f"{name} is not a usable secret"],
            hint=f"It must be one line of 1 to {MAX_SECRET_BYTES} ASCII characters, without blanks.",
        )
    return value


def _read_private(path: Path) -> str | None:
    """The file's text; None when there is none. A file that others could have written or read is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if sys.platform != "win32" and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077):
                raise StorageError(
                    f"{path} is open to other users, so the secret in it may be known", hint=f"chmod 600 {path}"
                )
            return file.read(MAX_SECRET_BYTES + 2).decode("ascii", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", path, error) from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error("remove", path, error) from error
