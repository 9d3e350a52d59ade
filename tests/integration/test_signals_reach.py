"""The whole agent on a real desktop session: what happens there reaches its door in the time that the owner is told.

A real X server with a window manager, xdotool for the owner's hand, a program of the owner's list that is started and
ended, a window that fills the screen, and logind and NetworkManager on a bus of the test's own. Then a graphics card:
NVIDIA's library by a double in C, under the real program.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
import pytest

from core.rules.effects import DEFAULT_EFFECTS
from tests.fakes.agent_process import AgentProcess, HastyAgentProcess
from tests.fakes.desktop_services import Login1, NetworkManager, Served
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.nvml_double import LIBRARY_NAME, build, find_compiler
from tests.fakes.polling import until
from tests.fakes.private_bus import PrivateBus
from tests.fakes.session_bus import SessionBus, missing_programs
from tests.integration.client import client_of, token_of
from tests.integration.running import ID
from tests.integration.settings import TINY, ollama

SLACK_S = 1.5  # of a busy machine, and of reading the agent's log

pytestmark = pytest.mark.slow
needs_desktop = pytest.mark.skipif(
    missing_programs() != "" or not all(map(shutil.which, ("xdotool", "openbox"))),
    reason=missing_programs() or "not installed: xdotool or openbox",
)
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler to build the NVML double")

FULL_SCREEN_WINDOW = """
from PySide6.QtWidgets import QApplication, QWidget
app = QApplication([])
window = QWidget()
window.showFullScreen()
app.exec()
"""


def rules_on(*codes: str) -> dict[str, str]:
    """The environment in which these rules do what they do by default; the others are off."""
    return {f"TITAN_{code.upper()}_EFFECT": DEFAULT_EFFECTS[code] for code in codes}


@asynccontextmanager
async def running_agent(home: Path, **environ: str) -> AsyncIterator[tuple[FaultyCoordinator, AgentProcess]]:
    """Perhaps closed by a rule from its start on."""
    async with FaultyCoordinator() as coordinator, FakeOllama() as engine:
        settings = {"COORDINATOR_ENDPOINT": coordinator.endpoint, "AGENT_ID": ID, **environ}
        async with HastyAgentProcess(home, **ollama(engine.url, **settings)) as agent:
            await agent.wait_event("started")
            yield coordinator, agent


class Watcher:
    """Reads when a rule begins and ends, from the agent's log."""

    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent
        self._began_s = 0.0
        self._at = 0

    def start(self) -> None:
        """What is waited for happens after this."""
        self._began_s, self._at = time.time(), len(self._agent.log)

    async def wait(self, event: str, *, within_s: float | None = None, **fields: Any) -> float:
        """Seconds since `start`, by the line's own time: it may be read later."""
        line = await self._agent.wait_event(event, after=self._at, **fields)
        passed_s = datetime.fromisoformat(line["ts"]).timestamp() - self._began_s
        print(f"{event} {fields}: {passed_s:.2f} s")
        if within_s is not None:
            assert passed_s <= within_s + SLACK_S
        return passed_s


async def has_reason(agent: AgentProcess, code: str) -> dict[str, Any]:
    snapshot = await agent.wait_snapshot(lambda seen: code in [reason["code"] for reason in seen["reasons"]])
    return next(reason for reason in snapshot["reasons"] if reason["code"] == code)


