"""The owner's list of programs: what matches, what it costs, and real programs that start and end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.signals.processes import ROUNDS, YOUNG_LOOKS, ListedApps, Program


class Table:
    """A system's processes: `running` is pid → program."""

    def __init__(self, **programs: str) -> None:
        self.running: dict[int, Program | None] = {}
        self.asked: list[int] = []
        for pid, (name, path) in enumerate(programs.items(), start=1_000_000):
            self.running[pid] = Program(name, path)

    def pids(self) -> list[int]:
        return list(self.running)

    def program(self, pid: int) -> Program | None:
        self.asked.append(pid)
        return self.running[pid]


def listed(table: Table, *lines: str, system: str = "linux") -> ListedApps:
    apps = ListedApps(table=table, system=system)
    apps.use_list(lines)
    return apps


STEAM = {"steam": "/home/me/.steam/ubuntu12_32/steam"}
GAME = {"game.x86_64": "/mnt/games/common/Great Game/game.x86_64"}


@pytest.mark.parametrize(
    ("line", "programs", "system", "seen"),
    [
        ("steam", STEAM, "linux", ("steam",)),
        ("Steam", STEAM, "linux", ("steam",)),  # as an owner writes it
        ("steam.exe", STEAM, "linux", ("steam",)),
        ("stea", STEAM, "linux", ()),
        ("team", STEAM, "linux", ()),
        ("/mnt/games", GAME, "linux", ("game.x86_64",)),
        ("/mnt/games/", GAME, "linux", ("game.x86_64",)),
        ("/mnt/./games/../games", GAME, "linux", ("game.x86_64",)),
        ("/mnt/game", GAME, "linux", ()),  # another folder, which begins alike
        ("/mnt/GAMES", GAME, "linux", ()),
        ("/mnt/games/common/Great Game/game.x86_64", GAME, "linux", ("game.x86_64",)),
        ("/mnt/games/common/Great Game/game", GAME, "linux", ()),
        ("Blender", {"Blender": "/Applications/Blender.app/Contents/MacOS/Blender"}, "darwin", ("Blender",)),
        ("/applications/blender.app", {"Blender": "/Applications/Blender.app/Contents/MacOS/Blender"}, "darwin",
         ("Blender",)),
        ("steam", {"Steam.exe": "C:\\Program Files (x86)\\Steam\\Steam.exe"}, "win32", ("Steam",)),
        ("STEAM.EXE", {"Steam.exe": "C:\\Program Files (x86)\\Steam\\Steam.exe"}, "win32", ("Steam",)),
        ("c:/program files (x86)/steam", {"Steam.exe": "C:\\Program Files (x86)\\Steam\\Steam.exe"}, "win32",
         ("Steam",)),
        ("C:\\Games\\", {"Steam.exe": "C:\\Program Files (x86)\\Steam\\Steam.exe"}, "win32", ()),
        ("eldenring.exe", {"eldenring.exe": "/opt/proton/wine64-preloader"}, "linux", ("eldenring",)),
        ("firefox", {"GeckoMain": "/usr/lib/firefox/firefox"}, "linux", ("firefox",)),
        ("secret", {"secret": ""}, "linux", ("secret",)),  # another user's: its file isn't told
        ("/", {"kthreadd": ""}, "linux", ()),
        ("  ", STEAM, "linux", ()),
    ],
)  # fmt: skip
def test_line_of_the_list_matches(line: str, programs: dict[str, str], system: str, seen: tuple[str, ...]) -> None:
    assert listed(Table(**programs), line, system=system).read() == seen


def test_programs_are_listed_once_each_in_alphabetical_order() -> None:
    table = Table(zeta="/games/zeta", Alpha="/games/alpha", beta="/games/beta")
    table.running[5] = Program("beta", "/games/beta")
    assert listed(table, "/games", "beta").read() == ("Alpha", "beta", "zeta")


def test_empty_list_looks_at_nothing() -> None:
    table = Table(**STEAM)
    assert listed(table).read() == ()
    assert table.asked == []


