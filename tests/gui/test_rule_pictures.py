"""What the pictures of every rule are made of: each rule is there, and what the machine is told brings it about."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtGui import QColor, QImage

from core.config_edit import change_settings
from core.config_load import load_settings
from core.rules import Now, Own
from core.rules.evaluate import Evaluation, evaluate
from core.rules.settings import rule_settings
from core.rules.table import RULES
from scripts.rule_pictures import ACTS, GAP, QUICK, stacked
from tests.fakes.calm_signals import CALM
from tests.fakes.told_desktop import read_told

CASES = [(rule, signals, act.settings) for act in ACTS for rule, signals in act.rules.items()]
STEPS_S = range(12)  # the hold times that the pictures wait for


def test_every_rule_has_its_picture() -> None:
    assert sorted(rule for rule, _, _ in CASES) == sorted(rule.code for rule in RULES)


@pytest.mark.parametrize(("rule", "signals", "settings"), CASES, ids=[case[0] for case in CASES])
def test_what_the_machine_is_told_brings_about_the_rule(
    rule: str, signals: Mapping[str, Any], settings: Mapping[str, str], tmp_path: Path
) -> None:
    told = tmp_path / "told.json"
    told.write_text(json.dumps({"signals": signals, "rule": rule}))
    change_settings({**QUICK, **settings}, os.environ)
    kept = rule_settings(load_settings(os.environ).settings)
    own, evaluation = Own(ram_mb=100, served_s_today=5.0 if rule == "budget_spent" else 0.0), Evaluation()
    for second in STEPS_S:
        now = Now(wall=time.time() + second, monotonic=float(second))
        evaluation = evaluate(kept, replace(CALM, **read_told(told)[0]), own, now, evaluation.memory)
    assert evaluation.holdings[0].code == rule  # the strongest: the dashboard says this one


def test_a_half_written_file_says_nothing(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    told.write_text('{"signals": {"idle')
    assert read_told(told) == ({}, "")


def test_pictures_are_stacked_in_rows_of_their_own_height() -> None:
    images = [QImage(20, height, QImage.Format.Format_RGB32) for height in (10, 30, 5)]
    for image, name in zip(images, ("red", "green", "blue"), strict=True):
        image.fill(QColor(name))
    whole = stacked(images, across=2)
    assert (whole.width(), whole.height()) == (2 * 20 + 3 * GAP, 30 + 5 + 3 * GAP)
    assert whole.pixelColor(GAP + 1, 30 + 2 * GAP + 1) == QColor("blue")
