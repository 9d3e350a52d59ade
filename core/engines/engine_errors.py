"""What an engine's error means: one of a closed list of categories, and our own words for it.

An engine's error text may quote the prompt or the answer. Where a prompt was sent it is therefore only compared with
known phrases, and our sentences go into errors, logs and statuses. Only of calls without a prompt (check, list, load)
are the engine's words kept, as one short line for the owner.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from core.errors import (
    AgentError,
    EngineError,
    EngineFailed,
    EngineProtocolError,
    EngineRefusedRequest,
    EngineUnreachable,
    ModelError,
    ModelNotFound,
    NotEnoughMemory,
    PromptTooLong,
)

_MAX_SAID_CHARS = 64 << 10  # of an error text are read
_MAX_WORDS_CHARS = 300  # of it are kept, where they may be


class Category(StrEnum):
    """What a log says about an engine's error."""

    CONTEXT = "context too long"
    OPTION = "option refused"
    MEMORY = "out of memory"
    MODEL_NOT_FOUND = "model not found"
    NO_CHAT = "model cannot chat"
    UNAUTHORISED = "unauthorised"
    OVERLOADED = "overloaded"
    REDIRECTED = "redirected"
    NO_SUCH_CALL = "no such call"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    DEVICE = "compute device failed"
    MODEL_FILE = "model file not usable"
    DISK_FULL = "disk full"
    FILE_ACCESS = "file not accessible"
    TEMPLATE = "chat template failed"
    PARSER = "answer not readable to it"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineVoice:
    """Whose error it is: the engine's name for people, and the remedies that differ from engine to engine."""

    name: str
    log_hint: str = "Look at the engine's own log."
    key_hint: str = "Check the engine's address: something there asks for a key or a sign-in."
    address_hint: str = "Check the engine's address in the settings."
    memory_hint: str = "Close other programs that use the GPU, or offer a smaller model."
    missing_hint: Callable[[str], str] = lambda model: "Check its name in supported_models."


