"""What a repository has for this machine, before a byte of a model is downloaded: sizes, and one file's head. Blocking.

The listing is one request; the head of one file takes one more, two where its figures stand far behind: at most three
requests, 4.7 MB and the listing. All quantisations of a model have the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core.errors import ModelError
from core.gguf_reader import DamagedGguf, RemoteBytes, read_metadata
from core.hub.download import HubError
from core.hub.names import HubFile, HubModel, ModelReference, whole_models
from core.logs import get_logger
from core.model_shape import ModelShape, shape_of
from core.quant_choice import split_quant

log = get_logger(__name__)

HEAD_STEPS = (256 << 10, 4352 << 10)


class HeadSource(Protocol):
    def files(self) -> tuple[HubFile, ...]: ...

    def read(self, file: HubFile, start: int, count: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryLook:
    """`models` as whole_models gives them; `shape` is that of the models whose name without quantisation is `base`."""

    reference: ModelReference
    models: tuple[HubModel, ...]
    base: str
    shape: ModelShape | None  # None: its head tells nothing

    def shape_of(self, model: HubModel) -> ModelShape | None:
        return self.shape if _base(model) == self.base else None


def look_into(source: HeadSource, reference: ModelReference) -> RepositoryLook:
    """Raises CommandError and HubError; a head that can't be read is no error: then sizes alone are known."""
    models = whole_models(source.files(), reference.wanted)
    read = models[0] if reference.wanted else min(models, key=lambda model: model.size_bytes)
    return RepositoryLook(reference=reference, models=models, base=_base(read), shape=_read_shape(source, read))


def _read_shape(source: HeadSource, model: HubModel) -> ModelShape | None:
    file = model.files[0]
    try:
        head = RemoteBytes(lambda start, count: source.read(file, start, count), file.size_bytes, steps=HEAD_STEPS)
        return shape_of(read_metadata(head))
    except (DamagedGguf, HubError, ModelError) as error:
        log.info("head not read", file=file.name, problem=str(error))
        return None


def _base(model: HubModel) -> str:
    return split_quant(model.stem)[0] or model.stem
