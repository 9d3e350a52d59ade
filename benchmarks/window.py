"""What the window and the tray cost: the desktop program under Xvfb, a session bus and a panel. See docs/window.md.

    scripts/bench window [--quick] [figure...]

The load is that of benchmarks/bench.py; the headless agent and the one with its window open take turns in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks.bench import ROWS, Figures, _medians, describe_machine
from benchmarks.parties import MODEL, Agent, Load, Server
from tests.fakes.agent_process import ROOT, child_environment
from tests.fakes.desktop_process import DesktopProcess, WatchedDesktopProcess
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.session_bus import SessionBus
from tests.fakes.sni_watcher import SniWatcher
from tests.fakes.x_client import XClient
from tests.integration.client import OK, client_of, token_of
from tests.integration.settings import TINY, ollama

AGENT_ID = "bench-window"
OURS = {"AGENT_ID": AGENT_ID, "TITAN_NOTIFICATIONS": "false", "HEARTBEAT_INTERVAL": "10"}  # the default: beats cost CPU
SETTLE_S = 5.0  # the first samples, the key, a contribution
GOALS_AT_MOST = {
    ("start", "icon_s"): 1.0,
    ("resident", "hidden_mb"): 130.0,
    ("idle", "hidden_percent"): 0.3,
    ("idle", "window_percent"): 1.0,
    ("open", "first_s"): 0.6,
    ("open", "later_s"): 0.1,
    ("open", "block_worst_ms"): 50.0,
    ("turns", "longest_ms"): 50.0,
    ("pause", "refused_after_ms"): 50.0,
    ("block", "longest_ms"): 50.0,
}
GOAL_RATIO = 0.9  # speed with the window open over headless; for delays and CPU the other way round


@dataclass(frozen=True, slots=True)
class Desk:
    """A display with a bus and a panel, and a home."""

    home: Path
    session: SessionBus
    panel: SniWatcher

    def program(
        self, environ: dict[str, str], *arguments: str, kind: type[DesktopProcess] = DesktopProcess
    ) -> DesktopProcess:
        return kind(self.home, self.session, *arguments, **{**environ, **OURS})

    def screen(self) -> Screen:
        return Screen(self.session.screen_file)


class Screen:
    """The framebuffer, looked at every millisecond or so: what a person sees, when they see it."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as opened:
            self._bytes = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
        fields = struct.unpack_from(">25I", self._bytes)
        self._start, self._stride = fields[0] + 12 * fields[19], fields[12]

    def pixel(self, x: int, y: int) -> bytes:
        at = self._start + y * self._stride + 4 * x
        return self._bytes[at : at + 3]

    def is_window_there(self) -> bool:
        return self.pixel(20, 300) != b"\0\0\0"

    def is_page_there(self) -> bool:
        """The frame comes first, with an empty page beside its list: one colour where the headline will be."""
        return len({self.pixel(x, y) for x in range(220, 900, 4) for y in (24, 40, 56)}) > 1

    async def wait(self, is_there: bool) -> None:
        async with asyncio.timeout(20):
            while self.is_window_there() is not is_there:  # noqa: ASYNC110 - a file tells nobody that it changed
                await asyncio.sleep(0.001)

    async def wait_page(self) -> None:
        await self.wait(True)
        async with asyncio.timeout(20):
            while not self.is_page_there():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="titan-", ignore_cleanup_errors=True) as folder:
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(SessionBus(Path(folder)))
            panel = await stack.enter_async_context(SniWatcher(session.address))
            yield Desk(Path(folder), session, panel)


@asynccontextmanager
async def served(
    *arguments: str, kind: type[DesktopProcess] = DesktopProcess, **environ: str
) -> AsyncIterator[tuple[Desk, FaultyCoordinator, DesktopProcess]]:
    """The registered program with a stand-in engine and a coordinator in this process."""
    async with desk() as made, FaultyCoordinator() as coordinator, FakeOllama() as engine:
        settings = ollama(engine.url, COORDINATOR_ENDPOINT=coordinator.endpoint, **environ)
        async with made.program(settings, *arguments, kind=kind) as program:
            await made.panel.wait_item()
            await program.wait_state("ready")
            yield made, coordinator, program
            if program.process.returncode is None:
                await end(program)


async def end(program: DesktopProcess) -> None:
    """A program that ends in any other way than in order has not been measured."""
    code = await program.stop()
    if code:
        raise RuntimeError(f"the program ended with {code}:\n{program.err.decode(errors='replace')[-2000:]}")


