"""The OpenAI engine: any server that speaks /v1/chat/completions. The embedded engine's child is one of them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Any

from core.engines import EngineModel, EngineStatus, LoadedModel, Prompt, TokenChunk
from core.engines.engine_errors import EngineVoice
from core.engines.http import MOST_MODELS, EngineHttp, count_of, is_address, is_name, read_error_body
from core.engines.names import find_model
from core.engines.openai_wire import (
    KEY_HINT,
    TEMPLATE_TOKENS,
    ChatReader,
    Flavour,
    SseReader,
    answer_error,
    chat_body,
    flavour_of,
    room_for_answer,
)
from core.engines.stream_answer import Answer
from core.errors import (
    AgentError,
    ConfigError,
    EngineError,
    EngineProtocolError,
    ModelNotFound,
    PromptTooLong,
)

_MAX_TRIES = 8  # of one prompt with fewer and fewer max_tokens
_LM_STUDIO_MODELS = "/api/v0/models"


class OpenAIEngine:
    """One OpenAI-compatible server.

    `base_url` with or without /v1 at its end. `flavour` None: told from /v1/models, at the first prompt at the latest.
    `context_tokens` bounds prompts only where a server may cut them silently and doesn't tell its context.
    `label` is the engine's name in errors.
    """

    name = "openai"

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        context_tokens: int = 4096,
        flavour: Flavour | None = None,
        label: str = "the OpenAI-compatible server",
        keeps_connections: bool = True,
    ) -> None:
        self.base_url, self._prefix = _split_base_url(base_url)
        self._label = label
        self._voice = EngineVoice(
            name=label,
            key_hint=KEY_HINT,
            address_hint="Check openai_base_url.",
            memory_hint="Close other programs that use the GPU, or load a smaller model there.",
        )
        self._context_tokens = context_tokens
        self._flavour = flavour
        self._contexts: dict[str, int] = {}  # model → tokens of context per session, where the server tells it
        self._loaded: tuple[LoadedModel, ...] = ()
        headers = {"Authorization": f"Bearer {_checked_key(api_key)}"} if api_key else {}
        remedy = f"Start the server at {self.base_url}, or change openai_base_url."
        self._http = EngineHttp(
            self.base_url, engine=label, remedy=remedy, headers=headers, keeps_connections=keeps_connections
        )
        self._status = EngineStatus()

    @property
    def status(self) -> EngineStatus:
        return self._status

    @property
    def flavour(self) -> Flavour | None:
        return self._flavour

    async def start(self) -> None:
        await self.check()

    async def close(self) -> None:
        await self._http.close()
        self._status = EngineStatus()

    async def check(self) -> None:
        await self.list_models()

    async def list_models(self) -> tuple[EngineModel, ...]:
        entries = await self._entries()
        self._flavour = flavour_of(entries)
        details: dict[str, dict[str, Any]] = {}
        if self._flavour is Flavour.GENERIC:
            details = await self._lm_studio_details()
            self._flavour = Flavour.LM_STUDIO if details else Flavour.GENERIC
        chat_entries = [entry for entry in entries if details.get(entry["id"], {}).get("type") != "embeddings"]
        self._note_contexts(chat_entries, details)
        self._status = EngineStatus(state="ready", version=self._flavour.value)
        return tuple(_read_model(entry, details.get(entry["id"], {})) for entry in chat_entries)

    async def loaded_models(self) -> tuple[LoadedModel, ...]:
        """What the server says it holds. llama.cpp, vLLM and SGLang hold what they list; memory is never told."""
        await self.list_models()
        return self._loaded

    async def load(self, model: str) -> LoadedModel:
        """The server's owner loads models, not we: only checks that the model is there."""
        names = [entry.name for entry in await self.list_models()]
        found = find_model(model, names)
        if found is None:
            raise ModelNotFound(f"{self._label} does not have the model {model}", hint="Load it in the server.")
        loaded = next((entry for entry in self._loaded if entry.name == found), None)
        return loaded or LoadedModel(name=found, context_tokens=self._contexts.get(found))

    async def unload(self, model: str) -> None:
        """No such call exists in this API: the memory is the server's until its owner stops it."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]:
        """Answer one prompt. Iterate to the end: the connection is then kept for the next prompt."""
        if self._flavour is None:
            await self.check()
        flavour = self._flavour or Flavour.GENERIC
        self._refuse_what_may_be_cut(prompt, flavour)
        response = await self._open(chat_body(prompt, flavour), prompt)
        try:
            read = response.read  # everything that has arrived, in one call
            events, answer = SseReader(), ChatReader(prompt, self._voice)
            while True:
                data = await read()
                payloads = events.feed(data) if data else events.end()
                batch = answer.read(payloads)
                if batch.error is None and (answer.is_done or not data):  # some servers end without [DONE]
                    yield answer.final_chunk(batch, self._contexts.get(prompt.model))
                    await self._http.drain(response)
                    return
                if batch.text or batch.tokens:
                    yield TokenChunk(batch.text, batch.tokens)
                if batch.error is not None:
                    raise batch.error
        except OSError as error:
            raise self._http.translate(error, mid_answer=True) from None  # its text may quote the answer
        finally:
            response.close()  # the socket, at once: the server stops working on the prompt

    async def _open(self, body: dict[str, Any], prompt: Prompt) -> Answer:
        """The opened answer, checked. Asks again with fewer tokens where prompt + max_tokens was too much."""
        context = self._contexts.get(prompt.model, 0)
        if context > 1:  # vLLM refuses a max_tokens over the context outright
            body["max_tokens"] = min(prompt.max_tokens, context - 1)
        for _ in range(_MAX_TRIES):
            try:
                response = await self._http.open_stream(f"{self._prefix}/chat/completions", body)
            except EngineError as error:
                self._note_fault(error)
                raise
            if response.status == 200 and response.content_type == "text/event-stream":
                return response
            try:
                said = await read_error_body(response)
            finally:
                response.close()
            room = room_for_answer(said, len(prompt.text.encode())) if response.status == 400 else None
            if room is None or room >= body["max_tokens"]:
                raise self._refusal(response, said, prompt)
            body["max_tokens"] = room
        raise PromptTooLong(
            "the prompt leaves too little of the model's context for an answer", hint="Send a shorter prompt."
        )

    def _refusal(self, response: Answer, said: Any, prompt: Prompt) -> AgentError:
        if response.status == 200 and not (isinstance(said, dict) and "error" in said):
            return EngineProtocolError(
                f"{self._label} answered a request for a stream with something else",
                hint="Check openai_base_url.",
            )
        return answer_error(response.status, said, self._voice, prompt=prompt)

    def _refuse_what_may_be_cut(self, prompt: Prompt, flavour: Flavour) -> None:
        """Where a long prompt might be cut silently, take only what certainly fits: a token is at least a byte."""
        if flavour.refuses_long_prompts:
            return
        context = self._contexts.get(prompt.model, self._context_tokens)
        if len(prompt.text) + TEMPLATE_TOKENS >= context or len(prompt.text.encode()) + TEMPLATE_TOKENS >= context:
            raise PromptTooLong(
                f"the prompt may not fit {context} tokens of context, and this agent's engine ({flavour}) may cut it",
                hint="Send a shorter prompt.",
            )

    async def _entries(self) -> list[dict[str, Any]]:
        try:
            answer = await self._http.call("GET", f"{self._prefix}/models")
            if answer.status != 200:
                error = answer_error(answer.status, answer.body, self._voice)
                raise error if isinstance(error, EngineError) else EngineProtocolError(error.detail, hint=error.hint)
            entries = answer.body.get("data") if isinstance(answer.body, dict) else None
            if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
                raise EngineProtocolError(
                    f"what answers at {self.base_url} is no OpenAI-compatible server", hint="Check openai_base_url."
                )
        except EngineError as error:
            self._note_fault(error)
            raise
        return [entry for entry in entries[:MOST_MODELS] if is_name(entry["id"])]

    async def _lm_studio_details(self) -> dict[str, dict[str, Any]]:
        """LM Studio's own list, by model; empty for every other server."""
        try:
            answer = await self._http.call("GET", _LM_STUDIO_MODELS)
        except EngineError:
            return {}
        entries = answer.body.get("data") if answer.status == 200 and isinstance(answer.body, dict) else None
        if not isinstance(entries, list):
            return {}
        return {entry["id"]: entry for entry in entries if _is_entry(entry) and "state" in entry}

    def _note_contexts(self, entries: list[dict[str, Any]], details: dict[str, dict[str, Any]]) -> None:
        self._contexts = {}
        loaded: list[LoadedModel] = []
        for entry in entries:
            name, detail = entry["id"], details.get(entry["id"], {})
            context = _session_context(entry, detail)
            if context:
                self._contexts[name] = context
            if self._flavour is not Flavour.GENERIC and detail.get("state", "loaded") == "loaded":
                loaded.append(LoadedModel(name=name, context_tokens=context))
        self._loaded = tuple(loaded)

    def _note_fault(self, error: EngineError) -> None:
        self._status = EngineStatus(state="fault", detail=error.detail, hint=error.hint)


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str)


