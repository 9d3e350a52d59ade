"""What the rules page says of each rule, and what it writes. Without Qt."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import DECLARATIONS, Settings
from core.config_rules import RULE_SETTINGS
from core.reasons.catalogue import KINDS
from core.rules import MemoryThen, SessionsThen
from core.rules.effects import DEFAULT_EFFECTS, parse_effect
from core.rules.look import time_text
from core.snapshot import EnergyView, RuleView
from tests.fakes.snapshots import NOW, sharing_snapshot
from titan_gui.rule_forms import (
    FORM_OF_SETTING,
    FORMS,
    added_apps,
    effect_of,
    effect_text,
    is_switched_on,
    seconds_text,
    switch_changes,
)
from titan_gui.rule_texts import energy_text, figures_text, state_of_rule, summary_of_rule
from titan_gui.view_model import clock_text


def settings(**changes: Any) -> Settings:
    return replace(Settings(), **changes)


def test_every_rule_has_a_row_and_every_setting_of_the_rules_stands_in_one() -> None:
    assert set(FORMS) == set(DEFAULT_EFFECTS)
    assert set(FORM_OF_SETTING) == {*RULE_SETTINGS, "vram_reserve_mb", "ram_reserve_mb"}
    assert all(form.code in KINDS and name in DECLARATIONS for form in FORMS.values() for name in form.settings)


def test_the_defaults_say_what_they_do() -> None:
    said = {code: summary_of_rule(form, settings()) for code, form in FORMS.items()}

    assert said["in_use"] == ""  # off
    assert said["gpu_in_use"] == (
        "Above 20 % for 10 s; shares again below 10 % for 60 s. Stops sessions after 5 s, gives the memory back."
    )
    assert said["cpu_busy"].endswith("Lets sessions finish, keeps the model in memory.")
    assert said["gpu_hot"].startswith("From 80 °C; shares again at 75 °C. Stops sessions at once,")
    assert said["cpu_hot"].startswith("From 90 °C; shares again at 85 °C. Stops sessions at once,")
    assert said["vram_short"].startswith("A tenth, at least 1 GB, of the graphics memory stays yours.")
    assert said["battery_low"].startswith("Below 20 %.")
    assert said["schedule"].startswith("Lets sessions finish within 120 s")


def test_the_owners_figures_are_said() -> None:
    own = settings(
        pause_while_in_use=True,
        idle_minutes=1.5,
        listed_apps=("/games/library/", r"C:\Games\Some Game\game.exe", "steam"),
        hours_per_day=6.5,
        kwh_per_day=2.0,
        gpu_target_c=70.0,
        vram_reserve_mb=2048,
        schedule="mon 00-02",
    )

    assert figures_text("in_use", own) == "After 1.5 min without mouse and keyboard."
    assert figures_text("listed_app", own) == "library, game.exe, steam; shares again 15 s later."
    assert figures_text("budget_spent", own) == "At most 6.5 hours and 2 kWh a day."
    assert figures_text("gpu_hot", own).endswith("Slows down above 70 °C.")
    assert figures_text("vram_short", own) == "2.0 GB of the graphics memory stays yours."
    assert figures_text("schedule", own) == "Shared in 2 of the week's 168 hours"
    assert figures_text("listed_app", replace(own, listed_apps=tuple("abcd"))).startswith("4 programs and folders;")


@pytest.mark.parametrize("code", FORMS)
def test_a_switch_turns_a_rule_off_and_on_again_as_it_was(code: str) -> None:
    form = FORMS[code]
    wanted: dict[str, Any] = {form.effect: "finish, keep"} | ({form.switch: True} if form.switch else {})
    own = settings(**wanted)

    off = switch_changes(form, own, False, "")
    assert len(off) == 1
    turned_off = settings(**(wanted | _values(off)))
    assert not is_switched_on(form, turned_off)
    on = switch_changes(form, turned_off, True, "finish, keep")
    turned_on = settings(**(wanted | _values(off) | _values(on)))
    assert is_switched_on(form, turned_on)
    assert getattr(turned_on, form.effect) == "finish, keep"


def _values(changes: dict[str, str | None]) -> dict[str, Any]:
    words: dict[str | None, Any] = {"true": True, "false": False}
    return {name: words.get(text, text) for name, text in changes.items()}


def test_a_rule_with_both_ways_off_is_turned_on_by_both() -> None:
    both_off = settings(pause_on_battery=False, on_battery_effect="off")

    assert switch_changes(FORMS["on_battery"], both_off, True, "") == {
        "pause_on_battery": "true",
        "on_battery_effect": None,
    }


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (None, ("", "")),
        (RuleView(code="full_screen"), ("", "")),
        (RuleView(code="full_screen", is_on=True), ("Not now", "")),
        (
            RuleView(code="full_screen", is_on=True, holds=True, sentence="mpv fills the screen."),
            ("Holds now", "mpv fills the screen."),
        ),
        (
            RuleView(code="full_screen", is_on=True, unknown="No desktop session."),
            ("Can't be told here", "No desktop session."),
        ),
    ],
)
def test_the_state_of_a_rule(view: RuleView | None, said: tuple[str, str]) -> None:
    assert state_of_rule(FORMS["full_screen"], settings(), view) == said


def test_a_rule_that_waits_while_the_owner_shares_now_says_so() -> None:
    (view,) = sharing_snapshot().rules
    state, said = state_of_rule(FORMS["in_use"], settings(pause_while_in_use=True), view)
    assert state == f"Waits until {clock_text(NOW + 3600)}"
    assert said == f"{view.sentence} You share now all the same."


def test_an_end_that_the_sentence_says_with_its_day_is_not_said_again() -> None:
    end = time.time() + 40 * 3600
    sentence = f"Outside your hours until {time_text(end, time.time(), None)}."
    view = RuleView(code="schedule", is_on=True, holds=True, sentence=sentence, ends_at=end)
    assert state_of_rule(FORMS["schedule"], settings(schedule="never"), view)[1] == sentence


def test_the_end_is_said_where_it_is_known() -> None:
    view = RuleView(code="schedule", is_on=True, holds=True, sentence="Outside your hours.", ends_at=1_800_000_000.0)

    assert "Ends at" in state_of_rule(FORMS["schedule"], settings(schedule="never"), view)[1]


def test_a_rule_without_anything_to_look_for_says_so() -> None:
    assert state_of_rule(FORMS["listed_app"], settings(), None)[0] == "Nothing listed yet"
    assert state_of_rule(FORMS["schedule"], settings(), None)[0] == "All hours"
    assert state_of_rule(FORMS["budget_spent"], settings(), None)[0] == "No limit yet"
    assert state_of_rule(FORMS["battery_low"], settings(battery_low_percent=0.0), None)[0] == "Never"
    assert state_of_rule(FORMS["in_use"], settings(), None)[0] == "Off"


@pytest.mark.parametrize(
    "text", sorted({*DEFAULT_EFFECTS.values(), "stop, keep", "only tell", "finish within 0.5 s, keep"})
)
def test_an_effect_goes_through_the_editor_unchanged(text: str) -> None:
    effect = effect_of(text)

    assert effect_text(effect.sessions, seconds_text(effect), effect.memory) == (text, "")


@pytest.mark.parametrize("typed", ["5", " 5 ", "5 s", "5,0"])
def test_seconds_are_taken_as_people_write_them(typed: str) -> None:
    assert effect_text(SessionsThen.STOP, typed, MemoryThen.UNLOAD) == ("stop after 5 s, unload", "")


@given(st.text(max_size=12))
def test_whatever_is_typed_as_seconds_is_written_right_or_answered(typed: str) -> None:
    text, problem = effect_text(SessionsThen.FINISH, typed, MemoryThen.KEEP)

    assert bool(text) != bool(problem)
    if text:
        assert parse_effect(text) is not None


def test_an_effect_that_is_none_is_edited_from_something_harmless() -> None:
    assert effect_of("nonsense").memory is MemoryThen.KEEP
    assert effect_of("off").sessions is SessionsThen.FINISH


def test_the_list_of_programs_takes_each_once_and_answers_what_it_cannot_hold() -> None:
    assert added_apps(("a",), " b ") == (("a", "b"), "")
    assert added_apps(("a",), "a") == (("a",), "")
    assert added_apps(("a",), "") == (("a",), "")
    apps, problem = added_apps(("a",), "/games/Life, the Game")
    assert (apps, "comma" in problem) == (("a",), True)
    assert added_apps((), "a\x1b[31m")[1] != ""


def test_energy_is_said_with_what_is_known() -> None:
    assert energy_text(EnergyView()) == ""
    assert energy_text(EnergyView(source="The card doesn't tell its power.")) == "The card doesn't tell its power."
    measured = EnergyView(served_s=5400, kwh=0.42, cost=0.13, wh_per_1000_tokens=1.2, source="Measured.")
    assert energy_text(measured) == (
        "Served today: 1 h 30 min, 0.42 kWh, costs 0.13. Per 1,000 tokens: 1.20 Wh. Measured."
    )