def resident_mb(program: DesktopProcess) -> float:
    text = Path(f"/proc/{program.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) * 1024 / 1e6


async def measure_start(*, quick: bool) -> Figures:
    """From the call of titan-desktop to the icon at the panel, and to the registration."""
    seen = []
    for _ in range(3 if quick else 7):
        async with desk() as made, FaultyCoordinator() as coordinator, FakeOllama() as engine:
            program = made.program(ollama(engine.url, COORDINATOR_ENDPOINT=coordinator.endpoint), "--hidden")
            began = time.monotonic()
            async with program:
                await made.panel.wait_item()
                icon_s = time.monotonic() - began
                await coordinator.wait_for_calls("RegisterAgent", 1)
                seen.append({"icon_s": icon_s, "registered_s": time.monotonic() - began})
                await end(program)
    return {**_medians(seen), "icon_worst_s": max(one["icon_s"] for one in seen)}


async def measure_resident(*, quick: bool) -> Figures:
    async with served("--hidden") as (made, _, program):
        await asyncio.sleep(SETTLE_S)
        hidden_mb = resident_mb(program)
        await made.panel.left_click()
        await made.screen().wait(True)
        await asyncio.sleep(SETTLE_S)  # the charts come a moment after the window
        open_mb = resident_mb(program)
        await hide_window(made)
        await asyncio.sleep(1.0)
        return {"hidden_mb": hidden_mb, "window_mb": open_mb, "hidden_again_mb": resident_mb(program)}


async def hide_window(made: Desk) -> None:
    with XClient(made.session.environ["DISPLAY"]) as hands:
        for window in hands.visible_windows():
            hands.close(window)
    await made.screen().wait(False)


async def measure_idle(*, quick: bool) -> Figures:
    seconds = 10.0 if quick else 30.0
    async with served("--hidden") as (made, _, program):
        await asyncio.sleep(SETTLE_S)
        hidden = await _cpu_percent(program, seconds)
        await made.panel.left_click()
        await made.screen().wait(True)
        await asyncio.sleep(SETTLE_S)
        window = await _cpu_percent(program, seconds)
        await hide_window(made)
        await asyncio.sleep(1.0)
        return {
            "hidden_percent": hidden,
            "window_percent": window,
            "hidden_again_percent": await _cpu_percent(program, seconds),
        }


async def _cpu_percent(program: DesktopProcess, seconds: float) -> float:
    before = program.processor_seconds()
    await asyncio.sleep(seconds)
    return 100 * (program.processor_seconds() - before) / seconds


async def measure_open(*, quick: bool) -> Figures:
    """From the click on the icon to the page's pixels on the screen: first opens of fresh programs, later ones. And the
    longest time for which Qt's thread could do nothing in the first seconds."""
    blocks: list[float] = []
    frame: list[float] = []
    first: list[float] = []
    later: list[float] = []
    for _ in range(2 if quick else 5):
        async with served("--hidden", kind=WatchedDesktopProcess) as (made, _, program):
            await asyncio.sleep(2.0)
            screen = made.screen()
            for number in range(5):
                began = time.monotonic()
                await made.panel.left_click()
                await screen.wait(True)
                if number == 0:
                    frame.append(time.monotonic() - began)
                await screen.wait_page()
                (first if number == 0 else later).append(time.monotonic() - began)
                await asyncio.sleep(1.0)
                await hide_window(made)
                await asyncio.sleep(0.2)
            await end(program)
            blocks.append(float((await program.wait_event("qt watchdog"))["opening_ms"]))
    return {
        "block_ms": statistics.median(blocks),
        "block_worst_ms": max(blocks),
        "frame_s": statistics.median(frame),
        "first_s": statistics.median(first),
        "first_worst_s": max(first),
        "later_s": statistics.median(later),
        "later_worst_s": max(later),
    }


async def measure_turns(*, quick: bool) -> Figures:
    """Blocks of Qt's thread in a window that is full: benchmarks/window_turns.py, without an agent beside it."""
    async with desk() as made:
        environ = child_environment(made.home, **made.session.environ)
        command = (sys.executable, "-m", "benchmarks.window_turns", *(("--quick",) if quick else ()))
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        figures: Figures = json.loads(out)
        return {**figures, "longest_ms": max(figures.values())}


async def measure_pause(*, quick: bool) -> Figures:
    """Clients ask without a break; from the click on Pause to the start of the last request that was still served."""
    delays = []
    async with (
        served("--hidden", MAX_CONCURRENT_JOBS="8") as (made, coordinator, program),
        client_of(program.endpoint) as client,
    ):
        await client.ask(token_of(coordinator, AGENT_ID, TINY))
        for _ in range(5 if quick else 20):
            delays.append(1000 * await _pause_once(made, coordinator, program, client))
    return {
        "refused_after_ms": max(delays),
        "refused_after_median_ms": statistics.median(delays),
        "clicks": len(delays),
    }


async def _pause_once(made: Desk, coordinator: FaultyCoordinator, program: DesktopProcess, client: Any) -> float:
    tokens = [token_of(coordinator, AGENT_ID, TINY) for _ in range(400)]
    served_at: list[float] = []
    is_refused = asyncio.Event()

    async def ask_for_ever() -> None:
        while tokens and not is_refused.is_set():
            asked_at = time.monotonic()
            answer = await client.ask(tokens.pop(), max_tokens=1)
            if answer.code is OK:
                served_at.append(asked_at)
            elif answer.code is grpc.StatusCode.UNAVAILABLE:
                is_refused.set()

    asking = [asyncio.create_task(ask_for_ever()) for _ in range(2)]
    await asyncio.sleep(0.1)
    clicked_at = time.monotonic()
    await made.panel.click("Until I resume")
    async with asyncio.timeout(10):
        await asyncio.gather(*asking)
    assert is_refused.is_set(), "the tokens ran out before the pause came"
    await made.panel.click("Resume")
    await program.wait_state("ready")
    return max(0.0, max(served_at, default=clicked_at) - clicked_at)


Routes = dict[str, tuple[Load, Server]]  # each with what it is measured by


class WindowAgent(Server):
    """The desktop program, as a party of benchmarks/bench.py."""

    def __init__(self, program: DesktopProcess, address: str) -> None:
        super().__init__(program.process, address, AGENT_ID)  # type: ignore[arg-type]  # only its pid is used


def _bench_settings(load: Load) -> dict[str, str]:
    return {
        "TITAN_ENGINE": "ollama",
        "AGENT_PORT": "0",
        "PUBLIC_HOST": "127.0.0.1",
        "TITAN_ENGINE_USED_BY_OWNER_EFFECT": "off",
        "TITAN_CPU_BUSY_EFFECT": "off",
        "COORDINATOR_ENDPOINT": load.coordinator,
        "OLLAMA_HOST": f"http://{load.engine}",
        "SUPPORTED_MODELS": MODEL,
        "MAX_CONCURRENT_JOBS": "32",
    }


@asynccontextmanager
async def running_load(binary: Path) -> AsyncIterator[Load]:
    load = await asyncio.to_thread(Load, binary)
    try:
        yield load
    finally:
        await asyncio.to_thread(load.close)


async def measure_block(load_binary: Path, *, quick: bool) -> Figures:
    """The longest time for which Qt's thread could do nothing, with 32 paced streams and the window open."""
    async with (
        running_load(load_binary) as load,
        desk() as made,
        made.program(_bench_settings(load), kind=WatchedDesktopProcess) as program,
    ):
        await made.panel.wait_item()
        registration = await asyncio.to_thread(load.ask, "wait")
        await asyncio.sleep(SETTLE_S)
        order = ROWS["paced32"].order(quick=quick)
        answer = await asyncio.to_thread(load.ask, f"run grpc {registration['endpoint']} {AGENT_ID} {order}")
        assert not answer["failures"], answer
        await end(program)
        measured = await program.wait_event("qt watchdog")
        return {name: float(measured[name]) for name in ("longest_ms", "raw_ms", "ticks")}


async def measure_speed(
    load_binary: Path, rows: list[str], *, quick: bool, rounds: int
) -> dict[str, dict[str, Figures]]:
    """Headless and with the window open, in turns; medians, and window over headless.

    Each has an engine of its own. On one engine the model that one agent loaded is another program's to the other,
    which then asks before each session what is loaded: a tenth of the short sessions.
    """
    async with running_load(load_binary) as own, running_load(load_binary) as load, desk() as made:
        headless = await asyncio.to_thread(Agent, own)
        try:
            async with made.program(_bench_settings(load)) as program:
                await made.panel.wait_item()
                registration = await asyncio.to_thread(load.ask, "wait")
                await made.screen().wait(True)
                await asyncio.sleep(SETTLE_S)
                window = WindowAgent(program, registration["endpoint"])
                routes: Routes = {"headless": (own, headless), "window": (load, window)}
                results = {}
                for name in rows:
                    say(f"measuring {name} ...")
                    results[name] = await asyncio.to_thread(_take_turns, name, routes, rounds, quick)
                await end(program)
                return results
        finally:
            await asyncio.to_thread(headless.close)


def _take_turns(name: str, routes: Routes, rounds: int, quick: bool) -> dict[str, Figures]:
    seen: dict[str, list[Figures]] = {route: [] for route in routes}
    for number in range(rounds + 1):
        for route, (load, server) in routes.items():
            before = server.cpu_s()
            order = f"run grpc {server.address} {server.credential} {ROWS[name].order(quick=quick)}"
            answer = load.ask(order)
            if answer["failures"]:
                raise RuntimeError(f"{route}: {answer['failures']} sessions failed: {answer['first_failure']}")
            figures = {key: value for key, value in answer.items() if isinstance(value, int | float)}
            figures["cpu_ms_per_1000_tokens"] = 1e6 * (server.cpu_s() - before) / answer["tokens"]
            if number:  # the first round warms up
                seen[route].append(figures)
    return {route: _medians(figures) for route, figures in seen.items()}


SPEED_FIGURES = {  # what the ratio is of: speeds window / headless, times headless / window
    "paced4": ("delay_p50_ms", "delay_p99_ms", "cpu_ms_per_1000_tokens"),
    "paced32": ("delay_p50_ms", "delay_p99_ms", "cpu_ms_per_1000_tokens", "first_token_p50_ms"),
    "unpaced16": ("tokens_per_s",),
    "short": ("sessions_per_s",),
}
FIGURES: dict[str, Callable[..., Awaitable[Figures]]] = {
    "start": measure_start,
    "resident": measure_resident,
    "idle": measure_idle,
    "open": measure_open,
    "turns": measure_turns,
    "pause": measure_pause,
}
LOADED = ("block", "speed")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def measure(wanted: list[str], rows: list[str], load_binary: Path, *, quick: bool, rounds: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name, function in FIGURES.items():
        if name in wanted:
            say(f"measuring {name} ...")
            results[name] = await function(quick=quick)
            print_figures(name, results[name])
    if "block" in wanted:
        say("measuring block ...")
        results["block"] = await measure_block(load_binary, quick=quick)
        print_figures("block", results["block"])
    if "speed" in wanted:
        results["speed"] = await measure_speed(load_binary, rows, quick=quick, rounds=rounds)
        print_speed(results["speed"])
    return results


def print_figures(name: str, figures: Figures) -> None:
    for figure, value in figures.items():
        goal = GOALS_AT_MOST.get((name, figure))
        verdict = "" if goal is None else f"  (to reach: {goal:g}) {'ok' if value <= goal else 'MISSED'}"
        print(f"{name}: {figure} {value:.3g}{verdict}", flush=True)


def print_speed(rows: dict[str, dict[str, Figures]]) -> None:
    for row, routes in rows.items():
        for figure in SPEED_FIGURES[row]:
            headless, window = routes["headless"][figure], routes["window"][figure]
            ratio = window / headless if figure.endswith("per_s") else headless / window
            verdict = "ok" if ratio >= GOAL_RATIO else "below"
            print(f"speed {row}: {figure} headless {headless:.4g}  window {window:.4g}  ratio {ratio:.2f} {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench window", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="figure", help=f"any of: {', '.join((*FIGURES, *LOADED))} (all)")
    parser.add_argument("--load", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of the speed rows")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(SPEED_FIGURES), help="of speed")
    parser.add_argument("--quick", action="store_true", help="shorter: for a look, not for the record")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and figures there, too")
    arguments = parser.parse_args()
    wanted = arguments.figures or [*FIGURES, *LOADED]
    unknown = set(wanted) - {*FIGURES, *LOADED}
    if unknown:
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    machine = describe_machine()
    print(json.dumps(machine), flush=True)
    results = asyncio.run(
        measure(wanted, arguments.rows, arguments.load, quick=arguments.quick, rounds=arguments.rounds)
    )
    machine["load_average_after"] = list(os.getloadavg())
    print(json.dumps(machine), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "figures": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
