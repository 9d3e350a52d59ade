"""Models that the owner offers and the engine hasn't: what to download for each, and about how big it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from core.commands import CommandError
from core.engines import MissingModel
from core.engines.names import normalize_model
from core.hub.names import parse_reference
from core.model_names import local_name
from core.quant_choice import split_quant
from core.quantization import BITS_PER_WEIGHT, size_at

HUB_HOSTS = ("hf.co/", "huggingface.co/", "https://hf.co/", "https://huggingface.co/")
# "8b", "1.5b"; not of "8x7b", whose experts share a part, nor of "a3b", of which only so much is computed
_PARAMETERS = re.compile(r"(?:^|[-_:/])(?P<billions>\d{1,3}(?:\.\d{1,3})?)b(?=$|[-_.:])")


def missing_models(names: Iterable[str], table: Mapping[str, str], engine: str) -> tuple[MissingModel, ...]:
    """`names` are those for which the engine has nothing; `table` is the owner's (core/model_names.py)."""
    found = []
    for name in names:
        here = local_name(name, table)
        meant = table.get(normalize_model(name), "")
        gone_file = meant if meant.lower().endswith(".gguf") else ""
        pull_name = "" if gone_file else _pull_name(here, engine)
        found.append(
            MissingModel(
                name=name, pull_name=pull_name, size_bytes=size_by_name(here) or size_by_name(name), gone_file=gone_file
            )
        )
    return tuple(found)


def size_by_name(name: str) -> int | None:
    """Bytes of a model whose name tells its parameters and quantisation, as llama3.1:8b-instruct-q4_k_m does."""
    base, quant = split_quant(name)
    parameters = _PARAMETERS.search(base)
    if parameters is None or quant.upper() not in BITS_PER_WEIGHT:
        return None
    return size_at(round(float(parameters["billions"]) * 1e9), quant.upper()) or None


def is_on_hub(name: str) -> bool:
    """Whether a name says that it is the hub's, whatever engine fetches it."""
    return name.strip().casefold().startswith(HUB_HOSTS)


def _pull_name(here: str, engine: str) -> str:
    if engine == "ollama":
        return here
    if engine != "embedded":
        return ""
    try:
        parse_reference(here)
    except CommandError:  # a name of Ollama's, or of a file: the owner has to say where it is
        return ""
    return here