# Phrases of Ollama, llama.cpp, CUDA, HIP, Vulkan, vLLM, SGLang and LM Studio, as their sources have them.
_MEMORY_PHRASES = (
    "out of memory",
    "out of device memory",
    "more system memory",
    "more gpu memory",
    "too large for system",
    "memory layout cannot be allocated",
    "model failed to load, this may be due to resource limitations",
    "terminated: signal: killed",  # Linux did, when it had no memory left
    "not enough memory",
    "insufficient memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "cublas_status_alloc_failed",
    "failed to allocate",
    "allocation failed",
    "memory allocation of size",
    "unable to allocate",
    "cannot allocate memory",  # the system's own word for it (ENOMEM), as of a file that can't be mapped
    "paging file is too small",  # Windows' words for the same
    "insufficient system resources",
    "out_of_device_memory",
    "out_of_host_memory",
    "erroroutofmemory",
    "erroroutofdevicememory",
    "erroroutofhostmemory",
    "greater than the maximum allowed buffer size",
    "model may exceed available memory",
    "bad_alloc",
)
_CONTEXT_PHRASES = (
    "exceed_context_size",
    "context_length_exceeded",
    "exceeds the context length",
    "exceeds the available context",
    "longer than the context length",
    "longer than the model's context length",
    "longer than the maximum model length",
    "maximum context length",
    "maximum model length",
    "maximum input length",
    "exceeds maximum context",
    "context length is only",
    "context window",
    "larger than the context",
)
_NO_CHAT = re.compile(r"does not support (?:chat|generate|completion)")
_MISSING = re.compile(r"not found|not_found|notfound|does not exist|no such model")
_OPTION = re.compile(
    r"\b(?:top_p|top_k|min_p|repeat_penalty|repetition_penalty|presence_penalty|frequency_penalty|max_tokens"
    r"|num_predict)\b|(?:[\"'`]|\b(?:option|field|parameter) )(?:temperature|seed|stop)\b"
    r"|\b(?:temperature|seed|stop) (?:must|should|cannot|has to)\b"
)
# Why an engine is at fault. The first that fits is the cause, so what is most telling stands first.
_FAULT_PHRASES: tuple[tuple[Category, tuple[str, ...]], ...] = (
    (Category.DISK_FULL, ("no space left on device", "disk full", "not enough space")),
    (
        Category.MODEL_FILE,
        (
            "unable to load model",
            "failed to load model",
            "error loading model",
            "unknown model architecture",
            "unsupported model architecture",
            "invalid file magic",
        ),
    ),
    (
        Category.DEVICE,
        (
            "cuda error",
            "hip error",
            "rocm error",
            "device lost",
            "vk::",
            "compute backend",
            "compute error",
            "decode failed",
            "failed to decode",
        ),
    ),
    (Category.FILE_ACCESS, ("permission denied", "access is denied", "no such file or directory")),
    (
        Category.CRASHED,
        (
            "process has terminated",
            "process no longer running",
            "runner has unexpectedly stopped",
            "unexpected eof",
            "ggml_assert",
            "signal arrived",
            "segmentation fault",
            "connection refused",
            "enginedeaderror",
        ),
    ),
    (Category.OVERLOADED, ("server busy", "maximum pending requests", "overloaded", "too many requests")),
    (Category.CANCELLED, ("canceled", "cancelled", "aborted")),
    (Category.TEMPLATE, ("jinja", "chat template", "chat_template")),
    (Category.PARSER, ("failed to parse", "parse error", "invalid utf-8", "unexpected token")),
)
_SENTENCES: dict[Category, str] = {
    Category.CANCELLED: "it gave the work up",
    Category.CRASHED: "the process that runs the model ended",
    Category.DEVICE: "the graphics card or its driver failed",
    Category.MODEL_FILE: "it cannot use the model's file",
    Category.DISK_FULL: "its disk is full",
    Category.FILE_ACCESS: "it may not read a file, or misses one",
    Category.TEMPLATE: "the model's chat template does not work",
    Category.PARSER: "it could not read what the model wrote",
    Category.MEMORY: "memory ran out",
    Category.OVERLOADED: "it has too much to do",
}
_REMEDIES: dict[Category, str] = {
    Category.DEVICE: "Restart the engine; if it happens again, update the graphics driver.",
    Category.MODEL_FILE: "Download the model again, or update the engine.",
    Category.DISK_FULL: "Make room on the disk that holds the engine's models.",
    Category.FILE_ACCESS: "Check that the engine may read its models folder.",
    Category.TEMPLATE: "Update the engine, or offer another model.",
    Category.PARSER: "Update the engine, or offer another model.",
    Category.OVERLOADED: "Try again later.",
}


def category_of(status: int, said: str, *, model: str = "", prompt: str = "") -> Category:
    """What an error means, by its HTTP status and text. What would withdraw a model never rests on a quoted prompt.

    A client may write a known phrase into its prompt and find it in the error that quotes it: then it may be told
    something wrong, but the model stays offered to everybody else.
    """
    low, asked = said[:_MAX_SAID_CHARS].lower(), prompt.lower()
    if status in (401, 403, 407):
        return Category.UNAUTHORISED
    if _has_phrase(low, _CONTEXT_PHRASES):
        return Category.CONTEXT
    if _has_phrase(low, _MEMORY_PHRASES, unless_in=asked):
        return Category.MEMORY
    if status == 404:
        return Category.MODEL_NOT_FOUND if _names_missing_model(low, model) else Category.NO_SUCH_CALL
    if status == 405:
        return Category.NO_SUCH_CALL
    if status in (429, 502, 503, 504):
        return Category.OVERLOADED
    if 300 <= status < 400:
        return Category.REDIRECTED
    if status in (400, 422):
        if _OPTION.search(low):
            return Category.OPTION
        if any(phrase not in asked for phrase in _NO_CHAT.findall(low)):
            return Category.NO_CHAT
    return _cause_of_fault(low)


