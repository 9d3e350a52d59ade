"""Whether a model fits this machine's memory: a verdict with its numbers in words.

Where the model's shape is known (a GGUF's head, Ollama's model_info), its need is computed (core/memory_need.py); else
it is the file's size and a fifth more, and the verdict says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from core.capacity import automatic_reserve_mb, least_free_mb
from core.engines import EngineModel, LoadedModel
from core.errors import NotEnoughMemory
from core.gpu import GpuSample
from core.hardware_facts import is_unified
from core.load_ladder import STEP_UP_SHARE, Rung, best_rung, difference, held, plans, rung_of
from core.memory_need import LoadPlan, memory_need
from core.model_shape import ModelShape
from core.plurals import counted
from core.sizes import memory_text
from core.snapshot import AgentSnapshot, CapacityView, EngineView
from core.stats_collector import SystemStats

OLD_RULE = "Estimated from the size of its file."
_MIB = 1 << 20
# Where a model's shape isn't known, or the engine doesn't say how it loads: any, for the rule of a fifth ignores it.
_ANY_PLAN = LoadPlan(sessions=1, context_tokens=4096, batch_tokens=512)


class Fit(StrEnum):
    FITS = "fits"
    TIGHT = "tight"  # not now, or not as wanted: other programs hold the memory
    PARTLY = "partly on the graphics card"  # the rest is computed by the processor, much slower
    TOO_BIG = "too big"  # not even with everything else closed
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory that models live in, MiB, and how they are loaded into it. None means "not measured"."""

    kind: str = "ram"  # "vram" or "ram"
    free_mb: int | None = None  # now, what our own loaded models hold counted as free
    budget_mb: int | None = None  # what the owner lends at most: everything but the reserve
    card_mb: tuple[int, ...] = ()  # of `free_mb`, what each card has; a model that fits on none is spread over all
    spare_ram_mb: int | None = None  # where models live in graphics memory: RAM for layers that don't fit there
    plan: LoadPlan | None = None  # None where the engine keeps to itself how it loads
    can_step_down: bool = False  # this engine takes fewer sessions or less context rather than refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class FitVerdict:
    fit: Fit
    sentence: str
    needed_mb: int | None = None  # as wanted: all sessions, with their whole context


class FitRule(Protocol):
    def __call__(self, size_bytes: int | None, room: Room, shape: ModelShape | None = None) -> FitVerdict: ...


def judge(size_bytes: int | None, room: Room, shape: ModelShape | None = None) -> FitVerdict:
    """The verdict on a model file of this size (all its parts), None where the engine doesn't say."""
    if size_bytes is None or size_bytes <= 0:
        return FitVerdict(fit=Fit.UNKNOWN, sentence="The engine does not say how big it is.")
    if room.plan is None:
        shape = None
    case = _Case(size_bytes, room, shape)
    fit, sentence = case.judge()
    return FitVerdict(
        fit=fit, sentence=sentence if shape else f"{sentence} {OLD_RULE}", needed_mb=case.as_wanted.need_mb
    )


def refuse_what_breaks_the_reserve(model: EngineModel, room: Room) -> None:
    """Refuse a load that doesn't fit beside what is the owner's, not even with less context where the engine takes it.

    Raises NotEnoughMemory, with numbers and a remedy.
    """
    if less_that_fits(model, room) is not None:
        return
    verdict = judge(model.size_bytes, room, model.shape)
    if verdict.fit is Fit.TOO_BIG:
        raise NotEnoughMemory(
            f"{model.name} is too big. {verdict.sentence}", hint="Offer a smaller model, or lend more memory."
        )
    if verdict.fit is Fit.TIGHT and model.shape is not None:
        raise NotEnoughMemory(
            f"{model.name} does not fit now. {verdict.sentence}", hint="Close other programs, or offer a smaller model."
        )


def can_load_now(model: EngineModel, room: Room) -> bool:
    """Whether it would be loaded now, be it with fewer sessions or less context, as far as that is known."""
    verdict = judge(model.size_bytes, room, model.shape).fit
    if verdict is not Fit.TIGHT:
        return verdict is not Fit.TOO_BIG
    return less_that_fits(model, room) is not None


def less_that_fits(model: EngineModel, room: Room) -> LoadPlan | None:
    """With how many sessions and how much context it would be loaded now; None where it fits as wanted or not at all,
    where the engine takes no less, or that isn't known."""
    if room.plan is None or judge(model.size_bytes, room, model.shape).fit is not Fit.TIGHT:
        return None
    rung = _Case(model.size_bytes or 0, room, model.shape).less(min(room.free_mb or 0, room.budget_mb or 0))
    return rung.plan if rung else None


