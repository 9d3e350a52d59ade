"""Each rule as a table: which signal begins it, for how long, in which words, and when it ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from core.reasons.catalogue import KINDS, STRENGTH
from core.reasons.of_rules import rule_holds
from core.rules import Own
from core.rules.effects import DEFAULT_EFFECTS, parse_effect
from core.rules.evaluate import active_rules, wanted_signals
from core.rules.look import LOST_S, UNKNOWN_GRACE_S
from core.rules.table import (
    CPU_HOT_BEGINS_S,
    CPU_HOT_ENDS_S,
    MEMORY_BEGINS_S,
    MEMORY_ENDS_S,
    METERED_BEGINS_S,
    METERED_ENDS_S,
    RULES,
    SETTLE_S,
    TIGHT_BEGINS_S,
)
from core.signals import NOT_ASKED, FullScreen, GpuUse, Power, ProcessorHeat, Signals, Unknown
from tests.core.rules_fixtures import BERLIN, CALM, NOON, Machine, rules_of

UNPLUGGED = replace(CALM, power=Power(on_mains=False, battery_percent=90.0))


def heat(mean_c: float, critical_c: float | None = None) -> ProcessorHeat:
    """As the sensor of a Ryzen tells it; the value of this very second says nothing to a rule."""
    return ProcessorHeat(celsius=99.0, mean_c=mean_c, sensor="k10temp, Tdie", critical_c=critical_c)


CASES = [
    # code, signals that begin it, hold before it begins, hold before it ends, its words
    ("in_use", {"idle_s": 0.0}, 0, 180, "In use: it shares after 3 minutes without mouse and keyboard."),
    ("listed_app", {"listed_apps": ("Steam",)}, 0, 15, "Paused while Steam runs."),
    (
        "gpu_in_use",
        {"gpu_use_by_others": GpuUse(percent=45, program="Blender")},
        10,
        60,
        "Blender uses the graphics card (above 20 %).",
    ),
    ("full_screen", {"full_screen": FullScreen(is_on=True, program="VLC")}, 0, SETTLE_S, "VLC fills the screen."),
    (
        "on_battery",
        {"power": Power(on_mains=False, battery_percent=90.0)},
        0,
        SETTLE_S,
        "The machine runs on its battery.",
    ),
    (
        "gpu_hot",
        {"gpu_temperature_c": 80.0},
        0,
        SETTLE_S,
        "The graphics card is too hot (80 °C or more): it shares again at 75 °C.",
    ),
    (
        "cpu_hot",
        {"processor_heat": heat(90.0)},
        CPU_HOT_BEGINS_S,
        CPU_HOT_ENDS_S,
        "The processor is too hot (90 °C or more): it shares again at 85 °C.",
    ),
    (
        "vram_short",
        {"free_vram_mb": 300},
        MEMORY_BEGINS_S,
        MEMORY_ENDS_S,
        "Graphics memory is short: other programs need what stays yours.",
    ),
    (
        "ram_short",
        {"free_ram_mb": 300},
        MEMORY_BEGINS_S,
        MEMORY_ENDS_S,
        "Memory is short: other programs need what stays yours.",
    ),
    (
        "cpu_busy",
        {"cpu_percent_others": 51.0},
        10,
        60,
        "Other programs keep the processor busy (above 50 %).",
    ),
    ("metered", {"is_metered": True}, METERED_BEGINS_S, METERED_ENDS_S, "The network costs by its traffic."),
    (
        "gpu_lost",
        {"is_gpu_lost": True},
        MEMORY_BEGINS_S,
        SETTLE_S,
        "The graphics card is gone: its driver doesn't find it any more.",
    ),
    (
        "engine_used_by_owner",
        {"engine_used_by_owner": "llama3"},
        0,
        SETTLE_S,
        "Your own work uses the engine (llama3).",
    ),
]


@pytest.mark.parametrize(("code", "signals", "before_s", "after_s", "sentence"), CASES, ids=[case[0] for case in CASES])
def test_rule_begins_and_ends_after_its_hold_times(
    code: str, signals: dict[str, object], before_s: float, after_s: float, sentence: str
) -> None:
    machine = Machine(rules_of(memory_tight_effect="off"))
    on = replace(CALM, **signals)  # type: ignore[arg-type]
    assert machine.see_for(5, CALM) == ()
    if before_s:
        assert machine.see_for(before_s - 1, on) == ()
        machine.wait(1)
    assert machine.see(on) == (code,)
    assert machine.only.sentence == sentence
    assert machine.only.effect == parse_effect(DEFAULT_EFFECTS[code])
    assert machine.see_for(after_s - 1, CALM) == (code,)
    machine.wait(1)
    assert machine.see(CALM) == ()


def test_rules_stand_in_the_order_of_the_catalogue_and_each_has_its_entry() -> None:
    codes = [rule.code for rule in RULES]
    assert codes == [code for code in STRENGTH if code in codes]
    assert set(codes) == set(DEFAULT_EFFECTS)
    for code in codes:
        assert KINDS[code].icon != "info"
        assert KINDS[code].setting


def test_several_rules_hold_at_once_strongest_first() -> None:
    machine = Machine()
    signals = replace(UNPLUGGED, idle_s=0.0, listed_apps=("Steam", "Blender", "Doom"), gpu_temperature_c=90.0)
    assert machine.see(signals) == ("in_use", "listed_app", "on_battery", "gpu_hot")
    assert machine.last.holdings[1].sentence == "Paused while Steam, Blender and Doom run."


@pytest.mark.parametrize(
    ("settings", "signals"),
    [
        ({"pause_while_in_use": False}, {"idle_s": 0.0}),
        ({"listed_app_effect": "off"}, {"listed_apps": ("steam",)}),
        ({"gpu_in_use_effect": "off"}, {"gpu_use_by_others": GpuUse(percent=99)}),
        ({"pause_in_full_screen": False}, {"full_screen": FullScreen(is_on=True)}),
        ({"pause_on_battery": False}, {"power": Power(on_mains=False, battery_percent=80.0)}),
        ({"gpu_hot_effect": "off"}, {"gpu_temperature_c": 99.0}),
        ({"cpu_hot_effect": "off"}, {"processor_heat": heat(99.0)}),
        ({"cpu_busy_effect": "off"}, {"cpu_percent_others": 99.0}),
        ({"pause_on_metered": False}, {"is_metered": True}),
        ({"vram_short_effect": "off", "memory_tight_effect": "off"}, {"free_vram_mb": 0}),
        ({"ram_short_effect": "off", "memory_tight_effect": "off"}, {"free_ram_mb": 0}),
    ],
)
def test_rule_that_is_off_is_not_looked_at(settings: dict[str, object], signals: dict[str, object]) -> None:
    machine = Machine(rules_of(**settings))
    assert machine.see_for(30, replace(CALM, **signals)) == ()  # type: ignore[arg-type]


def test_only_what_is_told_serves_on() -> None:
    machine = Machine(rules_of(full_screen_effect="only tell"))
    machine.see(replace(CALM, full_screen=FullScreen(is_on=True)))
    assert machine.only.sentence == "A program fills the screen."
    assert not rule_holds(machine.only).blocks
    machine = Machine()
    machine.see(replace(CALM, full_screen=FullScreen(is_on=True)))
    reason = rule_holds(machine.only, sessions_end_at=NOON + 5)
    assert (reason.blocks, reason.setting, reason.icon) == (True, "pause_in_full_screen", "full_screen")
    assert reason.sessions_end_at == NOON + 5


# Between two thresholds


@pytest.mark.parametrize(
    ("code", "on", "between"),
    [
        ("gpu_in_use", {"gpu_use_by_others": GpuUse(percent=30)}, {"gpu_use_by_others": GpuUse(percent=15)}),
        ("gpu_hot", {"gpu_temperature_c": 85.0}, {"gpu_temperature_c": 77.0}),
        ("cpu_hot", {"processor_heat": heat(95.0)}, {"processor_heat": heat(87.0)}),
    ],
)
def test_between_its_thresholds_a_rule_stays_as_it_is(
    code: str, on: dict[str, object], between: dict[str, object]
) -> None:
    machine = Machine()
    signals = replace(CALM, **between)  # type: ignore[arg-type]
    assert machine.see_for(300, signals) == ()
    assert machine.see_for(20, replace(CALM, **on)) == (code,)  # type: ignore[arg-type]
    assert machine.see_for(300, signals) == (code,)


def test_a_dip_begins_the_hold_time_anew() -> None:
    machine = Machine()
    busy = replace(CALM, cpu_percent_others=80.0)
    machine.see_for(9, busy)
    machine.see(CALM)
    assert machine.see_for(9, busy) == ()
    assert machine.see_for(2, busy) == ("cpu_busy",)
    machine.see_for(55, CALM)
    machine.see(busy)
    assert machine.see_for(59, CALM) == ("cpu_busy",)
    assert machine.see_for(2, CALM) == ()


def test_the_named_program_follows_the_one_that_runs() -> None:
    machine = Machine()
    machine.see(replace(CALM, listed_apps=("Steam",)))
    machine.see(replace(CALM, listed_apps=("Doom", "Steam")))
    assert machine.only.sentence == "Paused while Doom and Steam run."
    machine.see(CALM)
    assert machine.only.sentence == "Paused while Doom and Steam run."


# What can't be told


def test_unknown_use_blocks_with_its_cause_while_the_rule_is_on() -> None:
    machine = Machine()
    assert machine.see(replace(CALM, idle_s=Unknown("No desktop session: nobody can tell."))) == ("in_use",)
    assert machine.only.sentence == (
        "Whether somebody uses this machine can't be told: no desktop session: nobody can tell."
    )
    assert [item.code for item in machine.last.unknown] == ["in_use"]
    assert machine.see_for(600, replace(CALM, idle_s=NOT_ASKED)) == ("in_use",)
    assert machine.see_for(4, CALM) == ("in_use",)
    assert machine.see_for(2, CALM) == ()  # not three minutes more: somebody is known to be away


def test_one_failed_reading_of_use_changes_nothing_and_five_seconds_block() -> None:
    machine = Machine()
    machine.see(CALM)
    gone = replace(CALM, idle_s=Unknown("The desktop doesn't answer."))
    assert machine.see_for(4, gone) == ()
    assert machine.see_for(2, gone) == ("in_use",)


def test_what_cannot_be_told_elsewhere_does_not_block_and_is_listed_with_its_cause() -> None:
    machine = Machine()
    assert machine.see_for(120, Signals(idle_s=3600.0)) == ()
    assert {item.code for item in machine.last.unknown} == {
        "listed_app",
        "gpu_in_use",
        "full_screen",
        "on_battery",
        "battery_low",
        "gpu_hot",
        "cpu_hot",
        "vram_short",
        "ram_short",
        "memory_tight",
        "cpu_busy",
        "metered",
    }
    assert {item.cause for item in machine.last.unknown} == {NOT_ASKED.cause}


SILENT = Unknown("The battery does not answer.")


def test_a_battery_that_is_told_no_more_stays_in_use_and_says_since_when() -> None:
    machine = Machine()
    machine.see(UNPLUGGED)
    gone = replace(CALM, power=SILENT)
    assert machine.see_for(UNKNOWN_GRACE_S - 1, gone) == ("on_battery",)
    assert machine.only.words == "The machine runs on its battery."  # a few readings that fail are no loss
    assert [item.lost_at for item in machine.last.unknown] == [None, None]
    machine.see_for(2, gone)
    machine.wait(24 * 3600)
    assert machine.see(gone) == ("on_battery",)
    said = "The machine runs on its battery. Since 12:00 on Wednesday that can't be told: the battery does not answer."
    assert machine.only.words == said
    assert rule_holds(machine.only).sentence == said
    assert {item.code: item.lost_at for item in machine.last.unknown} == {"on_battery": NOON, "battery_low": NOON}
    assert machine.see(UNPLUGGED) == ("on_battery",)
    assert machine.only.words == "The machine runs on its battery."
    assert machine.see_for(SETTLE_S, CALM) == ()


def test_the_owner_has_a_way_out_of_a_rule_that_stays_in_doubt() -> None:
    machine = Machine()
    machine.see(UNPLUGGED)
    gone = replace(CALM, power=SILENT)
    machine.see_for(60, gone)
    machine.settings = rules_of(pause_on_battery=False)
    assert machine.see(gone) == ()


LOST = [
    # code, signals that begin it, its signals lost, the time in which it holds on
    ("listed_app", {"listed_apps": ("Steam",)}, {"listed_apps": SILENT}, LOST_S),
    ("gpu_in_use", {"gpu_use_by_others": GpuUse(percent=45)}, {"gpu_use_by_others": SILENT}, LOST_S),
    ("full_screen", {"full_screen": FullScreen(is_on=True)}, {"full_screen": SILENT}, LOST_S),
    ("memory_tight", {"free_vram_mb": 300}, {"free_vram_mb": SILENT}, LOST_S),
    ("cpu_busy", {"cpu_percent_others": 80.0}, {"cpu_percent_others": SILENT}, LOST_S),
    ("battery_low", {"power": Power(on_mains=False, battery_percent=5.0)}, {"power": SILENT}, None),
    ("gpu_hot", {"gpu_temperature_c": 85.0}, {"gpu_temperature_c": SILENT}, None),
    ("cpu_hot", {"processor_heat": heat(95.0)}, {"processor_heat": SILENT}, None),
    ("vram_short", {"free_vram_mb": 100}, {"free_vram_mb": SILENT}, None),
    ("ram_short", {"free_ram_mb": 100}, {"free_ram_mb": SILENT}, None),
    ("metered", {"is_metered": True}, {"is_metered": SILENT}, None),
]


@pytest.mark.parametrize(("code", "on", "lost", "lasts_s"), LOST, ids=[case[0] for case in LOST])
def test_what_a_lost_signal_means_to_each_rule_that_holds(
    code: str, on: dict[str, object], lost: dict[str, object], lasts_s: float | None
) -> None:
    machine = Machine(rules_of(pause_on_battery=False))
    holding = replace(CALM, **on)  # type: ignore[arg-type]
    gone = replace(holding, **lost)  # type: ignore[arg-type]
    assert code in machine.see_for(30, holding)
    began = machine.now.wall
    machine.see_for(100, gone)
    machine.wait(LOST_S - 101)
    assert code in machine.see(gone)
    (item,) = (item for item in machine.last.holdings if item.code == code)
    assert item.doubt.endswith("that can't be told: the battery does not answer.")
    assert item.ends_at == (None if lasts_s is None else began + lasts_s)
    machine.wait(2)
    assert (code in machine.see(gone)) is (lasts_s is None)
    machine.wait(24 * 3600)
    assert (code in machine.see(gone)) is (lasts_s is None)
    untold = {unknown.code for unknown in machine.last.unknown if unknown.lost_at == began}
    assert code in untold or code == "memory_tight"  # that goes on with the memory that is told


def test_what_is_gone_and_not_lost_ends_its_rule() -> None:
    machine = Machine()
    machine.see(replace(CALM, gpu_temperature_c=85.0))
    gone = replace(CALM, gpu_temperature_c=Unknown("None of the cards that you lend is here.", is_no_loss=True))
    assert machine.see_for(UNKNOWN_GRACE_S - 1, gone) == ("gpu_hot",)
    assert machine.see_for(2, gone) == ()
    assert [(item.code, item.lost_at) for item in machine.last.unknown] == [("gpu_hot", None)]


def test_a_rule_that_does_not_hold_remembers_since_when_it_can_not_tell() -> None:
    machine = Machine()
    machine.see(CALM)
    gone = replace(CALM, power=SILENT)
    assert machine.see_for(60, gone) == ()
    assert {item.lost_at for item in machine.last.unknown} == {NOON}
    machine.see(CALM)
    assert machine.see_for(10, gone) == ()
    assert {item.lost_at for item in machine.last.unknown} == {None}


def test_a_hot_card_whose_driver_falls_silent_stays_hot_until_it_is_known_to_be_cool() -> None:
    machine = Machine()
    machine.see(replace(CALM, gpu_temperature_c=85.0))
    silent = replace(CALM, gpu_temperature_c=Unknown("The nvidia graphics driver has not answered within 1 s."))
    assert machine.see_for(3600, silent) == ("gpu_hot",)
    assert "gpu_hot" in [item.code for item in machine.last.unknown]
    assert machine.see_for(30, CALM) == ()
    assert machine.see_for(3600, silent) == ()


def test_a_processor_stays_below_its_own_critical_mark_whatever_the_owner_allows() -> None:
    machine = Machine(rules_of(cpu_max_c=105.0, cpu_resume_c=100.0))
    hot = replace(CALM, processor_heat=heat(95.0, critical_c=100.0))
    assert machine.see_for(CPU_HOT_BEGINS_S, hot) == ("cpu_hot",)
    assert machine.only.sentence == (
        "The processor is too hot (95 °C or more; its own critical mark is 100 °C): it shares again at 90 °C."
    )
    assert machine.see_for(300, replace(CALM, processor_heat=heat(91.0, critical_c=100.0))) == ("cpu_hot",)
    assert machine.see_for(CPU_HOT_ENDS_S, replace(CALM, processor_heat=heat(90.0, critical_c=100.0))) == ()
    far = Machine()
    assert far.see_for(60, replace(CALM, processor_heat=heat(89.0, critical_c=100.0))) == ()


def test_a_processor_that_is_hot_for_a_few_seconds_is_no_reason() -> None:
    machine = Machine()
    assert machine.see_for(CPU_HOT_BEGINS_S - 1, replace(CALM, processor_heat=heat(97.0))) == ()
    assert machine.see_for(60, CALM) == ()


# The single rules


def test_end_of_use_is_told_once_the_owner_seems_to_have_left_and_does_not_jitter() -> None:
    machine = Machine()
    machine.see(replace(CALM, idle_s=3.0))
    assert machine.only.ends_at is None
    machine.wait(17)
    machine.see(replace(CALM, idle_s=20.0))
    told = machine.only.ends_at
    assert told == NOON + 17 + 160
    machine.wait(1)
    machine.see(replace(CALM, idle_s=20.4))
    assert machine.only.ends_at == told
    machine.see(replace(CALM, idle_s=0.0))
    assert machine.only.ends_at is None


@pytest.mark.parametrize(("percent", "holds"), [(19.0, True), (20.0, False), (90.0, False), (None, False)])
def test_battery_low_is_below_the_owners_percentage_and_only_on_battery(percent: float | None, holds: bool) -> None:
    machine = Machine(rules_of(pause_on_battery=False))
    assert machine.see(replace(CALM, power=Power(on_mains=False, battery_percent=percent))) == (
        ("battery_low",) if holds else ()
    )
    assert Machine().see(replace(CALM, power=Power(on_mains=True, battery_percent=percent))) == ()


def test_battery_must_gain_a_little_before_it_is_no_longer_low() -> None:
    machine = Machine(rules_of(pause_on_battery=False))
    machine.see(replace(CALM, power=Power(on_mains=False, battery_percent=19.0)))
    assert machine.see_for(60, replace(CALM, power=Power(on_mains=False, battery_percent=24.0))) == ("battery_low",)
    assert machine.see_for(10, replace(CALM, power=Power(on_mains=False, battery_percent=25.0))) == ()


def test_memory_stays_short_until_the_model_fits_again_beside_the_reserve() -> None:
    """24 GB, 2.4 GB reserve, of which others hold 1 GB: 1.4 GB must stay free, less the slack."""
    machine = Machine(rules_of(memory_tight_effect="off"))
    machine.own = Own(vram_mb=21_000)
    assert machine.see_for(60, replace(CALM, free_vram_mb=1_100)) == ()
    machine.own = Own(vram_mb=18_000)
    short = replace(CALM, free_vram_mb=200)  # others hold 5.8 GB: more than the reserve, and the floor is 512 MB
    assert machine.see_for(6, short) == ("vram_short",)
    machine.own = Own()
    unloaded = replace(CALM, free_vram_mb=18_200)
    assert machine.see_for(600, unloaded) == ("vram_short",)  # the model's return would leave 200 MB again
    assert machine.see_for(MEMORY_ENDS_S, replace(CALM, free_vram_mb=20_000)) == ()


def test_memory_is_short_no_longer_once_the_model_fits_with_less() -> None:
    """32 GB: others hold 16 GB for good, our model held 15 GB; it can be loaded into 4 GB as well."""
    machine = Machine(rules_of(memory_tight_effect="off"))
    machine.own = Own(ram_mb=15_000, least_ram_mb=4_000)
    assert machine.see_for(6, replace(CALM, free_ram_mb=300)) == ("ram_short",)
    machine.own = Own(ram_mb=80, least_ram_mb=4_000)  # this program itself
    assert machine.see_for(60, replace(CALM, free_ram_mb=4_500)) == ("ram_short",)  # 512 MB of it stay free
    assert machine.see_for(MEMORY_ENDS_S, replace(CALM, free_ram_mb=4_512)) == ()


def test_nobody_is_let_in_before_memory_is_short_and_again_once_it_is_free() -> None:
    """24 GB of which our model holds 20 GB and others 1.9 GB of the reserve's 2.4 GB: 512 MB stays free, the floor."""
    machine = Machine()
    machine.own = Own(vram_mb=20_000)
    assert machine.see_for(60, replace(CALM, free_vram_mb=1_200)) == ()  # others hold 2.8 GB: more than the reserve
    tight = replace(CALM, free_vram_mb=450)  # 88 % of the floor
    assert machine.see(tight) == ()  # a reading of a moment is none
    assert machine.see_for(TIGHT_BEGINS_S, tight) == ("memory_tight",)
    assert machine.only.sentence.startswith("Graphics memory is getting short: no new sessions")
    assert machine.only.effect == parse_effect("finish, keep")
    assert machine.see_for(60, replace(CALM, free_vram_mb=480)) == ("memory_tight",)  # between the two thresholds
    enough = replace(CALM, free_vram_mb=520)
    assert machine.see_for(SETTLE_S - 1, enough) == ("memory_tight",)
    machine.wait(1)
    assert machine.see(enough) == ()


