"""A program of our own takes the memory: the real agent and its real engine in a memory cgroup, where one can be made.

Nothing is killed by the system, the owner is told why nobody is served, and serving comes back by itself. Where no
cgroup is writable that test is skipped, and says so; the one with an injected reading runs everywhere.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from core.agent import Agent
from core.app import identified
from core.config_load import load_settings
from core.host_meter import RamReading
from core.signals.watch import SignalWatch
from core.stats_collector import SystemStats
from tests.fakes.agent_process import AgentProcess, HastyAgentProcess, Snapshot
from tests.fakes.calm_signals import NO_RULES
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.gguf_models import TinyModel, write_model
from tests.fakes.polling import until
from tests.fakes.small_agent import FixedStats
from tests.integration.client import OK, Client, client_of, token_of
from tests.integration.running import ID
from tests.integration.settings import EMBEDDED

MIB = 1 << 20
CGROUP = Path("/sys/fs/cgroup/memory")
LIMIT_MB = 1500
RULES = {"TITAN_RAM_SHORT_EFFECT": "stop after 5 s, unload", "TITAN_MEMORY_TIGHT_EFFECT": "finish, keep"}
# 16 KiB of keys and values a token: 2 sessions of 8,192 tokens take 256 MB.
MODEL = TinyModel(name="pressed", blocks=8, kv_heads=8, vocabulary=1024)
# 980 MB at once, then 20 MB a second until it is told that the engine is gone; then all at once up to more than there
# was beside the engine.
EATER = """
import sys, threading
held, is_gone = [b"x" * (980 << 20)], threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), is_gone.set()), daemon=True).start()
while not is_gone.wait(0.2):
    held.append(b"x" * (4 << 20))
