"""Keyring backends with the real contract of keyring.backend.KeyringBackend, and the ways in which real ones fail."""

from __future__ import annotations

import threading

from keyring.errors import KeyringLocked, NoKeyringError, PasswordDeleteError


class FakeKeyring:
    """Works: None for what isn't there, PasswordDeleteError when that is deleted."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.kept:
            raise PasswordDeleteError("No such password")
        del self.kept[service, username]


class BrokenKeyring(FakeKeyring):
    """Raises from every call. The error's text quotes what it was given, as D-Bus errors do."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self._error = error

    def get_password(self, service: str, username: str) -> str | None:
        raise self._error(f"cannot read {service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise self._error(f"cannot store {password}")

    def delete_password(self, service: str, username: str) -> None:
        raise self._error(f"cannot delete {service} {username}")


class MissingKeyring(BrokenKeyring):
    """keyring.backends.fail: what a headless machine has."""

    def __init__(self) -> None:
        super().__init__(NoKeyringError)


class LockedKeyring(BrokenKeyring):
    """A keyring whose unlocking was refused."""

    def __init__(self) -> None:
        super().__init__(KeyringLocked)


class ForgetfulKeyring(FakeKeyring):
    """keyring.backends.null: takes everything, keeps nothing, says nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class PromptingKeyring(FakeKeyring):
    """Waits for a password prompt that nobody answers, until `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.calls = 0

    def get_password(self, service: str, username: str) -> str | None:
        self._wait()
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self._wait()
        super().set_password(service, username, password)

    def delete_password(self, service: str, username: str) -> None:
        self._wait()
        super().delete_password(service, username)

    def _wait(self) -> None:
        self.calls += 1
        self.release.wait()
