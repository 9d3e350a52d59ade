"""The snapshot is a value, and the store publishes only what changed."""

from __future__ import annotations

import dataclasses
import json

import pytest

from core.snapshot import AgentSnapshot, Reason, SnapshotStore, Totals
from core.state import AgentState, IllegalTransition
from tests.fakes.snapshots import busy_snapshot, paused_snapshot

SNAPSHOTS = [AgentSnapshot(), busy_snapshot(), paused_snapshot()]


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_snapshots_are_hashable_values(snapshot: AgentSnapshot) -> None:
    twin = dataclasses.replace(snapshot)
    assert twin == snapshot
    assert hash(twin) == hash(snapshot)
    assert dataclasses.replace(snapshot, totals=Totals(tokens=-1)) != snapshot
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.pid = 1  # type: ignore[misc]


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_json_holds_every_field_and_nothing_else(snapshot: AgentSnapshot) -> None:
    text = snapshot.to_json()
    assert "\n" not in text
    assert json.loads(text) == json.loads(json.dumps(dataclasses.asdict(snapshot)))
    assert set(json.loads(text)) == {field.name for field in dataclasses.fields(AgentSnapshot)}


def test_store_publishes_only_changes() -> None:
    store = SnapshotStore(AgentSnapshot())
    seen: list[AgentSnapshot] = []
    unsubscribe = store.subscribe(seen.append)
    store.publish(running_jobs=0)
    store.publish(state=AgentState.STOPPED)
    assert seen == []
    store.publish(running_jobs=2)
    assert [snapshot.running_jobs for snapshot in seen] == [2]
    assert store.current is seen[0]
    assert store.current.is_busy
    unsubscribe()
    store.publish(running_jobs=3)
    assert len(seen) == 1


def test_illegal_move_is_not_published() -> None:
    store = SnapshotStore(AgentSnapshot())
    with pytest.raises(IllegalTransition):
        store.publish(state=AgentState.READY, running_jobs=1)
    assert store.current == AgentSnapshot()


def test_listener_may_leave_while_it_is_told() -> None:
    store = SnapshotStore(AgentSnapshot())
    told: list[str] = []

    def first(_: AgentSnapshot) -> None:
        told.append("first")
        leave()

    leave = store.subscribe(first)
    store.subscribe(lambda _: told.append("second"))
    store.publish(pid=1)
    store.publish(pid=2)
    assert told == ["first", "second", "second"]


def test_blocking_reasons_are_those_that_block() -> None:
    blocks, tells = Reason(code="a", sentence="A."), Reason(code="b", sentence="B.", blocks=False)
    assert AgentSnapshot(reasons=(blocks, tells)).blocking_reasons == (blocks,)
