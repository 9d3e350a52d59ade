"""What goes over the wire to Ollama and back: request bodies, streamed lines, error texts, versions."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from core.engines import EngineModel, LoadedModel, Prompt, TokenChunk
from core.engines.engine_errors import EngineVoice, error_of
from core.engines.http import MAX_LINE_BYTES, MOST_MODELS, clean_text, count_of, is_name
from core.engines.options import NO_OPTIONS, effective_temperature
from core.errors import AgentError, EngineFailed, EngineProtocolError, EngineRefusedRequest, PromptTooLong

VOICE = EngineVoice(
    name="Ollama",
    log_hint="Look at Ollama's own log.",
    address_hint="Check OLLAMA_HOST.",
    missing_hint=lambda model: f"ollama pull {model}",
)

# `truncate` and `shift` came with v0.12.6 (Ollama's commit 6544e1473): an older one ignores them, cuts and answers 200.
FIRST_HONEST_VERSION = (0, 12, 6)
UPDATE_HINT = "Update Ollama to 0.12.6 or later."
TEMPLATE_TOKENS = 256  # what a chat template and its system text add at most, taken for an Ollama that cuts silently
SMALLEST_CONTEXT = 2048  # taken for a model of an old Ollama that tells nothing: no chat model has less
# Ollama drops an answer without a last line once the same piece came more than 30 times (its llm server's loop).
MAX_REPEATS = 30
TAIL_BYTES = 8192  # kept of each of the last batches; 30 lines are half of that
_EMBEDDING_FAMILIES = frozenset({"bert", "nomic-bert", "nomic-bert-moe"})
_OPTION_NAMES = (
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)

# One whole line of plain content, exactly as Ollama writes it. `findall` over a batch costs a third of json.loads over
# it (0.4 µs against 0.8 µs to 3 µs per line); as many matches as lines means that nothing else is in the batch.
_PLAIN_LINE = re.compile(
    rb'^\{"model":"[^"\\\n]*","created_at":"[^"\\\n]*",'
    rb'"message":\{"role":"assistant","content":"([^"\\\n]*(?:\\.[^"\\\n]*)*)"\},"done":false\}\n',
    re.MULTILINE,
)


def chat_body(prompt: Prompt, *, context_tokens: int, keep_alive: str, num_predict: int) -> dict[str, Any]:
    """The body of POST /api/chat. `keep_alive` "" leaves the model's own as it is.

    /api/chat and not /api/generate: both render the model's own template, but generate reads an empty prompt as "only
    load", and ends with the whole conversation as an array of token numbers. `think` false is safe for every model:
    Ollama refuses only `true` where one cannot think. `truncate` and `shift` false: an error instead of a silent cut.
    """
    options: dict[str, Any] = {
        "num_ctx": context_tokens,
        "num_predict": num_predict,
        "temperature": effective_temperature(prompt.temperature, prompt.options),
    }
    if prompt.options is not NO_OPTIONS:
        for name in _OPTION_NAMES:
            value = getattr(prompt.options, name)
            if value is not None:
                options[name] = value
        if prompt.options.stop:
            options["stop"] = list(prompt.options.stop)
    return {
        "model": prompt.model,
        "messages": [{"role": "user", "content": prompt.text}],
        "stream": True,
        "think": False,
        "truncate": False,
        "shift": False,
        **({"keep_alive": keep_alive} if keep_alive else {}),
        "options": options,
    }


def load_body(model: str, *, context_tokens: int, keep_alive: str) -> dict[str, Any]:
    """The body of POST /api/generate that only loads. Same num_ctx and shift as chat's: others would load it again."""
    return {
        "model": model,
        "stream": False,
        "truncate": False,
        "shift": False,
        "keep_alive": keep_alive,
        "options": {"num_ctx": context_tokens},
    }


class LineReader:
    """Cut what has arrived into whole lines."""

    def __init__(self) -> None:
        self.rest = b""  # the beginning of a line whose end has not arrived

    def feed(self, arrived: bytes) -> bytes:
        """All lines that are whole now, the line ends included; b"" while none is."""
        if self.rest:
            arrived = self.rest + arrived
        cut = arrived.rfind(b"\n") + 1
        if cut == len(arrived):
            self.rest = b""
            return arrived
        self.rest = arrived[cut:]
        if len(self.rest) > MAX_LINE_BYTES:
            raise EngineProtocolError("Ollama sent a line without an end")
        return arrived[:cut]