def test_of_two_memories_the_one_with_less_to_spare_is_named_and_one_alone_is_enough() -> None:
    machine = Machine()
    machine.see_for(TIGHT_BEGINS_S, replace(CALM, free_vram_mb=460, free_ram_mb=400))
    assert machine.only.sentence.startswith("Memory is getting short")
    no_card = Unknown("No graphics card can be read.")
    machine = Machine()
    signals = replace(CALM, free_vram_mb=no_card, total_vram_mb=no_card, free_ram_mb=400)
    assert machine.see_for(TIGHT_BEGINS_S, signals) == ("memory_tight",)
    assert "memory_tight" not in {item.code for item in machine.last.unknown}


def test_memory_that_is_all_but_gone_is_short_at_once_and_waits_for_nobody() -> None:
    machine = Machine()
    machine.own = Own(ram_mb=20_000)
    gone = replace(CALM, free_ram_mb=200)  # of 512 MB that stay free
    assert machine.see(gone) == ("ram_short",)
    assert machine.last.holdings[0].is_urgent
    assert machine.see_for(TIGHT_BEGINS_S, gone) == ("ram_short", "memory_tight")
    calm = Machine()  # nothing of ours could be given back: a shortage like any other
    assert calm.see(gone) == ()


def test_a_shortage_gets_urgent_while_it_holds_and_stays_so() -> None:
    machine = Machine(rules_of(memory_tight_effect="off"))
    machine.own = Own(ram_mb=20_000)
    assert machine.see_for(6, replace(CALM, free_ram_mb=300)) == ("ram_short",)
    assert not machine.only.is_urgent
    machine.see(replace(CALM, free_ram_mb=200))
    assert machine.only.is_urgent
    machine.see(replace(CALM, free_ram_mb=300))
    assert machine.only.is_urgent


