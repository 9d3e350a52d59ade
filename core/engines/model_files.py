"""Which models the embedded engine has: the GGUF files of the owner's model folder, checked before they are offered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.assets_path import SELFTEST_MODEL_NAME
from core.engines.gguf_file import GgufHead, read_gguf_head
from core.gguf_reader import DamagedGguf
from core.model_shape import ModelShape

# llama.cpp's naming of a model in several files; it finds the others from the first.
_SPLIT = re.compile(r"^(?P<name>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})$")
_QUANT_IN_NAME = re.compile(r"(?i)(?:^|[-._])((?:I?Q\d(?:_[A-Z0-9]+)*|BF16|F16|F32))$")
_NOT_LANGUAGE_MODELS = frozenset({"clip", "mmproj"})  # picture encoders that lie beside their model


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A whole model on disk."""

    name: str  # the file's stem, without the "-00001-of-00003" of a split one
    path: Path  # absolute; the first file of a split model
    size_bytes: int  # of all files
    quant: str
    context_tokens: int | None
    shape: ModelShape | None = None  # None when the file lacks the figures
    is_selftest: bool = False


@dataclass(frozen=True, slots=True)
class DamagedModel:
    """A file that looks like a model and isn't offered, with the reason."""

    name: str
    path: Path
    problem: str


@dataclass(frozen=True, slots=True)
class ModelInventory:
    models: tuple[ModelFile, ...] = ()
    damaged: tuple[DamagedModel, ...] = ()

    def find(self, name: str) -> ModelFile | None:
        return next((model for model in self.models if model.name == name), None)


class ModelFolder:
    """Reads the owner's folder. Heads are read once per file and change; blocking, so call `scan` off the loop."""

    def __init__(self, folder: Path | None, extra_files: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._extra_files = tuple(extra_files)
        self._heads: dict[tuple[Path, int, int], GgufHead | str] = {}

    def scan(self) -> ModelInventory:
        """What is there now. A folder that doesn't exist holds no models; a file that can't be read is damaged."""
        models: dict[str, ModelFile] = {}
        damaged: list[DamagedModel] = []
        for name, paths in _group_splits(self._candidates()):
            result = self._inspect(name, paths)
            if isinstance(result, ModelFile) and name in models:
                result = DamagedModel(name, paths[0], f"another model of this name is at {models[name].path}")
            if isinstance(result, ModelFile):
                models[name] = result
            elif result is not None:
                damaged.append(result)
        return ModelInventory(tuple(models.values()), tuple(damaged))

    def _candidates(self) -> list[Path]:
        found: list[Path] = list(self._extra_files)
        if self._folder is not None:
            with suppress(OSError):  # a folder that is gone or closed to us offers nothing
                found += sorted(path for path in self._folder.rglob("*") if path.suffix.lower() == ".gguf")
        return [path.absolute() for path in found]

    def _inspect(self, name: str, paths: Sequence[Path]) -> ModelFile | DamagedModel | None:
        """A model, a damaged one, or None for a file that is no language model."""
        if not name.isprintable():  # a line break, or bytes that are no text: nothing could show it or ask for it
            return DamagedModel(name, paths[0], "its name holds characters that can't be shown; rename it")
        size = 0
        heads: list[GgufHead] = []
        for path in paths:
            try:
                stat = path.stat()
            except OSError as error:
                return DamagedModel(name, path, f"it cannot be read: {error.strerror or error}")
            size += stat.st_size
            head = self._head(path, stat.st_size, stat.st_mtime_ns)
            if isinstance(head, str):
                return DamagedModel(name, path, head)
            heads.append(head)
        first = heads[0]
        if first.architecture in _NOT_LANGUAGE_MODELS:
            return None
        if first.split_count != len(paths):
            return DamagedModel(name, paths[0], f"{len(paths)} of its {first.split_count} files are here")
        if not first.architecture:
            return DamagedModel(name, paths[0], "it does not say which kind of model it is")
        in_name = _QUANT_IN_NAME.search(name)
        return ModelFile(
            name=name,
            path=paths[0],
            size_bytes=size,
            quant=first.quant or (in_name[1].upper() if in_name else ""),
            context_tokens=first.context_tokens,
            shape=first.shape,
            is_selftest=SELFTEST_MODEL_NAME in (first.name, name),
        )

    def _head(self, path: Path, size: int, changed_ns: int) -> GgufHead | str:
        key = (path, size, changed_ns)
        if key not in self._heads:
            for old in [known for known in self._heads if known[0] == path]:
                del self._heads[old]
            try:
                self._heads[key] = read_gguf_head(path)
            except DamagedGguf as problem:
                self._heads[key] = str(problem)
            except (OSError, ValueError) as error:
                return f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        return self._heads[key]


def parts_of(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` is a file of, in order. One that is missing is left for the reader to find."""
    split = _SPLIT.match(path.stem)
    if split is None:
        return (path,)
    parts = int(split["parts"])
    return tuple(
        path.with_name(f"{split['name']}-{part:05}-of-{parts:05}{path.suffix}") for part in range(1, parts + 1)
    )


def _group_splits(paths: Iterable[Path]) -> list[tuple[str, list[Path]]]:
    """(model name, its files in order), in the order of their first appearance; the same file twice counts once."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in dict.fromkeys(paths):
        split = _SPLIT.match(path.stem)
        name = split["name"] if split else path.stem
        # Two whole files of one name in different folders are two models; so are a whole one and a split one.
        key = (path.parent if split else path, f"{name}/{split['parts']}" if split else name)
        groups.setdefault(key, []).append(path)
    return [(key[1].partition("/")[0], sorted(group)) for key, group in groups.items()]
