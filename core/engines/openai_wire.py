"""What goes over the wire to an OpenAI-compatible server: flavours, request bodies, server-sent events, errors."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.engines import Prompt, TokenChunk
from core.engines.engine_errors import EngineVoice, error_of
from core.engines.http import MAX_LINE_BYTES, clean_text, count_of
from core.engines.options import effective_temperature
from core.errors import AgentError, EngineFailed, EngineProtocolError, PromptTooLong, RequestError

KEY_HINT = "Check the API key of the OpenAI-compatible server (openai_api_key)."
TEMPLATE_TOKENS = 256  # what a chat template adds at most, where the prompt's size must be bounded by its bytes
_MAX_STOPS_OF_OPENAI = 4
_OPENAI_OPTIONS = ("top_p", "seed", "presence_penalty", "frequency_penalty")


class Flavour(StrEnum):
    """Which server it is, told from /v1/models. It decides what may be sent beyond OpenAI's schema."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vLLM"
    SGLANG = "SGLang"
    LM_STUDIO = "LM Studio"
    GENERIC = "OpenAI-compatible"

    @property
    def refuses_long_prompts(self) -> bool:
        """Whether a prompt over the context is surely an error there; others may cut it silently."""
        return self in (Flavour.LLAMA_CPP, Flavour.VLLM, Flavour.SGLANG)


