"""What the models page says: the snapshot's models and downloads as rows of text. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from core.engines import EngineModel, MissingModel
from core.engines.names import find_model, same_model
from core.first_tokens import find_first_token, first_token_words
from core.fit import FitRule, FitVerdict, judge, room_of
from core.missing_models import is_on_hub
from core.plurals import counted
from core.pull_offer import verdict_by_name
from core.snapshot import AgentSnapshot, PullView
from core.speed_book import find_speed, speed_words
from titan_gui.plain_text import plain, sentences
from titan_gui.view_model import duration_text, memory_text, size_text

ENGINE_NAMES = {
    "ollama": "Ollama",
    "embedded": "Embedded engine (llama.cpp)",
    "openai": "OpenAI-compatible server",
}
SELFTEST_NOTE = "For the self-test only: random weights, its answers are noise. Never offered to strangers."


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model that the engine has."""

    name: str
    facts: str  # "4.9 GB · Q4_K_M · in memory"
    verdict: FitVerdict
    is_offered: bool
    is_loaded: bool
    is_selftest: bool
    can_offer: bool
    can_delete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRow:
    """One model that is offered and not here."""

    name: str
    facts: str
    verdict: FitVerdict | None  # None where its name doesn't tell how big it is
    pull_name: str  # what to download; "": to be asked for
    can_get: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRow:
    """One download, running or just ended."""

    name: str
    text: str
    share: float | None  # 0 to 1; None while it isn't known
    is_running: bool
    is_problem: bool
    can_go_on: bool = False  # it was broken off, and another try goes on from there
    wanted_as: str = ""  # the offered name that it is for


def model_rows(snapshot: AgentSnapshot, rule: FitRule = judge) -> tuple[ModelRow, ...]:
    """Real models by name, the self-test model last."""
    room = room_of(snapshot)
    rows = []
    for model in sorted(snapshot.models, key=lambda model: (model.is_selftest, model.name.casefold())):
        is_offered = find_model(model.name, snapshot.offered_models) is not None or _choice(snapshot, model) != ""
        rows.append(
            ModelRow(
                name=model.name,
                facts=_facts(snapshot, model),
                verdict=rule(model.size_bytes, room, model.shape),
                is_offered=is_offered,
                is_loaded=_is_loaded(snapshot, model),
                is_selftest=model.is_selftest,
                can_offer=is_offered or not model.is_selftest,
                can_delete=model.name in snapshot.pulled_models,
            )
        )
    return tuple(rows)


def missing_rows(snapshot: AgentSnapshot) -> tuple[MissingRow, ...]:
    """What is wanted and not here, but for what is being downloaded."""
    room = room_of(snapshot)
    coming = [name for pull in snapshot.pulls if pull.phase == "running" for name in (pull.model, pull.wanted_as)]
    rows = []
    for model in snapshot.missing_models:
        if any(same_model(model.pull_name, name) or same_model(model.name, name) for name in coming):
            continue
        rows.append(
            MissingRow(
                name=model.name,
                facts=_missing_facts(model, snapshot.engine.name),
                verdict=verdict_by_name(model.size_bytes, room),
                pull_name=model.pull_name,
                can_get=bool(model.pull_name) or snapshot.engine.name == "embedded",
            )
        )
    return tuple(rows)


def pull_rows(snapshot: AgentSnapshot) -> tuple[PullRow, ...]:
    return tuple(
        PullRow(
            name=pull.model,
            text=sentences(pull_text(pull), *_fit_now_known(snapshot, pull)),
            share=_share(pull),
            is_running=pull.phase == "running",
            is_problem=pull.phase == "failed",
            can_go_on=pull.phase in ("failed", "cancelled"),
            wanted_as=pull.wanted_as,
        )
        for pull in snapshot.pulls
    )


def pull_text(pull: PullView) -> str:
    """ "1.2 GB of 4.9 GB · 20.0 MB/s · 3 min left", or how it ended."""
    if pull.phase == "done":
        if pull.served_as:
            return f"Downloaded. It is offered as {pull.served_as}, as you wished."
        return "Downloaded. It is offered to nobody before you switch that on."
    if pull.phase == "cancelled":
        return "Cancelled. What has come already is kept: another try goes on from there."
    if pull.phase == "failed":
        return sentences(f"Not downloaded: {plain(pull.problem)}", plain(pull.hint))
    if pull.total_bytes is None or pull.completed_bytes is None:
        return f"{pull.status[:1].upper()}{pull.status[1:]}" if pull.status else "Starting"
    parts = [f"{size_text(pull.completed_bytes)} of {size_text(pull.total_bytes)}"]
    if pull.bytes_per_second:
        parts.append(f"{size_text(int(pull.bytes_per_second))}/s")
        left = pull.total_bytes - pull.completed_bytes
        if left > 0:
            parts.append(f"{duration_text(left / pull.bytes_per_second)} left")
    return " · ".join(parts)


