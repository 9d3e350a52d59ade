"""Others' use of AMD's and Intel's cards while we serve: by program where it is told whole, else honestly unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from core.gpu import GpuProcess, GpuSample
from core.gpu.drm_programs import OTHER_USERS, CardPrograms, DrmPrograms
from core.signals import GpuUse, Signals, Unknown
from core.signals.gpu_use import PROGRAMS_HOLD_S, GpuUseByOthers
from core.signals.guard import ProbeThreads, guard_probe
from core.signals.watch import SignalWatch
from core.stats_collector import SystemStats
from tests.fakes.fake_clock import FakeClock
from tests.fakes.manual_clock import ManualClock
from tests.fakes.proc_tree import AMD, INTEL, ProcTree, amdgpu

OURS = 100
RADEON = GpuSample(uuid="AMD-1", name="RX 7900", total_mb=24_576, free_mb=20_000, utilisation_percent=97.0, slot=AMD)


def program(pid: int, name: str, percent: float | None) -> GpuProcess:
    return GpuProcess(pid=pid, name=name, utilisation_percent=percent)


def on_card(*programs: GpuProcess, incomplete: str = "", slot: str = AMD) -> Mapping[str, CardPrograms]:
    return {slot: CardPrograms(driver="amdgpu", programs=programs, incomplete=incomplete)}


def use(
    programs: Mapping[str, CardPrograms] | Unknown,
    *cards: GpuSample,
    quiet_s: float = 0.0,
    age_s: float = 0.0,
) -> GpuUse | Unknown:
    """What is told `quiet_s` seconds after our engine's last work, and `age_s` after the programs were read."""
    clock = FakeClock(1_000.0)
    meter = GpuUseByOthers(clock)
    clock.now += 60 - quiet_s
    meter.note_own_work()
    clock.now += quiet_s - age_s
    meter.take_programs(programs)
    clock.now += age_s
    return meter.read(SystemStats(gpus=cards), (OURS,))


def test_while_we_serve_the_others_are_added_up_and_the_busiest_is_named() -> None:
    seen = on_card(program(OURS, "ollama", 60.0), program(7, "browser", 5.0), program(8, "game", 30.0))
    assert use(seen, RADEON) == GpuUse(percent=35.0, program="game")
    assert use(on_card(program(OURS, "ollama", None), program(7, "desktop", 0.0)), RADEON) == GpuUse(percent=0.0)


def test_what_is_not_told_whole_is_unknown_while_we_serve() -> None:
    for seen, why in (
        (on_card(program(8, "game", 1.0), incomplete=OTHER_USERS), OTHER_USERS),
        (on_card(program(8, "python3", None)), "python3 computes on it too"),
        (on_card(program(8, "", None)), "Another program computes on it too"),
    ):
        told = use(seen, RADEON)
        assert isinstance(told, Unknown)
        assert why in told.cause
        assert told.is_no_loss
        assert told.is_own_work  # a gap tells it, by the card's own figure


def test_between_sessions_the_cards_own_figure_counts_for_what_no_program_explains() -> None:
    busy = on_card(program(8, "game", 60.0), incomplete=OTHER_USERS)
    assert use(busy, RADEON, quiet_s=60) == GpuUse(percent=97.0, program="game")
    hidden = on_card(program(8, "desktop", 3.0), incomplete=OTHER_USERS)
    assert use(hidden, RADEON, quiet_s=60) == GpuUse(percent=97.0)
    computing = on_card(program(8, "desktop", 3.0), program(9, "python3", None))
    assert use(computing, RADEON, quiet_s=60) == GpuUse(percent=97.0, program="python3")


def test_what_was_told_long_ago_or_of_another_card_does_not_count() -> None:
    seen = on_card(program(8, "game", 30.0))
    for told in (
        use(seen, RADEON, age_s=PROGRAMS_HOLD_S),
        use(on_card(program(8, "game", 30.0), slot=INTEL), RADEON),
        use(Unknown("The list does not answer."), RADEON),
    ):
        assert isinstance(told, Unknown)
        assert "can't tell our part" in told.cause


def test_intels_card_counts_where_there_is_no_other() -> None:
    seen = on_card(program(8, "game", 30.0), slot=INTEL)
    assert use(seen) == GpuUse(percent=30.0, program="game")
    kept = GpuSample(uuid="GPU-1", name="RTX", total_mb=24_000, kept_because="it is not among those that you lend")
    assert isinstance(use(seen, kept), Unknown)  # theirs is not the one that serves
    assert isinstance(use({}), Unknown)
    others = use(on_card(program(8, "game", 1.0), incomplete=OTHER_USERS, slot=INTEL))
    assert others == Unknown(f"Others' use of the graphics card can't be told. {OTHER_USERS}", is_no_loss=True)


async def test_the_watch_reads_them_beside_the_samples(tmp_path: Path) -> None:
    """Through the guard's thread, and only while a rule looks at it."""
    tree = ProcTree(tmp_path)
    tree.add_card(1, "amdgpu", AMD)
    tree.add_program(8, "game")
    tree.open_card(8, 3, amdgpu(1, 0))
    clock, threads, seen = ManualClock(), ProbeThreads(), list[Signals]()
    probe = DrmPrograms(proc=tree.proc, sys_root=tree.sys, clock=clock.monotonic, owner_of=tree.owner_of, own_uid=1000)
    watch = SignalWatch(
        seen.append,
        own_pids=lambda: (OURS,),
        readers=[guard_probe(probe, threads, "The list of programs on the graphics card")],
        monotonic=clock.monotonic,
        wall=clock.wall,
    )
    watch.note_own_work()
    await watch.look()
    watch.take_stats(SystemStats(gpus=(RADEON,)), 0.0)
    assert watch.current.gpu_use_by_others == Signals().gpu_use_by_others  # nobody asked

    watch.want(["gpu_use_by_others"])
    await watch.look()
    await clock.advance(2.0)
    tree.show(8, 3, amdgpu(1, 1_000_000_000))
    watch.note_own_work()
    await asyncio.wait_for(watch.look(), 10)
    watch.take_stats(SystemStats(gpus=(RADEON,)), 0.0)
    assert watch.current.gpu_use_by_others == GpuUse(percent=50.0, program="game")
    assert seen[-1] == watch.current

    nvidia = GpuSample(uuid="GPU-1", name="RTX", total_mb=24_000, utilisation_percent=1.0)
    watch.take_stats(SystemStats(gpus=(nvidia,)), 0.0)
    tree.end(8)
    await clock.advance(4.0)
    await watch.look()  # no program is looked at for a card whose driver tells it in the sample
    watch.note_own_work()
    watch.take_stats(SystemStats(gpus=(RADEON,)), 0.0)
    assert watch.current.gpu_use_by_others == GpuUse(percent=50.0, program="game")
    await watch.close()
    threads.close()
