"""The answers to the first questions, as typed: checked, kept in a draft file, turned into settings. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from core.capacity import automatic_reserve_mb
from core.config import DECLARATIONS
from core.config_load import Layer, LoadedSettings
from core.config_values import BadValue, parse_text
from core.engines.names import same_model
from core.errors import ConfigError, StorageError
from core.json_file import JsonFile
from core.network import (
    DEFAULT_COORDINATOR_PORT,
    is_loopback_endpoint,
    is_loopback_host,
    is_unspecified_host,
    parse_endpoint,
    parse_host,
)
from core.snapshot import AgentSnapshot

DRAFT_NAME = "setup-draft.json"
SHARES = ("", "away", "always", "by_hand")
# Sessions share the speed, and each should stay faster than a person reads.
_FLUENT_TOKENS_PER_S = 10.0
_MOST_SUGGESTED = 4  # as many as `titan run` takes when nothing is set


class Step(IntEnum):
    COORDINATOR = 0
    ADDRESS = 1
    SHARE = 2
    MODEL = 3
    WHEN = 4
    TEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupDraft:
    """The answers so far. Text stays as it was typed, also where it is wrong."""

    step: int = 0
    coordinator_endpoint: str = "localhost:50051"
    coordinator_tls: bool = False
    public_host: str = ""  # "" = not answered: the window suggests one
    agent_port: str = "50052"
    memory_kind: str = "ram"  # which memory `reserve_mb` speaks of: "ram" or "vram"
    reserve_mb: int = 0  # 0 = automatic
    max_concurrent_jobs: int = 1
    model: str = ""  # "" = none yet
    is_without_model: bool = False  # "nothing for now" was chosen: no model is put forward again
    share: str = ""  # "always", "by_hand" or "away" (only while nobody uses the machine); "" = not answered
    idle_minutes: float = 3.0  # what "away" means; shown, not asked


def suggested_sessions(tokens_per_second: float) -> int:
    """How many sessions at once a model is fast enough for, by what one alone got in the test; 1 to 4.

    Whether memory has room for them is the engine's to say: it loads with fewer where it hasn't.
    """
    if not math.isfinite(tokens_per_second):
        return 1
    return max(1, min(_MOST_SUGGESTED, int(tokens_per_second / _FLUENT_TOKENS_PER_S)))


def draft_of(loaded: LoadedSettings) -> SetupDraft:
    """The first answers: what is set already, else defaults that suit a person at home.

    The default model is nobody's choice: put in here, it would be offered one day without a question.
    """
    settings = loaded.settings
    is_default = loaded.origins["supported_models"].layer is Layer.DEFAULT
    offered = () if is_default else settings.supported_models
    is_set = loaded.origins["max_concurrent_jobs"].layer is not Layer.DEFAULT
    is_home = is_loopback_host(settings.public_host)
    when = (loaded.origins["share"].layer, loaded.origins["pause_while_in_use"].layer)
    is_when_set = settings.setup_done or when != (Layer.DEFAULT, Layer.DEFAULT)
    share = "away" if settings.pause_while_in_use and settings.share == "always" else settings.share
    kind = "vram" if settings.vram_reserve_mb else "ram"
    return SetupDraft(
        memory_kind=kind,
        reserve_mb=settings.vram_reserve_mb if kind == "vram" else settings.ram_reserve_mb,
        coordinator_endpoint=settings.coordinator_endpoint,
        coordinator_tls=settings.coordinator_tls,
        public_host="" if is_home else settings.public_host,
        agent_port=str(settings.agent_port),
        max_concurrent_jobs=settings.max_concurrent_jobs if is_set or settings.setup_done else 1,
        model=offered[0] if offered else "",
        is_without_model=settings.setup_done and not offered,
        share=share if is_when_set else "",
        idle_minutes=settings.idle_minutes,
    )


def read_draft(folder: Path, default: SetupDraft) -> SetupDraft:
    """The kept draft; what it doesn't hold, or holds damaged, is the default's. Never raises."""
    return _file_in(folder, default).load() or default


def write_draft(folder: Path, draft: SetupDraft) -> None:
    """Raises StorageError."""
    _file_in(folder, draft).write(asdict(draft))


def _file_in(folder: Path, default: SetupDraft) -> JsonFile[SetupDraft]:
    return JsonFile(folder / DRAFT_NAME, "draft of the setup", lambda document: _draft_of(document, default))


def _draft_of(document: Any, default: SetupDraft) -> SetupDraft:
    """Raises ValueError, or AttributeError for what is no object."""
    values = asdict(default)
    for name, usual in asdict(default).items():
        value = document.get(name)
        if type(value) is type(usual):
            values[name] = value
    draft = SetupDraft(**values)
    is_sane = (
        0 <= draft.step <= Step.TEST and 0 <= draft.reserve_mb <= 1 << 24 and 1 <= draft.max_concurrent_jobs <= 256
    )
    if not is_sane or draft.share not in SHARES or draft.memory_kind not in ("ram", "vram"):
        raise ValueError("an answer that can't be")
    return draft


def drop_draft(folder: Path) -> None:
    """The answers have become settings. Raises StorageError."""
    try:
        (folder / DRAFT_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot remove {folder / DRAFT_NAME}: {error.strerror}") from error


def problem_of(draft: SetupDraft, step: Step) -> str:
    """Why this step can't be left, one sentence; "" when it can. Never raises."""
    match step:
        case Step.COORDINATOR:
            return _endpoint_problem(draft.coordinator_endpoint)
        case Step.ADDRESS:
            return _host_problem(draft) or _port_problem(draft.agent_port)
    return ""


