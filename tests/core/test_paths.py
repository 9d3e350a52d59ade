"""Folders: one set per profile, private where they must be, and errors with a remedy."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StorageError
from core.paths import (
    MAX_SOCKET_PATH_BYTES,
    BaseFolders,
    ProfilePaths,
    base_folders,
    ensure_folder,
    ensure_private_folder,
    folder_name,
    profile_paths,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes and unix sockets")


def bases_in(root: Path) -> BaseFolders:
    return BaseFolders(config=root / "config", data=root / "data", state=root / "state", log=root / "log")


def own_folders(paths: ProfilePaths) -> set[Path]:
    return {getattr(paths, item.name) for item in fields(paths) if item.name not in {"profile", "models_dir"}}


def test_platform_folders_are_used_unless_titan_home_is_set(tmp_path: Path, isolated_home: Path) -> None:
    assert base_folders({}).config.is_relative_to(isolated_home)
    assert base_folders({"TITAN_HOME": str(tmp_path)}) == bases_in(tmp_path)


@pytest.mark.parametrize("home", ["here", "./here", "a\0b"])
def test_titan_home_that_depends_on_the_current_folder_is_refused(home: str) -> None:
    with pytest.raises(StorageError) as caught:
        base_folders({"TITAN_HOME": home})
    assert "TITAN_HOME" in caught.value.hint


def test_profiles_share_nothing_but_the_models(tmp_path: Path) -> None:
    one = profile_paths("agent-1", environ={}, bases=bases_in(tmp_path))
    two = profile_paths("agent-2", environ={}, bases=bases_in(tmp_path))
    assert own_folders(one).isdisjoint(own_folders(two))
    assert one.models_dir == two.models_dir


def test_profile_called_log_stays_out_of_the_log_folder(isolated_home: Path) -> None:
    log, other = profile_paths("log", environ={}), profile_paths("other", environ={})
    assert not other.log_dir.is_relative_to(log.state_dir)


@pytest.mark.parametrize("name", ["agent-1", "default", "a", "gpu.example.com", "agent-0123456789ab", "a_b"])
def test_plain_profile_name_is_its_folder(name: str) -> None:
    assert folder_name(name) == name


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../../etc", "/etc", "a/b", "a\\b", "A", "con", "nul.txt", "a.", "ü", "x" * 99, "\udcff"]
)
def test_unsafe_profile_name_becomes_a_safe_folder(name: str) -> None:
    folder = folder_name(name)
    assert "~" in folder
    assert len(folder) <= 41
    assert Path("root", folder).parent == Path("root")


@given(st.text(max_size=60), st.text(max_size=60))
def test_two_profiles_never_share_a_folder(one: str, two: str) -> None:
    first, second = folder_name(one).casefold(), folder_name(two).casefold()
    assert (first == second) == (one == two)
    assert "/" not in first
    assert first not in {"", ".", ".."}


@given(st.text(max_size=60))
def test_a_name_cannot_be_chosen_to_hit_anothers_folder(name: str) -> None:
    assert folder_name(folder_name(name)) == name or folder_name(folder_name(name)) != folder_name(name)


@posix_only
def test_runtime_folder_is_below_a_private_xdg_runtime_dir(tmp_path: Path) -> None:
    runtime = Path(tempfile.mkdtemp())
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    paths = profile_paths("p", environ=environ, bases=bases_in(tmp_path))
    assert paths.runtime_dir.parent == runtime / "titancompute"
    assert paths.runtime_dir.name.startswith("p-")
    other_home = profile_paths("p", environ=environ, bases=bases_in(tmp_path / "other"))
    assert other_home.control_socket != paths.control_socket
    runtime.rmdir()


@posix_only
@pytest.mark.parametrize("spoil", ["open mode", "link", "missing", "relative", "stranger", "nul"])
def test_unsafe_xdg_runtime_dir_is_passed_over(tmp_path: Path, spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    text = str(runtime)
    if spoil == "open mode":
        runtime.chmod(0o755)
    elif spoil == "link":
        (tmp_path / "l").symlink_to(runtime)
        text = str(tmp_path / "l")
    elif spoil == "missing":
        runtime.rmdir()
    elif spoil == "relative":
        monkeypatch.chdir(tmp_path)
        text = "r"
    elif spoil == "stranger":
        monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    else:
        text = "/r\0"
    paths = profile_paths("p", environ={"XDG_RUNTIME_DIR": text}, bases=bases_in(Path("/h")))
    assert paths.runtime_dir == Path("/h/state/profiles/p/run")


@posix_only
@pytest.mark.parametrize("depth", [1, 10, 40])
def test_socket_path_always_fits(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = Path("/", *["folder"] * depth)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    one = profile_paths("one", environ={}, bases=bases_in(deep))
    two = profile_paths("two", environ={}, bases=bases_in(deep))
    assert len(os.fsencode(one.control_socket)) <= MAX_SOCKET_PATH_BYTES
    assert one.control_socket != two.control_socket
    assert one == profile_paths("one", environ={}, bases=bases_in(deep))  # every process finds the same place


@posix_only
def test_ensure_makes_every_folder_and_a_private_runtime_folder(tmp_path: Path) -> None:
    paths = profile_paths("p", environ={}, bases=bases_in(tmp_path))
    paths.ensure()
    paths.ensure()
    assert all(folder.is_dir() for folder in own_folders(paths))
    assert stat.S_IMODE(paths.runtime_dir.stat().st_mode) == 0o700


@posix_only
def test_private_folder_of_ours_that_was_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o777)
    ensure_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix_only
@pytest.mark.parametrize("kind", ["link", "stranger"])
def test_private_folder_of_somebody_else_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "private"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir(mode=0o700)
        monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(StorageError) as caught:
        ensure_private_folder(folder)
    assert str(folder) in caught.value.detail
    assert "TITAN_HOME" in caught.value.hint


@pytest.mark.parametrize("ensure", [ensure_folder, ensure_private_folder])
def test_folder_that_cannot_be_made_names_itself_and_the_remedy(tmp_path: Path, ensure: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / "below"
    with pytest.raises(StorageError) as caught:
        ensure(folder)
    assert str(folder.parent) in caught.value.detail
    assert "TITAN_HOME" in caught.value.hint
