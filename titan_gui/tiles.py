"""Snapshot → the dashboard's tiles, and ledger → its contribution figures. Pure: tested without Qt.

Texts are English source strings; whoever shows them passes them through `tr()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from core.plurals import counted
from core.reasons.of_network import kind_of_silence
from core.snapshot import AgentSnapshot, EnergyView, EngineView, GiveBackView
from titan_gui.plain_text import plain
from titan_gui.remedies import Action, Does
from titan_gui.view_model import clock_text, duration_text, memory_text, rate_of

DASH = "–"

ENGINE_NAMES = {"ollama": "Ollama", "openai": "OpenAI-compatible server", "embedded": "Embedded engine"}
LINK_WORDS = {
    "off": "Off",
    "connecting": "Connecting",
    "registered": "Connected",
    "away": "Away",
    "not-registered": "Not registered",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure with its name and the line below it. `is_trouble` marks what the owner should look at."""

    name: str
    title: str
    value: str
    detail: str = ""
    is_trouble: bool = False
    action: Action | None = None  # a button for it


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBar:
    """One day of the contribution chart."""

    day: date
    tokens: int
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What the command `contribution` gave, as shown: three figures and a bar per day, the oldest first."""

    today: Tile
    last_7_days: Tile
    all: Tile
    days: tuple[DayBar, ...] = ()
    notice: str = ""


def tiles_of(snapshot: AgentSnapshot) -> tuple[Tile, ...]:
    """Always the same tiles in the same order; a dash for what isn't known."""
    return (
        _sessions(snapshot),
        _rate(snapshot),
        _tier(snapshot),
        _coordinator(snapshot),
        _engine(snapshot.engine),
        _capacity(snapshot),
    )


def rare_tiles_of(snapshot: AgentSnapshot) -> tuple[Tile, ...]:
    """What is there only once it was measured: memory that came back, and energy."""
    return tuple(filter(None, (_give_back(snapshot.give_back), _energy(snapshot.energy))))


RARE_TILES = ("give_back", "energy")


def contribution_of(result: Mapping[str, object]) -> Contribution:
    """Read the command's result; a field that is missing counts as nothing."""
    summary = _mapping(result.get("summary"))
    days = result.get("days")
    return Contribution(
        today=_sums_tile("today", "Today", summary.get("today")),
        last_7_days=_sums_tile("last_7_days", "7 days", summary.get("last_7_days")),
        all=_sums_tile("all", "All time", summary.get("all")),
        days=tuple(_bar(_mapping(day)) for day in days) if isinstance(days, list | tuple) else (),
        notice=plain(str(result.get("notice") or "")),
    )


