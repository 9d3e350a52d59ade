"""What the child interpreters do with the double: each function is one story, and returns what was seen."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.capacity import CapacityLimits, OwnMemory, capacity_to_serve
from core.fit import judge, room_of
from core.gpu import GpuProbe
from core.gpu.guard import GuardedProbe
from core.gpu.nvml import NvmlProbe
from core.hardware_facts import hardware_facts
from core.memory_need import ollama_plan
from core.quantization import size_at, tier_for
from core.signals.machine import machine_signals
from core.snapshot import AgentSnapshot, CapacityView, EngineView
from core.stats_collector import StatsCollector, SystemStats
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B

STATE = Path(os.environ["NVML_DOUBLE_STATE"])
FIRST = "card uuid=GPU-a name=Double_4090 total=24564 used=1000 reserved=400 util=7 temp=51 power=80500"
SECOND = "card uuid=GPU-b name=Double_3060 total=12288 used=2000 reserved=300 util=93 temp=77 power=170000"


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def write(*lines: str) -> None:
    """Replace the driver's state in one step: the library may read at any moment."""
    fresh = STATE.with_name("state.new")
    fresh.write_text("\n".join(lines) + "\n", encoding="ascii")
    fresh.replace(STATE)


def look(probe: GpuProbe) -> dict[str, Any]:
    cards = [dataclasses.asdict(card) for card in probe.sample()]
    return {"cards": cards, "problem": probe.problem}


def two_cards() -> Any:
    """Two cards, then another load on the second."""
    write(FIRST, SECOND)
    probe = NvmlProbe()
    before = look(probe)
    write(FIRST, SECOND.replace("used=2000", "used=9000").replace("util=93", "util=0"))
    after = look(probe)
    probe.close()
    return [before, after]


def processes() -> Any:
    """This process in both lists with one figure, another only in graphics, and a dead one without a figure."""
    mine = os.getpid()
    write(f"{FIRST} procs=c:{mine}:700,g:{mine}:700,g:1:30,c:4000000:-1")
    seen = look(NvmlProbe())
    write(FIRST)
    return {"pid": mine, "seen": seen}


def use_by_program() -> Any:
    """Programs' use of a card over three looks, then a driver that doesn't tell it."""
    probe = NvmlProbe()
    listed = f"{FIRST} procs=c:1:700,c:7:100,g:4000000:30"
    seen = []
    for use in (
        " use=1:61:0.1,7:80:30,4000000:22:0.5,4000000:4000:0.2",
        " use=7:35:0,1:61:0.9",
        "",
        " unsupported=use",
    ):
        write(listed + use)
        (card,) = look(probe)["cards"]
        seen.append({process["pid"]: process["utilisation_percent"] for process in card["processes"]})
    return seen


def unsupported() -> Any:
    """Each figure in turn is not supported by the first card."""
    probe = NvmlProbe()
    seen = {}
    for figure in ("memory", "utilisation", "temperature", "power", "compute", "graphics", "name", "uuid"):
        write(f"{FIRST} procs=c:1:10,g:2:20 unsupported={figure}", SECOND)
        seen[figure] = look(probe)
    return seen


def lost_and_back() -> Any:
    """The first card is lost in two ways, then behind the other, then it is gone from the list, then it is back."""
    clock = FakeClock()
    probe = NvmlProbe(clock=clock, retry_s=60)
    write(FIRST, SECOND)
    seen = [look(probe)]
    lost, half_lost = FIRST + " lost=1", FIRST + " lost=2"
    for state in ((lost, SECOND), (half_lost, SECOND), (SECOND, lost), (SECOND,), (FIRST, SECOND)):
        write(*state)
        clock.now_s += 61
        seen.append(look(probe))
    return seen


def lost_in_a_sleep() -> Any:
    """The card is lost, and there again; then the machine sleeps: the monotonic clock stands still meanwhile."""
    clock, wall = FakeClock(), FakeClock()
    probe = NvmlProbe(clock=clock, now=wall, retry_s=60)
    seen = []
    for state, awake_s, asleep_s in ((FIRST, 2, 0), (FIRST + " lost=1", 2, 0), (FIRST, 2, 0), (FIRST, 2, 3600)):
        write(state)
        clock.now_s += awake_s
        wall.now_s += awake_s + asleep_s
        seen.append(look(probe))
    return seen


