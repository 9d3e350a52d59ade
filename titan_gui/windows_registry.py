"""The few registry values that this program touches, below HKEY_CURRENT_USER."""

from __future__ import annotations

import sys
from typing import Protocol

from core.errors import StorageError


class Registry(Protocol):
    """Values by key path and name. Missing keys and values are no error; anything else raises StorageError."""

    def read(self, key: str, name: str) -> str | bytes | None: ...
    def write(self, key: str, name: str, value: str) -> None: ...
    def delete(self, key: str, name: str) -> None: ...


def open_registry() -> Registry:
    return UserRegistry()


class UserRegistry:
    """The real one. Only on Windows."""

    def read(self, key: str, name: str) -> str | bytes | None:
        if sys.platform != "win32":
            return None
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as handle:
                value, _ = winreg.QueryValueEx(handle, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused("read", key, error) from error
        return value if isinstance(value, str | bytes) else None

    def write(self, key: str, name: str, value: str) -> None:
        if sys.platform != "win32":
            return
        import winreg

        try:
            with winreg.CreateKey(winreg.HKEY_CURRENT_USER, key) as handle:
                winreg.SetValueEx(handle, name, 0, winreg.REG_SZ, value)
        except OSError as error:
            raise _refused("write", key, error) from error

    def delete(self, key: str, name: str) -> None:
        if sys.platform != "win32":
            return
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key, 0, winreg.KEY_SET_VALUE) as handle:
                winreg.DeleteValue(handle, name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _refused("change", key, error) from error


def _refused(verb: str, key: str, error: OSError) -> StorageError:
    return StorageError(
        f"Cannot {verb} the registry key {key}: {error.strerror or error}",
        hint="A policy of this computer may forbid programs that start at login.",
    )
