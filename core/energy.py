"""What serving takes a day: hours, energy, and what that costs. Pure: both clocks are parameters.

Energy is power over the time in which at least one session ran. What the machine draws without us isn't taken off: a
desktop that serves draws what it draws because it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo

from core.rules import Now
from core.signals import Unknown
from core.snapshot import EnergyView

# Between two samples of the power lie 2 s. Beyond this gap the machine slept, and nobody knows what it did.
LONGEST_GAP_S = 30.0
MOST_DAYS = 400
UNMEASURED = "Nothing here measures what this machine draws: enter your own figure in watts."


@dataclass(frozen=True, slots=True, kw_only=True)
class DayEnergy:
    """One local day's sums."""

    served_s: float = 0.0  # with at least one session
    measured_s: float = 0.0  # of it, with a known power
    wh: float = 0.0
    tokens: int = 0  # of the answers


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReading:
    """What the machine draws, watts; None means "not measured"."""

    gpu_w: float | None = None
    cpu_w: float | None = None

    def total_w(self, owners_figure_w: float = 0.0) -> float | None:
        """What is measured; nothing being so, the owner's own figure (0: there is none)."""
        known = [watts for watts in (self.gpu_w, self.cpu_w) if watts is not None]
        return sum(known) if known else (owners_figure_w or None)

    def source(self, owners_figure_w: float = 0.0) -> str:
        """Where the figure comes from, one sentence for the owner."""
        if self.gpu_w is not None and self.cpu_w is not None:
            return "Measured at the graphics card and the processor."
        if self.gpu_w is not None:
            return "Measured at the graphics card; the rest of the machine comes on top."
        if self.cpu_w is not None:
            return "Measured at the processor; the rest of the machine comes on top."
        return f"By your own figure of {owners_figure_w:g} W." if owners_figure_w else UNMEASURED


class EnergyMeter:
    """Adds up served time and energy by local days."""

    def __init__(
        self, days: Mapping[date, DayEnergy], now: Now, *, owners_figure_w: float = 0.0, zone: tzinfo | None = None
    ) -> None:
        self.owners_figure_w = owners_figure_w
        self._days = dict(days)
        self._zone = zone
        self._power = PowerReading()
        self._is_serving = False
        self._last = now
        self._unmetered_s = 0.0  # served since the last sample of the power, not in `wh` yet
        self._uncounted_s, self._uncounted_tokens = 0.0, 0  # not in a day yet

    @property
    def days(self) -> Mapping[date, DayEnergy]:
        return self._days

    def serve(self, is_serving: bool, now: Now) -> None:
        """From now on sessions run, or none does."""
        self._keep_time(now)
        self._is_serving = is_serving

    def take_power(self, power: PowerReading, now: Now) -> None:
        """A sample: the time served since the last one was at the mean of both."""
        self._pass_time(now)
        before_w, now_w = self._power.total_w(self.owners_figure_w), power.total_w(self.owners_figure_w)
        known = [watts for watts in (before_w, now_w) if watts is not None]
        self._power = power
        served_s, self._unmetered_s = self._unmetered_s, 0.0
        if known and served_s:
            day = self._today(now)
            wh = served_s * sum(known) / len(known) / 3600
            self._put(now, replace(day, measured_s=day.measured_s + served_s, wh=day.wh + wh))

    def count_tokens(self, tokens: int) -> None:
        """An answer's tokens; they belong to the day of the next look at the clock."""
        self._uncounted_tokens += max(0, tokens)

    def today(self, now: Now) -> DayEnergy:
        self._pass_time(now)
        return self._today(now)

    def kwh_today(self, now: Now) -> float | Unknown:
        """Of what is measured; unknown while nothing measures it."""
        if self._power.total_w(self.owners_figure_w) is None:
            return Unknown(UNMEASURED)
        return self.measured_kwh_today(now)

    def measured_kwh_today(self, now: Now) -> float:
        """The same, also while nothing measures it any more, or not yet: then it is at least so much."""
        return self.today(now).wh / 1000

    def view(self, now: Now, tariff_per_kwh: float) -> EnergyView:
        """`tariff_per_kwh` 0: not known."""
        day, kwh = self.today(now), self.kwh_today(now)
        source = self._power.source(self.owners_figure_w)
        if isinstance(kwh, Unknown):
            return EnergyView(served_s=round(day.served_s), source=source)
        # Only what was measured tells what a token took; the rest of the day is taken to have been alike.
        share = day.measured_s / day.served_s if day.served_s else 0.0
        per_1000_wh = day.wh / (day.tokens * share) * 1000 if day.tokens * share else None
        return EnergyView(
            served_s=round(day.served_s),
            kwh=round(kwh, 4),
            cost=round(kwh * tariff_per_kwh, 4) if tariff_per_kwh else None,
            wh_per_1000_tokens=None if per_1000_wh is None else round(per_1000_wh, 3),
            cost_per_1000_tokens=(
                round(per_1000_wh / 1000 * tariff_per_kwh, 6) if tariff_per_kwh and per_1000_wh is not None else None
            ),
            source=source,
        )

    def _keep_time(self, now: Now) -> None:
        """Cheap: short sessions begin and end hundreds of times a second."""
        passed_s = now.monotonic - self._last.monotonic
        self._last = now
        if self._is_serving and 0 < passed_s <= LONGEST_GAP_S:
            self._uncounted_s += passed_s

    def _pass_time(self, now: Now) -> None:
        """Bring the day up to `now`."""
        self._keep_time(now)
        if self._uncounted_s or self._uncounted_tokens:
            day = self._today(now)
            served_s, tokens = day.served_s + self._uncounted_s, day.tokens + self._uncounted_tokens
            self._put(now, replace(day, served_s=served_s, tokens=tokens))
            self._unmetered_s += self._uncounted_s
            self._uncounted_s, self._uncounted_tokens = 0.0, 0

    def _today(self, now: Now) -> DayEnergy:
        return self._days.get(self._date(now), DayEnergy())

    def _put(self, now: Now, day: DayEnergy) -> None:
        self._days[self._date(now)] = day
        for old in sorted(self._days)[:-MOST_DAYS]:
            del self._days[old]

    def _date(self, now: Now) -> date:
        return datetime.fromtimestamp(now.wall, self._zone).date()
