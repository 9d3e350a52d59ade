"""What this process may leave behind and use up: no dump of prompts, and files for the owner whoever connects."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from core.process_limits import FILES_KEPT, FILES_WANTED, files_for_strangers, set_process_limits, take_the_back_seat

if sys.platform == "win32":
    pytest.skip("Windows has no such limits", allow_module_level=True)

import resource


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    kinds = (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)
    before = [resource.getrlimit(kind) for kind in kinds]
    yield
    for kind, limits in zip(kinds, before, strict=True):
        resource.setrlimit(kind, limits)


def soft(kind: int, value: int | None = None) -> int:
    """The soft limit, set first where a value is given."""
    if value is not None:
        resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
    return resource.getrlimit(kind)[0]


def test_no_dump_is_written_and_the_hard_limit_stays() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard == 0:
        pytest.skip("dumps are off here for good")
    soft(resource.RLIMIT_CORE, hard)
    set_process_limits()
    assert resource.getrlimit(resource.RLIMIT_CORE) == (1, hard)


def test_who_has_switched_dumps_off_keeps_it_so() -> None:
    soft(resource.RLIMIT_CORE, 0)
    set_process_limits()
    assert soft(resource.RLIMIT_CORE) == 0


def test_more_files_are_allowed_where_the_system_lets_us() -> None:
    soft(resource.RLIMIT_NOFILE, 512)
    set_process_limits()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert soft(resource.RLIMIT_NOFILE) == (FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED))


def test_strangers_leave_files_for_the_owner() -> None:
    assert soft(resource.RLIMIT_NOFILE, 1024) == files_for_strangers() + FILES_KEPT
    soft(resource.RLIMIT_NOFILE, 300)
    assert files_for_strangers() == 64


@pytest.mark.skipif(sys.platform != "linux", reason="a kind of scheduling that Linux has")
def test_agents_thread_and_those_it_starts_stand_back_and_the_others_do_not() -> None:
    """In the window's process the agent has a thread of its own: Qt's must answer at once."""
    before, seen = os.sched_getscheduler(0), []

    def look() -> None:
        seen.append(os.sched_getscheduler(0))

    def agent() -> None:
        take_the_back_seat()
        look()
        run(look)

    def run(target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    run(agent)
    assert seen == [os.SCHED_BATCH, os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == before


@pytest.mark.skipif(sys.platform != "linux", reason="a kind of scheduling that Linux has")
def test_system_that_refuses_leaves_the_agent_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    take_the_back_seat()
