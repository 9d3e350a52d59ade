"""What this program has put into a user's folders, and its removal: `titan uninstall`.

Only what is ours by its name is touched, and no link is followed: a link is taken away itself, and what it leads to
stays. Everything is found first, so that the owner reads what goes before it goes.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from core.config import SECRET_ENVIRONMENT
from core.desktop_entry import NAME, entry_files
from core.errors import StorageError
from core.instance_lock import InstanceLock
from core.paths import BaseFolders, ProfilePaths, folder_name, profile_paths, storage_error
from core.secrets import Keyring, SecretStore, system_keyring

_RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that goes: a folder with all in it, a file, or a link (not what it leads to)."""

    what: str  # for the owner: "settings", "models" ...
    path: Path
    files: int = 1
    size_bytes: int = 0
    leads_to: str = ""  # of a link: where to; that stays


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyringItem:
    """One secret in the system's keyring."""

    profile: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All that a removal takes, in the order in which it is taken, and what stays."""

    items: tuple[Item, ...]
    keyring: tuple[KeyringItem, ...]
    startup_values: tuple[str, ...]  # Windows: names in the registry's list of what starts at login
    kept: tuple[str, ...]  # sentences


class Uninstaller:
    """Finds and removes. Everything it looks at is given, so that a test can give it another home."""

    def __init__(
        self,
        bases: BaseFolders,
        environ: Mapping[str, str],
        *,
        keep_models: bool = False,
        open_keyring: Callable[[], Keyring] = system_keyring,
    ) -> None:
        self._bases = bases
        self._environ = environ
        self._keep_models = keep_models
        self._open_keyring = open_keyring

    def find(self) -> Inventory:
        """Raises StorageError when a folder of ours can't be read."""
        items = [_item(what, path) for what, path in self._places() if _is_there(path)]
        kept = [f"{item.path} is a link: {item.leads_to}, where it leads to, stays" for item in items if item.leads_to]
        kept += [f"{path} stays: it is not from this program" for path in self._strangers()]
        if self._keep_models and _is_there(self._models):
            kept.append(f"{self._models} stays, as you asked")
        return Inventory(
            items=tuple(items),
            keyring=tuple(self._keyring_items()),
            startup_values=tuple(_startup_values()),
            kept=tuple(kept),
        )

    def remove(self, inventory: Inventory) -> tuple[str, ...]:
        """Remove what was found; returns what could not be removed, as sentences.

        Raises AlreadyRunningError, with nothing removed, when an agent runs for any profile. The profiles' locks are
        held meanwhile, so none starts in the middle.
        """
        with ExitStack() as held:
            for profile in self._profile_folders(self._bases.state):  # who runs has a folder there
                held.enter_context(InstanceLock(self._bases.state / "profiles" / profile / "lock", profile))
            problems = [*self._forget(inventory.keyring), *_forget_startup(inventory.startup_values)]
            for item in inventory.items:
                problems += _remove(item.path)
        for base in self._own_bases():
            with suppress(OSError):  # something else is in it: find() said so
                base.rmdir()
        return tuple(problems)

    @property
    def _models(self) -> Path:
        return self._bases.data / "models"

    def _places(self) -> Iterator[tuple[str, Path]]:
        """What may be ours, by its name: never a whole folder whose name the owner chose (TITAN_HOME)."""
        bases = self._bases
        for base in _all(bases):
            if base.is_symlink():
                yield "folder", base
        own = self._own_bases()
        for what, base in (
            *(("settings", bases.config), ("identity, counts and keys", bases.data)),
            *(("state", bases.state), ("logs", bases.log)),
        ):
            if base in own:
                yield what, base / "profiles"
        if bases.data in own and not self._keep_models:
            yield "models", self._models
        for paths in self._known_profiles():
            if paths.runtime_dir.parent != paths.state_dir:
                yield "the running agent's door", paths.runtime_dir
        for file in autostart_files(self._environ):
            yield "start at login", file
        if sys.platform == "linux":
            for file in entry_files(self._environ):
                yield "menu entry" if file.suffix == ".desktop" else "icon", file

    def _own_bases(self) -> list[Path]:
        """Our folders, inner ones first, without those behind a link: what such a link leads to is not touched."""
        bases = self._bases
        own = [base for base in (bases.log, bases.state, bases.data, bases.config) if not base.is_symlink()]
        return [
            base for base in own if not any(parent.is_symlink() and parent in _all(bases) for parent in base.parents)
        ]

    def _strangers(self) -> Iterator[Path]:
        """What lies in our folders and is not ours."""
        ours = {"profiles", "models"}
        for base in self._own_bases():
            if base.is_dir():
                yield from (path for path in base.iterdir() if path.name not in ours and path not in _all(self._bases))

    def _profile_folders(self, *bases: Path) -> list[str]:
        """The folders of profiles below these, links left out."""
        found = set()
        for base in bases:
            folder = base / "profiles"
            if base in self._own_bases() and folder.is_dir() and not folder.is_symlink():
                found |= {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()}
        return sorted(found)

    def _known_profiles(self) -> Iterator[ProfilePaths]:
        """Those whose name is their folder's; an unusual name can't be read from the folder (core/paths.py)."""
        for folder in self._profile_folders(self._bases.config, self._bases.data, self._bases.state):
            if folder_name(folder) == folder:
                yield profile_paths(folder, environ=self._environ, bases=self._bases)

    def _keyring_items(self) -> Iterator[KeyringItem]:
        for paths in self._known_profiles():
            store = self._store(paths)
            for name in SECRET_ENVIRONMENT:
                try:
                    found = store.get(name)
                except StorageError:  # its file is open to others; the file goes with the folder
                    continue
                if found is not None and found.source == "keyring":
                    yield KeyringItem(profile=paths.profile, name=name)

    def _forget(self, secrets: Iterable[KeyringItem]) -> Iterator[str]:
        for secret in secrets:
            paths = profile_paths(secret.profile, environ=self._environ, bases=self._bases)
            yield from self._store(paths).delete(secret.name)

    def _store(self, paths: ProfilePaths) -> SecretStore:
        """Of what is kept here; a secret in the environment is not ours to forget."""
        return SecretStore(paths.secrets_dir, paths.profile, environ={}, open_keyring=self._open_keyring)


