"""What every test gets: a home of its own, no settings from outside, and no display."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # before anything imports Qt
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # before anything imports gRPC: core/__init__.py says why

SEED_NAMES = (
    "AGENT_ID",
    "AGENT_PORT",
    "COORDINATOR_ENDPOINT",
    "HEARTBEAT_INTERVAL",
    "MAX_CONCURRENT_JOBS",
    "OLLAMA_HOST",
    "PUBLIC_HOST",
    "SUPPORTED_MODELS",
)
# A proxy would be asked for 127.0.0.1 too (gRPC reads these); the others change what a terminal library prints.
OTHER_NAMES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy", "FORCE_COLOR", "NO_COLOR", "COLUMNS")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Where Qt's system libraries are missing, scripts/test leaves pytest-qt out: its setting must still be known."""
    if not pluginmanager.has_plugin("pytest-qt"):
        parser.addini("qt_log_level_fail", "pytest-qt's setting; unused without it")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The window's tests need pytest-qt; everything else runs without."""
    if collection_path == Path(__file__).parent / "gui" and not config.pluginmanager.has_plugin("pytest-qt"):
        return True
    return None


@pytest.fixture(autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home for this test; no test can read or touch the real one, its keyring or its settings."""
    home = tmp_path_factory.mktemp("home", numbered=True)
    # Not below pytest's folder: a unix socket's path has at most 107 bytes.
    runtime = tempfile.mkdtemp(prefix="titan-")
    with pytest.MonkeyPatch.context() as patch:  # not the test's own: that is undone first, and the disk works again
        _isolate(patch, home, runtime)
        yield home
    shutil.rmtree(runtime, ignore_errors=True)


def _isolate(patch: pytest.MonkeyPatch, home: Path, runtime: str) -> None:
    for name in tuple(os.environ):
        if name.startswith("TITAN_") or name in SEED_NAMES or name.lower() in OTHER_NAMES or name in OTHER_NAMES:
            patch.delenv(name)
    for name in ("HOME", "USERPROFILE"):
        patch.setenv(name, str(home))
    for name, folder in (
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
        ("XDG_CACHE_HOME", ".cache"),
        ("APPDATA", "AppData/Roaming"),
        ("LOCALAPPDATA", "AppData/Local"),
    ):
        patch.setenv(name, str(home / folder))
    patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    patch.setenv("XDG_RUNTIME_DIR", runtime)


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for processes that a test starts; its path is short enough for a unix socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="titan-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