def fits_whole(model: EngineModel, room: Room) -> bool:
    """Whether all that is wanted of it is known to fit now, with a tenth to spare."""
    if room.free_mb is None:
        return False
    return (
        judge(model.size_bytes, replace(room, free_mb=int(room.free_mb / STEP_UP_SHARE)), model.shape).fit is Fit.FITS
    )


def room_of(snapshot: AgentSnapshot) -> Room:
    """The room as the running agent sees it."""
    machine, kind = snapshot.machine, snapshot.capacity.kind
    room = Room(
        kind=kind,
        budget_mb=snapshot.capacity.total_mb or None,
        plan=snapshot.load_plan,
        can_step_down=snapshot.engine.name in ("embedded", "ollama"),
    )
    if machine is None:
        return room
    if kind == "vram":
        own_mb = sum(model.vram_mb or 0 for model in snapshot.loaded_models if not model.is_owners)
        spread = replace(room, card_mb=_card_mb(machine, own_mb))
        return _with(spread, machine.free_vram_mb, own_mb, machine.total_vram_mb, spare_ram_mb=_spare_ram_mb(machine))
    return _with(room, machine.free_ram_mb, machine.own_ram_mb or 0, machine.total_ram_mb)


def room_of_json(status: Mapping[str, Any]) -> Room:
    """The same from what `titan status --json` shows: a client command has no more."""
    machine, plan = status.get("machine"), status.get("load_plan")
    return room_of(
        AgentSnapshot(
            engine=EngineView(name=status["engine"]["name"]),
            capacity=CapacityView(kind=status["capacity"]["kind"], total_mb=status["capacity"]["total_mb"]),
            machine=machine and _machine_of_json(machine),
            loaded_models=tuple(
                LoadedModel(name=model["name"], vram_mb=model.get("vram_mb"), is_owners=model.get("is_owners", False))
                for model in status["loaded_models"]
            ),
            load_plan=LoadPlan(**plan) if plan else None,
        )
    )


_MACHINE_FIGURES = ("total_ram_mb", "free_ram_mb", "own_ram_mb", "total_vram_mb", "free_vram_mb")


def _machine_of_json(machine: Mapping[str, Any]) -> SystemStats:
    cards = tuple(
        GpuSample(
            uuid=card["uuid"],
            name=card["name"],
            total_mb=card.get("total_mb"),
            free_mb=card.get("free_mb"),
            is_unified=card.get("is_unified", False),
            is_lost=card.get("is_lost", False),
            kept_because=card.get("kept_because", ""),
        )
        for card in machine.get("gpus", ())
    )
    figures: dict[str, Any] = {name: machine.get(name) for name in _MACHINE_FIGURES}
    return SystemStats(gpus=cards, **figures)


def shape_of_json(model: Mapping[str, Any]) -> ModelShape | None:
    """A model's shape as `titan models --json` shows it."""
    shape = model.get("shape")
    return ModelShape(**shape) if shape else None


