"""How much memory a loaded model takes, by arithmetic: weights, keys and values, work buffers, sessions, the engine.

The formulas are those of llama.cpp, which the embedded engine is and Ollama is built on; each function names its
source. docs/models.md has the estimates beside what the engine reports (scripts/check-model-memory makes that table).
Pure: bytes in, bytes out, nothing is measured here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.model_shape import ModelShape

_MIB = 1 << 20
_CELLS_STEP = (
    256  # llama.cpp pads a session's context, and a window, to this (llama-context.cpp, llama-kv-cache-iswa.cpp)
)
_USUAL_VOCABULARY = 131_072  # taken where nothing tells the vocabulary: Llama 3 has 128,256 and Qwen 2.5 152,064

# Bytes of one cached value (ggml-common.h: a block of 32 values and its scale).
CACHE_TYPES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_0": 18 / 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How a model is to be loaded."""

    sessions: int  # at once, each with its own keys and values
    context_tokens: int  # of each session
    batch_tokens: int  # computed in one step
    cache_type: str = "f16"
    flash_attention: bool = True  # else the scores of a whole step are in memory too
    logit_rows: int = 0  # rows of the vocabulary's width that a step gives; 0: one for each session
    engine_bytes: int = 0  # of the engine itself, whatever the model
    token_bytes: int = 0  # of the engine for each token of the vocabulary
    cards: int = 1  # graphics cards that share the model, each with work buffers and an engine's own memory
    are_sessions_fixed: bool = False  # the engine's own setting, which isn't ours to lower

    def smaller(self, *, sessions: int | None = None, context_tokens: int | None = None) -> LoadPlan:
        return replace(self, sessions=sessions or self.sessions, context_tokens=context_tokens or self.context_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Bytes, by what they are for."""

    weights: int
    cache: int  # keys, values and recurrent states of all sessions
    compute: int  # work buffers of one step, and its results
    sessions: int  # what else each session takes
    engine: int  # the engine's own program and its copy of the vocabulary

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute + self.sessions + self.engine

    @property
    def total_mb(self) -> int:
        """MiB, rounded up."""
        return -(-self.total // _MIB)


# Of the engine's own memory, measured with scripts/check-model-memory (the process's resident memory less its buffers):
# 42 MB and 0.2 to 0.5 KB for each token, the more the more merges the vocabulary has.
_EMBEDDED_ENGINE_BYTES = 42 * _MIB
_EMBEDDED_TOKEN_BYTES = 480
# A CUDA context and its kernels; Ollama's own planning leaves 457 MiB for it on each card (its discover/gpu.go).
_OLLAMA_ENGINE_BYTES = 457 * _MIB


def embedded_plan(*, sessions: int, context_tokens: int, batch_tokens: int) -> LoadPlan:
    """The embedded engine (core/engines/worker_main.py): a step has a token for each session at least."""
    return LoadPlan(
        sessions=sessions,
        context_tokens=context_tokens,
        batch_tokens=max(batch_tokens, sessions),
        engine_bytes=_EMBEDDED_ENGINE_BYTES,
        token_bytes=_EMBEDDED_TOKEN_BYTES,
    )


def ollama_plan(*, context_tokens: int, sessions: int = 1, cache_type: str = "f16") -> LoadPlan:
    """Ollama: steps of 512 tokens with logits for each. Its sessions at once are OLLAMA_NUM_PARALLEL, 1 unless set; the
    rest wait. Whether it uses flash attention depends on its version, so the need is that without; a smaller cache type
    it takes only with."""
    return LoadPlan(
        sessions=sessions,
        context_tokens=context_tokens,
        batch_tokens=512,
        cache_type=cache_type,
        flash_attention=cache_type != "f16",
        logit_rows=512,
        engine_bytes=_OLLAMA_ENGINE_BYTES,
        token_bytes=_EMBEDDED_TOKEN_BYTES,
        are_sessions_fixed=True,
    )


def memory_need(shape: ModelShape, weights_bytes: int, plan: LoadPlan) -> MemoryNeed:
    """What `plan` takes with a model of this shape and so many bytes of weights (the files' size, all parts).

    Weights that llama.cpp repacks for the processor (Q4_0, Q4_K, IQ4_NL ...) are counted once: the mapped original
    isn't touched again, and its pages are the system's to take.
    """
    vocabulary = shape.vocabulary or _USUAL_VOCABULARY
    return MemoryNeed(
        weights=weights_bytes,
        cache=cache_bytes(shape, plan),
        compute=plan.cards * compute_bytes(shape, plan),
        # The samplers' candidates (llama.h, llama_token_data: 12 bytes a token), and the request itself.
        sessions=plan.sessions * (12 * vocabulary + _MIB),
        engine=plan.cards * plan.engine_bytes + plan.token_bytes * vocabulary,
    )


def session_cells(context_tokens: int) -> int:
    """Tokens that a session's cache has room for: the context, padded (llama-context.cpp, `n_ctx_seq`)."""
    return _padded(max(1, context_tokens))


def cache_bytes(shape: ModelShape, plan: LoadPlan) -> int:
    """Keys and values of all sessions: cells × values per token, and the window's cells for layers that have one
    (llama-kv-cache.cpp; llama-kv-cache-iswa.cpp: window + one step, padded); the states of recurrent layers on top."""
    value_bytes = CACHE_TYPES[plan.cache_type]
    full = session_cells(plan.context_tokens) * (shape.full_keys + shape.full_values)
    window = _window_cells(shape, plan) * (shape.window_keys + shape.window_values)
    return plan.sessions * (int((full + window) * value_bytes) + shape.state_bytes)


def compute_bytes(shape: ModelShape, plan: LoadPlan) -> int:
    """Work buffers of one step, 32-bit: the widest moment of the graph, the attention masks (16-bit), and the results.

    The widest moment is the feed-forward part (5 stream widths and 3 feed-forward widths for each token of the step:
    its input, two halves and their product) or the logits. The factors are read off llama.cpp's own reports, which they
    meet to 0.1 MiB over eight shapes (docs/models.md). Without flash attention the scores of all heads are in memory.
    """
    step, vocabulary = plan.batch_tokens, shape.vocabulary or _USUAL_VOCABULARY
    cells = session_cells(plan.context_tokens)
    rows = plan.logit_rows or plan.sessions
    stream = step * 5 * shape.embedding
    widest = max(step * 3 * shape.feed_forward, rows * vocabulary)
    if not plan.flash_attention:
        widest = max(widest, step * cells * shape.heads)
    masks = 2 * step * (cells + (_window_cells(shape, plan) if shape.window_keys else 0))
    return 4 * (stream + widest) + masks + 4 * plan.sessions * vocabulary


def _window_cells(shape: ModelShape, plan: LoadPlan) -> int:
    cells = session_cells(plan.context_tokens)
    return min(cells, _padded(shape.window_tokens + plan.batch_tokens))


def _padded(tokens: int) -> int:
    return -(-tokens // _CELLS_STEP) * _CELLS_STEP