def _meta(entry: dict[str, Any]) -> dict[str, Any]:
    meta = entry.get("meta")
    return meta if isinstance(meta, dict) else {}


def _positive(value: Any) -> int | None:
    return count_of(value) or None


def _session_context(entry: dict[str, Any], detail: dict[str, Any]) -> int | None:
    """Tokens of context per session: llama.cpp's meta.n_ctx, vLLM's and SGLang's max_model_len, LM Studio's own."""
    for value in (_meta(entry).get("n_ctx"), entry.get("max_model_len"), detail.get("loaded_context_length")):
        if context := _positive(value):
            return context
    return None


def _read_model(entry: dict[str, Any], detail: dict[str, Any]) -> EngineModel:
    trained = _meta(entry).get("n_ctx_train") or entry.get("max_model_len") or detail.get("max_context_length")
    return EngineModel(
        name=entry["id"],
        size_bytes=_positive(_meta(entry).get("size")),
        quant=str(detail.get("quantization") or ""),
        context_tokens=_positive(trained),
    )


def _split_base_url(text: str) -> tuple[str, str]:
    """(address, path prefix): "localhost:8000", "http://host/v1/" and "https://host/llm/v1" all work."""
    url = text.strip()
    if "://" not in url:
        url = f"http://{url}"
    found = re.fullmatch(r"(https?://[^/?#\s]+)((?:/[^?#\s]*?)?)/*", url, re.IGNORECASE)
    if not found or not is_address(found.group(1)):
        raise ConfigError(
            [f"openai_base_url is {text!r}: that is no address of a server"],
            hint="Write it like http://localhost:8000/v1.",
        )
    address, path = found.group(1), found.group(2).rstrip("/")
    path = path.removesuffix("/chat/completions")
    return address, path if re.search(r"/v\d+$", path) else f"{path}/v1"


def _checked_key(key: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ConfigError(["the API key of the OpenAI-compatible server holds a space or an odd sign"], hint=KEY_HINT)
    return key
