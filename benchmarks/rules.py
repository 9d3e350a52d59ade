"""What the owner's rules cost, and how soon they act, with `titan run` on a real display (Xvfb) of its own.

    scripts/bench rules [--seconds 60] [--repeats 5]

The cost is the difference between two idle agents side by side, one with every rule on and one with none, in percent of
one core. Unplugging isn't measured: it takes a machine with a battery (its probe is read each few seconds).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from tests.fakes.agent_process import AgentProcess
from tests.fakes.calm_signals import NO_RULES
from tests.fakes.session_bus import SessionBus
from tests.integration.running import embedded_agent

# The machine that measures is busy with measuring, and may run on its battery; everything else stays on.
LEFT_OUT = {"TITAN_CPU_BUSY_EFFECT": "only tell", "TITAN_ON_BATTERY_EFFECT": "only tell"}
IDLE_S = 31.0
ALL_ON = {
    **dict.fromkeys(NO_RULES, ""),
    **LEFT_OUT,
    "TITAN_PAUSE_WHILE_IN_USE": "true",
    "TITAN_IDLE_MINUTES": "0.5",
    "TITAN_LISTED_APP_HOLD_S": "2",
    "TITAN_SCHEDULE": "mon-sun 00-23, mon-sun 23-24",
    "TITAN_HOURS_PER_DAY": "20",
    "TITAN_KWH_PER_DAY": "100",
    "TITAN_SERVING_POWER_W": "100",
}


class Desk:
    """One display with two agents that share nothing."""

    def __init__(self, folder: Path, session: SessionBus, seen: AgentProcess, bare: AgentProcess) -> None:
        self._folder = folder
        self._session = session
        self._seen = seen
        self._bare = bare

    async def cost_percent(self, seconds: float) -> tuple[float, float]:
        """(with every rule, without any) while both are idle."""
        before = [_cpu_s(agent) for agent in (self._seen, self._bare)]
        await asyncio.sleep(seconds)
        after = [_cpu_s(agent) for agent in (self._seen, self._bare)]
        with_rules, without = (100 * (late - early) / seconds for early, late in zip(before, after, strict=True))
        return with_rules, without

    async def listed_app_s(self) -> float:
        """From a program's start to a refusing agent; then it ends, and the agent serves again."""
        sleep = shutil.which("sleep")
        assert sleep is not None
        game = self._folder / "library" / "titan-game"
        if not game.exists():
            shutil.copy(sleep, game)
        playing = await asyncio.create_subprocess_exec(game, "600")
        try:
            return await self._until("paused")
        finally:
            playing.kill()
            await playing.wait()
            await self._until("ready")

    async def input_s(self, number: int) -> float:
        """From a mouse that moves to a refusing agent; the agent has been idle for half a minute."""
        environ = {**os.environ, "DISPLAY": self._session.environ["DISPLAY"]}
        mover = await asyncio.create_subprocess_exec(
            "xdotool", "mousemove", str(50 + number), str(60 + number), env=environ
        )
        taken_s = await self._until("paused")
        await mover.wait()
        return taken_s

    async def wait_ready(self) -> None:
        """Half a minute without input: longer than one wait."""
        with suppress(TimeoutError):
            await self._seen.wait_state("ready")
            return
        await self._seen.wait_state("ready")

    async def _until(self, state: str) -> float:
        began = time.monotonic()
        await self._seen.wait_state(state)
        return time.monotonic() - began


def _cpu_s(agent: AgentProcess) -> float:
    fields = Path(f"/proc/{agent.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(seconds: float, repeats: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="titan-rules-"))
    (folder / "library").mkdir()
    try:
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(SessionBus(folder))
            rules = {**ALL_ON, "TITAN_LISTED_APPS": str(folder / "library"), "DISPLAY": session.environ["DISPLAY"]}
            rules |= {"DBUS_SESSION_BUS_ADDRESS": session.address}
            await asyncio.sleep(IDLE_S)  # the server counts its own start as input
            _, seen = await stack.enter_async_context(embedded_agent(folder / "seen", **rules))
            _, bare = await stack.enter_async_context(embedded_agent(folder / "bare"))
            desk = Desk(folder, session, seen, bare)
            await desk.wait_ready()
            await asyncio.sleep(5)
            with_rules, without = await desk.cost_percent(seconds)
            print(f"idle, percent of one core: {with_rules:.2f} with every rule, {without:.2f} without any")
            print(f"rules and signals together: {with_rules - without:.2f} % of one core")
            apps = [await desk.listed_app_s() for _ in range(repeats)]
            print(f"listed app to refusing, s: median {statistics.median(apps):.2f}, worst {max(apps):.2f}")
            inputs = []
            for number in range(max(1, repeats // 2)):
                await desk.wait_ready()
                inputs.append(await desk.input_s(number))
            print(f"input to refusing, s: median {statistics.median(inputs):.2f}, worst {max(inputs):.2f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the idle agents are watched")
    parser.add_argument("--repeats", type=int, default=5, help="starts of a listed program; half as many inputs")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.seconds, arguments.repeats))


if __name__ == "__main__":
    main()
