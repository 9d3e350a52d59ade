"""What is known about new versions between two runs: one small file, replaced whole."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from core.atomic_file import write_atomically
from core.errors import StorageError, UpdateError
from core.logs import get_logger
from core.updates.release_index import Release, release_of

log = get_logger(__name__)

_MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateState:
    """Times in seconds since the epoch, 0 for never."""

    checked_at: float = 0.0  # the last index that could be read and believed
    tried_at: float = 0.0  # the last try
    issued: int = 0  # of the newest index seen
    newest: Release | None = None  # above the version that ran then
    skipped: str = ""  # the version that the owner doesn't want to hear of


def load_state(path: Path) -> UpdateState:
    """The kept state; a missing or damaged file is a new start: it costs one check. Blocks for a disk access."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_FILE_BYTES))
        newest = content["newest"]
        return UpdateState(
            checked_at=float(content["checked_at"]),
            tried_at=float(content["tried_at"]),
            issued=int(content["issued"]),
            newest=None if newest is None else release_of(newest),
            skipped=str(content["skipped"]),
        )
    except FileNotFoundError:
        return UpdateState()
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UpdateError) as error:
        log.warning("what was known of updates can't be read", error_type=type(error).__name__)
        return UpdateState()


def save_state(path: Path, state: UpdateState) -> None:
    """Blocks for a disk access. A disk that takes nothing is no reason to stop: the check is made again then."""
    try:
        write_atomically(path, json.dumps(dataclasses.asdict(state), indent=1).encode())
    except StorageError as error:
        log.warning("what is known of updates can't be kept", error=error.detail)
