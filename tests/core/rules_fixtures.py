"""Rules by hand: settings from their texts, a calm machine, and a clock that only a test moves."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.config import Settings
from core.rules import Holding, Now, Own
from core.rules.evaluate import Evaluation, evaluate
from core.rules.settings import RuleSettings, rule_settings
from core.signals import Signals
from tests.fakes.calm_signals import CALM as CALM

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=BERLIN).timestamp()  # a Wednesday


def rules_of(**values: Any) -> RuleSettings:
    """In Berlin, every rule on that has a switch; `values` are settings."""
    return rule_settings(Settings(**{"pause_while_in_use": True, "listed_apps": ("steam",), **values}), zone=BERLIN)


class Machine:
    """One agent's rules over time: `see(...)` evaluates at the present instant, `wait` moves both clocks."""

    def __init__(self, settings: RuleSettings | None = None, *, wall: float = NOON) -> None:
        self.settings = settings or rules_of()
        self.own = Own(kwh_today=0.0)
        self.now = Now(wall=wall, monotonic=1000.0)
        self.last = Evaluation()

    def wait(self, seconds: float) -> None:
        self.now = Now(wall=self.now.wall + seconds, monotonic=self.now.monotonic + seconds)

    def see(self, signals: Signals) -> tuple[str, ...]:
        """The codes that hold, strongest first."""
        self.last = evaluate(self.settings, signals, self.own, self.now, self.last.memory)
        return tuple(holding.code for holding in self.last.holdings)

    def see_for(self, seconds: float, signals: Signals) -> tuple[str, ...]:
        """Each second of `seconds`; the codes at their end."""
        codes = self.see(signals)
        for _ in range(round(seconds)):
            self.wait(1.0)
            codes = self.see(signals)
        return codes

    @property
    def only(self) -> Holding:
        (holding,) = self.last.holdings
        return holding
