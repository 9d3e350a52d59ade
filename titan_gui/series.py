"""The figures of a snapshot that charts draw as lines, and whether nobody could be served. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from core.gpu import GpuSample
from core.snapshot import AgentSnapshot
from core.state import AgentState

MAX_CARDS = 16


class Metric(StrEnum):
    VRAM = "vram"  # MiB
    RAM = "ram"  # MiB
    CPU = "cpu"  # percent over all cores
    GPU_LOAD = "gpu_load"  # percent
    GPU_TEMPERATURE = "gpu_temperature"  # °C
    CPU_TEMPERATURE = "cpu_temperature"


class Part(StrEnum):
    OURS = "ours"  # the agent and its engine
    OTHERS = "others"
    WHOLE = "whole"  # where it can't be told whose it is


class SeriesKey(NamedTuple):
    """One line: what, whose, and of which card ("" for the machine)."""

    metric: Metric
    part: Part
    gpu: str = ""


CPU_HEAT = SeriesKey(Metric.CPU_TEMPERATURE, Part.WHOLE)


class Shade(StrEnum):
    """Why nobody was served for a while."""

    NONE = ""
    PAUSED = "paused"  # at least one reason blocked
    OFFLINE = "offline"  # the agent didn't run, or the coordinator was away


def shade_of(snapshot: AgentSnapshot) -> Shade:
    """Whether nobody can be served now, and why."""
    if snapshot.state in (AgentState.STOPPED, AgentState.STARTING, AgentState.STOPPING, AgentState.FAILED):
        return Shade.OFFLINE
    if snapshot.blocking_reasons:
        return Shade.PAUSED
    return Shade.OFFLINE if snapshot.state is AgentState.CONNECTING else Shade.NONE


def values_of(snapshot: AgentSnapshot) -> dict[SeriesKey, float]:
    """Every figure that the snapshot's sample has. Ours and others' add up to what is used."""
    machine = snapshot.machine
    if machine is None:
        return {}
    values: dict[SeriesKey, float] = {}
    used_ram = None
    if machine.total_ram_mb is not None and machine.free_ram_mb is not None:
        used_ram = float(machine.total_ram_mb - machine.free_ram_mb)
    _split(values, Metric.RAM, "", used_ram, machine.own_ram_mb)
    _split(values, Metric.CPU, "", machine.cpu_percent, machine.cpu_percent_ours)
    if snapshot.processor_heat.celsius is not None:
        values[CPU_HEAT] = snapshot.processor_heat.celsius
    cards = [card for card in machine.gpus[:MAX_CARDS] if not card.is_lost]
    for card in cards:
        _split(values, Metric.VRAM, card.uuid, card.used_mb, _ours_on(card, snapshot, is_only=len(cards) == 1))
        if card.utilisation_percent is not None:
            values[SeriesKey(Metric.GPU_LOAD, Part.WHOLE, card.uuid)] = card.utilisation_percent
        if card.temperature_c is not None:
            values[SeriesKey(Metric.GPU_TEMPERATURE, Part.WHOLE, card.uuid)] = card.temperature_c
    return values


def _split(values: dict[SeriesKey, float], metric: Metric, gpu: str, used: float | None, ours: float | None) -> None:
    if used is None:
        return
    if ours is None:
        values[SeriesKey(metric, Part.WHOLE, gpu)] = used
        return
    ours = min(max(ours, 0.0), used)
    values[SeriesKey(metric, Part.OURS, gpu)] = ours
    values[SeriesKey(metric, Part.OTHERS, gpu)] = used - ours


def _ours_on(card: GpuSample, snapshot: AgentSnapshot, *, is_only: bool) -> float | None:
    """Our engine's memory on one card, MiB; None where it can't be told.

    The driver's list of processes decides. Where it doesn't know ours (containers, some systems), an engine that says
    how much it holds decides, and on one card only: nobody says how it is spread over several.
    """
    ours = {*snapshot.engine.pids, snapshot.pid}
    measured = [one.used_mb for one in card.processes if one.pid in ours and one.used_mb is not None]
    said = [model.vram_mb for model in snapshot.loaded_models]
    if not any(vram_mb is None or vram_mb for vram_mb in said):
        return float(sum(measured))  # nothing is loaded there
    if is_only and None not in said:
        return float(max(sum(measured), sum(vram_mb or 0 for vram_mb in said)))
    return float(sum(measured)) if measured else None
