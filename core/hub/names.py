"""What an owner writes to get a model from a hub, and which of its files that means. Pure.

`hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M` as Ollama has it; the host may be left out, and instead of the
quantisation a file may be named. A model in several files (`…-00001-of-00003.gguf`) is taken whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.commands import CommandError
from core.quantization import ARM_NAMES, BITS_PER_WEIGHT

DEFAULT_QUANT = "Q4_K_M"  # what a hub's page itself proposes, where it isn't known what fits
MAX_FILE_NAME = 200
LOADED_PER_FILE = 1.2  # context and buffers beside the weights, roughly; the real figures are in the file's header

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REFERENCE = re.compile(
    rf"(?:https://)?(?:hf\.co/|huggingface\.co/)?(?P<owner>{_PART})/(?P<repo>{_PART})(?::(?P<wanted>[^:\s]+))?",
    re.ASCII,
)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ +-]*\.gguf", re.ASCII)
_SPLIT = re.compile(r"^(?P<stem>.+)-(?P<part>[0-9]{5})-of-(?P<parts>[0-9]{5})$")
_NOT_MODELS = ("mmproj", "imatrix")
_QUANTS = (*BITS_PER_WEIGHT, *ARM_NAMES, "Q4_1", "Q5_0", "Q5_1", "MXFP4")
_UNQUANTISED = ("F32", "BF16", "F16")  # twice the memory of Q8_0 for nothing that a client would notice


@dataclass(frozen=True, slots=True)
class ModelReference:
    """`owner/repo` on the hub; `wanted` is a quantisation or a file's name, "" for the default."""

    owner: str
    repo: str
    wanted: str = ""

    @property
    def repo_id(self) -> str:
        return f"{self.owner}/{self.repo}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of a repository. `path` is the hub's; on this machine only its last part counts."""

    path: str
    size_bytes: int
    sha256: str  # lower-case hex

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """One model of a repository: a file, or all its parts in order."""

    stem: str  # what the embedded engine calls it
    quant: str  # "" where its name doesn't say
    files: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def is_quantised(self) -> bool:
        return self.quant not in _UNQUANTISED


def parse_reference(text: str) -> ModelReference:
    """Raises CommandError with an example."""
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        raise CommandError(
            f"{text.strip()[:80]!r} names no model on the hub",
            hint="It looks like bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M: owner, repository, quantisation.",
        )
    return ModelReference(match["owner"], match["repo"], match["wanted"] or "")


def choose_files(files: Sequence[HubFile], wanted: str, *, room_bytes: int | None = None) -> tuple[HubFile, ...]:
    """The file, or all parts of the one model, that `wanted` means. Raises CommandError that names what there is.

    "" means the best that fits into `room_bytes` of memory; DEFAULT_QUANT where that isn't known.
    """
    models = _some_models_of(files)
    stem = _wanted_stem(models, wanted) if wanted else _best(models, room_bytes)
    return _whole(models[stem])


def whole_models(files: Sequence[HubFile], wanted: str = "") -> tuple[HubModel, ...]:
    """Every model of which all parts are there, largest first; the one that `wanted` means before all others.

    Raises CommandError that names what there is, where there is none, or not that one.
    """
    models = _some_models_of(files)
    first = _wanted_stem(models, wanted) if wanted else ""
    if first:
        _whole(models[first])  # raises where a part is missing
    found = []
    for stem, parts in models.items():
        with suppress(CommandError):
            found.append(HubModel(stem=stem, quant=_quant_of(stem), files=_whole(parts)))
    if not found:
        raise CommandError("of no model there all parts are there", hint="Choose another repository.")
    return tuple(sorted(found, key=lambda model: (model.stem != first, -model.size_bytes, model.stem)))


def download_name(reference: ModelReference, model: HubModel, others: Sequence[HubModel]) -> str:
    """How an owner names this very model: by its quantisation where no other has that, else by its file."""
    is_plain = bool(model.quant) and sum(other.quant == model.quant for other in others) == 1
    return f"{reference.repo_id}:{model.quant if is_plain else model.stem + '.gguf'}"


def model_name(files: Sequence[HubFile]) -> str:
    """The name that the embedded engine gives the model: the file's stem, without the number of its part."""
    return _stem_of(files[0].name)


def _some_models_of(files: Sequence[HubFile]) -> dict[str, list[HubFile]]:
    models = _models_of(files)
    if not models:
        raise CommandError("that repository has no GGUF file", hint="Look for one whose name ends in -GGUF.")
    return models


def _wanted_stem(models: dict[str, list[HubFile]], wanted: str) -> str:
    wanted_stem = wanted.removesuffix(".gguf").casefold()
    found = [stem for stem in models if stem.casefold() == wanted_stem or _quant_of(stem) == wanted.upper()]
    if not found:
        there = ", ".join(sorted({_quant_of(stem) or stem for stem in models}))
        raise CommandError(f"that repository has no {wanted}", hint=f"It has: {there[:400]}.")
    return found[0]


def _models_of(files: Sequence[HubFile]) -> dict[str, list[HubFile]]:
    models: dict[str, list[HubFile]] = {}
    for file in files:
        is_fine = _FILE_NAME.fullmatch(file.name) and len(file.name) <= MAX_FILE_NAME
        if is_fine and not file.name.casefold().startswith(_NOT_MODELS):
            models.setdefault(_stem_of(file.name), []).append(file)
    return models


def _whole(parts: list[HubFile]) -> tuple[HubFile, ...]:
    """All parts, in order. Raises CommandError where one is missing."""
    parts = sorted(parts, key=lambda file: file.name)
    split = _SPLIT.match(parts[0].name.removesuffix(".gguf"))
    expected = int(split["parts"]) if split else 1
    if len({file.name for file in parts}) != expected:
        raise CommandError(f"the hub has {len(parts)} of {expected} parts of that model", hint="Choose another one.")
    return tuple(parts)


def _stem_of(file_name: str) -> str:
    stem = file_name.removesuffix(".gguf")
    split = _SPLIT.match(stem)
    return split["stem"] if split else stem


def _quant_of(stem: str) -> str:
    """Q4_K_M of "Llama-3.2-3B-Instruct-Q4_K_M"; "" where the name ends in none that is known."""
    for quant in sorted(_QUANTS, key=len, reverse=True):
        if re.search(rf"(?:^|[-._]){re.escape(quant)}$", stem, re.IGNORECASE):
            return quant
    return ""


def _best(models: dict[str, list[HubFile]], room_bytes: int | None) -> str:
    """The largest that fits; the smallest where none does; the default where the room isn't known."""
    sizes = {stem: sum(file.size_bytes for file in parts) for stem, parts in models.items()}
    quantised = {stem: size for stem, size in sizes.items() if _quant_of(stem) not in _UNQUANTISED} or sizes
    if room_bytes is None:
        return min(quantised, key=lambda stem: (_quant_of(stem) != DEFAULT_QUANT, not _quant_of(stem), stem))
    fitting = {stem: size for stem, size in quantised.items() if size * LOADED_PER_FILE <= room_bytes}
    return max(fitting, key=fitting.__getitem__) if fitting else min(quantised, key=quantised.__getitem__)