def autostart_files(environ: Mapping[str, str], *, platform: str = sys.platform) -> list[Path]:
    """The entries that titan_gui/autostart.py writes, one a profile, by their names."""
    home = Path(environ.get("HOME") or Path.home())
    if platform == "darwin":
        return _matching(home / "Library" / "LaunchAgents", "org.titancompute.agent", ".plist", ".")
    if platform == "win32":
        return []
    config = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(config) if config.startswith("/") else home / ".config"
    return _matching(folder / "autostart", NAME, ".desktop", "-")


def _matching(folder: Path, name: str, suffix: str, separator: str) -> list[Path]:
    """`name` and `name<separator>anything`, with the suffix."""
    found = [path for path in folder.glob(f"{name}*{suffix}") if path.name.removesuffix(suffix) == name]
    return sorted([*found, *folder.glob(f"{name}{separator}*{suffix}")])


def _all(bases: BaseFolders) -> tuple[Path, ...]:
    return (bases.config, bases.data, bases.state, bases.log)


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _item(what: str, path: Path) -> Item:
    if path.is_symlink():
        return Item(what=what, path=path, leads_to=str(path.readlink()))
    if not path.is_dir():
        return Item(what=what, path=path, size_bytes=path.lstat().st_size)
    sizes = [found.st_size for found in _walk(path) if not stat.S_ISDIR(found.st_mode)]
    return Item(what=what, path=path, files=len(sizes), size_bytes=sum(sizes))


def _walk(folder: Path) -> Iterator[os.stat_result]:
    """Everything below, links as links."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(Path(entry.path))
    except OSError as error:
        raise storage_error("read", folder, error) from error


def _remove(path: Path) -> Iterator[str]:
    """Remove a file, a link, or a folder with all in it; yields what didn't work. rmtree follows no link either."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        yield f"{error.filename or path} could not be removed: {error.strerror}"


def _startup_values() -> list[str]:
    """Windows: the values of titan_gui/autostart.py in this user's Run key. Not run yet."""
    if sys.platform != "win32":
        return []
    import winreg

    with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _RUN_KEY) as key:
        names = [winreg.EnumValue(key, number)[0] for number in range(winreg.QueryInfoKey(key)[1])]
    return [name for name in names if name == NAME or name.startswith(f"{NAME}-")]


def _forget_startup(names: Iterable[str]) -> Iterator[str]:
    if sys.platform == "win32":
        import winreg

        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _RUN_KEY, access=winreg.KEY_SET_VALUE) as key:
            for name in names:
                winreg.DeleteValue(key, name)
    yield from ()
