"""Where the shipped files are: beside `core`, in the source tree, in a wheel and in a briefcase package alike."""

from __future__ import annotations

from pathlib import Path

# `assets` always lies next to the `core` package: the repository root, site-packages, or a packaged app's folder.
ASSETS_DIR = Path(__file__).resolve().parent.parent / "assets"

SELFTEST_MODEL_NAME = "titan-selftest-random"


def asset_path(*parts: str) -> Path:
    """The path of a shipped file, whether or not it is there: the caller reports a missing one."""
    return ASSETS_DIR.joinpath(*parts)


def release_keys_path() -> Path:
    """The public keys that may sign a release index, one per line."""
    return asset_path("release_keys.txt")


def selftest_model_path() -> Path:
    """The tiny random-weights model for the demo and the self-test. Its answers are noise, on purpose."""
    return asset_path("selftest", f"{SELFTEST_MODEL_NAME}.gguf")
