"""Other programs' use of the graphics cards: ours is left out, and where that can't be done it is unknown."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gpu import GpuProcess, GpuSample
from core.signals import GpuUse, Unknown
from core.signals.gpu_use import SETTLE_S, GpuUseByOthers, serving_cards
from core.signals.machine import machine_signals
from core.signals.windows_gpu import Item, WindowsGpuUse
from core.stats_collector import SystemStats
from tests.fakes.fake_clock import FakeClock

OURS = 100
NOT_SPLIT = Unknown(
    "While a session runs, the graphics driver can't tell our part of the card's use from others'.",
    is_no_loss=True,
    is_own_work=True,
)


def process(pid: int, percent: float | None, name: str = "") -> GpuProcess:
    return GpuProcess(pid=pid, used_mb=100, name=name or f"p{pid}", utilisation_percent=percent)


def card(*processes: GpuProcess, percent: float | None = 0.0, **more: Any) -> GpuSample:
    facts: dict[str, Any] = {"uuid": "GPU-a", "name": "A card", "total_mb": 24_000, "free_mb": 20_000, **more}
    return GpuSample(processes=processes, utilisation_percent=percent, **facts)


def use(*cards: GpuSample, quiet_s: float = 60.0, own: tuple[int, ...] = (OURS,)) -> GpuUse | Unknown:
    """What is told `quiet_s` seconds after our engine's last work."""
    clock = FakeClock(1_000.0)
    meter = GpuUseByOthers(clock)
    meter.note_own_work()
    clock.now += quiet_s
    return meter.read(SystemStats(gpus=cards, gpu_problem="" if cards else "No driver."), own)


SERVING = 0.0


def test_other_programs_are_added_up_and_the_busiest_is_named_while_we_serve() -> None:
    busy = card(process(OURS, 70.0), process(7, 12.0, "browser"), process(8, 13.0, "game"), percent=95.0)
    assert use(busy, quiet_s=SERVING) == GpuUse(percent=25.0, program="game")


def test_our_own_use_is_nobody_elses() -> None:
    assert use(card(process(OURS, 98.0), process(7, 0.0), percent=98.0), quiet_s=SERVING) == GpuUse(percent=0.0)


def test_program_in_several_processes_is_one_program() -> None:
    busy = card(process(OURS, 0.0), process(7, 9.0, "browser"), process(8, 9.0, "browser"), process(9, 10.0, "game"))
    assert use(busy) == GpuUse(percent=28.0, program="browser")


def test_driver_that_shows_other_pids_tells_nothing_while_we_serve_and_all_between() -> None:
    """Inside a container our engine's process has another number than the driver gives it."""
    seen = card(process(4711, 90.0, "python3"), percent=90.0)
    assert use(seen, quiet_s=SERVING) == NOT_SPLIT
    assert use(seen, quiet_s=SETTLE_S - 0.1) == NOT_SPLIT
    assert use(seen, quiet_s=SETTLE_S) == GpuUse(percent=90.0, program="python3")


def test_driver_that_splits_nothing_tells_the_cards_figure_between_sessions() -> None:
    amd = card(percent=37.0)
    assert use(amd, quiet_s=SERVING) == NOT_SPLIT
    assert use(amd) == GpuUse(percent=37.0)
    one_other = card(process(OURS, None), process(7, None, "game"), percent=37.0)
    assert use(one_other) == GpuUse(percent=37.0, program="game")
    assert use(card(process(7, None), process(8, None), percent=37.0)) == GpuUse(percent=37.0)


def test_use_that_no_program_explains_is_not_taken_for_split() -> None:
    """Some drivers list programs and say 0 of each, whatever they do."""
    odd = card(process(OURS, 0.0), process(7, 0.0, "game"), percent=80.0)
    assert use(odd, quiet_s=SERVING) == NOT_SPLIT
    assert use(odd) == GpuUse(percent=80.0, program="game")


def test_card_without_any_figure_is_unknown() -> None:
    assert use(card(percent=None)) == Unknown("The graphics driver doesn't tell how busy the card is.")
    assert use() == Unknown("No driver.")


def test_only_the_cards_that_serve_count() -> None:
    ours = card(process(OURS, 50.0), process(7, 1.0, "desktop"), percent=51.0)
    other = card(process(8, 99.0, "game"), percent=99.0, uuid="GPU-b")
    assert use(ours, other, quiet_s=SERVING) == GpuUse(percent=1.0, program="desktop")
    # Nothing of ours is on any: any of them may be next.
    assert use(replace(ours, processes=()), other) == GpuUse(percent=99.0, program="game")


def test_cards_that_serve_are_the_real_ones() -> None:
    real, small = card(), card(uuid="GPU-small", total_mb=512)
    unified, lost = card(uuid="GPU-apu", is_unified=True), card(uuid="GPU-lost", is_lost=True)
    assert serving_cards((small, unified, lost, real), ()) == (real,)
    assert serving_cards((unified, lost), ()) == (unified,)
    assert serving_cards((lost,), ()) == ()


percents = st.one_of(st.none(), st.floats(0, 100))


@given(st.lists(st.tuples(st.sampled_from([OURS, 7, 8]), percents), max_size=4), percents, st.floats(0, 10))
def test_use_is_never_more_than_all_of_it_and_never_ours(
    listed: list[tuple[int, float | None]], percent: float | None, quiet_s: float
) -> None:
    told = use(card(*(process(pid, part) for pid, part in listed), percent=percent), quiet_s=quiet_s)
    if isinstance(told, GpuUse):
        assert 0 <= told.percent <= 100
        assert told.program != f"p{OURS}"
    else:
        assert told.cause


