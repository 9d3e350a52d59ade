"""The figures of a model that decide how much memory it takes, from GGUF metadata or from Ollama's /api/show.

Both use the same names: `general.architecture`, and then `<architecture>.block_count` and so on (ggml's docs/gguf.md;
Ollama's `model_info`). How an architecture uses its sliding window is llama.cpp's knowledge, not the file's: the table
is from its src/models/*.cpp, `load_arch_hparams`. Whatever isn't known counts as full attention, which needs more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.gguf_reader import VOCABULARY_KEY

_MOST_LAYERS, _WIDEST, _MOST_TOKENS = 1000, 1 << 20, 1 << 31  # beyond these a figure is damage, or an attack

# architecture → (every n-th layer attends to everything, window where the file has none or the engine overrides it).
# smallthinker's first of four is the full one; the count is off by one layer at most, so it isn't told apart.
_WINDOWS: Mapping[str, tuple[int, int]] = {
    "gemma2": (2, 4096),
    "gemma3": (6, 0),
    "gemma3n": (5, 0),
    "cohere2": (4, 0),
    "gpt-oss": (2, 0),
    "exaone4": (4, 0),
    "olmo2": (4, 0),
    "afmoe": (4, 0),
    "plamo3": (8, 0),
    "smallthinker": (4, 0),
    "llama4": (4, 8192),
}
_WINDOW_IS_FIXED = frozenset({"llama4"})
_FIRST_LAYERS_KEEP = {"gemma3n": 20}  # the later ones use their keys and values


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What memory arithmetic needs of a model. Widths are in values, summed over layers where it says so."""

    architecture: str
    layers: int
    embedding: int  # width of the stream between layers
    feed_forward: int  # of one token: the used experts together, where there are experts
    heads: int  # the most that a layer has
    vocabulary: int  # tokens; 0 where the source doesn't say
    context_tokens: int | None  # the trained maximum
    full_keys: int  # values per token, keys of all layers that attend to everything
    full_values: int
    window_keys: int = 0  # the same for layers with a sliding window
    window_values: int = 0
    window_tokens: int = 0
    state_bytes: int = 0  # per session, of recurrent layers


def shape_of(values: Mapping[str, object]) -> ModelShape | None:
    """The shape that metadata tells of, or None where it lacks what is needed or holds what no model has."""
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        return None
    return _Figures(architecture, values).shape()