def count_text(number: int) -> str:
    """Tokens as people read them: "950", "12.3 k", "4.56 M"; never wider than 7 characters up to 999 G."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            value = number / (1e3 if unit == "k" else limit)
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{number:,}"


def _sessions(snapshot: AgentSnapshot) -> Tile:
    queued = f"{snapshot.queued_jobs} waiting" if snapshot.queued_jobs else ""
    served = f"{snapshot.totals.sessions_served:,} served since the start"
    value = f"{snapshot.running_jobs} / {snapshot.max_jobs or DASH}"
    return Tile(name="sessions", title="Sessions", value=value, detail=", ".join(filter(None, (queued, served))))


def _rate(snapshot: AgentSnapshot) -> Tile:
    rate = rate_of(snapshot)
    value = DASH if rate is None else f"{rate:.1f}"
    total = snapshot.totals.tokens + sum(session.tokens for session in snapshot.sessions)  # those count at their end
    tokens = f"{count_text(total)} tokens since the start"
    return Tile(name="rate", title="Tokens/s", value=value, detail=tokens)


def _tier(snapshot: AgentSnapshot) -> Tile:
    return Tile(name="tier", title="Model quality", value=snapshot.tier or DASH, detail=snapshot.tier_reason)


def _coordinator(snapshot: AgentSnapshot) -> Tile:
    view = snapshot.coordinator
    value = LINK_WORDS.get(view.link, view.link)
    if view.link == "registered" and view.rtt_ms is not None:
        value = f"{view.rtt_ms:.0f} ms" if view.rtt_ms >= 1 else "< 1 ms"
    detail = view.endpoint
    if view.link == "away":  # the detail is gRPC's: only its kind is for people
        detail = f"{view.endpoint}: {kind_of_silence(view.detail)}"
    elif view.link != "registered":
        detail = plain(view.detail) or view.endpoint
    is_trouble = view.link in ("away", "not-registered") and not snapshot.blocking_reasons
    action = Action(Does.SETTING, "coordinator_endpoint") if is_trouble else None
    return Tile(
        name="coordinator", title="Coordinator", value=value, detail=detail, is_trouble=is_trouble, action=action
    )


def _engine(engine: EngineView) -> Tile:
    parts = [engine.status.device, engine.status.version]
    is_trouble = engine.status.state in ("fault", "attention") or engine.breaker == "open"
    if engine.breaker == "open":
        retry = f", next try {clock_text(engine.breaker_retry_at)}" if engine.breaker_retry_at else ""
        parts = [f"resting after failures{retry}"]
    elif engine.breaker == "half-open":
        parts.append("trying again")
    elif engine.status.state != "ready":
        parts = [plain(engine.status.detail) or engine.status.state]
    value = ENGINE_NAMES.get(engine.name, engine.name or DASH)
    detail = " · ".join(part for part in parts if part) if engine.name else engine.chosen_because
    action = Action(Does.RETRY) if is_trouble else None
    return Tile(name="engine", title="Engine", value=value, detail=detail, is_trouble=is_trouble, action=action)


def _capacity(snapshot: AgentSnapshot) -> Tile:
    """What is offered, beside the raw meter: they differ on purpose (our own model counts as free to serve).

    While nothing is shared nothing counts as free: then the tile says what would be lent, and that it isn't now.
    """
    capacity, machine = snapshot.capacity, snapshot.machine
    is_vram = capacity.kind == "vram"
    kind = "VRAM" if is_vram else "RAM"
    is_lent = not snapshot.blocking_reasons
    total = memory_text(capacity.total_mb)
    value = (f"{memory_text(capacity.free_mb)} of {total}" if is_lent else total) if capacity.total_mb else DASH
    meter = "not measured"
    if machine is not None:
        whole = machine.total_vram_mb if is_vram else machine.total_ram_mb
        free = machine.free_vram_mb if is_vram else machine.free_ram_mb
        meter = f"the meter says {memory_text(free)} of {memory_text(whole)} free" if whole else meter
    if is_vram and machine is not None and (kept := sum(not card.is_lent for card in machine.gpus)):
        meter += f", of {len(machine.gpus) - kept} of {len(machine.gpus)} cards"
    detail = meter if is_lent else f"none of it now; {meter}"
    return Tile(name="capacity", title=f"{kind} to lend", value=value, detail=detail)


def _give_back(view: GiveBackView | None) -> Tile | None:
    if view is None:
        return None
    last = view.last
    if last.ok:
        value = f"{memory_text(last.freed_mb)} in {_brief_text(last.seconds)}"
        parts = [f"at {clock_text(last.at)}"]
        if view.median_s is not None and view.count > 1:
            parts.append(f"usually {_brief_text(view.median_s)}, of {view.count} times")
    else:
        value = f"{memory_text(last.freed_mb)} of {memory_text(last.held_mb)}"
        parts = [f"{last.holder} still holds the rest" if last.holder else "the rest is still held"]
        parts.append(f"at {clock_text(last.at)}")
    detail = ", ".join(parts)
    return Tile(name="give_back", title="Memory given back", value=value, detail=detail, is_trouble=not last.ok)


def _brief_text(seconds: float) -> str:
    return "under 0.1 s" if seconds < 0.05 else f"{seconds:.1f} s"  # what rounds to nothing still took its moment


def _energy(energy: EnergyView) -> Tile | None:
    if energy.kwh is None or not energy.served_s:
        return None
    cost = f"costs {energy.cost:.2f}, " if energy.cost is not None else ""
    each = f"; {energy.wh_per_1000_tokens:.1f} Wh per 1,000 tokens" if energy.wh_per_1000_tokens is not None else ""
    detail = f"{cost}served for {duration_text(energy.served_s)}{each}"
    return Tile(name="energy", title="Energy for serving today", value=f"{energy.kwh:.2f} kWh", detail=detail)


def _sums_tile(name: str, title: str, sums: object) -> Tile:
    values = _mapping(sums)
    sessions, seconds = _integer(values.get("sessions")), _integer(values.get("seconds"))
    detail = counted(sessions, "session")
    if seconds:
        detail += f", {duration_text(seconds)}"
    tokens = f"{count_text(_integer(values.get('completion_tokens')))} tokens"
    return Tile(name=name, title=title, value=tokens, detail=detail)


def _bar(day: Mapping[str, object]) -> DayBar:
    try:
        when = date.fromisoformat(str(day.get("day")))
    except ValueError:
        when = date.min
    return DayBar(day=when, tokens=_integer(day.get("completion_tokens")), sessions=_integer(day.get("sessions")))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _integer(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