held.append(b"x" * ((1280 << 20) - sum(map(len, held))))
is_gone.clear()
is_gone.wait(1)
"""
PATIENCE_S = 60.0


@asynccontextmanager
async def memory_group() -> AsyncIterator[Path]:
    """A cgroup that holds at most LIMIT_MB, for processes that are started within `inside`."""
    group = CGROUP / f"titan-pressure-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT_MB * MIB))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no memory cgroup can be made here ({error}): only the injected reading has run")
    try:
        yield group
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:  # what was in there is just ending
                await asyncio.sleep(0.05)


@asynccontextmanager
async def inside(group: Path) -> AsyncIterator[None]:
    """What is started here is in the group; this process only for that moment."""
    home = own_group()
    move_to(group)
    try:
        yield
    finally:
        move_to(home)


def own_group() -> Path:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    path = next(line.split(":", 2)[2] for line in lines if "memory" in line.split(":")[1].split(","))
    return CGROUP / path.lstrip("/")


def move_to(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def kills_in(group: Path) -> int:
    fields = dict(line.split() for line in (group / "memory.oom_control").read_text().splitlines())
    return int(fields["oom_kill"])


async def seen(agent: AgentProcess, condition: Callable[[Snapshot], bool]) -> Snapshot:
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        snapshot = await agent.snapshot()
        if condition(snapshot):
            return snapshot
        await asyncio.sleep(0.05)
    raise AssertionError(f"not seen within {PATIENCE_S:g} s: {snapshot['reasons']}")


def codes(snapshot: Snapshot) -> list[str]:
    return [reason["code"] for reason in snapshot["reasons"]]


@asynccontextmanager
async def in_background(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Its task, ended on the way out: nothing of it outlives the channel that it uses."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def ask_on_and_on(client: Client, coordinator: FaultyCoordinator, answers: list[Any]) -> None:
    while True:
        answers.append(await client.ask(token_of(coordinator, ID, MODEL.name), max_tokens=60))
        await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory cgroups are Linux's: only the injected reading has run")
async def test_a_program_that_eats_the_memory_gets_it_and_nobody_is_killed(
    home: Path, record_property: Callable[[str, object], None]
) -> None:
    models = home / "models"
    models.mkdir()
    write_model(models / f"{MODEL.name}.gguf", MODEL)
    environ = {
        **EMBEDDED,
        **RULES,
        "AGENT_ID": ID,
        "SUPPORTED_MODELS": MODEL.name,
        "TITAN_MODELS_DIR": str(models),
        "TITAN_CONTEXT_TOKENS": "8192",
        "TITAN_RAM_RESERVE_MB": "200",
    }
    async with memory_group() as group, FaultyCoordinator() as coordinator:
        agent = HastyAgentProcess(home, **{**environ, "COORDINATOR_ENDPOINT": coordinator.endpoint})
        async with inside(group):
            await agent.start()
        async with AsyncExitStack() as stack:
            stack.push_async_exit(agent)
            await agent.wait_state("ready")
            client = await stack.enter_async_context(client_of(agent.endpoint))
            answers: list[Any] = []
            asking = await stack.enter_async_context(in_background(ask_on_and_on(client, coordinator, answers)))
            ready = await seen(agent, lambda snapshot: snapshot["loaded_models"] != [])
            assert ready["machine"]["total_ram_mb"] == LIMIT_MB  # the agent knows its limit
            (engine,) = agent.children()
            async with inside(group):
                eater = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-c", EATER), stdin=asyncio.subprocess.PIPE
                )
            short = await seen(agent, lambda snapshot: "ram_short" in codes(snapshot))
            await seen(agent, lambda snapshot: snapshot["loaded_models"] == [])
            await asyncio.wait_for(eater.communicate(b"gone\n"), PATIENCE_S)
            assert eater.returncode == 0
            assert not engine.is_running()
            back = await seen(agent, lambda snapshot: snapshot["state"] == "ready" and snapshot["loaded_models"] != [])
            served = len(answers)
            await until(lambda: any(answer.code is OK for answer in answers[served:]))
            asking.cancel()
            await asyncio.wait([asking])
            kills = kills_in(group)
            record_property("memory pressure", "a process that eats memory, in a cgroup")
            assert kills == 0
            assert await agent.stop() == 0
    (reason,) = (reason for reason in short["reasons"] if reason["code"] == "ram_short")
    assert reason["sentence"] == "Memory is short: other programs need what stays yours."
    assert back["engine"]["status"]["restarts"] == 0
    for answer in answers:  # nobody saw an engine that died
        assert answer.code is OK or answer.code is grpc.StatusCode.UNAVAILABLE, answer
        assert answer.code is OK or "owner" in answer.details or "agent is" in answer.details, answer
    refused = [answer for answer in answers if answer.code is not OK]
    assert refused


class PressedMachine(FixedStats):
    """32 GB of RAM of which a test says how much is free; our engine holds 4 GB."""

    def __init__(self) -> None:
        super().__init__()
        self.show(20_000)

    def show(self, free_mb: int) -> None:
        self.sample: SystemStats = replace(self.sample, free_ram_mb=free_mb, own_ram_mb=4_000)

    def ram(self) -> RamReading:
        return RamReading(total_mb=32_000, available_mb=self.sample.free_ram_mb or 0)


async def test_injected_readings_close_the_door_first_and_then_give_the_memory_back(
    record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_property("memory pressure", "an injected reading")
    for name, value in {**NO_RULES, **RULES}.items():
        monkeypatch.setenv(name, value)
    machine, engine = PressedMachine(), FakeEngine(name="embedded", models=("tiny",))
    loaded = identified(load_settings(overrides={"agent_port": 0, "engine": "ollama", "supported_models": ("tiny",)}))
    async with Agent(
        loaded,
        factories={"ollama": lambda: engine},
        stats=machine,
        open_signals=lambda on_change: SignalWatch(on_change, readers=()),
    ) as agent:
        await agent.models.load("tiny")
        machine.show(450)  # of 512 MB that stay free
        await until(lambda: "memory_tight" in agent.reasons)
        assert [model.name for model in engine.loaded] == ["tiny"]
        assert agent.report.health().free_ram_mb == 0  # the coordinator is told
        machine.show(200)
        await until(lambda: engine.loaded == [])
        assert "ram_short" in agent.reasons
