"""The dashboard's figures as texts."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date

import pytest

from core.snapshot import (
    AgentSnapshot,
    CapacityView,
    CoordinatorView,
    EnergyView,
    GiveBack,
    GiveBackView,
    Reason,
    Totals,
)
from tests.fakes.snapshots import busy_snapshot, paused_snapshot
from titan_gui.remedies import Action, Does
from titan_gui.tiles import RARE_TILES, Tile, contribution_of, count_text, rare_tiles_of, tiles_of


def tile(snapshot: AgentSnapshot, name: str) -> Tile:
    return next(one for one in tiles_of(snapshot) if one.name == name)


def test_before_anything_is_known_there_are_dashes_and_no_zeros_of_memory() -> None:
    tiles = {one.name: one.value for one in tiles_of(AgentSnapshot())}

    assert tiles["sessions"] == "0 / –"
    assert tiles["tier"] == tiles["engine"] == tiles["capacity"] == "–"


def test_figures_of_a_busy_agent() -> None:
    snapshot = busy_snapshot()

    assert tile(snapshot, "sessions").value == "1 / 4"
    assert tile(snapshot, "rate").value == "43.2"
    assert tile(snapshot, "coordinator").value == "12 ms"
    assert tile(snapshot, "engine").detail == "CUDA0 · 0.6.3"


def test_tokens_of_running_sessions_count_before_they_end() -> None:
    busy = busy_snapshot()
    ended = replace(busy, running_jobs=0, sessions=(), totals=replace(busy.totals, tokens=50))
    assert tile(ended, "rate").detail == "50 tokens since the start"
    assert tile(replace(busy, totals=ended.totals), "rate").detail == "1,284 tokens since the start"


def test_capacity_stands_beside_the_raw_meter() -> None:
    shown = tile(busy_snapshot(), "capacity")

    assert (shown.title, shown.value) == ("VRAM to lend", "6.8 GB of 7.0 GB")
    assert "2.7 GB of 8.0 GB free" in shown.detail


def test_while_paused_the_tile_says_what_would_be_lent_and_that_it_is_not() -> None:
    paused = replace(
        busy_snapshot(),
        reasons=(Reason(code="paused_by_owner", sentence="Paused by you."),),
        capacity=CapacityView(kind="ram", total_mb=21_709, free_mb=0),
    )
    shown = tile(paused, "capacity")

    assert (shown.title, shown.value) == ("RAM to lend", "21.2 GB")
    assert shown.detail == "none of it now; the meter says 19.5 GB of 31.2 GB free"


def test_the_rate_is_a_dash_before_anything_ran_and_nothing_once_all_has_ended() -> None:
    idle = replace(busy_snapshot(), running_jobs=0, sessions=(), tokens_per_second=755.0)

    assert tile(idle, "rate").value == "0.0"
    assert tile(replace(idle, totals=Totals()), "rate").value == "–"


def test_a_lost_coordinator_is_told_by_its_kind_and_leads_to_its_setting() -> None:
    refused = "UNAVAILABLE: ipv4:127.0.0.1:57051: Failed to connect to remote host: Connection refused"
    view = CoordinatorView(link="away", endpoint="127.0.0.1:57051", detail=refused)
    shown = tile(replace(busy_snapshot(), coordinator=view), "coordinator")

    assert shown.detail == "127.0.0.1:57051: connection refused"
    assert shown.action == Action(Does.SETTING, "coordinator_endpoint")
    assert tile(busy_snapshot(), "coordinator").action is None


def test_a_resting_engine_and_a_lost_coordinator_are_marked() -> None:
    resting = paused_snapshot()
    away = replace(busy_snapshot(), coordinator=CoordinatorView(link="away", detail="no ack"))

    assert tile(resting, "engine").is_trouble
    assert "resting" in tile(resting, "engine").detail
    assert tile(away, "coordinator").is_trouble
    assert not tile(resting, "coordinator").is_trouble  # paused by hand: not what to look at first


def test_contribution_reads_the_ledgers_answer() -> None:
    sums = {"sessions": 1, "completion_tokens": 1500, "seconds": 90.0, "failed": 0, "prompt_tokens": 3}
    result = {
        "summary": {"today": sums, "last_7_days": sums, "all": sums},
        "days": [{"day": "2026-11-24", **sums}, {"day": "2026-11-25", **sums}],
        "recent": [],
        "notice": "set aside",
    }

    given = contribution_of(result)

    assert given.today.value == "1,500 tokens"
    assert given.today.detail == "1 session, 1 min"
    assert [bar.day for bar in given.days] == [date(2026, 11, 24), date(2026, 11, 25)]
    assert given.notice == "set aside"


@pytest.mark.parametrize("result", [{}, {"summary": None, "days": "x"}, {"summary": {"today": 3}, "days": [{}, 4]}])
def test_an_answer_in_another_shape_shows_nothing_given(result: dict[str, object]) -> None:
    assert contribution_of(result).today.value == "0 tokens"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (12_345, "12.3 k"),
        (123_456, "123 k"),
        (4_560_000, "4.6 M"),
        (7_000_000_000, "7.0 G"),
    ],
)
def test_count_text(number: int, text: str) -> None:
    assert count_text(number) == text


def test_memory_that_came_back_is_told_with_its_time_and_trouble_with_who_holds_it() -> None:
    back = GiveBack(held_mb=10_035, freed_mb=10_035, seconds=1.42, kind="vram", ok=True, at=time.time())
    worked = GiveBackView(last=back, sentence=back.sentence, median_s=1.3, count=12)
    held = replace(back, freed_mb=2_048, seconds=5.0, ok=False, holder="firefox")
    failed = replace(worked, last=held)

    assert rare_tiles_of(AgentSnapshot()) == ()
    good = rare_tiles_of(AgentSnapshot(give_back=worked))[0]
    assert (good.title, good.value, good.is_trouble) == ("Memory given back", "9.8 GB in 1.4 s", False)
    assert good.detail.endswith("usually 1.3 s, of 12 times")
    bad = rare_tiles_of(AgentSnapshot(give_back=failed))[0]
    assert (bad.value, bad.is_trouble) == ("2.0 GB of 9.8 GB", True)
    assert bad.detail.startswith("firefox still holds the rest")
    nobody = replace(worked, last=replace(held, holder=""))
    assert rare_tiles_of(AgentSnapshot(give_back=nobody))[0].detail.startswith("the rest is still held")


def test_memory_that_came_back_at_once_took_a_moment_all_the_same() -> None:
    back = GiveBack(held_mb=21, freed_mb=21, seconds=0.02, kind="ram", ok=True, at=time.time())
    view = GiveBackView(last=back, sentence=back.sentence)
    assert rare_tiles_of(AgentSnapshot(give_back=view))[0].value == "21 MB in under 0.1 s"


def test_energy_is_told_once_it_is_measured() -> None:
    energy = EnergyView(served_s=5400, kwh=0.42, cost=0.126, wh_per_1000_tokens=1.25)

    (tile,) = rare_tiles_of(AgentSnapshot(energy=energy))

    assert (tile.value, tile.detail) == ("0.42 kWh", "costs 0.13, served for 1 h 30 min; 1.2 Wh per 1,000 tokens")
    assert rare_tiles_of(AgentSnapshot(energy=replace(energy, kwh=None))) == ()
    assert set(RARE_TILES) == {"energy", "give_back"}