class _Figures:
    """Reads one architecture's keys. A figure out of bounds makes the whole shape unknown."""

    def __init__(self, architecture: str, values: Mapping[str, object]) -> None:
        self._architecture, self._values = architecture, values

    def shape(self) -> ModelShape | None:
        layers = self._number("block_count", _MOST_LAYERS)
        embedding = self._number("embedding_length", _WIDEST)
        if not layers or not embedding:
            return None
        # llama.cpp keeps no cache for layers that only guess ahead (nextn_predict_layers) while it doesn't use them.
        layers = max(1, layers - (self._number("nextn_predict_layers", layers) or 0))
        heads = self._per_layer("attention.head_count", layers) or (0,) * layers
        kv_heads = self._per_layer("attention.head_count_kv", layers) or heads
        keys, values = self._head_widths(embedding, max(heads))
        windowed = self._windowed(layers)
        kept = self._layers_with_cache(layers)
        widths = {False: [0, 0], True: [0, 0]}
        for layer in range(layers):
            if layer < kept and not self._is_recurrent(layer, kv_heads):
                is_windowed = windowed[layer]
                widths[is_windowed][0] += kv_heads[layer] * keys[is_windowed]
                widths[is_windowed][1] += kv_heads[layer] * values[is_windowed]
        recurrent = sum(self._is_recurrent(layer, kv_heads) for layer in range(layers))
        return ModelShape(
            architecture=self._architecture,
            layers=layers,
            embedding=embedding,
            feed_forward=self._feed_forward(layers),
            heads=max(heads),
            vocabulary=self._vocabulary(),
            context_tokens=self._number("context_length", _MOST_TOKENS),
            full_keys=widths[False][0],
            full_values=widths[False][1],
            window_keys=widths[True][0],
            window_values=widths[True][1],
            window_tokens=self._window() if any(windowed) else 0,
            state_bytes=recurrent * self._state_bytes(embedding),
        )

    def _head_widths(self, embedding: int, heads: int) -> tuple[dict[bool, int], dict[bool, int]]:
        """({is windowed: width of a key}, the same of a value). With latent attention (MLA) the value is a part of the
        key and kept only once (llama.cpp's llama-kv-cache.cpp, `is_mla`)."""
        usual = embedding // heads if heads else 0
        key = self._number("attention.key_length", _WIDEST) or usual
        value = self._number("attention.value_length", _WIDEST) or usual
        if self._number("attention.key_length_mla", _WIDEST):
            value = 0
        window_key = self._number("attention.key_length_swa", _WIDEST) or key
        window_value = self._number("attention.value_length_swa", _WIDEST) or value
        return {False: key, True: window_key}, {False: value, True: window_value}

    def _window(self) -> int:
        default = _WINDOWS.get(self._architecture, (0, 0))[1]
        if self._architecture in _WINDOW_IS_FIXED:
            return default
        return self._number("attention.sliding_window", _MOST_TOKENS) or default

    def _windowed(self, layers: int) -> Sequence[bool]:
        """For each layer whether it sees only the window."""
        none = (False,) * layers
        pattern = self._values.get(f"{self._architecture}.attention.sliding_window_pattern")
        is_known = self._architecture in _WINDOWS
        if self._values.get(f"{self._architecture}.attention.sliding_window") == 0 or not self._window():
            return none
        if isinstance(pattern, Sequence) and not isinstance(pattern, str):
            return tuple(bool(item) for item in pattern) if len(pattern) == layers else none
        every = _whole(pattern)
        if every is None or not is_known:
            every = _WINDOWS[self._architecture][0] if is_known else 1
        return tuple(every == 0 or layer % every < every - 1 for layer in range(layers))

    def _layers_with_cache(self, layers: int) -> int:
        shared = self._number("attention.shared_kv_layers", layers) or 0
        return min(layers - shared, _FIRST_LAYERS_KEEP.get(self._architecture, layers))

    def _is_recurrent(self, layer: int, kv_heads: Sequence[int]) -> bool:
        """A layer that carries a state of fixed size and no keys: marked by no heads, or by its distance from the
        layers that attend (`full_attention_interval`)."""
        interval = self._number("full_attention_interval", _MOST_LAYERS)
        if interval:
            return (layer + 1) % interval != 0
        return kv_heads[layer] == 0

    def _state_bytes(self, embedding: int) -> int:
        """Of one recurrent layer and session, 32-bit (llama.cpp's llama-hparams.cpp, `n_embd_r` and `n_embd_s`)."""
        if short := self._number("shortconv.l_cache", _WIDEST):
            return 4 * embedding * (short - 1)
        if head := self._number("wkv.head_size", _WIDEST):
            return 4 * embedding * (head + 2)
        inner = self._number("ssm.inner_size", _WIDEST) or 0
        state = self._number("ssm.state_size", _WIDEST) or 0
        groups = self._number("ssm.group_count", _WIDEST) or 0
        kernel = self._number("ssm.conv_kernel", _WIDEST) or 1
        return 4 * ((kernel - 1) * (inner + 2 * groups * state) + state * inner)

    def _feed_forward(self, layers: int) -> int:
        dense = max(self._per_layer("feed_forward_length", layers) or (0,))
        used = self._number("expert_used_count", _MOST_LAYERS) or 0
        expert = self._number("expert_feed_forward_length", _WIDEST) or (dense if used else 0)
        return max(dense, used * expert)

    def _vocabulary(self) -> int:
        said = self._number("vocab_size", 1 << 24)
        tokens = _whole(self._values.get(VOCABULARY_KEY))  # the array's length, as core/gguf_reader.py keeps it
        return said or min(tokens or 0, 1 << 24)

    def _number(self, key: str, most: int) -> int | None:
        found = _whole(self._values.get(f"{self._architecture}.{key}"))
        return found if found is not None and found <= most else None

    def _per_layer(self, key: str, layers: int) -> tuple[int, ...] | None:
        """One number for each layer; a file has one for all, or a list."""
        found = self._values.get(f"{self._architecture}.{key}")
        if isinstance(found, Sequence) and not isinstance(found, str):
            numbers = tuple(number for item in found if (number := _whole(item)) is not None and number <= _WIDEST)
            return numbers[:layers] if len(numbers) == len(found) and len(numbers) >= layers else None
        number = _whole(found)
        return (number,) * layers if number is not None and number <= _WIDEST else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