@asynccontextmanager
async def program(*command: str | Path, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Ended by id."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@needs_desktop
async def test_what_happens_on_the_desktop_closes_the_door_in_time(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("PySide6")
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    (runtime / "system").mkdir()
    game = tmp_path / "library" / "game"
    game.parent.mkdir()
    shutil.copy(shutil.which("sleep") or "", game)
    manager, logind = NetworkManager(), Login1()
    manager.metered = 4
    async with (
        SessionBus(runtime) as session,
        PrivateBus(runtime / "system") as system,
        Served(system.address, manager, logind),
        program("openbox", "--sm-disable", **session.environ),
        running_agent(
            home,
            **session.environ,
            **rules_on("in_use", "listed_app", "full_screen", "metered"),
            DBUS_SYSTEM_BUS_ADDRESS=system.address,
            TITAN_PAUSE_WHILE_IN_USE="true",
            TITAN_IDLE_MINUTES="0.2",
            TITAN_LISTED_APPS=str(game.parent),
            TITAN_LISTED_APP_HOLD_S="2",
        ) as (coordinator, agent),
    ):
        seen = Watcher(agent)
        await has_reason(agent, "in_use")  # the server, and so its count of idle time, has just begun
        await program_of_the_list_runs(agent, seen, game)
        await window_fills_the_screen(agent, seen, session)
        await machine_goes_to_sleep(agent, logind)
        await agent.wait_event("rule ends", rule="in_use")  # nothing was touched for 12 s
        await agent.wait_state("ready")
        await owner_moves_the_mouse(coordinator, agent, seen, session)
        assert await agent.stop() == 0


async def program_of_the_list_runs(agent: AgentProcess, seen: Watcher, game: Path) -> None:
    seen.start()
    async with program(game, "300"):
        await seen.wait("rule holds", rule="listed_app", within_s=3.0)
        assert (await has_reason(agent, "listed_app"))["sentence"] == "Paused while game runs."
        seen.start()
    await seen.wait("rule ends", rule="listed_app", within_s=2.0 + 2.0 + 1.0)


async def window_fills_the_screen(agent: AgentProcess, seen: Watcher, session: SessionBus) -> None:
    seen.start()
    async with program(sys.executable, "-c", FULL_SCREEN_WINDOW, **session.environ):
        await seen.wait("rule holds", rule="full_screen", within_s=5.0)  # starting Python and Qt is in it
        sentence = (await has_reason(agent, "full_screen"))["sentence"]
        assert sentence.startswith("python")
        assert sentence.endswith("fills the screen.")


async def machine_goes_to_sleep(agent: AgentProcess, logind: Login1) -> None:
    logind.PrepareForSleep(True)
    await has_reason(agent, "going_to_sleep")
    logind.PrepareForSleep(False)
    await agent.wait_snapshot(lambda seen: "going_to_sleep" not in [reason["code"] for reason in seen["reasons"]])


async def owner_moves_the_mouse(
    coordinator: FaultyCoordinator, agent: AgentProcess, seen: Watcher, session: SessionBus
) -> None:
    async with client_of(agent.endpoint) as client:
        assert (await client.ask(token_of(coordinator, ID, TINY))).code is grpc.StatusCode.OK
        seen.start()
        async with program("xdotool", "mousemove_relative", "5", "5", **session.environ) as hand:
            await hand.wait()
        await seen.wait("rule holds", rule="in_use", within_s=2.0)
        refused = await client.ask(token_of(coordinator, ID, TINY))
        assert refused.code is grpc.StatusCode.UNAVAILABLE


class Driver:
    """NVIDIA's library by the double, as the agent's process loads it; `show` changes the card under it."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "state"
        build(folder)
        assert (folder / LIBRARY_NAME).exists()
        self.environ = {"LD_LIBRARY_PATH": str(folder), "NVML_DOUBLE_STATE": str(self._state)}
        self.show()

    def show(self, **figures: object) -> None:
        facts = {"uuid": "GPU-a", "name": "Double_4090", "total": 24564, "used": 4000, "util": 2, "temp": 50}
        facts |= {"power": 60_000, **figures}
        fresh = self._state.with_name("state.new")
        fresh.write_text("card " + " ".join(f"{key}={value}" for key, value in facts.items()) + "\n", encoding="ascii")
        fresh.replace(self._state)


@needs_compiler
async def test_what_happens_to_the_graphics_card_closes_the_door(home: Path, tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    async with (
        program(shutil.which("sleep") or "sleep", "300") as game,
        running_agent(
            home,
            **rules_on("gpu_hot", "gpu_in_use", "vram_short", "gpu_lost"),
            **driver.environ,
            TITAN_GPU_OTHERS_FOR_S="1",
            TITAN_GPU_OTHERS_RESUME_S="2",
        ) as (_, agent),
    ):
        card, game_seen = Watcher(agent), Watcher(agent)
        await agent.wait_state("ready")
        card.start()
        driver.show(temp=85, used=24_300)
        await card.wait("rule holds", rule="gpu_hot", within_s=4.0)
        driver.show(temp=78, used=24_300)  # between the two thresholds: it stays
        await has_reason(agent, "gpu_hot")
        game_seen.start()
        driver.show(temp=70, used=24_300, util=70, procs=f"g:{game.pid}:900", use=f"{game.pid}:64:0")
        await game_seen.wait("rule holds", rule="gpu_in_use", within_s=1.0 + 4.0)
        assert (await has_reason(agent, "gpu_in_use"))["sentence"].startswith("sleep uses the graphics card")
        await card.wait("rule ends", rule="gpu_hot")
        await card.wait("rule holds", rule="vram_short", within_s=5.0 + 4.0)
        driver.show(procs=f"g:{game.pid}:900")  # still there, and does nothing
        await game_seen.wait("rule ends", rule="gpu_in_use")

        driver.show(lost=1)
        await card.wait("rule holds", rule="gpu_lost")
        reason = await has_reason(agent, "gpu_lost")
        assert reason["blocks"] is True
        assert await agent.stop() == 0


@needs_compiler
async def test_sessions_without_a_gap_are_held_back_for_a_look_and_a_game_is_found(home: Path, tmp_path: Path) -> None:
    """A driver that splits nothing, and two clients that ask again at once: never a quiet card by itself."""
    driver = Driver(tmp_path)
    driver.show(util=3, unsupported="use")
    answers: list[grpc.StatusCode | None] = []
    async with FaultyCoordinator() as coordinator, FakeOllama() as engine:
        engine.size_vram = engine.size = 3_000 << 20
        engine.answer = ["word "] * 10
        engine.pace()
        settings = {
            "COORDINATOR_ENDPOINT": coordinator.endpoint,
            "AGENT_ID": ID,
            "MAX_CONCURRENT_JOBS": "2",
            "TITAN_GPU_OTHERS_FOR_S": "1",
            "TITAN_GPU_OTHERS_RESUME_S": "2",
            "TITAN_GPU_LOOK_AFTER_S": "4",
            **rules_on("gpu_in_use"),
            **driver.environ,
        }
        async with AgentProcess(home, **ollama(engine.url, **settings)) as agent:
            await agent.wait_state("ready")
            async with client_of(agent.endpoint) as client:
                going = [asyncio.create_task(keep_asking(client, coordinator, answers)) for _ in range(2)]
                letting = asyncio.create_task(let_through(engine))
                try:
                    seen = Watcher(agent)
                    await until(lambda: bool(answers))
                    driver.show(util=80, unsupported="use")
                    seen.start()
                    await seen.wait("rule holds", rule="gpu_in_use", within_s=4.0 + 2.0 + 3.0 + 1.0 + 2.0)
                    reason = await has_reason(agent, "gpu_in_use")
                    assert reason["sentence"].startswith("Another program uses the graphics card")
                    driver.show(util=3, unsupported="use")
                    await seen.wait("rule ends", rule="gpu_in_use")
                    before = len(answers)
                    await until(lambda: answers[before:].count(grpc.StatusCode.OK) > 2)
                    line = await agent.wait_event("looked whether others use the graphics card")
                    assert line["found"] == "80 % by others"
                finally:
                    for task in (*going, letting):
                        task.cancel()
                    await asyncio.wait([*going, letting])
            assert await agent.stop() == 0
    # Nobody's answer was cut: who came in the gap waited, or was told that no slot is free, until the rule closed.
    codes = [code.name for code in answers if code is not None]
    print(" ".join(f"{len(list(same))} {name}" for name, same in groupby(codes)))
    assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert codes[: codes.index("UNAVAILABLE")].count("OK") > 4


async def keep_asking(client: Any, coordinator: FaultyCoordinator, answers: list[grpc.StatusCode | None]) -> None:
    while True:
        answers.append((await client.ask(token_of(coordinator, ID, TINY), max_tokens=10)).code)
        if answers[-1] is not grpc.StatusCode.OK:
            await asyncio.sleep(0.2)


async def let_through(engine: FakeOllama) -> None:
    """Twenty tokens a second, of all streams together: a session takes a second."""
    while True:
        engine.let_through(1)
        await asyncio.sleep(0.05)
