"""Compare model names as Ollama compares them: defaults filled in, case ignored."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

DEFAULT_TAG = "latest"
# What Ollama fills in when a name has no host or namespace (its types/model/name.go).
_DEFAULT_PREFIXES = ("registry.ollama.ai/library/", "library/")


@lru_cache(maxsize=256)  # asked several times a session, and for few names; a client's own are bounded
def normalize_model(name: str) -> str:
    """The one form in which two names of the same model are equal: short, lower case, with a tag.

    "Llama3" → "llama3:latest"; "hf.co/Org/Repo:Q4_K_M" → "hf.co/org/repo:q4_k_m". Ollama ignores the case of all parts.
    A colon before the last slash belongs to a host's port ("localhost:5000/org/model"), not to a tag.
    """
    short = name.strip().casefold()
    short = short.removeprefix("https://").removeprefix("http://")
    for prefix in _DEFAULT_PREFIXES:
        if short.startswith(prefix):
            short = short.removeprefix(prefix)
            break
    if not short:
        return ""
    if ":" not in short.rpartition("/")[2]:
        short = f"{short}:{DEFAULT_TAG}"
    return short


def same_model(a: str, b: str) -> bool:
    """True when both names mean one model. An empty name means no model, so it equals nothing."""
    normal = normalize_model(a)
    return bool(normal) and normal == normalize_model(b)


def find_model(wanted: str, have: Iterable[str]) -> str | None:
    """The engine's own spelling of `wanted`, or None. An exact match wins over one that only normalises to it."""
    names = tuple(have)
    if wanted and wanted in names:
        return wanted
    return next((name for name in names if same_model(wanted, name)), None)
