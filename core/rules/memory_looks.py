"""What the rules of memory see: other programs need what stays the owner's."""

from __future__ import annotations

from dataclasses import dataclass

from core.capacity import kept_free_mb
from core.rules.look import BETWEEN, OFF, Level, Look, Scene
from core.signals import Unknown

# Of what stays the owner's, this much free is no shortage yet: engines take a little more than was planned.
MEMORY_SLACK = 0.75
MEMORY_TIGHT = 0.9  # below, no session is let in: the last step before the shortage
MEMORY_URGENT = 0.5  # below, the system may kill a program any moment


@dataclass(frozen=True, slots=True)
class _Memory:
    """One of the machine's memories, MiB."""

    what: str  # as the owner reads it, at the beginning of a sentence
    total_mb: int | Unknown
    free_mb: int | Unknown
    own_mb: int  # what our engine holds
    reserve_mb: int  # the owner's; 0 is automatic


def vram_short(scene: Scene) -> Look | Unknown:
    return _short(scene, _graphics(scene))


def ram_short(scene: Scene) -> Look | Unknown:
    return _short(scene, _main(scene), least_mb=scene.own.least_ram_mb)


def memory_tight(scene: Scene) -> Look | Unknown:
    """Of the memories that this machine tells, the one with least to spare; the first step, before any shortage."""
    memories = (_graphics(scene), _main(scene))
    spare = [
        (free_mb / max(1, kept_free_mb(total_mb, free_mb, own_mb=memory.own_mb, reserve_mb=memory.reserve_mb)), what)
        for memory in memories
        for what, total_mb, free_mb in [(memory.what, memory.total_mb, memory.free_mb)]
        if not isinstance(total_mb, Unknown) and not isinstance(free_mb, Unknown)
    ]
    if not spare:
        free_ram_mb = scene.signals.free_ram_mb
        return free_ram_mb if isinstance(free_ram_mb, Unknown) else Unknown("No memory is measured.")
    held = scene.before.holding
    for memory in memories:  # the other one says nothing of the one that got short
        if held is not None and held.sentence.startswith(memory.what):
            for told in (memory.total_mb, memory.free_mb):
                if isinstance(told, Unknown):
                    return told
    share, what = min(spare)
    if share < MEMORY_TIGHT:
        return Look(Level.ON, f"{what} is getting short: no new sessions until what stays yours is free again.")
    return OFF if share >= 1.0 else BETWEEN


def _graphics(scene: Scene) -> _Memory:
    signals = scene.signals
    reserve_mb = scene.settings.values.vram_reserve_mb
    return _Memory("Graphics memory", signals.total_vram_mb, signals.free_vram_mb, scene.own.vram_mb, reserve_mb)


def _main(scene: Scene) -> _Memory:
    signals = scene.signals
    reserve_mb = scene.settings.values.ram_reserve_mb
    return _Memory("Memory", signals.total_ram_mb, signals.free_ram_mb, scene.own.ram_mb, reserve_mb)


def _short(scene: Scene, memory: _Memory, *, least_mb: int | None = None) -> Look | Unknown:
    """Short: less is free than what the owner's programs still have coming of the reserve, or than a small floor.

    It ends when that much and what our model held are free together, or what it takes at least where it can be loaded
    with less: else its return would begin it again.
    """
    total_mb, free_mb, own_mb = memory.total_mb, memory.free_mb, memory.own_mb
    if isinstance(total_mb, Unknown):
        return total_mb
    if isinstance(free_mb, Unknown):
        return free_mb
    kept_mb = kept_free_mb(total_mb, free_mb, own_mb=own_mb, reserve_mb=memory.reserve_mb)
    if free_mb < kept_mb * MEMORY_SLACK:
        is_urgent = own_mb > 0 and free_mb < kept_mb * MEMORY_URGENT
        return Look(Level.ON, f"{memory.what} is short: other programs need what stays yours.", is_urgent=is_urgent)
    if scene.before.holding is None:
        return OFF
    gone_mb = max(0, scene.before.held_mb - own_mb)
    if least_mb is not None:
        gone_mb = min(gone_mb, least_mb)
    return OFF if free_mb >= kept_mb + gone_mb else BETWEEN
