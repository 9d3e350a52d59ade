"""The Ollama engine: streams answers, manages models over Ollama's own API."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from core.engines import EngineModel, EngineStatus, LoadedModel, Prompt, PullProgress, TokenChunk
from core.engines.engine_errors import error_of
from core.engines.http import CHECK_TIMEOUT_S, EngineHttp, JsonAnswer, is_address, read_error_body
from core.engines.names import find_model, normalize_model, same_model
from core.engines.ollama_host import parse_ollama_host
from core.engines.ollama_ownership import LoadedEntry, OwnLoads, SharedLook
from core.engines.ollama_shapes import OllamaShapes
from core.engines.ollama_wire import (
    MAX_REPEATS,
    SMALLEST_CONTEXT,
    TAIL_BYTES,
    TEMPLATE_TOKENS,
    UPDATE_HINT,
    VOICE,
    LineReader,
    chat_body,
    early_end,
    error_text,
    final_chunk,
    is_honest_version,
    load_body,
    read_digests,
    read_expiries,
    read_lines,
    read_loaded,
    read_models,
    read_plain,
    read_trained_context,
)
from core.engines.stream_answer import Answer
from core.errors import (
    AgentError,
    ConfigError,
    EngineError,
    EngineProtocolError,
    EngineUnreachable,
    ModelNotFound,
    PromptTooLong,
)
from core.network import is_loopback_host

REMEDY = "Start Ollama: ollama serve"
_STREAM_TYPES = ("application/x-ndjson", "application/json")
_UNLOAD_WAIT_S = 3.0
_UNLOAD_POLL_S = 0.05
_CLOSE_LIMIT_S = 1.0  # for giving memory back on the way out: a logout leaves 3 s for everything


class OllamaEngine:
    """One Ollama, local or on the owner's network.

    `host` is read as Ollama reads OLLAMA_HOST. `context_tokens` (per session) goes with every request: another value
    would make Ollama load the model again. So does `keep_alive` (a Go duration, "5m") for the models that we load.
    """

    name = "ollama"

    def __init__(self, host: str = "", *, context_tokens: int = 4096, keep_alive: str = "5m") -> None:
        self.base_url = parse_ollama_host(host)
        if not is_address(self.base_url):
            raise ConfigError(
                [f"OLLAMA_HOST is {host!r}: that is no address"], hint="Write it like http://localhost:11434."
            )
        self._context_tokens = context_tokens
        self._less_context: dict[str, int] = {}  # normalised name → what its next load has instead
        self._keep_alive = keep_alive
        self._http = EngineHttp(self.base_url, engine="Ollama", remedy=REMEDY)
        self._status = EngineStatus()
        self._version = ""
        self._device = ""
        self._shapes = OllamaShapes(self._show)
        self._trained_context: dict[str, int] = {}  # normalised name → the model's own maximum
        self._own = OwnLoads()
        self._digests: dict[str, str] = {}  # normalised name → which model that is, of all on the disk
        self._loaded_digests: dict[str, str] = {}  # the same of those in memory, by Ollama's names

    @property
    def status(self) -> EngineStatus:
        return self._status

    @property
    def is_on_this_machine(self) -> bool:
        """Whether its memory is ours to measure."""
        return is_loopback_host(urlsplit(self.base_url).hostname or "")

    async def start(self) -> None:
        await self.check()

    async def close(self) -> None:
        """Unload what we loaded (the owner's own models stay), for a second at most, then hang up."""
        with suppress(AgentError, TimeoutError):
            async with asyncio.timeout(_CLOSE_LIMIT_S):
                for name in self._own.names:
                    await self.unload(name)
        await self._http.close()
        self._status = EngineStatus(version=self._version)

    async def check(self) -> None:
        """Ask for the version: cheap, and an Ollama that was updated while we run is noticed."""
        body = (await self._call("GET", "/api/version")).body
        version = body.get("version") if isinstance(body, dict) else None
        if not isinstance(version, str):
            error = EngineProtocolError(f"what answers at {self.base_url} is not Ollama", hint="Check OLLAMA_HOST.")
            self._note_fault(error)
            raise error
        self._version = version
        self._note_ready()

    async def list_models(self) -> tuple[EngineModel, ...]:
        """The models that run on this machine and can chat.

        Not through the `ollama` package: it drops `remote_host`, by which cloud models are told apart.
        """
        body = (await self._call("GET", "/api/tags")).body
        models = read_models(body)
        self._digests = {normalize_model(name): digest for name, digest in read_digests(body).items()}
        for model in models:
            if model.context_tokens:
                self._trained_context[normalize_model(model.name)] = model.context_tokens
        return await self._shapes.add(models)

    async def loaded_models(self) -> tuple[LoadedModel, ...]:
        return (await self._look())[0]

    async def look_at_use(self) -> SharedLook:
        """What is in memory, when it would leave, and whether a request of ours had to do with that."""
        loaded, expiries = await self._look()
        entries = tuple(
            LoadedEntry(name=model.name, expires_at=expiries[model.name], is_ours=not model.is_owners)
            for model in loaded
        )
        return SharedLook(entries=entries, requests=self._own.requests, is_busy=self._own.is_busy)

    def keep_for(self, seconds: float) -> None:
        """From the next request on, a model of ours that serves nobody leaves memory after so long."""
        self._keep_alive = f"{seconds:g}s"

    def use_context(self, model: str, tokens: int | None) -> None:
        """Load it next time with so much context for each session, None for the usual. Only while it isn't in memory:
        Ollama would load it again.
        """
        self._less_context.pop(normalize_model(model), None)
        if tokens is not None and tokens < self._context_tokens:
            self._less_context[normalize_model(model)] = tokens

    def leave_to_owner(self, model: str) -> None:
        """The owner's own work uses this model: don't unload it, and leave its keep_alive alone."""
        self._own.leave_to_owner(model)

    async def load(self, model: str) -> LoadedModel:
        """Not through the `ollama` package: it can't send `shift`, and Ollama ≥ 0.30 would load the model twice."""
        with self._own.using(model):
            if (there := await self._claim(model)) is not None:
                return there
            body = load_body(model, context_tokens=self._context_for(model), keep_alive=self._keep_alive)
            await self._call("POST", "/api/generate", body, model=model, timeout_s=None)
            loaded = await self.loaded_models()
        name = find_model(model, (entry.name for entry in loaded))
        return next((entry for entry in loaded if entry.name == name), LoadedModel(name=model))

    async def unload(self, model: str) -> None:
        """Ask Ollama to drop the model, and wait until it is gone; 3 s at most, as the owner's own use may hold it.

        A model that the owner's own work loaded is left alone.
        """
        if not self._own.is_ours(model):
            return
        await self._drop(model)
        deadline = asyncio.get_running_loop().time() + _UNLOAD_WAIT_S
        while any(same_model(entry.name, model) for entry in await self.loaded_models()):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_UNLOAD_POLL_S)

    async def pull(self, model: str) -> AsyncGenerator[PullProgress, None]:
        """Download a model that the owner asked for. Raises ModelError or EngineError (disk, network)."""
        from core.engines.ollama_package import pull_model

        async for status, completed, total in pull_model(self.base_url, model):
            yield PullProgress(status, completed, total)

    async def delete(self, model: str) -> None:
        """Delete a model from Ollama's disk; one that isn't there is no error. Raises EngineError."""
        with suppress(ModelNotFound):
            await self._call("DELETE", "/api/delete", {"model": model}, model=model)

    async def capabilities(self, model: str) -> tuple[str, ...]:
        """What Ollama says the model can do: "completion", "embedding", "vision" ... Empty from an old Ollama.

        The list of models names them too, but not in every version. Asked by ModelManager.can_answer, by name.
        """
        answer = await self._call("POST", "/api/show", {"model": model}, model=model)
        said = answer.body.get("capabilities") if isinstance(answer.body, dict) else None
        return tuple(str(one) for one in said) if isinstance(said, list) else ()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]:
        """Answer one prompt. Iterate to the end: the connection is then kept for the next prompt."""
        if not self._version:
            await self.check()
        with self._own.using(prompt.model):
            there = await self._claim(prompt.model)
            context = await self._context_of(prompt.model, there)
            response = await self._open(prompt, context, there)
            try:
                read = response.read  # everything that has arrived, in one call
                lines = LineReader()
                recent: deque[bytes] = deque(maxlen=MAX_REPEATS)  # what came last, to tell why an answer ended early
                seen = 0  # tokens given on so far
                while data := await read():
                    whole = lines.feed(data)
                    if not whole:
                        continue
                    recent.append(whole[-TAIL_BYTES:])
                    plain = read_plain(whole)
                    if plain is not None:
                        seen += plain[1]
                        yield TokenChunk(plain[0], plain[1])
                        continue
                    batch = read_lines(whole, prompt, is_mid_answer=seen > 0)
                    if batch.final is not None:
                        yield final_chunk(batch, seen, context)
                        await self._http.drain(response)
                        return
                    if batch.text or batch.tokens:
                        seen += batch.tokens
                        yield TokenChunk(batch.text, batch.tokens)
                    if batch.error is not None:
                        raise batch.error
                raise early_end(recent, lines.rest, prompt)
            except OSError as error:
                raise self._http.translate(error, mid_answer=True) from None  # its text may quote the answer
            finally:
                response.close()  # the socket, at once: Ollama stops working on the prompt

    async def _look(self) -> tuple[tuple[LoadedModel, ...], dict[str, str]]:
        """The models of /api/ps, each marked whose it is, and when each would leave."""
        asked_at = self._own.requests
        body = (await self._call("GET", "/api/ps")).body
        loaded, expiries = read_loaded(body), read_expiries(body)
        self._loaded_digests = read_digests(body)
        self._own.saw((model.name for model in loaded), asked_at=asked_at)
        loaded = tuple(
            replace(model, is_owners=not self._own.is_ours(model.name), note=self._note_on(model.name))
            for model in loaded
        )
        if loaded:
            self._device = "GPU" if any(model.vram_mb for model in loaded) else "CPU"
        self._note_ready()
        return loaded, expiries

    async def _claim(self, model: str) -> LoadedModel | None:
        """Before a request that may load `model`: what the owner's own work has of it in memory, or None; then it is
        ours from now on.
        """
        if self._own.is_ours(model):
            return None
        loaded = await self.loaded_models()
        there = next((entry for entry in loaded if same_model(entry.name, model) or self._is_alias(entry, model)), None)
        if there is None:
            self._own.claim(model)
        return there

    def _is_alias(self, entry: LoadedModel, model: str) -> bool:
        """Whether `model` is another name of what is loaded: Ollama lists it under the name that it was loaded by."""
        digest = self._digests.get(normalize_model(model), "")
        return bool(digest) and self._loaded_digests.get(entry.name) == digest

    async def _drop(self, model: str) -> None:
        """Tell Ollama to let a model of ours go."""
        body = {"model": model, "keep_alive": 0, "stream": False}
        with suppress(ModelNotFound):
            await self._call("POST", "/api/generate", body, model=model)

    async def _open(self, prompt: Prompt, context: int, there: LoadedModel | None) -> Answer:
        """The opened answer, its status and type checked.

        A model that the owner's own work loaded (`there`) is used as it is: another context would make Ollama load it
        anew, and another keep_alive would be ours.
        """
        body = chat_body(
            prompt,
            context_tokens=(there and there.context_tokens) or self._context_for(prompt.model),
            keep_alive="" if there else self._keep_alive,
            num_predict=self._room_for_answer(prompt, context),
        )
        try:
            response = await self._http.open_stream("/api/chat", body)
        except EngineUnreachable as error:
            self._note_fault(error)
            raise
        if response.status == 200 and response.content_type.startswith(_STREAM_TYPES):
            return response
        try:
            raise await self._refusal(response, prompt)
        finally:
            response.close()

    async def _refusal(self, response: Answer, prompt: Prompt) -> AgentError:
        if response.status == 200:
            return EngineProtocolError(
                f"what answers at {self.base_url} is not Ollama: it sent another type than a chat answer's",
                hint="Check OLLAMA_HOST.",
            )
        said = error_text(await read_error_body(response))
        return error_of(VOICE, response.status, said, model=prompt.model, prompt=prompt.text)

    async def _context_of(self, model: str, there: LoadedModel | None) -> int:
        """The context that a session really has: ours, unless the model was trained for less (Ollama holds it there).

        A new Ollama refuses what doesn't fit. An old one cuts, and lists no context: it is asked once a model.
        """
        name = normalize_model(model)
        if name not in self._trained_context and not is_honest_version(self._version):
            self._trained_context[name] = read_trained_context(await self._show(model)) or SMALLEST_CONTEXT
        limit = (there and there.context_tokens) or self._context_for(model)
        return min(limit, self._context_tokens, self._trained_context.get(name, self._context_tokens))

    def _context_for(self, model: str) -> int:
        return self._less_context.get(normalize_model(model), self._context_tokens)

    def _note_on(self, model: str) -> str:
        less = self._less_context.get(normalize_model(model))
        if less is None or not self._own.is_ours(model):
            return ""
        return f"{less:,} tokens of context instead of {self._context_tokens:,}: memory was short when it was loaded."

    async def _show(self, model: str) -> Any:
        return (await self._call("POST", "/api/show", {"model": model}, model=model)).body

    def _room_for_answer(self, prompt: Prompt, context: int) -> int:
        """num_predict. Where Ollama would cut silently, only what certainly fits: a token is at least a byte."""
        if is_honest_version(self._version):
            return prompt.max_tokens
        room = context - len(prompt.text.encode()) - TEMPLATE_TOKENS
        if room < 1:
            raise PromptTooLong(
                f"the prompt may not fit {context} tokens of context; this agent's Ollama is old and would cut it",
                hint=UPDATE_HINT,
            )
        return min(prompt.max_tokens, room)

    async def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        model: str = "",
        timeout_s: float | None = CHECK_TIMEOUT_S,
    ) -> JsonAnswer:
        try:
            answer = await self._http.call(method, path, body, timeout_s=timeout_s)
        except EngineError as error:
            self._note_fault(error)
            raise
        if answer.status != 200:
            raise error_of(VOICE, answer.status, error_text(answer.body), model=model)
        if isinstance(answer.body, dict) and "error" in answer.body:
            raise error_of(VOICE, 500, error_text(answer.body), model=model)
        return answer

    def _note_ready(self) -> None:
        self._status = EngineStatus(state="ready", device=self._device, version=self._version)

    def _note_fault(self, error: EngineError) -> None:
        self._status = EngineStatus(state="fault", detail=error.detail, hint=error.hint, version=self._version)