def test_machine_tells_what_the_sample_holds() -> None:
    stats = SystemStats(
        total_ram_mb=32_000, free_ram_mb=9_000, cpu_percent=50.0, cpu_percent_ours=20.0,
        gpus=(card(temperature_c=70.0, power_w=200.0), card(uuid="GPU-b", temperature_c=81.0, power_w=50.0)),
    )  # fmt: skip
    assert machine_signals(stats, (), 12.5) == {
        "gpu_temperature_c": 81.0, "gpu_power_w": 250.0, "is_gpu_lost": False, "free_vram_mb": 40_000,
        "total_vram_mb": 48_000, "free_ram_mb": 9_000, "total_ram_mb": 32_000, "cpu_percent_others": 12.5,
    }  # fmt: skip


def test_machine_without_figures_says_why() -> None:
    without = machine_signals(SystemStats(gpu_problem="The NVIDIA driver is not loaded."), (), 0.0)
    assert without["gpu_temperature_c"] == Unknown("The NVIDIA driver is not loaded.")
    assert without["free_vram_mb"] == Unknown("The NVIDIA driver is not loaded.")
    assert isinstance(without["free_ram_mb"], Unknown)
    assert isinstance(without["cpu_percent_others"], Unknown)  # and not the 0 % of a meter that never moved
    silent = machine_signals(SystemStats(gpus=(card(),)), (), 0.0)
    assert silent["gpu_temperature_c"] == Unknown("The graphics card doesn't tell how hot it is.")
    lost = machine_signals(SystemStats(gpus=(card(is_lost=True, temperature_c=99.0),), gpu_problem="Lost it."), (), 0.0)
    assert lost["is_gpu_lost"] is True
    assert lost["gpu_temperature_c"] == Unknown("Lost it.")


def test_card_that_is_lent_no_more_is_no_loss_and_a_silent_driver_is() -> None:
    kept = SystemStats(
        gpus=(card(kept_because="not in your list"),), gpu_problem="None of those that you lend is here."
    )
    silent = SystemStats(gpu_problem="The nvidia graphics driver has not answered within 1 s.")
    none = SystemStats()
    for stats, is_no_loss in ((kept, True), (silent, False), (none, True)):
        told = machine_signals(stats, (), 0.0)["gpu_temperature_c"]
        assert told == GpuUseByOthers(FakeClock(1_000.0)).read(stats, ())
        assert told.is_no_loss is is_no_loss


class Pdh:
    """pdh.dll, as far as it is asked: `engines` is instance → percent, None for one without a value."""

    def __init__(self, **engines: float | None) -> None:
        self.engines = engines
        self.open_queries = 0
        self.refuses = ""
        self._kept: list[Any] = []

    def PdhOpenQueryW(self, source: None, data: None, query: Any) -> int:
        self.open_queries += 1
        return 1 if self.refuses == "open" else 0

    def PdhAddEnglishCounterW(self, query: Any, path: str, data: None, counter: Any) -> int:
        assert path == r"\GPU Engine(*)\Utilization Percentage"
        return -1 if self.refuses == "add" else 0

    def PdhCollectQueryData(self, query: Any) -> int:
        return 1 if self.refuses == "collect" else 0

    def PdhGetFormattedCounterArrayW(self, counter: Any, kind: int, size: Any, count: Any, buffer: Any) -> int:
        if not self.engines:
            return ctypes.c_int32(0x800007D5).value  # PDH_NO_DATA: Windows gives a signed number
        needed = ctypes.sizeof(Item) * len(self.engines)
        if buffer is None or size._obj.value < needed:
            size._obj.value, count._obj.value = needed, len(self.engines)
            return ctypes.c_int32(0x800007D2).value  # PDH_MORE_DATA
        count._obj.value = len(self.engines)
        for item, (name, percent) in zip(
            (Item * len(self.engines)).from_buffer(buffer), self.engines.items(), strict=True
        ):
            text = ctypes.create_unicode_buffer(name)
            ctypes.c_void_p.from_buffer(item).value = ctypes.addressof(text)
            item.value.status, item.value.double = (0, percent) if percent is not None else (0xC0000BBA, 1e9)
            self._kept.append(text)
        return 0

    def PdhCloseQuery(self, query: Any) -> int:
        self.open_queries -= 1
        return 0


def instance(pid: int, engine: int, kind: str = "3D") -> str:
    return f"pid_{pid}_luid_0x00000000_0x0000D1A5_phys_0_eng_{engine}_engtype_{kind}"


def windows(pdh: Pdh) -> WindowsGpuUse:
    return WindowsGpuUse(lambda: (OURS,), pdh, lambda pid: f"p{pid}")


def test_windows_tells_the_busiest_engine_without_ours() -> None:
    pdh = Pdh(**{
        instance(OURS, 0): 90.0, instance(7, 0): 20.0, instance(8, 0): 5.0,
        instance(7, 1, "VideoDecode"): 24.0, instance(8, 2): None, "a line that isn't known": 77.0,
    })  # fmt: skip
    probe = windows(pdh)
    assert probe.read() == GpuUse(percent=25.0, program="p7")
    pdh.engines = {instance(OURS, 0): 90.0}
    assert probe.read() == GpuUse(percent=0.0)
    pdh.engines = {}
    assert probe.read() == GpuUse(percent=0.0)
    probe.close()
    assert pdh.open_queries == 0


@pytest.mark.parametrize("refuses", ["open", "add", "collect"])
def test_windows_that_does_not_tell_is_unknown(refuses: str) -> None:
    pdh = Pdh(**{instance(7, 0): 20.0})
    pdh.refuses = refuses
    probe = windows(pdh)
    assert probe.read() == Unknown("Windows doesn't tell which programs use the graphics card.")
    pdh.refuses = ""
    assert probe.read() == GpuUse(percent=20.0, program="p7")
