"""The owner's table of names: what the network calls a model, and which model of the engine that is.

A coordinator's clients ask for `llama3.1:8b-instruct-q4_k_m`; the same model may lie here as
`Meta-Llama-3.1-8B-Instruct-Q4_K_M`, or in a file of any folder. One model may have several names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from core.engines.names import normalize_model

_SPLIT = re.compile(r"-\d{5}-of-\d{5}$")


class BadNames(Exception):
    """An entry that is no pair of names; the text says what is wrong."""


def parse_model_names(entries: Iterable[str]) -> Mapping[str, str]:
    """{the network's name, normalised: the engine's name or a file's path} of entries like `llama3.1:8b=my-llama`."""
    names: dict[str, str] = {}
    for entry in entries:
        wanted, equals, here = (part.strip() for part in entry.partition("="))
        if not equals or not wanted or not here:
            raise BadNames(f"{entry!r} is no pair of names: write llama3.1:8b=the-name-here")
        if names.setdefault(normalize_model(wanted), here) != here:
            raise BadNames(f"{wanted!r} stands for two models")
        if here.lower().endswith(".gguf") and not Path(here).is_absolute():
            raise BadNames(f"{here!r} is no whole path: begin it with the folder")
    return names


def named_files(names: Mapping[str, str]) -> tuple[Path, ...]:
    """The model files that the table names by their path; of a split model all parts that are there."""
    found: dict[Path, None] = {}
    for here in names.values():
        path = Path(here)
        if path.suffix.lower() == ".gguf":
            split = _SPLIT.search(path.stem)
            parts = path.parent.glob(f"{_glob_text(path.stem[: split.start()])}-*-of-*.gguf") if split else ()
            found.update(dict.fromkeys([*sorted(parts), path] if split else [path]))
    return tuple(found)


def local_name(wanted: str, names: Mapping[str, str]) -> str:
    """The engine's name of what is wanted: by the table, else the name itself. A file is named by its stem."""
    here = names.get(normalize_model(wanted), wanted)
    return _SPLIT.sub("", Path(here).stem) if here.lower().endswith(".gguf") else here


def _glob_text(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)