def test_folder_behind_a_link_is_meant_too(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "games").symlink_to(tmp_path / "disk")
    table = Table(game=str(tmp_path.resolve() / "disk" / "game"))
    assert listed(table, str(tmp_path / "games")).read() == ("game",)


def test_folder_in_the_home_is_meant_with_a_tilde(isolated_home: Path) -> None:
    assert listed(Table(game=f"{isolated_home}/games/game"), "~/games").read() == ("game",)
    assert listed(Table(game="/x/game"), "~nobody-of-that-name/games").read() == ()


def test_changed_list_counts_from_the_next_reading() -> None:
    apps = listed(Table(**STEAM), "steam")
    assert apps.read() == ("steam",)
    apps.use_list(["blender"])
    assert apps.read() == ()
    apps.use_list(["steam"])
    assert apps.read() == ("steam",)


def test_own_processes_are_never_listed() -> None:
    table = Table(ollama="/usr/bin/ollama")
    (pid,) = table.running
    table.running[os.getpid()] = Program("ollama")
    apps = ListedApps(lambda: (pid,), table=table)
    apps.use_list(["ollama"])
    assert apps.read() == ()
    table.running[7] = Program("ollama")
    assert apps.read() == ("ollama",)


def test_only_young_listed_and_a_few_processes_are_asked_again() -> None:
    table = Table(**{f"p{number}": f"/bin/p{number}" for number in range(300)}, game="/games/game")
    game = max(table.running)
    apps = listed(table, "game")
    for _ in range(YOUNG_LOOKS):
        apps.read()
    assert len(table.asked) == YOUNG_LOOKS * 301
    table.asked.clear()
    for _ in range(ROUNDS):
        apps.read()
    assert table.asked.count(game) == ROUNDS
    assert sorted({*table.asked} - {game}) == sorted({*table.running} - {game})  # each once in a while
    assert len(table.asked) - ROUNDS <= 301
    table.running[5] = Program("new")
    table.asked.clear()
    apps.read()
    assert 5 in table.asked


@pytest.mark.parametrize("after", [1, YOUNG_LOOKS - 1, YOUNG_LOOKS + 3])
def test_shell_that_becomes_a_game_is_seen(after: int) -> None:
    """A launcher's script ends with `exec game`, which keeps its pid."""
    table = Table(sh="/bin/sh")
    (pid,) = table.running
    apps = listed(table, "game")
    for _ in range(after):
        assert apps.read() == ()
    table.running[pid] = Program("game", "/games/game")
    looks = 1 if after < YOUNG_LOOKS else ROUNDS
    assert ("game",) in [apps.read() for _ in range(looks)]


def test_zombie_and_pid_of_another_program_are_no_longer_listed() -> None:
    table = Table(game="/games/game")
    (pid,) = table.running
    apps = listed(table, "game")
    for _ in range(YOUNG_LOOKS + 1):
        assert apps.read() == ("game",)
    table.running[pid] = None  # ended, and its parent hasn't asked after it
    assert apps.read() == ()
    table.running[pid] = Program("game", "/games/game")
    apps = listed(table, "game")
    assert apps.read() == ("game",)
    table.running[pid] = Program("other", "/bin/other")
    assert apps.read() == ()


@contextmanager
def real_program(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of that name that sleeps: ended by id."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(shutil.which("sleep") or "", file)
    process = subprocess.Popen([file, "60"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="needs the program sleep")
def test_real_program_is_seen_by_name_file_and_folder_and_gone_when_it_ends(tmp_path: Path) -> None:
    # Longer than the 15 letters that Linux keeps of a process's name.
    file = tmp_path / "My Games" / "a game with a long name"
    lines = (file.name, str(file), str(file.parent))
    looks = []
    for line in lines:
        apps = ListedApps()
        apps.use_list([line])
        looks.append(apps)
    assert [apps.read() for apps in looks] == [(), (), ()]
    with real_program(file) as process:
        assert [apps.read() for apps in looks] == [(file.name,)] * 3
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and still in the table of processes
        assert [apps.read() for apps in looks] == [(), (), ()]