@dataclass(slots=True)
class Batch:
    """What a batch of lines held. `error` comes after the text; `final` is the line with done: true."""

    text: str = ""
    tokens: int = 0
    final: dict[str, Any] | None = None
    error: AgentError | None = None


def read_plain(lines: bytes) -> tuple[str, int] | None:
    """(text, tokens) when every line is plain content, else None. `lines` ends with a line end. The hot path."""
    pieces = _PLAIN_LINE.findall(lines)
    if len(pieces) != lines.count(b"\n"):
        return None
    joined = b"".join(pieces)
    try:
        text = joined.decode() if b"\\" not in joined else clean_text(json.loads(b'"' + joined + b'"'))
    except ValueError:
        return None  # read_lines says what is wrong
    return text, len(pieces) - pieces.count(b"")


def read_lines(lines: bytes, prompt: Prompt, *, is_mid_answer: bool = False) -> Batch:
    """Any batch of whole lines: content, thinking, errors, the end, garbage. Stops at the first fault or end.

    `is_mid_answer`: a part of the answer came before these lines.
    """
    batch = Batch()
    texts: list[str] = []
    last = lines.rfind(b"\n", 0, -1) + 1
    plain = read_plain(lines[:last]) if last else None
    if plain is not None:  # a short answer whole: only its last line is none of content
        texts.append(plain[0])
        batch.tokens = plain[1]
        lines = lines[last:]
    for line in lines.split(b"\n"):
        if not line.strip():
            continue
        event = _read_event(line)
        if isinstance(event, AgentError):
            batch.error = event
            break
        if "error" in event:
            batch.error = stream_error(event, prompt, is_mid_answer=is_mid_answer or batch.tokens > 0)
            break
        message = event.get("message")
        if not isinstance(message, dict) or not isinstance(message.get("content", ""), str):
            batch.error = EngineProtocolError("Ollama sent a line that is no part of a chat answer")
            break
        content = message.get("content", "")
        texts.append(content)
        if content or message.get("thinking"):
            batch.tokens += 1
        if event.get("done") is True:
            batch.final = event
            break
    batch.text = clean_text("".join(texts))
    return batch


def _read_event(line: bytes) -> dict[str, Any] | AgentError:
    try:
        event = json.loads(line.decode())  # of bytes it would guess the encoding first
    except (ValueError, RecursionError):
        return EngineProtocolError("Ollama sent a line that is not JSON")
    return event if isinstance(event, dict) else EngineProtocolError("Ollama sent a line that is not a JSON object")


def early_end(recent: Collection[bytes], rest: bytes, prompt: Prompt) -> AgentError:
    """Why a stream ended without done: true. `recent` is the end of what came, `rest` a last line without its end.

    A model that repeats itself is not the engine's fault, and any client can ask for it: if it counted as a fault,
    three prompts would open the circuit breaker for everybody.
    """
    if rest:
        error = read_lines(rest, prompt, is_mid_answer=bool(recent)).error
        if error is not None and not isinstance(error, EngineProtocolError):
            return error
    lines = b"".join(recent).split(b"\n")[-MAX_REPEATS - 1 : -1]
    pieces = [read_lines(line, prompt).text.strip() for line in lines]
    if len(pieces) == MAX_REPEATS and len(set(pieces)) == 1:
        return EngineRefusedRequest(
            "the engine ended the answer: the model only repeated itself", hint="Ask in another way."
        )
    return EngineFailed("Ollama ended the answer early", hint="Look at Ollama's own log.")


def final_chunk(batch: Batch, seen_tokens: int, context_tokens: int) -> TokenChunk:
    """The last piece. Raises PromptTooLong when the prompt filled the whole context: it was cut, or left no room."""
    final = batch.final or {}
    prompt_tokens = count_of(final.get("prompt_eval_count"))
    completion = count_of(final.get("eval_count"))
    if prompt_tokens is not None and prompt_tokens >= context_tokens:
        raise PromptTooLong(
            f"the prompt fills the context of {context_tokens} tokens: Ollama cut it, or had no room to answer",
            hint="Send a shorter prompt.",
        )
    tokens = batch.tokens if completion is None else max(0, completion - seen_tokens)
    reason = "length" if final.get("done_reason") == "length" else "stop"
    return TokenChunk(batch.text, tokens, True, reason, prompt_tokens, completion)


