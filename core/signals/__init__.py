"""What the owner's rules look at: one frozen `Signals` value, and the protocol of the probes that fill it.

A signal that can't be told here is `Unknown` with its cause, in words for the owner. It is shown so, and never read
as "idle", "on mains" or "nothing runs". Importing this package asks nothing of the system.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class Unknown:
    """This machine doesn't tell it. `cause` is a sentence for the owner: "No desktop session: …"."""

    cause: str
    is_no_loss: bool = False  # nothing is broken: there is nothing to be told of, or it is measured in gaps alone
    is_own_work: bool = False  # our engine hides it: it can be told once that has been quiet for a moment


NOT_ASKED = Unknown("Not looked at yet.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Where the machine's electricity comes from. A machine without a battery is on mains."""

    on_mains: bool
    battery_percent: float | None = None  # None: there is no battery


@dataclass(frozen=True, slots=True, kw_only=True)
class FullScreen:
    """The window in front covers its whole screen; `program` "" when the system doesn't name it."""

    is_on: bool
    program: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """Computing by programs that aren't ours, on the cards that serve: 0 to 100, and the busiest program's name."""

    percent: float
    program: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorHeat:
    """The processor's temperature by its own sensor, °C, and the marks that the sensor itself names."""

    celsius: float
    mean_c: float  # of the last seconds: what a rule goes by, for a processor jumps
    sensor: str = ""  # "k10temp, Tdie"
    high_c: float | None = None
    critical_c: float | None = None  # where it slows itself down, or turns the machine off


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Everything that the rules look at, at one instant. Memory in MiB."""

    idle_s: float | Unknown = NOT_ASKED  # since the last key or mouse movement
    power: Power | Unknown = NOT_ASKED
    listed_apps: tuple[str, ...] | Unknown = NOT_ASKED  # the programs of the owner's list that run now, by name
    full_screen: FullScreen | Unknown = NOT_ASKED
    gpu_use_by_others: GpuUse | Unknown = NOT_ASKED
    gpu_temperature_c: float | Unknown = NOT_ASKED  # the hottest card that serves; Unknown without a card
    gpu_power_w: float | Unknown = NOT_ASKED
    processor_heat: ProcessorHeat | Unknown = NOT_ASKED
    is_gpu_lost: bool = False  # a card was there, and the driver says that it is gone
    free_vram_mb: int | Unknown = NOT_ASKED
    total_vram_mb: int | Unknown = NOT_ASKED
    free_ram_mb: int | Unknown = NOT_ASKED
    total_ram_mb: int | Unknown = NOT_ASKED
    cpu_percent_others: float | Unknown = NOT_ASKED  # all cores together, 0 to 100, without us and our engine
    is_metered: bool | Unknown = NOT_ASKED
    engine_used_by_owner: str = ""  # a model that the owner's own work keeps in the shared engine, "" when none
    is_going_to_sleep: bool = False  # the system said so; False again when it woke up, or thought better of it


T_co = TypeVar("T_co", covariant=True)


class SignalProbe(Protocol, Generic[T_co]):
    """One signal. `read` may block (disk, a driver, a bus): call it on a worker thread, with a time limit."""

    @property
    def name(self) -> str: ...

    def read(self) -> T_co | Unknown: ...

    def close(self) -> None: ...


class BusProbe(Protocol, Generic[T_co]):
    """One signal that another program tells by D-Bus: awaited on the loop, with a time limit as well."""

    @property
    def name(self) -> str: ...

    async def read(self) -> T_co | Unknown: ...