class _Case:
    """One model in one room: its need in words, and which verdict that is."""

    def __init__(self, size_bytes: int, room: Room, shape: ModelShape | None) -> None:
        self._size_bytes, self._room, self._shape = size_bytes, room, shape
        self._plan = _spread(held(room.plan or _ANY_PLAN, shape), shape, size_bytes, room)
        self.as_wanted = rung_of(shape, size_bytes, self._plan)
        where = "graphics memory" if room.kind == "vram" else "memory"
        if self._plan.cards > 1:
            where = f"{where} on {self._plan.cards} cards"
        about = "" if shape else "about "
        self._needs = f"Needs {about}{memory_text(self.as_wanted.need_mb)} of {where}{self._for_what(self._plan)}"

    def judge(self) -> tuple[Fit, str]:
        free_mb, budget_mb, need_mb = self._room.free_mb, self._room.budget_mb, self.as_wanted.need_mb
        if free_mb is None or budget_mb is None:
            return Fit.UNKNOWN, f"{self._needs}; how much there is isn't known."
        free_mb = min(free_mb, budget_mb)
        if need_mb <= free_mb:
            return Fit.FITS, f"{self._needs}; {memory_text(free_mb)} is free."
        if (partly := self._partly(free_mb)) is not None:
            return Fit.PARTLY, partly
        free, lent = f"{memory_text(free_mb)} is free", f"you lend {memory_text(budget_mb)}"
        if (less := self.less(free_mb)) is not None:
            loaded = difference(self._plan, less.plan)
            return Fit.TIGHT, f"{self._needs}; {free} now, so it is loaded with {loaded}."
        if need_mb <= budget_mb:
            return Fit.TIGHT, f"{self._needs}; {free} now, {lent}. Close other programs first."
        if (less := self.less(budget_mb)) is not None:
            loaded = difference(self._plan, less.plan)
            return Fit.TIGHT, f"{self._needs}; {free} now, {lent}. With other programs closed, it has {loaded}."
        return Fit.TOO_BIG, f"{self._needs}; {lent}.{self._at_least()}"

    def less(self, room_mb: int) -> Rung | None:
        """A smaller load that the engine would make by itself."""
        if not self._room.can_step_down or self._shape is None:
            return None
        return best_rung(self._shape, self._size_bytes, self._plan, room_mb)

    def _partly(self, free_mb: int) -> str | None:
        """The sentence on a model of which some layers run on the card and the others fit beside it."""
        room, shape = self._room, self._shape
        if room.kind != "vram" or shape is None or room.spare_ram_mb is None:
            return None
        on_card, beside_mb = layers_on_card(shape, self._size_bytes, self._plan, free_mb)
        if on_card == 0 or beside_mb > room.spare_ram_mb:
            return None
        return (
            f"{self._needs}; {memory_text(free_mb)} is free: {on_card} of its {shape.layers} layers run on the card, "
            f"the others on the processor, much slower, in {memory_text(beside_mb)} of memory."
        )

    def _at_least(self) -> str:
        if not self._room.can_step_down or self._shape is None:
            return ""
        *_, least = plans(self._plan)
        need_mb = rung_of(self._shape, self._size_bytes, least).need_mb
        return f" Even with{self._for_what(least).removeprefix(' for')} it needs {memory_text(need_mb)}."

    def _for_what(self, plan: LoadPlan) -> str:
        if self._shape is None:
            return ""
        return f" for {counted(plan.sessions, 'session')} of {plan.context_tokens:,} tokens"


def layers_on_card(shape: ModelShape, size_bytes: int, plan: LoadPlan, card_mb: int) -> tuple[int, int]:
    """(layers that run on a card with so much room, MiB of RAM for the rest).

    As llama.cpp's and Ollama's splits do it: work buffers and the engine's own first, then whole layers, each with its
    weights and its keys and values. All layers are taken as equal.
    """
    need = memory_need(shape, size_bytes, plan)
    layer = max(1, -(-(need.weights + need.cache) // shape.layers))
    fixed = need.total - need.weights - need.cache
    on_card = max(0, min(shape.layers, (card_mb * _MIB - fixed) // layer))
    return on_card, -(-(shape.layers - on_card) * layer // _MIB)


def _spread(plan: LoadPlan, shape: ModelShape | None, size_bytes: int, room: Room) -> LoadPlan:
    """Over all cards where no single one has room: each then has work buffers and an engine's own memory."""
    if len(room.card_mb) < 2 or rung_of(shape, size_bytes, plan).need_mb <= max(room.card_mb):
        return plan
    return replace(plan, cards=len(room.card_mb))


def _card_mb(machine: SystemStats, own_mb: int) -> tuple[int, ...]:
    """What each lent card has free, ours counted. On which of them ours is isn't known here: it may be on any."""
    lent = [card for card in machine.gpus if card.is_lent and not card.is_lost and card.total_mb is not None]
    own_cards = [card for card in lent if not card.is_unified] or lent
    return tuple(min(card.total_mb or 0, card.free_mb + own_mb) for card in own_cards if card.free_mb is not None)


def _with(
    room: Room, free_mb: int | None, own_mb: int, total_mb: int | None, *, spare_ram_mb: int | None = None
) -> Room:
    """With so much free: less what must stay so, or a load would at once be one too many (core/capacity.py). Where
    others hold less than the reserve, the budget keeps more."""
    if free_mb is not None:
        free_mb = max(0, free_mb + own_mb - least_free_mb(total_mb or 0))
    return replace(room, free_mb=free_mb, spare_ram_mb=spare_ram_mb)


def _spare_ram_mb(machine: SystemStats) -> int | None:
    """RAM that layers may take which don't fit on the card: what is free, less the owner's reserve."""
    if machine.free_ram_mb is None or machine.total_ram_mb is None or is_unified(machine):
        return None  # unified: there is no other memory
    return max(0, machine.free_ram_mb - automatic_reserve_mb(machine.total_ram_mb))
