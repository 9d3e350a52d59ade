"""What changes all day on its way to disk: when it is written, what the owner hears, and what the end waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.delayed_writer import WRITE_AFTER_S, DelayedWriter
from core.errors import StorageError
from tests.fakes.manual_clock import ManualClock
from tests.fakes.written import written


class Desk:
    """A writer whose disk fails, or hangs, when a test says so."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.notices: list[tuple[str, str]] = []
        self.writes = 0
        self.is_full = False
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.writer = DelayedWriter(
            "The record", self._write, on_notice=lambda *notice: self.notices.append(notice), sleep=self.clock.sleep
        )

    async def _write(self) -> None:
        await self.may_write.wait()
        if self.is_full:
            raise StorageError("Cannot write it: the disk is full.", hint="Free some space.")
        self.writes += 1

    async def change(self) -> None:
        self.writer.note_change()
        await self.clock.wait_for_sleep(WRITE_AFTER_S)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    made.may_write.set()
    await made.writer.close()


async def test_many_changes_are_one_write_half_a_minute_after_the_first(desk: Desk) -> None:
    await desk.change()
    await desk.clock.advance(WRITE_AFTER_S - 1)
    await desk.change()
    assert desk.writes == 0
    await desk.clock.advance(1)
    assert desk.writes == 1
    await desk.clock.advance(1000)
    assert desk.writes == 1
    await desk.change()
    await desk.clock.advance(WRITE_AFTER_S)
    assert desk.writes == 2


async def test_a_change_during_a_write_is_written_too(desk: Desk) -> None:
    desk.may_write.clear()
    await desk.change()
    await desk.clock.advance(WRITE_AFTER_S)
    desk.writer.note_change()
    desk.may_write.set()
    await desk.clock.wait_for_sleep(WRITE_AFTER_S)
    assert desk.writes == 1
    await desk.clock.advance(WRITE_AFTER_S)
    assert desk.writes == 2


async def test_a_disk_that_takes_nothing_is_told_once_tried_again_and_taken_back(desk: Desk) -> None:
    desk.is_full = True
    await desk.change()
    await desk.clock.advance(5 * WRITE_AFTER_S)
    trouble = "The record is not kept. Cannot write it: the disk is full. Free some space."
    assert desk.notices == [("", trouble)]
    assert desk.writer.trouble == trouble
    desk.is_full = False
    await desk.clock.advance(WRITE_AFTER_S)
    assert desk.notices[1:] == [(trouble, "")]
    assert desk.writes == 1


async def test_the_end_writes_what_waits_and_nothing_twice(desk: Desk) -> None:
    await desk.change()
    await desk.writer.close()
    assert desk.writes == 1
    await desk.writer.close()
    assert desk.writes == 1
    assert desk.clock.sleeping == []


async def test_the_end_waits_for_a_write_that_goes_on(desk: Desk) -> None:
    desk.may_write.clear()
    await desk.change()
    await desk.clock.advance(WRITE_AFTER_S)
    desk.writer.note_change()
    closing = asyncio.create_task(desk.writer.close())
    await asyncio.sleep(0)
    desk.may_write.set()
    await closing
    await written(desk.writer)
    assert desk.writes == 2


async def test_a_disk_that_hangs_does_not_keep_the_agent_from_its_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.delayed_writer.CLOSE_LIMIT_S", 0.01)
    desk.may_write.clear()
    await desk.change()
    await desk.clock.advance(WRITE_AFTER_S)
    await desk.writer.close()
    assert desk.writes == 0
