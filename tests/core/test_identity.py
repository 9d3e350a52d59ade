"""The generated agent id: made once, kept, and never quietly another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.errors import StorageError
from core.identity import ensure_agent_id
from tests.fakes.disk import FailingDisk


def test_id_is_made_once_and_kept(tmp_path: Path) -> None:
    first = ensure_agent_id(tmp_path / "data" / "agent-id")
    assert re.fullmatch(r"agent-[0-9a-f]{12}", first.agent_id)
    assert first.notice == ""
    assert ensure_agent_id(tmp_path / "data" / "agent-id") == first


def test_two_installations_have_two_ids(tmp_path: Path) -> None:
    assert ensure_agent_id(tmp_path / "a").agent_id != ensure_agent_id(tmp_path / "b").agent_id


@given(st.binary(max_size=60))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_id_is_set_aside_and_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "agent-id"
    aside = tmp_path / "agent-id.damaged-1"
    aside.unlink(missing_ok=True)
    path.write_bytes(data)
    identity = ensure_agent_id(path)
    assert aside.read_bytes() == data
    assert aside.name in identity.notice
    assert ensure_agent_id(path).agent_id == identity.agent_id


def test_full_disk_is_told_and_leaves_no_half_id(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="agent-id"):
        ensure_agent_id(tmp_path / "agent-id", disk=FailingDisk("write"))
    assert not (tmp_path / "agent-id").exists()


def test_id_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "agent-id").mkdir()
    with pytest.raises(StorageError, match="Cannot read"):
        ensure_agent_id(tmp_path / "agent-id")
