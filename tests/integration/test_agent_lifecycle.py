"""The composed agent in this process: how it leaves when cancelled or when a part dies, and what it tells whom."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from core.agent import Agent
from core.config_load import LoadedSettings, load_settings
from core.engines import factory
from core.errors import StorageError
from core.gpu import GpuSample
from core.replay_file import ReplayFile
from core.secrets import Secret
from core.snapshot import AgentSnapshot
from core.state import AgentState
from core.stats_collector import StatsCollector, SystemStats
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.fake_openai import FakeOpenAI
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import OK, client_of, token_of, within
from tests.integration.settings import BASE, TINY, ollama

ID = "agent-1"


def settings_of(home: Path, environ: dict[str, str], coordinator: FaultyCoordinator) -> LoadedSettings:
    return load_settings(
        environ={"TITAN_HOME": str(home), "AGENT_ID": ID, "COORDINATOR_ENDPOINT": coordinator.endpoint, **environ}
    )


async def wait_for(agent: Agent, condition: Callable[[AgentSnapshot], bool]) -> AgentSnapshot:
    changed = asyncio.Event()
    unsubscribe = agent.store.subscribe(lambda _: changed.set())
    try:
        while not condition(agent.store.current):
            changed.clear()
            await within(changed.wait())
        return agent.store.current
    finally:
        unsubscribe()


def is_listening(endpoint: str) -> bool:
    host, _, port = endpoint.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


async def test_cancelled_agent_leaves_nothing_open(home: Path) -> None:
    async with FaultyCoordinator() as coordinator, FakeOllama() as engine:
        agent = Agent(settings_of(home, ollama(engine.url), coordinator))
        up = asyncio.Event()

        async def run() -> None:
            async with agent:
                up.set()
                await asyncio.Event().wait()

        running = asyncio.create_task(run())
        await within(up.wait())
        await within(coordinator.wait_for_calls("ReportHealth", 1))
        assert is_listening(agent.report.endpoint)
        running.cancel()
        await asyncio.wait([running], timeout=10)
        assert running.cancelled()
        assert agent.store.current.state is AgentState.STOPPED
        assert not is_listening(agent.report.endpoint)
        assert coordinator.beats[-1].free_vram_mb == 0
        assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"stats", "engine-keeper", "coordinator"})


class DyingStats(StatsCollector):
    """Measures once; then the task that samples ends with a bug."""

    async def run(self, interval_s: Callable[[], float], publish: Callable[[SystemStats], None]) -> None:
        raise ZeroDivisionError("a bug of ours")


async def test_part_that_dies_takes_the_agent_to_failed_and_closes_the_rest(home: Path) -> None:
    async with FaultyCoordinator() as coordinator, FakeOllama() as engine:
        agent = Agent(settings_of(home, ollama(engine.url), coordinator), stats=DyingStats())
        with pytest.raises(ExceptionGroup) as failure:
            async with agent:
                await within(asyncio.Event().wait())
        assert [type(error) for error in failure.value.exceptions] == [ZeroDivisionError]
        assert agent.store.current.state is AgentState.FAILED
        assert not is_listening(agent.report.endpoint)


class LateDriver:
    """A graphics driver that answers only after a while, as after a login."""

    name = "late"
    problem = "no driver yet"

    def __init__(self) -> None:
        self.cards: tuple[GpuSample, ...] = ()

    def sample(self) -> tuple[GpuSample, ...]:
        return self.cards

    def close(self) -> None:
        return


class NextSample:
    """A sampler's clock that moves, by enough for one sample, when a test says so."""

    def __init__(self) -> None:
        self._wanted = asyncio.Semaphore(0)
        self._now_s = 0.0

    def release(self) -> None:
        self._wanted.release()

    def clock(self) -> float:
        return self._now_s

    async def sleep(self, _: float) -> None:
        await self._wanted.acquire()
        self._now_s += 10.0


async def test_capacity_that_turns_out_another_is_registered_again(home: Path) -> None:
    driver, next_sample = LateDriver(), NextSample()

    async with FaultyCoordinator() as coordinator, FakeOllama() as engine:
        stats = StatsCollector(probe=driver, clock=next_sample.clock, sleep=next_sample.sleep)
        async with Agent(settings_of(home, ollama(engine.url), coordinator), stats=stats):
            await within(coordinator.wait_for_calls("ReportHealth", 1))
            assert coordinator.registrations[0].capabilities["memory_kind"] == "ram"
            next_sample.release()  # the same again
            next_sample.release()
            driver.cards = (GpuSample(uuid="g", name="card", total_mb=24_000, used_mb=0, free_mb=24_000),)
            await within(coordinator.wait_for_calls("RegisterAgent", 2))
            first, second = coordinator.registrations
            assert second.capabilities["memory_kind"] == "vram"
            assert second.total_vram_mb == 24_000 - 2_400 != first.total_vram_mb


async def test_model_that_a_session_loaded_is_known_at_the_next_sample(home: Path) -> None:
    """Until then its memory would count as use by others, and the coordinator would skip us."""
    next_sample = NextSample()
    stats = StatsCollector(clock=next_sample.clock, sleep=next_sample.sleep)

    async with (
        FaultyCoordinator() as coordinator,
        FakeOllama() as engine,
        Agent(settings_of(home, ollama(engine.url), coordinator), stats=stats) as agent,
    ):
        await within(coordinator.wait_for_calls("ReportHealth", 1))
        assert agent.store.current.loaded_models == ()
        engine.pace()
        engine.let_through(1)
        async with (
            client_of(agent.report.endpoint) as client,
            client.streaming(token_of(coordinator, ID, TINY)) as (answer, task),
        ):
            next_sample.release()
            await wait_for(agent, lambda _: bool(agent.models.loaded))
            assert [model.name for model in agent.models.loaded] == ["tiny:latest"]
            engine.let_through(100)
            await task
            assert answer.code is OK


async def test_disk_that_fills_up_while_running_is_shown_and_serving_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: ReplayFile, record: bytes) -> None:
        raise StorageError("the record of spent tokens cannot be written: the disk is full", hint="Free some space.")

    async with (
        FaultyCoordinator() as coordinator,
        FakeOllama() as engine,
        Agent(settings_of(home, ollama(engine.url), coordinator)) as agent,
    ):
        await within(coordinator.wait_for_calls("ReportHealth", 1))
        monkeypatch.setattr(ReplayFile, "append", full)
        async with client_of(agent.report.endpoint) as client:
            token = token_of(coordinator, ID, TINY)
            assert (await client.ask(token)).code is OK
            assert "used before" in (await client.ask(token)).details
        (notice,) = (await wait_for(agent, lambda snapshot: bool(snapshot.notices))).notices
        assert "the disk is full" in notice
        assert "Free some space" in notice


async def test_keyring_is_never_asked_on_the_loop(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take 3 s to say no."""
    threads: list[int] = []

    class Keyring:
        def __init__(self, *_: object) -> None:
            pass

        def get(self, name: str) -> Secret:
            threads.append(threading.get_ident())
            return Secret("sk-1", "a test")

    monkeypatch.setattr(factory, "SecretStore", Keyring)
    async with FaultyCoordinator() as coordinator, FakeOpenAI(api_key="sk-1") as engine:
        environ = {**BASE, "TITAN_ENGINE": "openai", "TITAN_OPENAI_BASE_URL": engine.url, "SUPPORTED_MODELS": "tiny"}
        async with Agent(settings_of(home, environ, coordinator)) as agent:
            await within(coordinator.wait_for_calls("ReportHealth", 1))
            assert agent.models.offered == ("tiny",)
        assert threads
        assert threading.get_ident() not in threads