def engine_text(snapshot: AgentSnapshot) -> str:
    """ "Ollama 0.6.3, on CUDA0"; how the engine is where it isn't ready."""
    engine = snapshot.engine
    if not engine.name:
        return "The engine has not been chosen yet."
    status = engine.status
    name = " ".join(part for part in (ENGINE_NAMES.get(engine.name, engine.name), status.version) if part)
    if status.state in ("fault", "attention"):
        return sentences(f"{name}: {plain(status.detail)}", plain(status.hint))
    return f"{name}, on {status.device}" if status.device else name


def add_text(engine: str) -> str:
    """How a model comes to this engine."""
    match engine:
        case "ollama":
            return "Names are listed on ollama.com/library. A download starts only when you ask for it."
        case "embedded":
            return (
                "Models are on huggingface.co: type the name of a page there that ends in -GGUF, and you see its files "
                "with the best one that fits chosen. A download starts only when you ask for it. "
                "Or put a model's file (its name ends in .gguf) into the models folder: it appears here by itself."
            )
        case "openai":
            return "To add a model, load it in that server. It appears here by itself."
    return ""


def model_site(engine: str) -> str:
    """Where this engine's models, or Ollama itself, come from; "" where there is no such place."""
    return {"ollama": "ollama.com/library", "embedded": "huggingface.co"}.get(engine, "")


def name_example(engine: str) -> str:
    """What a model's name looks like, for the empty field."""
    if engine == "embedded":
        return "Name of a model, for example bartowski/Llama-3.2-3B-Instruct-GGUF"
    return "Name of a model, for example llama3.2:3b"


def takes_files(engine: str) -> bool:
    """Whether a model is added by putting its file into the models folder."""
    return engine == "embedded"


def can_pull(engine: str) -> bool:
    return engine in ("ollama", "embedded")


def summary_text(rows: tuple[ModelRow, ...]) -> str:
    real = [row for row in rows if not row.is_selftest]
    if not real:
        return "There is no model yet but the built-in one for tests." if rows else "There is no model yet."
    offered = sum(row.is_offered for row in real)
    return f"{counted(len(real), 'model')}, {offered} offered to the network."


def _facts(snapshot: AgentSnapshot, model: EngineModel) -> str:
    parts = [size_text(model.size_bytes) if model.size_bytes else "Size unknown", model.quant]
    for loaded in snapshot.loaded_models:
        if same_model(loaded.name, model.name):
            parts.append(f"in memory ({memory_text(loaded.total_mb)})" if loaded.total_mb else "in memory")
            parts.append(loaded.note)
    parts.append(speed_words(find_speed(snapshot.speeds, model.name, snapshot.engine.status.device)))
    parts.append(first_token_words(find_first_token(snapshot.first_tokens, model.name)))
    parts.append(_choice(snapshot, model))
    return " · ".join(part for part in parts if part)


def _missing_facts(model: MissingModel, engine: str) -> str:
    size = f"about {size_text(model.size_bytes)} by its name" if model.size_bytes else ""
    if not size and model.pull_name:
        is_asked = engine == "embedded" or is_on_hub(model.pull_name)
        size = (
            "you are told how big it is before it comes" if is_asked else "how big it is, is known only once it comes"
        )
    where = f"its file {model.gone_file} is not there" if model.gone_file else ""
    if not model.pull_name and not where:
        where = "you say which page has it" if engine == "embedded" else "to be loaded in that server"
    return " · ".join(part for part in ("Wanted, not here", size, where) if part)


def _fit_now_known(snapshot: AgentSnapshot, pull: PullView) -> tuple[str, ...]:
    """How big a model of Ollama's library is, nobody knows before it comes: its verdict is told as soon as it does."""
    if pull.phase != "running" or snapshot.engine.name != "ollama" or is_on_hub(pull.model) or not pull.total_bytes:
        return ()
    verdict = judge(pull.total_bytes, room_of(snapshot))
    return (f"{verdict.fit.capitalize()}: {verdict.sentence}",)


def _choice(snapshot: AgentSnapshot, model: EngineModel) -> str:
    """Under which name, and why, this file is served for a model that is offered in any quantisation."""
    chosen = next((choice for choice in snapshot.chosen_quants if choice.model == model.name), None)
    return f"Served as {chosen.offered}. {chosen.reason}" if chosen else ""


def _is_loaded(snapshot: AgentSnapshot, model: EngineModel) -> bool:
    return any(same_model(loaded.name, model.name) for loaded in snapshot.loaded_models)


def _share(pull: PullView) -> float | None:
    if pull.phase == "done":
        return 1.0
    if not pull.total_bytes or pull.completed_bytes is None:
        return None
    return min(1.0, pull.completed_bytes / pull.total_bytes)
