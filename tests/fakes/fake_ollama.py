"""A fake Ollama that answers as the recorded transcripts of a real one do: statuses, headers, forms and error texts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aiohttp import web

from tests.fakes.fake_engine_server import FakeEngineServer, Fault

TEMPLATE_TOKENS = 45  # the tiny model's template, in its byte-level tokens
_STAMP = "2026-11-24T19:52:31.186268601Z"
_JSON = "application/json; charset=utf-8"
_INTEGER_OPTIONS = ("num_predict", "num_ctx", "seed", "top_k")


def tag(name: str, *, context: int | None = 2048, capabilities: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """One entry of /api/tags, as a new Ollama writes it."""
    details: dict[str, Any] = {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "109K",
        "quantization_level": "Q4_K_M",
    }
    if context is not None:
        details |= {"context_length": context, "embedding_length": 64}
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-11-24T19:51:54.855445459Z",
        "size": 442815,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": details,
        "capabilities": ["completion"] if capabilities is None else capabilities,
        **more,
    }


class FakeOllama(FakeEngineServer):
    """One model, `tiny:latest`, trained for 2,048 tokens; one token per byte of the prompt, and 45 for the template."""

    def __init__(self) -> None:
        super().__init__()
        self.version = "0.0.0"  # what a build from source says
        self.tags = [tag("tiny:latest")]
        self.trained_context = 2048
        self.loaded: dict[str, int] = {}  # name → context
        self.stays_loaded = False  # somebody else uses the model: unload is answered, but the model stays
        self.size_vram = 0
        self.size = 890368 * 10
        self.uses: dict[str, int] = {}  # name → how often it was used: each use moves its expires_at
        self.capabilities: list[str] | None = ["completion"]  # as /api/show says them; None: an old Ollama
        self.model_info: dict[str, Any] = {"general.architecture": "llama", "llama.context_length": 2048}
        self.pull_lines: list[dict[str, Any]] = [
            {"status": "pulling manifest"},
            {"status": "pulling 3e23a8b34ece", "digest": "sha256:3e", "total": 442815, "completed": 1000},
            {"status": "pulling 3e23a8b34ece", "digest": "sha256:3e", "total": 442815, "completed": 442815},
            {"status": "success"},
        ]

    def owner_uses(self, name: str, context: int = 2048) -> None:
        """Another program of the owner's asks this model something: it is loaded, and its expires_at moves."""
        self.loaded.setdefault(name, context)
        self.uses[name] = self.uses.get(name, 0) + 1

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._root),
            web.get("/api/version", self._version),
            web.get("/api/tags", self._tags),
            web.get("/api/ps", self._ps),
            web.post("/api/show", self._show),
            web.post("/api/generate", self._generate),
            web.post("/api/chat", self._chat),
            web.post("/api/pull", self._pull),
            web.delete("/api/delete", self._delete),
        ]

    async def _root(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _version(self, _request: web.Request) -> web.Response:
        return _answer({"version": self.version})

    async def _tags(self, _request: web.Request) -> web.Response:
        return _answer({"models": self.tags})

    async def _ps(self, _request: web.Request) -> web.Response:
        models = [
            {
                "name": name,
                "model": name,
                "size": self.size,
                "digest": self._digest(name),
                "details": {"family": "llama", "quantization_level": "unknown"},
                "expires_at": f"2026-11-24T19:{56 + self.uses.get(name, 0) // 60:02}:"
                f"{self.uses.get(name, 0) % 60:02}.249129052Z",
                "size_vram": self.size_vram,
                "context_length": context,
            }
            for name, context in self.loaded.items()
        ]
        return _answer({"models": models})

    def _digest(self, name: str) -> str:
        return str(next((entry["digest"] for entry in self.tags if entry["name"] == name), "150a"))

    def _listed_as(self, name: str) -> str:
        """Two names of one model share what is in memory, under the name that it was loaded by."""
        return next((loaded for loaded in self.loaded if self._digest(loaded) == self._digest(name)), name)

    async def _show(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self._find(body.get("model")) is None:
            return _not_found(body.get("model"))
        shown = {"details": {"family": "llama"}, "model_info": self.model_info, "capabilities": self.capabilities}
        return _answer({name: value for name, value in shown.items() if value is not None})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name, refusal = self._check(body)
        if refusal is not None:
            return refusal
        assert name is not None
        assert not body.get("prompt"), "the engine only loads and unloads through /api/generate"
        done = {"model": body["model"], "created_at": _STAMP, "response": "", "done": True}
        if body.get("keep_alive") == 0:
            if not self.stays_loaded:
                self.loaded.pop(name, None)
            return _answer(done | {"done_reason": "unload"})
        self.loaded[name] = self._context(body)
        self.uses[name] = self.uses.get(name, 0) + 1
        return _answer(done | {"done_reason": "load"})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name, refusal = self._check(body)
        if refusal is not None:
            return refusal
        assert name is not None
        context = self.loaded[name] = self._context(body)
        self.uses[name] = self.uses.get(name, 0) + 1
        prompt_tokens = len(body["messages"][-1]["content"].encode()) + TEMPLATE_TOKENS
        if prompt_tokens > context:
            if body.get("truncate") is False and self._knows_truncate():
                return self._too_long(prompt_tokens, context)
            prompt_tokens = context  # what the real one does: it cuts, and answers 200
        limit = body.get("options", {}).get("num_predict", -1)
        answer = self.answer if limit < 0 else self.answer[:limit]
        reason = "length" if len(answer) < len(self.answer) else self.finish
        final = {
            "model": body["model"],
            "created_at": _STAMP,
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": reason,
            "total_duration": 24682782,
            "load_duration": 1181354,
            "prompt_eval_count": prompt_tokens,
            "prompt_eval_duration": 321610,
            "eval_count": len(self.thinking) + len(answer),
            "eval_duration": 22091122,
        }
        return await self.stream_pieces(
            request,
            content_type="application/x-ndjson",
            pieces=[self._piece(body, "", thought) for thought in self.thinking]
            + [self._piece(body, text) for text in answer],
            end=_line(final),
            error_line=self._fault_line(),
        )

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = self._find(body.get("model"))
        if name is None:
            return _not_found(body.get("model"))
        self.tags = [entry for entry in self.tags if entry["name"] != name]
        return web.Response()  # 200 and no body, as the real one

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for entry in self.pull_lines:
            await response.write(_line(entry))
        return response

    def _check(self, body: dict[str, Any]) -> tuple[str | None, web.Response | None]:
        if self.error_answer is not None:
            return None, _answer(self.error_answer[1], self.error_answer[0])
        if not isinstance(body.get("model"), str):
            text = "json: cannot unmarshal number into Go struct field GenerateRequest.model of type string"
            return None, _answer({"error": text}, 400)
        name = self._find(body["model"])
        if name is None:
            return None, _not_found(body["model"])
        for option in _INTEGER_OPTIONS:
            value = body.get("options", {}).get(option, 0)
            if not isinstance(value, int):
                return None, _answer({"error": f'option "{option}" must be of type integer'}, 500)
        return self._listed_as(name), None

    def _find(self, name: Any) -> str | None:
        wanted = str(name) if ":" in str(name) else f"{name}:latest"
        return next((entry["name"] for entry in self.tags if entry["name"].lower() == wanted.lower()), None)

    def _context(self, body: dict[str, Any]) -> int:
        """Ollama never gives more than the model was trained for."""
        wanted: int = body.get("options", {}).get("num_ctx", 4096)
        return min(wanted, self.trained_context)

    def _knows_truncate(self) -> bool:
        numbers = tuple(int(part) for part in self.version.split("-")[0].split("."))
        return numbers == (0, 0, 0) or numbers >= (0, 12, 6)

    def _too_long(self, tokens: int, context: int) -> web.Response:
        """v0.12.6 to v0.29 have their own text; from v0.30 on llama-server's answer comes as the text of the error."""
        if (0, 0, 0) < tuple(int(part) for part in self.version.split(".")) < (0, 30, 0):
            return _answer({"error": "the input length exceeds the context length"}, 400)
        inner = {
            "code": 400,
            "message": f"request ({tokens} tokens) exceeds the available context size ({context} tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": context,
        }
        return _answer({"error": json.dumps({"error": inner})}, 400)

    def _piece(self, body: dict[str, Any], text: str, thinking: str = "") -> bytes:
        message = {"role": "assistant", "content": text} | ({"thinking": thinking} if thinking else {})
        return _line({"model": body["model"], "created_at": _STAMP, "message": message, "done": False})

    def _fault_line(self) -> bytes:
        if self.fault is Fault.ERROR_LINE:
            return _line(
                {"error": self.fault_line or "an error was encountered while running the model: unexpected EOF"}
            )
        if self.fault is Fault.WRONG_SHAPE:
            return _line({"model": "tiny", "message": self.fault_line or "no object", "done": False})
        return f'{{"model":"tiny","crea{self.fault_line}\n'.encode()


def _line(value: dict[str, Any]) -> bytes:
    """JSON as Go writes it: no spaces, UTF-8 as it is, and <, >, & escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return (text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") + "\n").encode()


def _answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), status=status, headers={"Content-Type": _JSON})


def _not_found(name: Any) -> web.Response:
    return _answer({"error": f"model '{name}' not found"}, 404)