def test_an_owners_reserve_counts_instead_of_the_automatic_one() -> None:
    signals = replace(CALM, free_ram_mb=8_000)
    machine = Machine(rules_of(ram_reserve_mb=16_000, memory_tight_effect="off"))
    machine.own = Own(ram_mb=20_000)
    assert machine.see_for(10, signals) == ("ram_short",)  # others hold 4 GB of 16: 12 must stay free
    machine = Machine(rules_of(ram_reserve_mb=8_000))
    machine.own = Own(ram_mb=20_000)
    assert machine.see_for(10, signals) == ()


def test_the_days_hours_are_spent_until_midnight() -> None:
    machine = Machine(rules_of(hours_per_day=4))
    machine.own = Own(served_s_today=4 * 3600 - 1)
    assert machine.see(CALM) == ()
    machine.own = Own(served_s_today=4 * 3600)
    assert machine.see(CALM) == ("budget_spent",)
    midnight = datetime(2026, 11, 26, tzinfo=BERLIN).timestamp()
    assert (machine.only.ends_at, machine.only.setting) == (midnight, "hours_per_day")
    assert machine.only.sentence == "Today's 4 h of serving are spent: it shares again after midnight."
    machine.own = Own(served_s_today=0.0)
    assert machine.see(CALM) == ()


