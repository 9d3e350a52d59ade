"""The agent's own name, for owners who give it none: made once per profile, and the same at every start."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from core.atomic_file import Disk, exclusive, read_plain, set_aside, write_atomically
from core.paths import storage_error

_GENERATED_ID = re.compile(r"agent-[0-9a-f]{12}")
_MAX_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """The name, and what happened on the way to it ("" when nothing did)."""

    agent_id: str
    notice: str = ""


def ensure_agent_id(path: Path, *, disk: Disk | None = None) -> AgentIdentity:
    """Read the generated id from `path` (ProfilePaths.agent_id_file), or make and keep one.

    48 random bits: among 10,000 agents the chance that any two share an id is 2 in 10 million. A damaged file is set
    aside and said so, since the coordinator then sees a new agent. Raises StorageError.
    """
    with exclusive(path.with_name(f"{path.name}.lock")):
        text = _read(path)
        if text is not None and _GENERATED_ID.fullmatch(text.strip()):
            return AgentIdentity(text.strip())
        notice = ""
        if text is not None:
            aside = set_aside(path)
            notice = f"{path} was damaged and was set aside as {aside.name}; this agent has a new id now"
        agent_id = f"agent-{secrets.token_hex(6)}"
        write_atomically(path, f"{agent_id}\n".encode(), disk=disk)
        return AgentIdentity(agent_id, notice)


def _read(path: Path) -> str | None:
    try:
        return read_plain(path, _MAX_FILE_BYTES).decode("ascii", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", path, error) from error