def changes_of(draft: SetupDraft, loaded: LoadedSettings) -> dict[str, str | None]:
    """The settings that the last click writes; those that the environment or the command line decide are left out.

    Without a model nothing is offered: an empty list, written, never the default one. A second run of the setup doesn't
    withdraw what else is offered, unless the owner says "nothing".
    """
    is_chosen = loaded.settings.setup_done and loaded.origins["supported_models"].layer is not Layer.DEFAULT
    others = loaded.settings.supported_models if is_chosen and draft.model else ()
    models = [draft.model, *(name for name in others if not same_model(name, draft.model))]
    changes: dict[str, str | None] = {
        "coordinator_endpoint": draft.coordinator_endpoint.strip(),
        "coordinator_tls": "true" if draft.coordinator_tls else "false",
        "public_host": draft.public_host.strip(),
        "agent_port": draft.agent_port.strip(),
        f"{draft.memory_kind}_reserve_mb": str(draft.reserve_mb),
        "max_concurrent_jobs": str(draft.max_concurrent_jobs),
        "supported_models": ",".join(name for name in models if name),
        "share": "by_hand" if draft.share == "by_hand" else "always",
        "setup_done": "true",
    }
    if draft.share != "by_hand":  # else a rule that the owner has made since stays
        changes["pause_while_in_use"] = "true" if draft.share == "away" else "false"
    decided = (Layer.ENVIRONMENT, Layer.COMMAND_LINE)
    return {name: text for name, text in changes.items() if loaded.origins[name].layer not in decided}


def suggested_host(draft: SetupDraft, found: tuple[str, ...]) -> str:
    """What to fill in: the answer, if it can be one beside this coordinator."""
    if is_loopback_endpoint(draft.coordinator_endpoint):
        return draft.public_host or "localhost"
    if draft.public_host.strip() and not is_loopback_host(draft.public_host.strip()):
        return draft.public_host
    return found[0] if found else draft.public_host


@dataclass(frozen=True, slots=True, kw_only=True)
class Shareable:
    """What this machine can lend, as the running agent sees it."""

    kind: str  # "ram" or "vram"
    total_mb: int | None
    sentence: str
    card_hint: str = ""  # a graphics card that this engine doesn't use


def shareable(snapshot: AgentSnapshot) -> Shareable:
    machine, kind = snapshot.machine, snapshot.capacity.kind
    names = ", ".join(dict.fromkeys(gpu.name for gpu in machine.gpus if gpu.is_lent)) if machine else ""
    if kind == "vram":
        return Shareable(
            kind=kind,
            total_mb=machine.total_vram_mb if machine else None,
            sentence=f"You share your graphics card: {names}." if names else "You share your graphics card.",
        )
    is_unified = machine is not None and any(gpu.is_unified for gpu in machine.gpus)
    hint = ""
    if names and not is_unified and snapshot.engine.name != "ollama":
        hint = f"Your {names} needs Ollama: install it from ollama.com, and it is used by itself."
    return Shareable(
        kind="ram",
        total_mb=machine.total_ram_mb if machine else None,
        sentence="You share this computer's processor and memory.",
        card_hint=hint,
    )


def reserve_of(draft: SetupDraft, what: Shareable) -> int | None:
    """What stays the owner's, MiB; None while the memory isn't measured."""
    if what.total_mb is None:
        return None
    chosen = draft.reserve_mb if draft.memory_kind == what.kind else 0
    return chosen or automatic_reserve_mb(what.total_mb)


def _endpoint_problem(text: str) -> str:
    try:
        address = parse_endpoint(text.strip(), default_port=DEFAULT_COORDINATOR_PORT)
    except ConfigError as error:
        return f"{error.detail}. {error.hint}" if text.strip() else "Type the coordinator's address."
    if is_unspecified_host(address.host):
        return f"{address.host} can be listened on, not connected to. Use localhost."
    return ""


def _host_problem(draft: SetupDraft) -> str:
    text = draft.public_host.strip()
    if not text:
        return "Type the address under which others reach this computer."
    if text.count(":") == 1 or "]:" in text or "://" in text:
        return "Type the address alone; the port has its own field."
    try:
        host = parse_host(text)
    except ConfigError as error:
        return f"{error.detail}. {error.hint}"
    is_only_here = is_loopback_host(host) or is_unspecified_host(host)
    if is_only_here and not is_loopback_endpoint(draft.coordinator_endpoint):
        return f"{text} means this computer alone: nobody else could reach it. Choose another address."
    return ""


def _port_problem(text: str) -> str:
    try:
        parse_text(DECLARATIONS["agent_port"], text)
    except BadValue as error:
        return f"The port {error}."
    return ""
