"""Removal: all that is ours goes, nothing else does, whatever links lie about, and never under a running agent."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from core.cli.app import run_cli
from core.cli.uninstall_cmd import removal_command
from core.desktop_entry import entry_files, install_entry, remove_entry
from core.errors import AlreadyRunningError
from core.instance_lock import InstanceLock
from core.paths import BaseFolders, ProfilePaths, base_folders, profile_paths
from core.uninstall import Inventory, Uninstaller, autostart_files
from tests.fakes.keyrings import FakeKeyring
from titan_gui.autostart import autostart_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, and XDG folders")

PROGRAM = ["/opt/my apps/titan-desktop"]


@pytest.fixture
def paths() -> ProfilePaths:
    """A profile with something in each of its folders, as a running agent leaves them."""
    return used_profile("default")


def used_profile(name: str) -> ProfilePaths:
    paths = profile_paths(name)
    paths.ensure()
    for file in (paths.config_file, paths.agent_id_file, paths.ledger_file, paths.spent_tokens_file, paths.log_file):
        file.write_text("ours")
    paths.models_dir.mkdir(exist_ok=True)
    (paths.models_dir / "big.gguf").write_bytes(b"m" * 2000)
    return paths


def uninstaller(*, keep_models: bool = False, keyring: FakeKeyring | None = None) -> Uninstaller:
    kept = FakeKeyring() if keyring is None else keyring
    return Uninstaller(base_folders(), os.environ, keep_models=keep_models, open_keyring=lambda: kept)


def purge(*, keep_models: bool = False) -> Inventory:
    remover = uninstaller(keep_models=keep_models)
    inventory = remover.find()
    assert remover.remove(inventory) == ()
    return inventory


def everything_below(home: Path) -> list[Path]:
    return sorted(path for path in home.rglob("*") if not path.is_dir() or path.is_symlink())


def bases() -> BaseFolders:
    return base_folders()


def test_all_of_every_profile_goes_and_the_rest_of_the_home_stays(isolated_home: Path, paths: ProfilePaths) -> None:
    used_profile("Work at home")
    mine = isolated_home / ".config" / "other-program" / "settings"
    mine.parent.mkdir(parents=True)
    mine.write_text("not ours")
    autostart_of("default", PROGRAM, os.environ, platform="linux").enable()
    autostart_of("Work at home", PROGRAM, os.environ, platform="linux").enable()
    similar = isolated_home / ".config" / "autostart" / "titancomputer.desktop"
    similar.write_text("somebody else's")
    install_entry(PROGRAM, os.environ)

    purge()

    assert everything_below(isolated_home) == sorted([mine, similar])
    assert not any(base.exists() for base in (bases().config, bases().data, bases().state))
    assert not paths.runtime_dir.exists()


def test_the_entries_that_start_at_login_are_found_by_the_names_that_the_window_gives_them() -> None:
    for profile in ("default", "work", "Größe 2"):
        autostart_of(profile, PROGRAM, os.environ, platform="linux").enable()
        autostart_of(profile, PROGRAM, os.environ, platform="darwin").enable()
    assert len(autostart_files(os.environ, platform="linux")) == 3
    assert len(autostart_files(os.environ, platform="darwin")) == 3


def test_models_stay_when_asked(paths: ProfilePaths) -> None:
    inventory = purge(keep_models=True)

    assert (paths.models_dir / "big.gguf").is_file()
    assert any("stays, as you asked" in sentence for sentence in inventory.kept)
    assert not paths.config_dir.exists()


def test_what_will_go_is_told_with_its_size(paths: ProfilePaths) -> None:
    found = {item.what: item for item in uninstaller().find().items}

    assert (found["models"].path, found["models"].files, found["models"].size_bytes) == (paths.models_dir, 1, 2000)
    assert {"settings", "identity, counts and keys", "state", "logs"} <= set(found)


@pytest.mark.parametrize("where", ["data", "state", "config"])
def test_a_folder_moved_elsewhere_behind_a_link_keeps_its_content(
    where: str, tmp_path: Path, paths: ProfilePaths
) -> None:
    base: Path = getattr(bases(), where)
    elsewhere = tmp_path / "big disk"
    base.rename(elsewhere)
    base.symlink_to(elsewhere)
    before = everything_below(elsewhere)

    inventory = purge()

    assert everything_below(elsewhere) == before
    assert before
    assert not base.is_symlink()
    assert any(str(elsewhere) in sentence for sentence in inventory.kept)


def test_links_inside_our_folders_are_removed_and_not_followed(tmp_path: Path, paths: ProfilePaths) -> None:
    outside = tmp_path / "photos"
    outside.mkdir()
    (outside / "holiday.jpg").write_text("precious")
    (paths.models_dir / "link").symlink_to(outside)
    (paths.data_dir / "link").symlink_to(outside)
    (bases().data / "profiles" / "linked").symlink_to(outside)
    autostart = Path(os.environ["XDG_CONFIG_HOME"]) / "autostart"
    autostart.mkdir(parents=True)
    (autostart / "titancompute.desktop").symlink_to(outside / "holiday.jpg")

    purge()

    assert (outside / "holiday.jpg").read_text() == "precious"
    assert not bases().data.exists()
    assert list(autostart.iterdir()) == []


def test_a_folder_swapped_for_a_link_after_the_look_is_not_followed(tmp_path: Path, paths: ProfilePaths) -> None:
    outside = tmp_path / "photos"
    outside.mkdir()
    (outside / "holiday.jpg").write_text("precious")
    remover = uninstaller()
    inventory = remover.find()
    (paths.models_dir / "big.gguf").unlink()
    paths.models_dir.rmdir()
    paths.models_dir.symlink_to(outside)

    remover.remove(inventory)

    assert (outside / "holiday.jpg").is_file()


def test_a_strangers_file_in_our_folder_stays_and_is_named(paths: ProfilePaths) -> None:
    stranger = bases().config / "service.env"
    stranger.write_text("AGENT_PORT=50060")

    inventory = purge()

    assert stranger.is_file()
    assert f"{stranger} stays: it is not from this program" in inventory.kept


def test_a_home_of_our_own_loses_only_what_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TITAN_HOME may be a folder that holds more: its `data` and `config` need not be ours alone."""
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    used_profile("default")
    thesis = tmp_path / "data" / "thesis.txt"
    thesis.write_text("ten years")

    purge()

    assert everything_below(tmp_path) == [thesis]