def stream_error(event: dict[str, Any], prompt: Prompt, *, is_mid_answer: bool) -> AgentError:
    """An {"error": ...} line inside a 200 answer."""
    said = event["error"] if isinstance(event["error"], str) else json.dumps(event["error"])
    return error_of(VOICE, 500, said, model=prompt.model, prompt=prompt.text, is_mid_answer=is_mid_answer)


def error_text(body: Any) -> str:
    """The message inside an error answer, whatever its form."""
    if isinstance(body, dict) and "error" in body:
        return body["error"] if isinstance(body["error"], str) else json.dumps(body["error"])
    return body if isinstance(body, str) else json.dumps(body)


@lru_cache(maxsize=16)  # asked for each session
def is_honest_version(version: str) -> bool:
    """Whether this Ollama honours truncate: false. "0.0.0" is built from source and counts as new; nonsense as old."""
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", version)
    if not found:
        return False
    numbers = tuple(int(part or 0) for part in found.groups())
    return numbers == (0, 0, 0) or numbers >= FIRST_HONEST_VERSION


def read_models(body: Any) -> tuple[EngineModel, ...]:
    """The models of /api/tags that run on this machine and can chat.

    Left out: models that Ollama forwards to its cloud (`remote_host`: a stranger's prompt would leave this machine, on
    the owner's account), and models that can only embed.
    """
    return tuple(_read_model(entry) for entry in _entries(body) if _can_serve(entry))


def _can_serve(entry: dict[str, Any]) -> bool:
    if not is_name(entry["name"]):
        return False
    if entry.get("remote_host") or entry.get("remote_model"):
        return False
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, list):
        return "completion" in capabilities
    return _details(entry).get("family") not in _EMBEDDING_FAMILIES


def _read_model(entry: dict[str, Any]) -> EngineModel:
    details = _details(entry)
    quant = details.get("quantization_level")
    return EngineModel(
        name=entry["name"],
        size_bytes=count_of(entry.get("size")),
        quant=quant if isinstance(quant, str) and quant != "unknown" else "",
        context_tokens=count_of(details.get("context_length")) or None,
    )


def read_loaded(body: Any) -> tuple[LoadedModel, ...]:
    """The models of /api/ps. Sizes are bytes there and MiB here."""
    return tuple(
        LoadedModel(
            name=entry["name"],
            total_mb=_mb(count_of(entry.get("size"))),
            vram_mb=_mb(count_of(entry.get("size_vram", 0))),
            context_tokens=count_of(entry.get("context_length")) or None,
        )
        for entry in _entries(body)
    )


def read_expiries(body: Any) -> dict[str, str]:
    """When each model of /api/ps would leave memory, as Ollama writes it; "" from one that doesn't say."""
    return {entry["name"]: str(entry.get("expires_at") or "") for entry in _entries(body)}


def read_digests(body: Any) -> dict[str, str]:
    """What each model of /api/tags or /api/ps is, by name. Two names of one model have the same; "" isn't said."""
    return {entry["name"]: str(entry.get("digest") or "") for entry in _entries(body)}


def read_trained_context(body: Any) -> int | None:
    """The context that a model was trained for, from /api/show; None when an old Ollama doesn't say."""
    info = body.get("model_info") if isinstance(body, dict) else None
    if not isinstance(info, dict):
        return None
    return next((count_of(value) for name, value in info.items() if name.endswith(".context_length")), None)


def _entries(body: Any) -> list[dict[str, Any]]:
    models = body.get("models") if isinstance(body, dict) else None
    if models is None and isinstance(body, dict) and "models" in body:
        return []  # Go writes an empty list as null
    if not isinstance(models, list) or not all(isinstance(m, dict) and isinstance(m.get("name"), str) for m in models):
        raise EngineProtocolError(
            "what answers is not Ollama: its list of models has another form", hint="Check OLLAMA_HOST."
        )
    return models[:MOST_MODELS]


def _details(entry: dict[str, Any]) -> dict[str, Any]:
    details = entry.get("details")
    return details if isinstance(details, dict) else {}


def _mb(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else round(size_bytes / (1 << 20))
