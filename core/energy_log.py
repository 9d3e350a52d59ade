"""The energy of each day on disk, and its meter fed by what the agent does. A kill loses at most half a minute."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from core.delayed_writer import CLOSE_LIMIT_S, DelayedWriter
from core.energy import DayEnergy, EnergyMeter, PowerReading
from core.errors import StorageError
from core.json_file import JsonFile
from core.logs import get_logger
from core.rapl import Rapl
from core.rules import Now
from core.signals import Unknown
from core.snapshot import EnergyView

log = get_logger(__name__)

FILE_NAME = "energy.json"

Days = Mapping[date, DayEnergy]


class EnergyLog:
    """One profile's days. Everything runs on one loop; the disk and the processor's counters on worker threads.

    `on_notice(old, new)`: `old` no longer holds, `new` is for the owner; either may be "".
    """

    def __init__(
        self,
        path: Path,
        *,
        tariff_per_kwh: float = 0.0,
        owners_figure_w: float = 0.0,
        rapl: Rapl | None = None,
        on_notice: Callable[[str, str], None] = lambda old, new: None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.tariff_per_kwh = tariff_per_kwh
        self._file = energy_file(path)
        self._rapl = rapl or Rapl()
        self._on_notice = on_notice
        self._wall = wall
        self._monotonic = monotonic
        self._meter = EnergyMeter({}, self._now(), owners_figure_w=owners_figure_w)
        self._written: Days = {}
        self._writer = DelayedWriter("The energy of your days", self._write, on_notice=on_notice, sleep=sleep)
        self._is_open = False
        self._has_rapl = False
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read what earlier runs left; whatever is wrong with it becomes a notice."""
        notice, days = "", None
        try:
            days = await asyncio.to_thread(self._file.read)
            if aside := self._file.was_set_aside_as:
                notice = f"The energy of your days was damaged, so it was set aside as {aside}."
        except StorageError as error:
            notice = f"The energy of your days can't be read. {error.detail.rstrip('.')}. {error.hint}"
        self._meter = EnergyMeter(days or {}, self._now(), owners_figure_w=self._meter.owners_figure_w)
        self._written = dict(days or {})
        self._has_rapl = await asyncio.to_thread(lambda: self._rapl.is_readable)
        self._is_open = True
        if notice:
            log.warning("energy", notice=notice)
            self._on_notice("", notice)

    def use_figures(self, *, tariff_per_kwh: float, owners_figure_w: float) -> None:
        self.tariff_per_kwh = tariff_per_kwh
        self._meter.owners_figure_w = owners_figure_w

    @property
    def served_s_today(self) -> float:
        return self._meter.today(self._now()).served_s

    @property
    def kwh_today(self) -> float | Unknown:
        return self._meter.kwh_today(self._now())

    @property
    def measured_kwh_today(self) -> float:
        return self._meter.measured_kwh_today(self._now())

    def view(self) -> EnergyView:
        return self._meter.view(self._now(), self.tariff_per_kwh)

    def serve(self, is_serving: bool) -> None:
        """Sessions run from now on, or none does."""
        self._meter.serve(is_serving, self._now())

    def count_tokens(self, tokens: int) -> None:
        self._meter.count_tokens(tokens)

    def take_gpu_power(self, gpu_w: float | None) -> None:
        """With each sample of the machine; None: no card tells it. Returns at once."""
        if not self._has_rapl:
            self._take_power(PowerReading(gpu_w=gpu_w))
        elif self._reading is None and self._is_open:  # counters that hang are left alone
            self._reading = asyncio.get_running_loop().create_task(self._take_both(gpu_w), name="energy-read")

    async def _take_both(self, gpu_w: float | None) -> None:
        cpu_w = await asyncio.to_thread(self._rapl.read)
        self._reading = None
        self._take_power(PowerReading(gpu_w=gpu_w, cpu_w=cpu_w))

    def _take_power(self, power: PowerReading) -> None:
        self._meter.take_power(power, self._now())
        if self._is_open:
            self._note_change()

    async def close(self) -> None:
        """Write what isn't written; a disk or a counter that hangs must not keep the agent from stopping."""
        if not self._is_open:
            return
        self._is_open = False
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=CLOSE_LIMIT_S)
        self._meter.today(self._now())  # counts what came since the last sample
        self._note_change()
        await self._writer.close()

    def _note_change(self) -> None:
        if self._meter.days != self._written:
            self._writer.note_change()

    async def _write(self) -> None:
        days = dict(self._meter.days)
        document = {"days": {day.isoformat(): asdict(days[day]) for day in sorted(days)}}
        await asyncio.to_thread(self._file.write, document)
        self._written = days

    def _now(self) -> Now:
        return Now(wall=self._wall(), monotonic=self._monotonic())


def energy_file(path: Path) -> JsonFile[Days]:
    return JsonFile(path, "energy of the days", _days_of)


def _days_of(document: Any) -> Days:
    return {date.fromisoformat(day): _day_of(values) for day, values in document["days"].items()}


def _day_of(values: Mapping[str, float]) -> DayEnergy:
    day = DayEnergy(
        served_s=float(values["served_s"]),
        measured_s=float(values["measured_s"]),
        wh=float(values["wh"]),
        tokens=int(values["tokens"]),
    )
    if not all(math.isfinite(number) and number >= 0 for number in (day.served_s, day.measured_s, day.wh, day.tokens)):
        raise ValueError("a figure of a day is none")
    return day
