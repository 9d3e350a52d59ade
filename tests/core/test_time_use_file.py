"""The record of the day on disk: what a crash loses, what a damaged file costs, and what the owner is told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from core.cli.app import run_cli
from core.cli.time_cmd import MARKS, hours_line
from core.delayed_writer import WRITE_AFTER_S
from core.owner_commands import owner_commands
from core.paths import profile_paths
from core.snapshot import AgentSnapshot, Reason
from core.state import AgentState
from core.time_use import DAY_S, Doing, Stretch, time_use_json, title_of
from core.time_use_file import (
    FILE_NAME,
    TimeUse,
    read_stretches,
)
from tests.fakes.fake_engine import FakeEngine, pieces_of
from tests.fakes.manual_clock import ManualClock
from tests.fakes.small_agent import small_agent
from tests.fakes.written import written

T = 1_800_000_000.0
READY = AgentSnapshot(state=AgentState.READY)
SERVING = AgentSnapshot(state=AgentState.READY, running_jobs=1)
LISTED = AgentSnapshot(state=AgentState.PAUSED, reasons=(Reason(code="listed_app", sentence="Steam runs."),))


class Notices:
    def __init__(self) -> None:
        self.now: list[str] = []

    def take(self, old: str, new: str) -> None:
        self.now = [notice for notice in self.now if notice != old] + ([new] if new else [])


def clock_at(wall_s: float) -> ManualClock:
    return ManualClock(wall_s=wall_s)


async def opened(path: Path, clock: ManualClock, notices: Notices | None = None) -> TimeUse:
    made = TimeUse(path, clock=clock.wall, on_notice=(notices or Notices()).take, sleep=clock.sleep)
    made.start()
    assert made._opening is not None
    await made._opening
    return made


async def pass_time(use: TimeUse, clock: ManualClock, seconds: float, snapshot: AgentSnapshot) -> None:
    """A look every 2 s; what is to be written is."""
    end = clock.wall() + seconds
    while True:
        use.look(snapshot)
        await written(use._writer)
        if clock.wall() >= end:
            return
        await clock.advance(min(2.0, end - clock.wall()))


def spans(path: Path) -> list[tuple[float, float, Doing, str]]:
    return [(one.start - T, one.end - T, one.what, one.reason_code) for one in read_stretches(path)]


async def test_a_day_is_read_back_by_the_next_run(tmp_path: Path) -> None:
    path, clock = tmp_path / FILE_NAME, clock_at(T)
    first = await opened(path, clock)
    await pass_time(first, clock, 100, READY)
    await pass_time(first, clock, 50, LISTED)
    await first.close()
    await clock.advance(1_000)
    second = await opened(path, clock)
    await pass_time(second, clock, 20, SERVING)

    assert [(one.what, one.seconds) for one in second.today()][1:] == [
        (Doing.READY, 100),
        (Doing.PAUSED, 50),
        (Doing.OFF, 1_000),
        (Doing.SERVING, 20),
    ]


async def test_a_crash_loses_less_than_a_minute(tmp_path: Path) -> None:
    path, clock = tmp_path / FILE_NAME, clock_at(T)
    use = await opened(path, clock)
    await pass_time(use, clock, 500, READY)  # and nobody closes it

    kept = spans(path)
    assert kept[0][:3:2] == (0, Doing.READY)
    assert 500 - kept[-1][1] <= WRITE_AFTER_S + 2


async def test_a_stretch_that_goes_on_is_one_stretch_although_it_has_many_lines(tmp_path: Path) -> None:
    path, clock = tmp_path / FILE_NAME, clock_at(T)
    use = await opened(path, clock)
    await pass_time(use, clock, 600, READY)
    assert len(path.read_text().splitlines()) > 10

    await use.close()
    assert spans(path) == [(0, 600, Doing.READY, "")]
    await opened(path, clock)
    assert len(path.read_text().splitlines()) == 2  # small again


async def test_sessions_close_together_are_written_as_one(tmp_path: Path) -> None:
    path, clock = tmp_path / FILE_NAME, clock_at(T)
    use = await opened(path, clock)
    for _ in range(5):
        await pass_time(use, clock, 40, SERVING)
        await pass_time(use, clock, 10, READY)
    await use.close()

    assert spans(path) == [(0, 240, Doing.SERVING, ""), (240, 250, Doing.READY, "")]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe\x00",
        b"titan time use 1\n1 2 dancing -\n3 4 ready -\n",
        b"titan time use 1\nnan 1 ready -\n1 2 x\n",
    ],
    ids=["empty", "bytes", "unknown word", "no number"],
)
async def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, damage: bytes) -> None:
    path, notices = tmp_path / FILE_NAME, Notices()
    path.write_bytes(damage)

    use = await opened(path, clock_at(T), notices)

    assert use.today() == (Stretch(start=T - DAY_S, end=T, what=Doing.OFF),)
    assert "set aside" in notices.now[0]
    assert path.with_name(f"{FILE_NAME}.damaged-1").read_bytes() == damage


async def test_a_line_that_a_crash_cut_off_is_no_damage(tmp_path: Path) -> None:
    path, notices = tmp_path / FILE_NAME, Notices()
    path.write_text(f"titan time use 1\n{T:.3f} {T + 60:.3f} ready -\n{T + 60:.3f} 18000")

    use = await opened(path, clock_at(T + 100), notices)

    assert not notices.now
    assert [one.what for one in use.today()] == [Doing.OFF, Doing.READY, Doing.OFF]


async def test_a_disk_that_takes_nothing_is_said_once_and_made_up_for(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be")
    clock, notices = clock_at(T), Notices()
    use = await opened(folder / FILE_NAME, clock, notices)
    await pass_time(use, clock, 100, READY)
    assert len(notices.now) == 1
    assert "not kept" in notices.now[0]

    folder.unlink()
    await pass_time(use, clock, 40, READY)

    assert notices.now == []
    assert spans(folder / FILE_NAME)[0][0] == 0  # what was missed is there too


async def test_a_file_that_somebody_removes_is_written_anew(tmp_path: Path) -> None:
    path, clock = tmp_path / FILE_NAME, clock_at(T)
    use = await opened(path, clock)
    await pass_time(use, clock, 100, READY)
    path.unlink()
    await pass_time(use, clock, 40, SERVING)

    assert [span[2] for span in spans(path)] == [Doing.READY, Doing.SERVING]


async def test_looks_before_it_is_open_and_after_it_is_closed_do_nothing(tmp_path: Path) -> None:
    use = TimeUse(tmp_path / FILE_NAME, clock=clock_at(T).wall)
    use.look(SERVING)
    await use.close()
    use.look(SERVING)

    assert [one.what for one in use.today()] == [Doing.OFF]


def test_titles_name_the_reason() -> None:
    assert title_of(Doing.SERVING, "") == "Serving"
    assert title_of(Doing.PAUSED, "paused_by_owner") == "Paused by you"
    assert title_of(Doing.PREPARING, "model_loading") == "Getting ready: the model is loading"
    assert title_of(Doing.BROKEN, "model_not_ready") == "Not working: no model to offer"
    assert title_of(Doing.UNREACHABLE, "coordinator_away") == "No coordinator"
    assert title_of(Doing.PAUSED, "brand_new") == "Paused: brand new"


async def test_the_agent_keeps_it_and_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))
    engine = FakeEngine(pieces_of("x"), models=("tiny:latest",))
    async with small_agent(engine, {"supported_models": ("tiny:latest",)}) as agent:
        assert agent.time_use._opening is not None
        await agent.time_use._opening
        commands = owner_commands(agent, shut_down=lambda: None, self_test=_no_test)
        await commands.execute("pause", {})
        outcome = await commands.execute("time_use", {})
        stretches: Any = outcome.result["stretches"]
        json.dumps(outcome.result)

    assert [(one["what"], one["reason_code"]) for one in stretches] == [("off", ""), ("paused", "paused_by_owner")]
    assert read_stretches(profile_paths().data_dir / FILE_NAME)


async def _no_test(model: str) -> Any:
    raise AssertionError(model)


def write_hour(kind: str) -> None:
    now = time.time()
    path = profile_paths().data_dir / FILE_NAME
    path.parent.mkdir(parents=True)
    path.write_text(f"titan time use 1\n{now - 3600:.3f} {now:.3f} {kind} -\n")


def test_titan_time_reads_the_file_when_no_agent_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))
    write_hour("serving")

    assert run_cli(("time", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert run_cli(("time",)) == 0
    text = capsys.readouterr().out

    assert [share["what"] for share in said["shares"]] == ["serving", "off"]
    assert said["shares"][0]["percent"] == pytest.approx(100 / 24, abs=0.1)
    assert "Serving" in text
    assert "4.2 %" in text


def test_every_thing_has_its_own_mark() -> None:
    assert list(MARKS) == [what.value for what in Doing]
    assert len(set(MARKS.values())) == len(MARKS)


def test_the_line_of_marks_shows_what_took_most_of_each_part() -> None:
    stretches: Any = time_use_json(
        (
            Stretch(start=T, end=T + 36_000, what=Doing.READY),
            Stretch(start=T + 36_000, end=T + 54_000, what=Doing.PAUSED, reason_code="in_use"),
            Stretch(start=T + 54_000, end=T + 72_000, what=Doing.PREPARING, reason_code="model_loading"),
        )
    )["stretches"]

    assert hours_line(stretches, T, T + 72_000).splitlines()[0] == "▒" * 36 + "p" * 18 + "g" * 18
