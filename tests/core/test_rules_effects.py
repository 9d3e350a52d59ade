"""An effect as text: read, written, and refused with what would be right."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import DECLARATIONS, Settings
from core.config_load import load_settings
from core.config_rules import EFFECT_SETTINGS, RULE_SETTINGS
from core.errors import ConfigError
from core.rules import Effect, MemoryThen, SessionsThen
from core.rules.effects import DEFAULT_EFFECTS, BadEffect, effect_in_words, format_effect, parse_effect

seconds = st.integers(0, 86_400_000).map(lambda milliseconds: milliseconds / 1000)
memory = st.sampled_from(MemoryThen)
effects = st.one_of(
    st.none(),
    st.just(Effect(sessions=SessionsThen.SERVE, limit_s=None, memory=MemoryThen.KEEP)),
    st.builds(Effect, sessions=st.just(SessionsThen.STOP), limit_s=seconds, memory=memory),
    st.builds(Effect, sessions=st.just(SessionsThen.FINISH), limit_s=st.none() | seconds, memory=memory),
)


@settings(deadline=None)  # a busy machine is no failure
@given(effects)
def test_what_is_written_is_read_back(effect: Effect | None) -> None:
    assert parse_effect(format_effect(effect)) == effect
    assert effect_in_words(effect).endswith(".")


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(max_size=40))
def test_any_other_text_is_refused_and_never_a_crash(text: str) -> None:
    with contextlib.suppress(BadEffect):
        effect = parse_effect(text)
        assert parse_effect(format_effect(effect)) == effect


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("stop after 5 s, unload", Effect(sessions=SessionsThen.STOP, limit_s=5, memory=MemoryThen.UNLOAD)),
        (" Stop After  5s ,Unload", Effect(sessions=SessionsThen.STOP, limit_s=5, memory=MemoryThen.UNLOAD)),
        ("stop, unload", Effect(sessions=SessionsThen.STOP, limit_s=0, memory=MemoryThen.UNLOAD)),
        ("finish within 30 s, keep", Effect(sessions=SessionsThen.FINISH, limit_s=30, memory=MemoryThen.KEEP)),
        ("finish, keep", Effect(sessions=SessionsThen.FINISH, limit_s=None, memory=MemoryThen.KEEP)),
        ("only tell", Effect(sessions=SessionsThen.SERVE, limit_s=None, memory=MemoryThen.KEEP)),
        ("OFF", None),
    ],
)
def test_an_owner_may_write_it_loosely(text: str, effect: Effect | None) -> None:
    assert parse_effect(text) == effect


@pytest.mark.parametrize(
    "text",
    ["", "stop", "finish", "stop after -1 s, unload", "stop after 86401 s, keep", "stop within 5 s, keep", "unload"],
)
def test_half_an_effect_is_refused(text: str) -> None:
    with pytest.raises(BadEffect, match="must be like"):
        parse_effect(text)


def test_the_defaults_are_the_issues_table() -> None:
    settings = Settings()
    said = {name.removesuffix("_effect"): getattr(settings, name) for name in EFFECT_SETTINGS}
    assert said == DEFAULT_EFFECTS
    for code in ("listed_app", "full_screen", "gpu_in_use", "vram_short", "ram_short"):
        assert said[code] == "stop after 5 s, unload"
    for code in ("in_use", "on_battery"):
        assert said[code] == "finish within 30 s, unload"
    for code in ("gpu_hot", "battery_low"):
        assert said[code] == "stop, unload"
    for code in ("schedule", "budget_spent", "metered"):
        assert said[code] == "finish within 120 s, unload"
    assert said["cpu_busy"] == said["memory_tight"] == "finish, keep"
    assert (settings.idle_minutes, settings.listed_apps, settings.listed_app_hold_s) == (3, (), 15)
    assert (settings.gpu_others_percent, settings.gpu_others_for_s) == (20, 10)
    assert (settings.gpu_others_resume_percent, settings.gpu_others_resume_s) == (10, 60)
    assert (settings.cpu_others_percent, settings.cpu_others_for_s, settings.cpu_others_resume_s) == (50, 10, 60)
    assert (settings.gpu_max_c, settings.gpu_resume_c) == (80, 75)
    assert (settings.pause_while_in_use, settings.pause_on_battery) == (False, True)


def test_every_rule_setting_is_live_and_in_the_group_of_the_rules() -> None:
    assert {name for name, item in DECLARATIONS.items() if item.group == "Rules"} == set(RULE_SETTINGS)
    assert all(DECLARATIONS[name].is_live for name in RULE_SETTINGS)


def test_all_bad_rules_are_named_together() -> None:
    bad = {
        "TITAN_METERED_EFFECT": "stop it",
        "TITAN_SCHEDULE": "monday",
        "TITAN_GPU_RESUME_C": "90",
        "TITAN_GPU_OTHERS_RESUME_PERCENT": "50",
    }
    with pytest.raises(ConfigError) as caught:
        load_settings(bad)
    named = {problem.split(" = ")[0] for problem in caught.value.problems}
    assert named == {"metered_effect", "schedule", "gpu_resume_c", "gpu_others_resume_percent"}
