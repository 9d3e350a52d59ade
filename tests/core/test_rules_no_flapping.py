"""Whatever the signals do: no exception, no flapping, and a strongest reason that doesn't change by itself."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.reasons.catalogue import STRENGTH
from core.rules import Now, Own
from core.rules.evaluate import Evaluation, evaluate, next_turn_at
from core.rules.look import ROUNDING_S, UNKNOWN_USE_GRACE_S, WhenLost, hold_time_s
from core.rules.table import RULES
from core.signals import NOT_ASKED, FullScreen, GpuUse, Power, ProcessorHeat, Signals, Unknown
from tests.core.rules_fixtures import NOON, Machine, rules_of

UNKNOWN = st.sampled_from([Unknown("It doesn't answer."), Unknown("There is no such thing.", is_no_loss=True)])
percent = st.floats(0, 100) | st.sampled_from([9.0, 10.0, 15.0, 20.0, 21.0, 50.0, 51.0])
memory_mb = st.integers(0, 30_000) | st.sampled_from([0, 300, 1_000, 20_000])
values: dict[str, st.SearchStrategy[Any]] = {
    "idle_s": UNKNOWN | st.floats(0, 1e6) | st.sampled_from([0.0, 1.0, 179.0, 181.0, 1e5]),
    "power": UNKNOWN | st.builds(Power, on_mains=st.booleans(), battery_percent=st.none() | percent),
    "listed_apps": UNKNOWN | st.sampled_from([(), ("Steam",), ("Doom", "Steam")]),
    "full_screen": UNKNOWN | st.builds(FullScreen, is_on=st.booleans(), program=st.sampled_from(["", "VLC"])),
    "gpu_use_by_others": UNKNOWN | st.builds(GpuUse, percent=percent, program=st.sampled_from(["", "Blender"])),
    "gpu_temperature_c": UNKNOWN | st.floats(-50, 200) | st.sampled_from([74.0, 75.0, 77.0, 80.0]),
    "processor_heat": UNKNOWN
    | st.builds(
        ProcessorHeat,
        celsius=st.just(60.0),
        mean_c=st.floats(-50, 200) | st.sampled_from([84.0, 85.0, 87.0, 90.0]),
        critical_c=st.none() | st.sampled_from([85.0, 100.0]),
    ),
    "gpu_power_w": UNKNOWN | st.floats(0, 1000),
    "is_gpu_lost": st.booleans(),
    "free_vram_mb": UNKNOWN | memory_mb,
    "total_vram_mb": UNKNOWN | memory_mb,
    "free_ram_mb": UNKNOWN | memory_mb,
    "total_ram_mb": UNKNOWN | memory_mb,
    "cpu_percent_others": UNKNOWN | percent,
    "is_metered": UNKNOWN | st.booleans(),
    "is_going_to_sleep": st.booleans(),
    "engine_used_by_owner": st.sampled_from(["", "llama3"]),
}
signals = st.builds(Signals, **values)
steps = st.floats(0, 100) | st.sampled_from([0.5, 1.0, 1.0, 1.0, 5.0, 10.0, 15.0, 30.0, 60.0])
own = st.builds(Own, vram_mb=memory_mb, ram_mb=memory_mb, served_s_today=st.floats(0, 86_400), kwh_today=UNKNOWN)


def test_every_signal_is_drawn() -> None:
    assert {item.name for item in fields(Signals)} == set(values)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(steps, signals, own), max_size=40))
def test_no_sequence_of_signals_flaps_or_raises(moments: list[tuple[float, Signals, Own]]) -> None:
    machine = Machine(rules_of(schedule="daily 22-06", hours_per_day=4.0))
    holds: set[str] = set()
    turns: dict[tuple[str, bool], list[float]] = {}
    for passed_s, seen, held in moments:
        machine.wait(passed_s)
        machine.own = held
        codes = machine.see(seen)
        assert list(codes) == [code for code in STRENGTH if code in codes]
        assert all(holding.sentence.endswith(".") for holding in machine.last.holdings)
        for code in holds.symmetric_difference(codes):
            turns.setdefault((code, code in codes), []).append(machine.now.monotonic)
        holds = set(codes)
    for rule in RULES:
        hold_s = hold_time_s(rule, machine.settings)
        if rule.when_lost is WhenLost.BLOCKS:
            hold_s = UNKNOWN_USE_GRACE_S  # what begins in doubt may end soon after somebody is known to be away
        for is_on in (True, False):
            times = turns.get((rule.code, is_on), [])
            gaps = [later - before for before, later in pairwise(times)]
            assert all(gap >= hold_s - 1e-6 for gap in gaps), (rule.code, gaps)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 4, 9, 35, 70]), signals, own), max_size=4))
def test_looking_only_when_a_signal_or_a_time_says_so_finds_what_looking_each_second_does(
    moments: list[tuple[int, Signals, Own]],
) -> None:
    hours = rules_of(schedule="daily 22-12")  # they end 40 s after the beginning
    each_second, when_due = Machine(hours, wall=NOON - 40), Machine(hours, wall=NOON - 40)
    for lasts_s, seen, held in moments:
        each_second.own = when_due.own = held
        due_at = each_second.now.monotonic
        for _ in range(lasts_s):
            each_second.see(seen)
            if when_due.now.monotonic >= due_at:
                before = when_due.last.memory
                when_due.see(seen)
                due_at = next_turn_at(hours, before, when_due.last.memory, when_due.now) - ROUNDING_S
            assert [(one.code, bool(one.doubt)) for one in when_due.last.holdings] == [
                (one.code, bool(one.doubt)) for one in each_second.last.holdings
            ]
            each_second.wait(1.0)
            when_due.wait(1.0)


@settings(deadline=None)
@given(st.lists(st.tuples(steps, st.sampled_from([0.0, 1.0, 100.0, 179.0, 180.0, 1e5])), max_size=60))
def test_known_use_never_turns_twice_within_the_owners_minutes(moments: list[tuple[float, float]]) -> None:
    machine = Machine()
    began: list[float] = []
    was = False
    for passed_s, idle_s in moments:
        machine.wait(passed_s)
        is_on = "in_use" in machine.see(Signals(idle_s=idle_s))
        if is_on and not was:
            began.append(machine.now.monotonic)
        was = is_on
    assert all(later - before >= 180 for before, later in pairwise(began))


@settings(deadline=None)
@given(signals, own, st.floats(0, 2e9), st.floats(0, 1e9))
def test_the_same_instant_gives_the_same_answer_and_changes_nothing(
    seen: Signals, held: Own, wall: float, monotonic: float
) -> None:
    now = Now(wall=wall, monotonic=monotonic)
    rules = rules_of(schedule="mon-fri 22-06", kwh_per_day=1.0)
    first = evaluate(rules, seen, held, now, {})
    again = evaluate(rules, seen, held, now, first.memory)
    assert again.holdings == first.holdings
    assert again == evaluate(rules, seen, held, now, again.memory)


@pytest.mark.parametrize("seen", [Signals(), Signals(idle_s=NOT_ASKED, listed_apps=())])
def test_strongest_stays_while_weaker_ones_come_and_go(seen: Signals) -> None:
    machine = Machine(rules_of(pause_while_in_use=False))
    steam = Signals(listed_apps=("Steam",))
    assert machine.see(steam)[0] == "listed_app"
    for load in (0.0, 100.0) * 40:
        machine.wait(1)
        codes = machine.see(Signals(listed_apps=("Steam",), cpu_percent_others=load, is_metered=load > 0))
        assert codes[0] == "listed_app"
    assert Evaluation().holdings == ()
    assert machine.now.wall > NOON