def test_nothing_is_removed_while_an_agent_runs_for_any_profile(paths: ProfilePaths) -> None:
    other = used_profile("work")
    remover = uninstaller()
    inventory = remover.find()
    with InstanceLock(other.lock_file, "work"), pytest.raises(AlreadyRunningError):
        remover.remove(inventory)
    assert paths.config_file.is_file()
    assert other.config_file.is_file()


def test_secrets_in_the_keyring_are_forgotten(paths: ProfilePaths) -> None:
    keyring = FakeKeyring()
    keyring.kept = {("TitanCompute/default", "openai_api_key"): "sk-1", ("Mail", "me"): "hunter2"}
    remover = uninstaller(keyring=keyring)
    inventory = remover.find()
    assert [secret.name for secret in inventory.keyring] == ["openai_api_key"]

    assert remover.remove(inventory) == ()

    assert keyring.kept == {("Mail", "me"): "hunter2"}


def test_what_cannot_be_removed_is_said(paths: ProfilePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("core.uninstall.shutil.rmtree", refuse)
    remover = uninstaller()

    problems = remover.remove(remover.find())

    assert f"{bases().config / 'profiles'} could not be removed: Permission denied" in problems


# The command


def test_without_purge_the_command_only_tells(capsys: pytest.CaptureFixture[str], paths: ProfilePaths) -> None:
    assert run_cli(["uninstall"]) == 0
    out = capsys.readouterr().out
    assert str(paths.models_dir) in out
    assert "Nothing was deleted" in out
    assert paths.config_file.is_file()


def test_purge_asks_first_and_without_a_terminal_deletes_nothing(
    capsys: pytest.CaptureFixture[str], paths: ProfilePaths
) -> None:
    assert run_cli(["uninstall", "--purge"]) == 1
    assert "--yes" in capsys.readouterr().err
    assert paths.config_file.is_file()


def test_purge_with_yes_deletes_and_says_how_the_program_goes(
    capsys: pytest.CaptureFixture[str], isolated_home: Path, paths: ProfilePaths
) -> None:
    assert run_cli(["uninstall", "--purge", "--yes"]) == 0
    out = capsys.readouterr().out
    assert "Deleted." in out
    assert "pip uninstall titancompute-agent" in out
    assert everything_below(isolated_home) == []

    assert run_cli(["uninstall", "--purge", "--yes"]) == 0
    assert "keeps nothing" in capsys.readouterr().out


def test_purge_refuses_while_an_agent_runs(capsys: pytest.CaptureFixture[str], paths: ProfilePaths) -> None:
    with InstanceLock(paths.lock_file, "default"):
        assert run_cli(["uninstall", "--purge", "--yes"]) == 3
    assert "already runs" in capsys.readouterr().err
    assert paths.config_file.is_file()


def test_json_names_what_went(capsys: pytest.CaptureFixture[str], paths: ProfilePaths) -> None:
    assert run_cli(["uninstall", "--purge", "--yes", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["deleted"] is True
    assert str(paths.models_dir) in {item["path"] for item in answer["items"]}


@pytest.mark.parametrize(
    ("prefix", "is_packaged", "expected"),
    [
        ("/usr", True, "sudo apt-get remove titan-desktop"),
        ("/home/me/.local/share/pipx/venvs/titancompute-agent", False, "pipx uninstall titancompute-agent"),
        ("/home/me/.local/share/uv/tools/titancompute-agent", False, "uv tool uninstall titancompute-agent"),
        ("/home/me/venv", False, "pip uninstall titancompute-agent"),
    ],
)
def test_the_program_goes_the_way_it_came(prefix: str, is_packaged: bool, expected: str) -> None:
    assert removal_command(Path(prefix), is_packaged=is_packaged, platform="linux") == expected


# The menu entry


def test_the_menu_entry_starts_the_program_and_has_its_icons() -> None:
    entry = install_entry(PROGRAM, os.environ)

    text = entry.read_text(encoding="utf-8")
    assert 'Exec="/opt/my apps/titan-desktop"\n' in text
    assert "Icon=titancompute\n" in text  # the name of the icons' files
    files = entry_files(os.environ)
    assert all(file.stat().st_size > 0 for file in files)
    assert {file.stem for file in files} == {"titancompute"}

    assert set(remove_entry(os.environ)) == set(files)
    assert remove_entry(os.environ) == ()


def test_the_commands_install_and_remove_the_menu_entry(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("titan", "titan-desktop"):
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "titan"), "desktop-entry", "install"])
    entry = entry_files(os.environ)[0]

    assert run_cli(["desktop-entry", "install"]) == 0
    assert f"Exec={tmp_path / 'titan-desktop'}\n" in entry.read_text(encoding="utf-8")
    assert run_cli(["desktop-entry", "remove", "--json"]) == 0
    assert not entry.exists()
    assert str(entry) in capsys.readouterr().out