# Our option → the server's own name for it, where OpenAI's schema has none (each server's documentation of its API).
_EXTENSIONS: dict[Flavour, dict[str, str]] = {
    Flavour.LLAMA_CPP: {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"},
    Flavour.VLLM: {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
    Flavour.SGLANG: {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
    Flavour.LM_STUDIO: {"top_k": "top_k", "repeat_penalty": "repeat_penalty"},
    Flavour.GENERIC: {},
}
_OWNERS = {"llamacpp": Flavour.LLAMA_CPP, "vllm": Flavour.VLLM, "sglang": Flavour.SGLANG}


def flavour_of(entries: list[dict[str, Any]]) -> Flavour:
    """The flavour by the `owned_by` of the listed models."""
    for entry in entries:
        flavour = _OWNERS.get(str(entry.get("owned_by")).lower())
        if flavour is not None:
            return flavour
    return Flavour.GENERIC


def chat_body(prompt: Prompt, flavour: Flavour) -> dict[str, Any]:
    """The body of POST /v1/chat/completions. Raises RequestError for an option that this server cannot honour."""
    body: dict[str, Any] = {
        "model": prompt.model,
        "messages": [{"role": "user", "content": prompt.text}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": prompt.max_tokens,
        "temperature": effective_temperature(prompt.temperature, prompt.options),
    }
    for name in _OPENAI_OPTIONS:
        value = getattr(prompt.options, name)
        if value is not None:
            body[name] = value
    if prompt.options.stop:
        if flavour is Flavour.GENERIC and len(prompt.options.stop) > _MAX_STOPS_OF_OPENAI:
            raise RequestError(f"this agent's engine takes at most {_MAX_STOPS_OF_OPENAI} stop texts")
        body["stop"] = list(prompt.options.stop)
    extensions = _EXTENSIONS[flavour]
    for name in ("top_k", "min_p", "repeat_penalty"):
        value = getattr(prompt.options, name)
        if value is None:
            continue
        if name not in extensions:
            raise RequestError(f"this agent's engine ({flavour}) does not know the option {name}", hint="Leave it out.")
        body[extensions[name]] = value
    if flavour is Flavour.LLAMA_CPP:
        # Events while a long prompt is computed: it notices a closed socket only when it writes, and otherwise looks
        # once a second.
        body["return_progress"] = True
    if flavour.refuses_long_prompts:  # the same three take this; others may refuse an unknown field
        body["chat_template_kwargs"] = {"enable_thinking": False}
    return body


class SseReader:
    """Cut what has arrived into the data of whole server-sent events (WHATWG HTML, "Server-sent events")."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, arrived: bytes) -> list[bytes]:
        """The data of every event that is whole now. Raises EngineProtocolError for what is no event stream."""
        text = self._rest + arrived if self._rest else arrived
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        cut = text.rfind(b"\n\n")
        if cut < 0:
            self._rest = text
            if len(text) > MAX_LINE_BYTES:
                raise EngineProtocolError("the engine sent an event without an end")
            return []
        self._rest = text[cut + 2 :]
        return _data_of(text[:cut])

    def end(self) -> list[bytes]:
        """What is left when the stream has ended: an event whose blank line never came."""
        rest, self._rest = self._rest.strip(), b""
        return _data_of(rest.replace(b"\r\n", b"\n")) if rest else []


def _data_of(text: bytes) -> list[bytes]:
    found: list[bytes] = []
    for block in text.split(b"\n\n"):
        if block[:6] == b"data: " and b"\n" not in block:  # nearly every event of every server
            found.append(block[6:])
            continue
        data = _data_of_block(block)
        if data is not None:
            found.append(data)
    return found


def _data_of_block(block: bytes) -> bytes | None:
    """The joined data lines of one event; None for an event without data (a comment that keeps the line open)."""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        name, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data" and colon:
            data.append(value)
        elif name == b"error" and colon:  # an older llama-server reports so
            data.append(b'{"error":' + value + b"}")
        elif line.startswith(b"{"):  # an error object without any field name
            data.append(line)
        elif name not in (b"", b"event", b"id", b"retry"):
            raise EngineProtocolError("the engine sent a line that belongs to no event stream")
    return b"\n".join(data) if data else None


@dataclass(slots=True)
class Batch:
    """What a batch of events held. `error` comes after the text."""

    text: str = ""
    tokens: int = 0
    error: AgentError | None = None


class ChatReader:
    """Read one answer's events: text and tokens per batch, and how it ended."""

    def __init__(self, prompt: Prompt, voice: EngineVoice) -> None:
        self._prompt = prompt
        self._voice = voice
        self._engine = voice.name
        self.is_done = False  # [DONE] was seen
        self.finish_reason = ""
        self.seen_tokens = 0
        self._prompt_tokens: int | None = None
        self._completion_tokens: int | None = None

    def read(self, payloads: list[bytes]) -> Batch:
        batch = Batch()
        if payloads and payloads[-1].strip() == b"[DONE]":
            self.is_done = True
            payloads = payloads[:-1]
        texts: list[str] = []
        for event in self._parse(payloads):
            batch.error = self._read_event(event, texts, batch)
            if batch.error is not None:
                break
        batch.text = clean_text("".join(texts))
        self.seen_tokens += batch.tokens
        return batch

    def final_chunk(self, batch: Batch, context_tokens: int | None) -> TokenChunk:
        """The last piece, with the last batch's text. Raises when the answer isn't whole or the prompt was cut."""
        if not self.finish_reason:
            raise EngineFailed(f"{self._engine} ended the answer early", hint="Look at the engine's own log.")
        if self.finish_reason in ("abort", "error"):
            raise EngineFailed(f"{self._engine} gave the answer up", hint="Look at the engine's own log.")
        if context_tokens is not None and self._prompt_tokens is not None and self._prompt_tokens >= context_tokens:
            raise PromptTooLong(
                f"the prompt fills the context of {context_tokens} tokens: it was cut, or left no room to answer",
                hint="Send a shorter prompt.",
            )
        tokens = batch.tokens
        if self._completion_tokens is not None:  # the engine's own count settles what was only counted by pieces
            tokens = max(0, self._completion_tokens - (self.seen_tokens - batch.tokens))
        reason = "length" if self.finish_reason == "length" else "stop"
        return TokenChunk(batch.text, tokens, True, reason, self._prompt_tokens, self._completion_tokens)

    def _parse(self, payloads: list[bytes]) -> list[Any]:
        """All events in one json.loads where that goes; one by one to keep what came before garbage."""
        try:
            parsed: list[Any] = json.loads(b"[" + b",".join(payloads) + b"]")
        except (ValueError, RecursionError):
            parsed = []
            for payload in payloads:
                if payload.strip() == b"[DONE]":
                    self.is_done = True
                    break
                try:
                    parsed.append(json.loads(payload))
                except (ValueError, RecursionError):
                    parsed.append(None)
                    break
        return parsed

    def _read_event(self, event: Any, texts: list[str], batch: Batch) -> AgentError | None:
        if not isinstance(event, dict):
            return EngineProtocolError(f"{self._engine} sent an event that is no JSON object")
        if event.get("error") is not None or event.get("object") == "error":
            is_mid_answer = self.seen_tokens + batch.tokens > 0
            return answer_error(500, event, self._voice, prompt=self._prompt, is_mid_answer=is_mid_answer)
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._prompt_tokens = count_of(usage.get("prompt_tokens"))
            self._completion_tokens = count_of(usage.get("completion_tokens"))
        choices = event.get("choices")
        if not isinstance(choices, list):
            return EngineProtocolError(f"{self._engine} sent an event that is no part of a chat answer")
        if not choices:
            return None
        choice = choices[0]
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            return EngineProtocolError(f"{self._engine} sent an event that is no part of a chat answer")
        content = delta.get("content") or ""
        if not isinstance(content, str):
            return EngineProtocolError(f"{self._engine} sent content that is no text")
        if content:
            texts.append(content)
            batch.tokens += 1
        elif delta.get("reasoning_content") or delta.get("reasoning"):
            batch.tokens += 1
        if choice.get("finish_reason"):
            self.finish_reason = str(choice["finish_reason"])
        return None


def answer_error(
    status: int,
    body: Any,
    voice: EngineVoice,
    *,
    model: str = "",
    prompt: Prompt | None = None,
    is_mid_answer: bool = False,
) -> AgentError:
    """Our error for what the server said, as an HTTP answer or as an event in the stream. `prompt` None: none was sent.

    A code in the body is the better status: an event in a 200 answer has no other.
    """
    message, kind, code = _error_parts(body)
    if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600:
        status = code
    return error_of(
        voice,
        status,
        f"{message} {kind} {code or ''}".strip(),
        model=prompt.model if prompt is not None else model,
        prompt=None if prompt is None else prompt.text,
        is_mid_answer=is_mid_answer,
    )


def room_for_answer(body: Any, prompt_bytes: int) -> int | None:
    """The max_tokens to ask for after a refusal of prompt + max_tokens; None when the prompt itself is too long.

    vLLM and SGLang refuse when the sum passes the context, although the prompt alone may fit. Their older texts give
    the prompt's exact size. Newer vLLM stops counting early ("You passed", "at least"): then half of what may be left
    is asked for, or what is left for certain, a token being at least a byte.
    """
    message = _error_parts(body)[0]
    context = re.search(r"context length (?:is|of) (?:only )?(\d{1,9})", message)
    prompt = re.search(r"(\d{1,9}) (?:input tokens|in the messages|tokens from the input)", message)
    if not context or not prompt:
        return None
    room = int(context.group(1)) - int(prompt.group(1))
    if "at least" in message or "You passed" in message:
        room = max(room // 2, int(context.group(1)) - prompt_bytes - TEMPLATE_TOKENS)
    return room if room >= 1 else None


def _error_parts(body: Any) -> tuple[str, str, Any]:
    """(message, type, code) of any of the known forms of an error."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        message = error.get("message", error.get("detail", ""))
        return str(message), str(error.get("type") or ""), error.get("code")
    return str(error or ""), "", None