def category_of_log_line(line: str) -> Category:
    """What a line of an engine's log is about, or UNKNOWN."""
    low = line.lower()
    if _has_phrase(low, _MEMORY_PHRASES):
        return Category.MEMORY
    if _has_phrase(low, _CONTEXT_PHRASES):
        return Category.CONTEXT
    return _cause_of_fault(low)


def error_of(
    voice: EngineVoice,
    status: int,
    said: str,
    *,
    model: str = "",
    prompt: str | None = None,
    is_mid_answer: bool = False,
) -> AgentError:
    """Our error for an engine's. `prompt` None: the call carried none, so the owner may read the engine's words.

    `is_mid_answer`: text of the answer was given already. The error may quote it, so nothing is concluded from it but
    the category in the log.
    """
    category = category_of(status, said, model=model, prompt=prompt or "")
    if is_mid_answer:
        error: AgentError = EngineFailed(
            f"{voice.name} failed in the middle of the answer{_because(category)}", hint=_remedy(category, voice)
        )
    else:
        error = _error(category, voice, status, model or "the model", has_prompt=prompt is not None)
        if prompt is None and (words := one_line(said)):
            error.args = (f"{error.detail}: {words}",)
    error.category, error.engine_status = category.value, status
    return error


def _error(category: Category, voice: EngineVoice, status: int, model: str, *, has_prompt: bool) -> AgentError:
    name = voice.name
    match category:
        case Category.CONTEXT if has_prompt:
            return PromptTooLong("the prompt does not fit the model's context", hint="Send a shorter prompt.")
        case Category.OPTION if has_prompt:
            return EngineRefusedRequest("this agent's engine refuses an option of the request", hint="Leave it out.")
        case Category.MEMORY:
            return NotEnoughMemory(f"{name} has not enough memory for {model}", hint=voice.memory_hint)
        case Category.MODEL_NOT_FOUND:
            return ModelNotFound(f"{name} does not have the model {model}", hint=voice.missing_hint(model))
        case Category.NO_CHAT:
            return ModelError(f"{model} cannot answer prompts", hint="Offer a model made for chat.")
        case Category.UNAUTHORISED:
            return EngineUnreachable(
                f"{name} refuses us: it wants another key, or a sign-in ({status})", hint=voice.key_hint
            )
        case Category.NO_SUCH_CALL:
            return EngineProtocolError(f"{name} has no such API at this address ({status})", hint=voice.address_hint)
        case Category.REDIRECTED:
            return EngineProtocolError(f"{name} sends us to another address ({status})", hint=voice.address_hint)
        case Category.OVERLOADED:
            return EngineError(f"{name} cannot answer now ({status})", hint=_REMEDIES[category])
    verb = "refused the request" if 400 <= status < 500 else "failed"
    return EngineFailed(f"{name} {verb} ({status}){_because(category)}", hint=_remedy(category, voice))


def one_line(said: str) -> str:
    """An engine's words as one short line. Only for the owner, and only of calls that carried no prompt."""
    line = " ".join(said[: 4 * _MAX_WORDS_CHARS].split())
    return line if len(line) <= _MAX_WORDS_CHARS else line[:_MAX_WORDS_CHARS] + " …"


def _because(category: Category) -> str:
    sentence = _SENTENCES.get(category)
    return f": {sentence}" if sentence else ""


def _remedy(category: Category, voice: EngineVoice) -> str:
    return voice.memory_hint if category is Category.MEMORY else _REMEDIES.get(category, voice.log_hint)


def _cause_of_fault(low: str) -> Category:
    return next((category for category, phrases in _FAULT_PHRASES if _has_phrase(low, phrases)), Category.UNKNOWN)


def _has_phrase(low: str, phrases: tuple[str, ...], *, unless_in: str = "") -> bool:
    return any(phrase in low and phrase not in unless_in for phrase in phrases)


def _names_missing_model(low: str, model: str) -> bool:
    """Whether a 404 is about this very model, and not about the address."""
    name = model.lower().removesuffix(":latest")
    return bool(name) and "model" in low and _MISSING.search(low) is not None and (name in low or "model_not_f" in low)
