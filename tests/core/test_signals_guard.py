"""Probes have a time limit: one that hangs or fails is an honest unknown, and costs one thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from core.signals import SignalProbe, Unknown
from core.signals.guard import Guarded, ProbeThreads, guard_bus_probe, guard_probe, read_all
from tests.fakes.polling import until

LIMIT_S = 0.02  # for those that hang; a probe that answers gets more, on a busy machine


class HeldProbe:
    """A driver that hangs while `hold` is set to do so, and then answers how often it was asked."""

    name = "held"

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = 0
        self.failure: Exception | None = None
        self.threads: set[int] = set()

    def read(self) -> int | Unknown:
        self.asked += 1
        self.threads.add(threading.get_ident())
        self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return self.asked

    def close(self) -> None:
        self.may_answer.set()


class HeldBusProbe:
    """A program on a bus that doesn't answer before `may_answer`."""

    name = "held"

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def read(self) -> str | Unknown:
        await self.may_answer.wait()
        return "an answer"


@pytest.fixture
def probe() -> Iterator[HeldProbe]:
    probe = HeldProbe()
    yield probe
    probe.close()


@pytest.fixture
def threads() -> Iterator[ProbeThreads]:
    threads = ProbeThreads()
    yield threads
    threads.close()


def guarded(probe: SignalProbe[int], threads: ProbeThreads) -> Guarded[int]:
    return guard_probe(probe, threads, "The driver")


async def read(reader: Guarded[Any], limit_s: float = 10.0) -> Any:
    return (await read_all([reader], limit_s))[reader.name]


async def until_back(reader: Guarded[int]) -> None:
    await until(lambda: not reader.is_hanging)


async def test_readings_one_after_the_other_use_one_thread(probe: HeldProbe, threads: ProbeThreads) -> None:
    reader = guarded(probe, threads)
    assert [await read(reader) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert len(probe.threads) == 1


async def test_hanging_probe_is_unknown_is_not_asked_again_and_comes_back(
    probe: HeldProbe, threads: ProbeThreads
) -> None:
    reader = guarded(probe, threads)
    probe.may_answer.clear()
    assert [await read(reader, LIMIT_S) for _ in range(10)] == [Unknown("The driver does not answer.")] * 10
    assert probe.asked == 1
    assert reader.is_hanging
    probe.may_answer.set()
    await until_back(reader)
    assert await read(reader) == 2  # a fresh answer, not the late one


async def test_others_are_read_while_one_hangs_and_its_thread_is_used_again_when_it_is_back(
    probe: HeldProbe, threads: ProbeThreads
) -> None:
    hanging, other = guarded(probe, threads), HeldProbe()
    probe.may_answer.clear()
    await read(hanging, LIMIT_S)
    reader = guarded(other, threads)
    assert [await read(reader) for _ in range(3)] == [1, 2, 3]
    assert len(other.threads) == 1
    assert other.threads != probe.threads
    probe.may_answer.set()
    await until_back(hanging)
    await read(hanging)
    await read(reader)
    assert probe.threads | other.threads == {*probe.threads, *other.threads}
    assert len(probe.threads | other.threads) == 2


def named(name: str) -> HeldProbe:
    probe = HeldProbe()
    probe.name = name
    return probe


async def test_what_is_asked_together_is_read_on_one_thread(threads: ProbeThreads) -> None:
    probes = [named(f"probe {number}") for number in range(6)]
    readers = [guarded(probe, threads) for probe in probes]
    for turn in range(1, 4):
        assert await read_all(readers, 10.0) == {probe.name: turn for probe in probes}
    assert len(set().union(*(probe.threads for probe in probes))) == 1


@pytest.mark.parametrize("hanging", [(0, 1), (1, 3)])
async def test_ones_that_hang_among_several_keep_nobody_from_being_read(
    threads: ProbeThreads, hanging: tuple[int, ...]
) -> None:
    probes = [named(f"probe {number}") for number in range(4)]
    readers = [guarded(probe, threads) for probe in probes]
    for number in hanging:
        probes[number].may_answer.clear()
    seen = await read_all(readers)
    hung = {probes[number].name for number in hanging}
    assert seen == {probe.name: Unknown("The driver does not answer.") if probe.name in hung else 1 for probe in probes}
    for number in hanging:
        probes[number].may_answer.set()
        await until_back(readers[number])
    assert await read_all(readers, 10.0) == {probe.name: 2 for probe in probes}


async def test_failing_probe_is_unknown_and_is_logged_once(
    probe: HeldProbe, threads: ProbeThreads, caplog: pytest.LogCaptureFixture
) -> None:
    reader = guarded(probe, threads)
    probe.failure = ValueError("a bug")
    seen = [await read(reader) for _ in range(3)]
    assert all(isinstance(value, Unknown) and "log has the details" in value.cause for value in seen)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    probe.failure = None
    assert await read(reader) == 4


async def test_error_that_comes_too_late_is_dropped_without_a_complaint(
    probe: HeldProbe, threads: ProbeThreads, caplog: pytest.LogCaptureFixture
) -> None:
    reader = guarded(probe, threads)
    probe.may_answer.clear()
    probe.failure = ValueError("a bug")
    await read(reader, LIMIT_S)
    probe.may_answer.set()
    await until_back(reader)
    probe.failure = None
    assert await read(reader) == 2
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_threads_end_with_close_and_one_that_hung_ends_when_it_is_back() -> None:
    threads, probe, free = ProbeThreads(), HeldProbe(), HeldProbe()
    before = threading.active_count()
    reader = guarded(probe, threads)
    probe.may_answer.clear()
    await asyncio.gather(read(reader, LIMIT_S), read(guarded(free, threads)))
    assert threading.active_count() == before + 2
    await reader.close()
    threads.close()
    probe.may_answer.set()
    await until(lambda: threading.active_count() == before)


async def test_loop_goes_on_while_a_probe_hangs(probe: HeldProbe, threads: ProbeThreads) -> None:
    reader = guarded(probe, threads)
    probe.may_answer.clear()
    reading = asyncio.create_task(read(reader))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not reading.done()
    probe.may_answer.set()
    assert await reading == 1


async def test_bus_probe_that_hangs_is_unknown_and_is_given_up_at_the_end() -> None:
    probe = HeldBusProbe()
    reader = guard_bus_probe(probe, "The desktop")
    assert await read(reader, LIMIT_S) == Unknown("The desktop does not answer.")
    assert await read(reader, LIMIT_S) == Unknown("The desktop does not answer.")
    await reader.close()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("signal-")] == []


async def test_bus_probe_that_is_back_is_asked_anew() -> None:
    probe = HeldBusProbe()
    reader = guard_bus_probe(probe, "The desktop")
    await read(reader, LIMIT_S)
    probe.may_answer.set()
    await until(lambda: not reader.is_hanging)
    assert await read(reader) == "an answer"
