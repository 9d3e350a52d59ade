"""The profile's settings and secrets as the window reads and writes them, never on the Qt thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from PySide6.QtCore import QObject, Signal

from core.config import SECRET_ENVIRONMENT
from core.config_edit import change_settings
from core.config_load import LoadedSettings
from core.config_reload import reload_settings
from core.errors import AgentError, ConfigError
from core.secrets import SecretStore
from titan_gui.background import Background

Change = Callable[..., object]
Sources = dict[str, str]  # secret → where it comes from, "" when it isn't set


class SettingsFiles(QObject):
    """Emits what is now in force after each change. `current` is the last state that could be read."""

    loaded = Signal(object)  # LoadedSettings
    saved = Signal(object)  # tuple of names: written, and `loaded` has come just before
    save_failed = Signal(object)  # AgentError: nothing was written, unless its hint says otherwise
    secrets_read = Signal(object)  # Sources
    secret_failed = Signal(object)  # AgentError
    secret_noticed = Signal(str)  # what the owner should know of the change

    def __init__(
        self,
        loaded: LoadedSettings,
        *,
        environ: Mapping[str, str] | None = None,
        change: Change = change_settings,
        store: SecretStore | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.current = loaded
        self._environ = os.environ if environ is None else environ
        self._change = change
        self._secrets = store or SecretStore(loaded.paths.secrets_dir, loaded.settings.profile, environ=self._environ)
        self._background = Background(self)

    def save(self, changes: Mapping[str, str | None], *, failed: Callable[[AgentError], object] | None = None) -> None:
        """Write settings, as text; None goes back to the default. `failed` is told in `save_failed`'s place."""
        current, wanted = self.current, dict(changes)

        def write() -> LoadedSettings:
            self._change(wanted, self._environ, profile=current.settings.profile)
            return self._read(current)

        def done(loaded: LoadedSettings) -> None:
            self._take(loaded)
            self.saved.emit(tuple(wanted))

        self._background.run(write, done, failed or self.save_failed.emit)

    def reload(self) -> None:
        """Read the file again: `titan config set`, an editor or a command may have changed it."""
        current = self.current
        self._background.run(lambda: self._read(current), self._take, self.save_failed.emit)

    def read_secrets(self) -> None:
        """Where each secret comes from. The keyring may take 3 s to say no."""
        self._background.run(self._sources, self.secrets_read.emit, self.secret_failed.emit)

    def set_secret(self, name: str, value: str) -> None:
        self._change_secret(lambda: self._secrets.set(name, value))

    def remove_secret(self, name: str) -> None:
        self._change_secret(lambda: self._secrets.delete(name))

    def wait(self, timeout_ms: int = 5_000) -> bool:
        """At the end of the program: until the last change is on disk."""
        return self._background.wait(timeout_ms)

    def _read(self, current: LoadedSettings) -> LoadedSettings:
        return reload_settings(current, self._environ)

    def _take(self, loaded: LoadedSettings) -> None:
        self.current = loaded
        self.loaded.emit(loaded)

    def _change_secret(self, change: Callable[[], tuple[str, ...]]) -> None:
        def work() -> tuple[tuple[str, ...], Sources]:
            return change(), self._sources()

        def done(result: tuple[tuple[str, ...], Sources]) -> None:
            notices, sources = result
            self.secrets_read.emit(sources)
            if notices:
                self.secret_noticed.emit(". ".join(notices) + ".")

        self._background.run(work, done, self.secret_failed.emit)

    def _sources(self) -> Sources:
        found: Sources = {}
        for name in SECRET_ENVIRONMENT:
            try:
                secret = self._secrets.get(name)
            except ConfigError as error:  # it is there, and can't be used: set it anew
                found[name] = error.detail
            else:
                found[name] = secret.source if secret else ""
        return found
