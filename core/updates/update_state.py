"""What is known about new versions between two runs: one small file, replaced whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UpdateError
from core.json_file import JsonFile
from core.updates.release_index import Release, release_of


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateState:
    """Times in seconds since the epoch, 0 for never."""

    checked_at: float = 0.0  # the last index that could be read and believed
    tried_at: float = 0.0  # the last try
    issued: int = 0  # of the newest index seen
    newest: Release | None = None  # above the version that ran then
    skipped: str = ""  # the version that the owner doesn't want to hear of


def state_file(path: Path) -> JsonFile[UpdateState]:
    """Where it is kept. A damaged file, or a disk that takes nothing, costs one check more."""
    return JsonFile(path, "what is known of updates", _state_of)


def _state_of(document: Any) -> UpdateState:
    newest = document["newest"]
    try:
        return UpdateState(
            checked_at=float(document["checked_at"]),
            tried_at=float(document["tried_at"]),
            issued=int(document["issued"]),
            newest=None if newest is None else release_of(newest),
            skipped=str(document["skipped"]),
        )
    except UpdateError as error:
        raise ValueError(error.detail) from error
