"""What tests/conftest.py promises: an empty home for each test, and nothing from the caller's environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs

from tests.conftest import SEED_NAMES

ROOT = Path(__file__).resolve().parents[1]


def test_home_is_empty_and_all_user_folders_are_in_it(isolated_home: Path) -> None:
    assert Path.home() == isolated_home
    assert list(isolated_home.iterdir()) == []
    assert isolated_home.is_relative_to(tempfile.gettempdir())
    folders = platformdirs.PlatformDirs("TitanCompute", False)
    for folder in (folders.user_config_dir, folders.user_data_dir, folders.user_state_dir, folders.user_cache_dir):
        assert Path(folder).is_relative_to(isolated_home)


def test_a_socket_fits_into_the_runtime_folder() -> None:
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    assert runtime.stat().st_mode & 0o777 == 0o700
    assert len(str(runtime)) < 60  # of the 107 bytes that a unix socket's path may have


def test_no_setting_comes_from_the_environment() -> None:
    leaked = [name for name in os.environ if name.startswith("TITAN_") or name in SEED_NAMES or "proxy" in name.lower()]
    assert leaked == []


def test_settings_and_home_of_the_caller_do_not_reach_a_test(tmp_path: Path) -> None:
    """Runs the tests above, by name and never this one, from a shell that has everything set."""
    dirty = {"TITAN_LOG_LEVEL": "debug", "AGENT_ID": "somebody", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "x"}
    dirty |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    chosen = (
        test_home_is_empty_and_all_user_folders_are_in_it,
        test_a_socket_fits_into_the_runtime_folder,
        test_no_setting_comes_from_the_environment,
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:pytest-qt"]
    result = subprocess.run(
        [*command, *(f"{Path(__file__).relative_to(ROOT)}::{test.__name__}" for test in chosen)],
        env={**os.environ, **dirty},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout
    assert "3 passed" in result.stdout
    assert list(tmp_path.iterdir()) == []
