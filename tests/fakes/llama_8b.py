"""Meta-Llama-3.1-8B-Instruct, as its file's metadata says: the model that most volunteers know the size of."""

from __future__ import annotations

from core.model_shape import ModelShape

PARAMETERS_8B = 8_030_261_312
LLAMA_8B = ModelShape(
    architecture="llama",
    layers=32,
    embedding=4096,
    feed_forward=14336,
    heads=32,
    vocabulary=128256,
    context_tokens=131072,
    full_keys=32 * 8 * 128,
    full_values=32 * 8 * 128,
)
