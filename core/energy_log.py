"""The energy of each day on disk, and its meter fed by what the agent does. A kill loses at most half a minute."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path

from core.atomic_file import set_aside, write_atomically
from core.energy import DayEnergy, EnergyMeter, PowerReading
from core.errors import StorageError
from core.logs import get_logger
from core.paths import storage_error
from core.rapl import Rapl
from core.rules import Now
from core.signals import Unknown
from core.snapshot import EnergyView

log = get_logger(__name__)

FILE_NAME = "energy.json"
WRITE_INTERVAL_S = 30.0
CLOSE_LIMIT_S = 2.0

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
    ) -> None:
        self.tariff_per_kwh = tariff_per_kwh
        self._path = path
        self._rapl = rapl or Rapl()
        self._on_notice = on_notice
        self._wall = wall
        self._monotonic = monotonic
        self._meter = EnergyMeter({}, self._now(), owners_figure_w=owners_figure_w)
        self._written: Days = {}
        self._written_at = -math.inf
        self._is_open = False
        self._has_rapl = False
        self._reading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._trouble = ""

    async def open(self) -> None:
        """Read what earlier runs left; whatever is wrong with it becomes a notice."""
        days, notice = await asyncio.to_thread(_read_or_set_aside, self._path)
        self._meter = EnergyMeter(days, self._now(), owners_figure_w=self._meter.owners_figure_w)
        self._written = dict(days)
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
        self._meter.count_tokens(tokens, self._now())

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
        self._write_if_due()

    async def close(self) -> None:
        """Write what isn't written, within 2 s: a disk that hangs must not keep the agent from stopping."""
        if not self._is_open:
            return
        self._is_open = False
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                if self._reading is not None:
                    await asyncio.wait([self._reading])
                if self._writing is not None:
                    await asyncio.wait([self._writing])
                if self._meter.days != self._written:
                    await self._write()

    def _write_if_due(self) -> None:
        now = self._monotonic()
        if not self._is_open or self._writing is not None or now - self._written_at < WRITE_INTERVAL_S:
            return
        if self._meter.days != self._written:
            self._written_at = now
            self._writing = asyncio.get_running_loop().create_task(self._write(), name="energy-write")

    async def _write(self) -> None:
        days = dict(self._meter.days)
        try:
            await asyncio.to_thread(_write, self._path, days)
            self._written = days
            self._tell("")
        except StorageError as error:
            self._tell(f"The energy of your days is not kept. {error.detail.rstrip('.')}. {error.hint}")
        finally:
            self._writing = None

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            before, self._trouble = self._trouble, trouble
            if trouble:
                log.warning("energy", notice=trouble)
            self._on_notice(before, trouble)

    def _now(self) -> Now:
        return Now(wall=self._wall(), monotonic=self._monotonic())


def read_days(path: Path) -> Days:
    """What the file says; {} where there is none. Raises ValueError for a damaged one, StorageError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise storage_error("read", path, error) from error
    try:
        return {date.fromisoformat(day): _day_of(values) for day, values in json.loads(text)["days"].items()}
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _read_or_set_aside(path: Path) -> tuple[Days, str]:
    """The days, and what is to be told of them."""
    try:
        try:
            return read_days(path), ""
        except ValueError:
            aside = set_aside(path)
            return {}, f"The energy of your days was damaged, so it was set aside as {aside.name}."
    except StorageError as error:
        return {}, f"The energy of your days can't be read. {error.detail.rstrip('.')}. {error.hint}"


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


def _write(path: Path, days: Days) -> None:
    said = {day.isoformat(): asdict(days[day]) for day in sorted(days)}
    write_atomically(path, json.dumps({"days": said}, separators=(",", ":")).encode())
