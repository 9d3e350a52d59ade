"""`titan logs` over the files that the agent's own log writes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from core import logs
from core.cli.app import run_cli
from core.cli.logs_cmd import render_line
from core.log_follower import LogFollower
from core.paths import profile_paths


@pytest.fixture(autouse=True)
def log_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    monkeypatch.delenv("AGENT_ID", raising=False)
    return profile_paths().log_dir


def write_events(folder: Path, count: int, *, max_bytes: int = 5_000_000) -> None:
    with logs.configure(stream=io.StringIO(), folder=folder, max_bytes=max_bytes, backups=3):
        for number in range(count):
            logs.get_logger("core.test").info("counted", number=number)


def test_last_lines_as_text(log_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_events(log_dir, 5)

    assert run_cli(["logs", "-n", "2"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"^[\d-]{10} [\d:]{8}", "WHEN", line) for line in lines] == [
        "WHEN info     counted  number=3",
        "WHEN info     counted  number=4",
    ]


def test_last_lines_as_json_reach_across_rotated_files(log_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_events(log_dir, 60, max_bytes=2000)
    assert (log_dir / "agent.log.2").exists()

    assert run_cli(["logs", "-n", "40", "--json"]) == 0

    numbers = [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()]
    assert numbers == list(range(20, 60))


def test_json_output_leaves_out_what_is_no_json(log_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_events(log_dir, 1)
    with (log_dir / "agent.log").open("a") as file:
        file.write('half a li\n{"event": "cut\n')

    run_cli(["logs", "--json"])
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["counted"]

    run_cli(["logs"])
    assert "half a li\n" in capsys.readouterr().out


def test_no_log_yet_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["logs"]) == 1
    assert "There is no log yet" in capsys.readouterr().err


def test_no_lines_wanted_means_none(log_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_events(log_dir, 3)

    assert run_cli(["logs", "-n", "0"]) == 0
    assert capsys.readouterr().out == ""


def test_follower_gives_new_whole_lines_across_a_rotation_and_a_late_start(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    follower = LogFollower(path)
    assert follower.last(10) == []  # the agent hasn't written yet

    path.write_text("one\ntw")
    assert list(follower.new()) == ["one"]
    with path.open("a") as file:
        file.write("o\nthree\n")
    assert list(follower.new()) == ["two", "three"]

    path.replace(tmp_path / "agent.log.1")
    path.write_text("four, in a file that is already longer than the old one was\n")
    assert list(follower.new()) == ["four, in a file that is already longer than the old one was"]
    path.write_text("5\n")  # made empty in place
    assert list(follower.new()) == ["5"]
    assert list(follower.new()) == []


@pytest.mark.parametrize(
    "line", ["", "null", "[]", "{}", '{"ts": 1}', '{"ts":"x","level":1,"event":2,"logger":3}', "\x1b[2J"]
)
def test_any_line_can_be_shown(line: str) -> None:
    assert "\x1b" not in render_line(line, has_colour=False)


def test_traceback_is_shown_below_its_event() -> None:
    line = json.dumps(
        {"ts": "2026-11-25T09:00:00.000Z", "level": "error", "event": "e", "logger": "l", "exception": "T\n  f\nE: x"}
    )

    assert render_line(line, has_colour=False).splitlines()[1:] == ["    T", "      f", "    E: x"]
