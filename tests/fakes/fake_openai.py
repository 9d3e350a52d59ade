"""A fake OpenAI-compatible server, in the forms of llama-server, vLLM, LM Studio and one that says nothing of itself.

llama-server's forms were recorded from a real one (xllamacpp's); vLLM's and LM Studio's follow their documentation.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from core.engines.openai_wire import Flavour
from tests.fakes.fake_engine_server import FakeEngineServer, Fault

TEMPLATE_TOKENS = 4


class FakeOpenAI(FakeEngineServer):
    """One model, `tiny`; one token per byte of the prompt, and 4 for the template."""

    def __init__(self, flavour: Flavour = Flavour.LLAMA_CPP, *, api_key: str = "") -> None:
        super().__init__()
        self.flavour = flavour
        self.api_key = api_key
        self.context = 512
        self.says_done = True  # sends [DONE]
        self.line_end = "\n"
        self.space = " "  # after "data:"
        self.with_comments = False
        self.counts_usage = True
        self.refuses_long_prompts = True
        self.counts_only_the_beginning = False
        self.moved_to = ""  # where /moved sends its callers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/models", self._models),
            web.get("/api/v0/models", self._lm_studio_models),
            web.post("/v1/chat/completions", self._chat),
            web.post("/moved/chat/completions", self._moved),
        ]

    async def _models(self, request: web.Request) -> web.Response:
        if self._is_stranger(request):
            return self._unauthorized()
        entry: dict[str, Any] = {"id": "tiny", "object": "model", "created": 1795599129}
        if self.flavour is Flavour.LLAMA_CPP:
            meta = {"n_vocab": 273, "n_ctx": self.context, "n_ctx_train": 2048, "size": 435968, "ftype": "all F32"}
            entry |= {"owned_by": "llamacpp", "meta": meta}
        elif self.flavour in (Flavour.VLLM, Flavour.SGLANG):
            entry |= {"owned_by": self.flavour.value.lower(), "root": "tiny", "max_model_len": self.context}
        else:
            entry |= {"owned_by": "organization_owner"}
        return web.json_response({"object": "list", "data": [entry]})

    async def _lm_studio_models(self, _request: web.Request) -> web.Response:
        if self.flavour is not Flavour.LM_STUDIO:
            return web.json_response({"error": "Unexpected endpoint or method. (GET /api/v0/models)"}, status=404)
        entry = {
            "id": "tiny",
            "object": "model",
            "type": "llm",
            "quantization": "Q4_K_M",
            "state": "loaded",
            "max_context_length": 2048,
            "loaded_context_length": self.context,
        }
        return web.json_response({"object": "list", "data": [entry]})

    async def _moved(self, _request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{self.moved_to}/v1/chat/completions"})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if self._is_stranger(request):
            return self._unauthorized()
        body = await request.json()
        if self.error_answer is not None:
            return web.json_response(self.error_answer[1], status=self.error_answer[0])
        if body["model"] != "tiny" and self.flavour is Flavour.VLLM:
            return self._error(404, f"The model `{body['model']}` does not exist.", "NotFoundError")
        prompt_tokens = len(body["messages"][-1]["content"].encode()) + TEMPLATE_TOKENS
        refusal = self._too_long(prompt_tokens, body["max_tokens"]) if self.refuses_long_prompts else None
        if refusal is not None:
            return refusal
        room = max(1, self.context - prompt_tokens)
        answer = self.answer[: min(body["max_tokens"], room)]
        reason = "length" if len(answer) < len(self.answer) else self.finish
        pieces = [self._event(self._chunk({"role": "assistant", "content": None}))]
        pieces += [self._event(self._chunk({"reasoning_content": thought})) for thought in self.thinking]
        pieces += [self._event(self._chunk({"content": text})) for text in answer]
        end = self._event(self._chunk({}, reason))
        if self.counts_usage and body.get("stream_options", {}).get("include_usage"):
            counted = {"prompt_tokens": prompt_tokens, "completion_tokens": len(self.thinking) + len(answer)}
            end += self._event(self._chunk(None) | {"usage": counted})
        if self.says_done:
            end += self._event("[DONE]")
        return await self.stream_pieces(
            request, content_type="text/event-stream", pieces=pieces, end=end, error_line=self._fault_event()
        )

    def _too_long(self, prompt_tokens: int, max_tokens: int) -> web.Response | None:
        if self.flavour is Flavour.LLAMA_CPP and prompt_tokens >= self.context:
            error = {
                "code": 400,
                "message": f"request ({prompt_tokens} tokens) exceeds the available context size "
                f"({self.context} tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": prompt_tokens,
                "n_ctx": self.context,
            }
            return web.json_response({"error": error}, status=400)
        if self.flavour is Flavour.VLLM and max_tokens >= self.context:
            text = f"max_tokens={max_tokens} cannot be greater than max_model_len=max_total_tokens={self.context}."
            return self._error(400, text, "BadRequestError")
        if self.flavour is Flavour.VLLM and prompt_tokens + max_tokens > self.context:
            if self.counts_only_the_beginning:  # newer ones stop tokenizing at what could just fit
                longest = self.context - max_tokens
                text = (
                    f"You passed {longest + 1} input tokens and requested {max_tokens} output tokens. However, the "
                    f"model's context length is only {self.context} tokens, resulting in a maximum input length of "
                    f"{longest} tokens. Please reduce the length of the input prompt."
                )
                return self._error(400, text, "BadRequestError")
            return self._error(
                400,
                f"This model's maximum context length is {self.context} tokens. However, you requested "
                f"{prompt_tokens + max_tokens} tokens ({prompt_tokens} in the messages, {max_tokens} in the "
                "completion). Please reduce the length of the messages or completion.",
                "BadRequestError",
            )
        if self.flavour is Flavour.SGLANG and prompt_tokens >= self.context:
            text = (
                f"The input ({prompt_tokens} tokens) is longer than the model's context length ({self.context} tokens)."
            )
            return self._error(400, text, "BadRequestError")
        if self.flavour is Flavour.SGLANG and prompt_tokens + max_tokens > self.context:
            text = (
                f"Requested token count exceeds the model's maximum context length of {self.context} tokens. You "
                f"requested a total of {prompt_tokens + max_tokens} tokens: {prompt_tokens} tokens from the input "
                f"messages and {max_tokens} tokens for the completion."
            )
            return self._error(400, text, "BadRequestError")
        return None

    def _is_stranger(self, request: web.Request) -> bool:
        return self.api_key != "" and request.headers.get("Authorization") != f"Bearer {self.api_key}"

    def _unauthorized(self) -> web.Response:
        error = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
        return web.json_response({"error": error}, status=401)

    def _error(self, status: int, message: str, kind: str) -> web.Response:
        return web.json_response({"error": {"message": message, "type": kind, "code": status}}, status=status)

    def _chunk(self, delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
        choices = [] if delta is None else [{"finish_reason": finish, "index": 0, "delta": delta}]
        return {
            "choices": choices,
            "created": 1795599129,
            "id": "chatcmpl-F8lpabNweX9ey2ZzGVez2CPGEzJSRST3",
            "model": "tiny",
            "system_fingerprint": "b0-unknown",
            "object": "chat.completion.chunk",
        }

    def _event(self, data: dict[str, Any] | str) -> bytes:
        text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        comment = f": keep-alive{self.line_end}{self.line_end}" if self.with_comments else ""
        return f"{comment}data:{self.space}{text}{self.line_end}{self.line_end}".encode()

    def _fault_event(self) -> bytes:
        if self.fault is Fault.ERROR_LINE:
            said = self.fault_line or "decode failed: the compute backend is gone"
            error = {"code": 500, "message": said, "type": "server_error"}
            return self._event({"error": error})
        if self.fault is Fault.WRONG_SHAPE:
            return self._event({"choices": self.fault_line or "none", "object": "chat.completion.chunk"})
        return f'data: {{"choices":[{{"del{self.fault_line}\n\n'.encode()