def display_cards() -> Any:
    """Two cards; the desktop is on the second, then its monitor sleeps, then the first has one as well, then the
    owner lends the second alone, then a driver that doesn't tell."""
    clock, wanted = FakeClock(), list[str]()
    collector = StatsCollector(probe=NvmlProbe(clock=clock), lent_gpus=lambda: wanted)
    shown, both = SECOND + " monitor=1 display=1", FIRST + " display=1 monitor=1"
    seen = []
    for state, lent in (
        ((FIRST, shown), ()),
        ((FIRST, SECOND), ()),
        ((both, shown), ()),
        ((both, shown), ("gpu-B",)),
        ((FIRST + " unsupported=display", SECOND + " unsupported=display"), ("double 4090", "Double 3060")),
    ):
        write(*state)
        wanted[:] = lent
        clock.now_s += 61
        seen.append(_sums(collector.collect()))
    return seen


def lent_card_lost() -> Any:
    """The display's card is lost, and back; then the lent one."""
    clock = FakeClock()
    collector = StatsCollector(probe=NvmlProbe(clock=clock, retry_s=60))
    shown = SECOND + " monitor=1 display=1"
    seen = []
    for state in (
        (FIRST, shown),
        (FIRST, shown + " lost=1"),
        (FIRST, shown),
        (FIRST + " lost=1", shown),
        (FIRST, shown),
    ):
        write(*state)
        clock.now_s += 61
        stats = collector.collect()
        signals = machine_signals(stats, (), 0.0)
        seen.append(
            {**_sums(stats), "is_gpu_lost": signals["is_gpu_lost"], "free_is_told": stats.free_vram_mb is not None}
        )
    return seen


def _sums(stats: SystemStats) -> dict[str, Any]:
    return {
        "total_mb": stats.total_vram_mb,
        "temperature": stats.gpu_temperature,
        "use": stats.gpu_utilisation_percent,
        "power_w": stats.gpu_power_w,
        "kept": {card.uuid: card.kept_because for card in stats.gpus},
    }


def late_driver() -> Any:
    """The library is there, its driver isn't loaded; it is loaded 59 s, and seen 60 s, after the first try."""
    clock = FakeClock()
    probe = NvmlProbe(clock=clock, retry_s=60)
    write("init 9", FIRST)
    seen = [look(probe)]
    write(FIRST)
    for now_s in (59.0, 60.0):
        clock.now_s = now_s
        seen.append(look(probe))
    return seen


def late_library() -> Any:
    """No library at first; the driver is installed while the agent runs."""
    clock = FakeClock()
    probe = NvmlProbe(clock=clock, retry_s=60)
    write(FIRST)
    seen = [look(probe)]
    STATE.with_name("libnvidia-ml.so.1").symlink_to(os.environ["NVML_DOUBLE_LIBRARY"])
    for now_s in (59.0, 60.0):
        clock.now_s = now_s
        seen.append(look(probe))
    return seen


def unloaded() -> Any:
    """The driver is unloaded under a running agent, and comes back."""
    clock = FakeClock()
    probe = NvmlProbe(clock=clock, retry_s=60)
    seen = []
    for state in ((FIRST,), ("init 9", FIRST), (FIRST,)):
        write(*state)
        clock.now_s += 61
        seen.append(look(probe))
    return seen


def failing_init() -> Any:
    """What is said for each code of nvmlInit."""
    seen = {}
    for code in (4, 9, 12, 18, 999):
        write(f"init {code}")
        seen[code] = look(NvmlProbe())["problem"]
    write("init 9")
    seen[0] = look(NvmlProbe(has_hardware=lambda: False))["problem"]
    return seen


def no_cards() -> Any:
    write("")
    return look(NvmlProbe())


def hang() -> Any:
    """The sampler beside a driver that hangs for three samples and recovers; time is told, not waited for."""
    write(FIRST)
    collector = StatsCollector(probe=GuardedProbe(NvmlProbe(), limit_s=0.5))
    collector.collect()  # loads the library, for which the guard gives more time
    return asyncio.run(_sample_through_hang(collector))