def test_the_days_energy_is_spent_and_an_unmeasured_one_is_said() -> None:
    machine = Machine(rules_of(kwh_per_day=1.5))
    machine.own = Own(kwh_today=1.5)
    assert machine.see(CALM) == ("budget_spent",)
    assert machine.only.setting == "kwh_per_day"
    machine = Machine(rules_of(kwh_per_day=1.5))
    machine.own = Own(kwh_today=Unknown("Nothing here measures it."))
    assert machine.see(CALM) == ()
    assert [item.cause for item in machine.last.unknown] == ["Nothing here measures it."]


def test_energy_that_is_spent_stays_spent_when_nothing_measures_it_any_more() -> None:
    machine = Machine(rules_of(kwh_per_day=1.5))
    machine.own = Own(kwh_today=Unknown("Nothing here measures it."), measured_kwh_today=1.5)
    assert machine.see(CALM) == ("budget_spent",)
    machine.wait(3600)
    assert machine.see(CALM) == ("budget_spent",)


def test_outside_the_hours_says_until_when() -> None:
    machine = Machine(rules_of(schedule="mon-fri 22-06"))
    assert machine.see(CALM) == ("schedule",)
    assert machine.only.sentence == "Outside your hours until 22:00."
    assert machine.only.ends_at == datetime(2026, 11, 25, 22, tzinfo=BERLIN).timestamp()
    machine.wait(10 * 3600)
    assert machine.see(CALM) == ()
    weekend = Machine(rules_of(schedule="sat 9-10"))
    weekend.see(CALM)
    assert weekend.only.sentence == "Outside your hours until 09:00 on Saturday."
    never = Machine(rules_of(schedule="never"))
    never.see(CALM)
    assert (never.only.sentence, never.only.ends_at) == ("Your hours say never.", None)


def test_only_signals_of_rules_that_are_on_are_wanted() -> None:
    off = {f"{code}_effect": "off" for code in DEFAULT_EFFECTS}
    assert wanted_signals(rules_of(**off)) == frozenset()
    assert wanted_signals(rules_of(**off, gpu_target_c=70.0)) == {"gpu_temperature_c"}
    assert wanted_signals(rules_of(**{**off, "in_use_effect": "finish, keep"})) == {"idle_s"}
    assert "idle_s" not in wanted_signals(rules_of(pause_while_in_use=False))
    assert {rule.code for rule in active_rules(rules_of())} == set(DEFAULT_EFFECTS) - {"schedule", "budget_spent"}
