"""Read a profile's settings again while the program runs."""

from __future__ import annotations

import os
from collections.abc import Mapping

from core.config_load import Layer, LoadedSettings, load_settings
from core.paths import profile_paths


def reload_settings(loaded: LoadedSettings, environ: Mapping[str, str] | None = None) -> LoadedSettings:
    """The same profile's settings as its file says now; what the command line said still holds. Blocks.

    Raises ConfigError and StorageError.
    """
    environ = os.environ if environ is None else environ
    if not follows_file(loaded, environ):
        return loaded
    said = {
        name: getattr(loaded.settings, name)
        for name, origin in loaded.origins.items()
        if origin.layer is Layer.COMMAND_LINE
    }
    return load_settings(environ, {**said, "profile": loaded.settings.profile})


def follows_file(loaded: LoadedSettings, environ: Mapping[str, str] | None = None) -> bool:
    """False for settings made for other folders than this process's own (a demo): there is no file to follow."""
    environ = os.environ if environ is None else environ
    return profile_paths(loaded.settings.profile, environ=environ).config_file == loaded.paths.config_file