async def _sample_through_hang(collector: StatsCollector) -> Any:
    samples: list[SystemStats] = []
    threads: list[int] = []
    recovered = asyncio.Event()

    def publish(stats: SystemStats) -> None:
        samples.append(stats)
        threads.append(sum(thread.name.startswith("gpu-probe") for thread in threading.enumerate()))
        if len(samples) == 1:
            write("hang nvmlDeviceGetUtilizationRates", FIRST)
        elif len(samples) == 4:
            write(FIRST)
        elif stats.gpu_problem == "" and len(samples) > 4:
            recovered.set()

    collector_task = asyncio.create_task(collector.run(lambda: 0.02, publish))
    await asyncio.wait_for(recovered.wait(), 10)
    collector_task.cancel()
    return {
        "free_vram_mb": [stats.free_vram_mb for stats in samples],
        "problems": [stats.gpu_problem for stats in samples],
        "names": [[card.name for card in stats.gpus] for stats in samples],
        "ram": [stats.free_ram_mb is not None for stats in samples],
        "threads": threads,
    }


def exit_while_hung() -> Any:
    """The program's end must not wait for a hung driver: this function returns while the call still hangs."""
    write("hang nvmlDeviceGetCount_v2", FIRST)
    probe = GuardedProbe(NvmlProbe(), limit_s=0.05, first_limit_s=0.05)
    seen = look(probe)
    probe.close()
    return seen


def cost() -> Any:
    """Processor milliseconds per sample with two cards and a few programs on them; not a test, a measurement."""
    write(f"{FIRST} procs=c:{os.getpid()}:700,g:1:30", f"{SECOND} procs=g:1:30")
    collector = StatsCollector(own_pids=lambda: (os.getppid(),))
    collector.collect()
    rounds = 500
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        collector.collect()
    return {
        "wall_ms": (time.perf_counter() - began_s) / rounds * 1000,
        "cpu_ms": (time.process_time() - began_cpu_s) / rounds * 1000,
    }


def tiers() -> Any:
    """Tier and room on cards of several sizes, 500 MiB of each held by others, and on two cards together."""
    found = {}
    for name, sizes in {
        "4": [4096],
        "6": [6144],
        "8": [8192],
        "12": [12288],
        "24": [24564],
        "8+8": [8192, 8192],
    }.items():
        cards = [f"card uuid=GPU-{n} name=Double total={size} used=500 reserved=0" for n, size in enumerate(sizes)]
        write(*cards)
        collector = StatsCollector(probe=NvmlProbe())
        stats = collector.collect()
        collector.close()
        choice = tier_for(stats, engine_uses_gpu=True)
        capacity = capacity_to_serve(
            stats, "vram", CapacityLimits(), own=OwnMemory(), is_serving=True, cpu_percent_others=0.0
        )
        found[name] = {
            "tier": choice.tier,
            "reason": choice.reason,
            "lent_mb": capacity.total_mb,
            "free_mb": capacity.free_mb,
            "hardware": hardware_facts(stats),
            "fits": {quant: _verdict(stats, capacity, quant) for quant in ("Q8_0", "Q4_K_M", "Q2_K", "F16")},
        }
    return found


def _verdict(stats: SystemStats, capacity: CapacityView, quant: str) -> str:
    """On Llama 3.1 8B in Ollama with 8,192 tokens of context; 16 GB of RAM stand beside the card, 10 free."""
    machine = dataclasses.replace(stats, total_ram_mb=16_384, free_ram_mb=10_240)
    plan = ollama_plan(context_tokens=8192)
    snapshot = AgentSnapshot(
        engine=EngineView(name="ollama"), capacity=capacity, machine=machine, load_plan=plan, loaded_models=()
    )
    return judge(size_at(PARAMETERS_8B, quant), room_of(snapshot), LLAMA_8B).fit


SCENARIOS: dict[str, Callable[[], Any]] = {
    story.__name__: story
    for story in (
        two_cards,
        processes,
        use_by_program,
        unsupported,
        lost_and_back,
        lost_in_a_sleep,
        display_cards,
        lent_card_lost,
        late_driver,
        late_library,
        unloaded,
        failing_init,
        no_cards,
        hang,
        exit_while_hung,
        cost,
        tiers,
    )
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
