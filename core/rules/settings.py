"""The owner's rules as read once from the settings: texts parsed, and which signals they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING

from core.rules import Effect
from core.rules.effects import DEFAULT_EFFECTS, parse_effect
from core.rules.schedule import Grid, parse_schedule

if TYPE_CHECKING:
    from core.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """`values` has the thresholds; `effects` has every rule whose effect is not "off", by its code."""

    values: Settings
    effects: Mapping[str, Effect]
    grid: Grid = field(repr=False)
    zone: tzinfo | None = None  # of the schedule and of days; None: the system's own


def rule_settings(settings: Settings, *, zone: tzinfo | None = None) -> RuleSettings:
    """Raises BadEffect, BadSchedule: never for settings that were loaded (core/config_checks.py)."""
    said = {code: parse_effect(getattr(settings, f"{code}_effect")) for code in DEFAULT_EFFECTS}
    effects = {code: effect for code, effect in said.items() if effect is not None}
    return RuleSettings(
        values=settings, effects=MappingProxyType(effects), grid=parse_schedule(settings.schedule), zone=zone
    )
