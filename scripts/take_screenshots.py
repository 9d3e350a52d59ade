"""Pictures of every page from the real program on a screen of its own, with real sessions. See scripts/screenshots.

A coordinator for this machine, the embedded engine with the self-test model, a panel, and a desktop that turns dark on
command. Clients ask for tokens and stream answers as any client does: charts, sessions and ledger show what happened.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from PySide6.QtCore import Qt
from PySide6.QtGui import QImage

from core.assets_path import SELFTEST_MODEL_NAME
from core.config_edit import change_settings
from core.control import ControlClient
from core.control_address import read_address
from core.errors import AgentError
from core.inference_client import AnswerEnd, Question, request_token, stream_answer
from core.local_coordinator import LocalCoordinator
from core.rules.table import RULES
from scripts import rule_pictures
from tests.fakes import portal
from tests.fakes.calm_signals import NO_RULES
from tests.fakes.desktop_process import DesktopProcess
from tests.fakes.screen import cut_window, read_screen
from tests.fakes.session_bus import SessionBus, missing_programs
from tests.fakes.sni_watcher import SniWatcher
from tests.fakes.x_client import XClient

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("dashboard", "activity", "models", "rules", "settings", "log")
SETUP = "setup"
EACH_RULE = "each-rule"
SETUP_STEPS = 6
THEMES = ("light", "dark")
SCREEN = (1400, 1000)
FONT_DPI = "108"  # nine points are then as large as a desktop's usual eleven
SETTLE_S = 1.3  # figures and charts follow once a second
TURN_S = 0.8  # a change of theme repaints everything
FLAT = Qt.ImageConversionFlag.AvoidDither | Qt.ImageConversionFlag.ThresholdDither
OPAQUE = 0xFF000000
BEST_COMPRESSION = 0  # Qt calls it the quality
WANTED = "llama3.1:8b-instruct-q4_k_m"  # offered and not here: the Models page says how it is got
PROMPTS = (
    "Write a short poem about the sea.",
    "Explain how a bicycle stays upright.",
    "What should I cook tonight?",
)


@dataclass(frozen=True, slots=True)
class Shots:
    """Where the pictures go, and which are wanted."""

    folder: Path
    scale: int

    def save(self, image: QImage, name: str, theme: str) -> None:
        file = self.folder / f"{name}-{theme}{'' if self.scale == 1 else f'@{self.scale}x'}.png"
        if image.isNull() or not with_few_colours(image).save(str(file), "PNG", BEST_COMPRESSION):  # type: ignore[call-overload]
            raise RuntimeError(f"{file} could not be written: the screen is empty")
        say(f"{file.name}: {image.width()} x {image.height()}")


def with_few_colours(image: QImage) -> QImage:
    """The same with the 256 colours that it uses most: a quarter of the bytes, and no eye sees a difference."""
    whole = image.convertToFormat(QImage.Format.Format_RGB32)
    pixels = memoryview(whole.constBits()).cast("I")
    table = [colour | OPAQUE for colour, _ in Counter(pixels).most_common(256)]
    return whole.convertToFormat(QImage.Format.Format_Indexed8, table, FLAT)


class Stage:
    """One run of the program at one scale."""

    def __init__(self, shots: Shots, session: SessionBus, desktop: portal.FakePortal, program: DesktopProcess) -> None:
        self._shots = shots
        self._session = session
        self._desktop = desktop
        self._program = program

    async def take(self, name: str, page: str = "", *, settle_s: float = SETTLE_S) -> None:
        """Show the page, and take it."""
        await self.command("show_window", page=page)
        await asyncio.sleep(settle_s)
        await self.take_as_it_is(name)

    async def take_as_it_is(self, name: str) -> None:
        """Light and dark."""
        for theme, image in (await self.look()).items():
            self._shots.save(image, name, theme)

    async def look(self) -> dict[str, QImage]:
        """The window as it is, by theme."""
        seen = {}
        for theme in THEMES:
            self._desktop.turn(is_dark=theme == "dark")
            await asyncio.sleep(TURN_S)
            if self._program.process.returncode is not None:
                complain_about(self._program, self._program.process.returncode)
                raise RuntimeError("the program has ended")
            seen[theme] = cut_window(await asyncio.to_thread(read_screen, self._session.screen_file))
        self._desktop.turn(is_dark=False)
        return seen

    async def command(self, name: str, **arguments: str) -> None:
        door = read_address(self._program.paths.control_address_file)
        async with ControlClient(door) as client:
            await client.execute(name, arguments)


class Clients:
    """Strangers with prompts, one after the other each, until closed."""

    def __init__(self, coordinator: str, count: int) -> None:
        self._coordinator = coordinator
        self._tasks = [asyncio.create_task(self._ask_for_ever(number)) for number in range(count)]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask_for_ever(self, number: int) -> None:
        for turn in itertools.count():
            question = Question(
                prompt=PROMPTS[(number + turn) % len(PROMPTS)],
                model=SELFTEST_MODEL_NAME,
                max_tokens=(300, 900, 1800)[(number + turn) % 3],
            )
            with suppress(AgentError):  # paused, or the coordinator is away: a client tries again
                grant = await request_token(self._coordinator, question, client_id=f"client-{number}")
                async with aclosing(stream_answer(grant, question, limit_s=60.0)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, AnswerEnd):
                            break
            await asyncio.sleep(0.3 + 0.7 * number)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write_settings(home: Path, coordinator: str, others: Mapping[str, str] = MappingProxyType({})) -> None:
    """A home user's: the embedded engine, and a coordinator on this machine, which alone gets the self-test model.

    In the file, since the window greys what the environment decides. One rule is off: this machine is busy with us.
    """
    changes = {
        "coordinator_endpoint": coordinator,
        "agent_port": "0",
        "public_host": "127.0.0.1",
        "heartbeat_interval_s": "2",
        "engine": "embedded",
        "supported_models": f"{SELFTEST_MODEL_NAME},{WANTED}",
        "cpu_busy_effect": "off",
        "notifications": "false",
        "setup_done": "true",
        **others,
    }
    change_settings(changes, {"HOME": str(home), "TITAN_HOME": str(home)})


# What tests set for every program, taken back: an empty variable counts as not set.
UNSET = dict.fromkeys((*NO_RULES, "TITAN_NOTIFICATIONS", "TITAN_SETUP_DONE"), "")


def look_of(scale: int) -> dict[str, str]:
    return {**portal.ENVIRON, "QT_SCALE_FACTOR": str(scale), "QT_FONT_DPI": FONT_DPI, "PYTHONFAULTHANDLER": "1"}


@asynccontextmanager
async def session_of(home: Path, scale: int) -> AsyncIterator[tuple[SessionBus, portal.FakePortal, SniWatcher]]:
    async with AsyncExitStack() as stack:
        screen = (SCREEN[0] * scale, SCREEN[1] * scale)
        session = await stack.enter_async_context(SessionBus(home, screen=screen))
        desktop = await stack.enter_async_context(portal.FakePortal(session.address))
        panel = await stack.enter_async_context(SniWatcher(session.address))
        yield session, desktop, panel


async def take_pages(shots: Shots, pages: Sequence[str], serve_s: float) -> None:
    """Serve for a while, then every page with sessions running; the dashboard also paused and without a coordinator."""
    with tempfile.TemporaryDirectory(prefix="titan-") as folder:
        home = Path(folder)
        async with (
            LocalCoordinator() as coordinator,
            session_of(home, shots.scale) as (session, desktop, _),
        ):
            await asyncio.to_thread(write_settings, home, coordinator.endpoint)
            environ = {**UNSET, **look_of(shots.scale)}
            async with DesktopProcess(home, session, **environ) as program:
                await program.wait_state("ready")
                clients = Clients(coordinator.endpoint, 3)
                try:
                    stage = Stage(shots, session, desktop, program)
                    say(f"serving for {serve_s:g} s at {shots.scale}x ...")
                    await asyncio.sleep(serve_s)
                    for page in pages:
                        await stage.take(page, page)
                    if "dashboard" in pages:
                        await stage.command("pause", for_s="3600")
                        await stage.take("dashboard-paused", "dashboard")
                        await stage.command("resume")
                        await coordinator.stop()
                        await program.wait_snapshot(lambda snapshot: snapshot["coordinator"]["link"] == "away")
                        await stage.take("dashboard-offline", "dashboard")
                finally:
                    await clients.close()
                    code = await program.stop()
                complain_about(program, code)


async def take_setup(shots: Shots) -> None:
    """The first questions, one picture a step, by keyboard; nothing is set up and nothing shared."""
    with tempfile.TemporaryDirectory(prefix="titan-") as folder:
        home = Path(folder)
        async with session_of(home, shots.scale) as (session, desktop, _):
            environ = {"TITAN_ENGINE": "embedded", "TITAN_LISTEN_ADDRESS": "127.0.0.1"}
            environ |= {"TITAN_SETUP_DONE": "false", **look_of(shots.scale)}
            async with DesktopProcess(home, session, **environ) as program:
                await program.wait_event("started")
                stage = Stage(shots, session, desktop, program)
                await asyncio.sleep(SETTLE_S)
                with XClient(session.environ["DISPLAY"]) as hands:
                    for number in range(1, SETUP_STEPS + 1):
                        await stage.take_as_it_is(f"setup-{number}")
                        hands.press("Return")
                        await asyncio.sleep(SETTLE_S)
                complain_about(program, await program.stop())


async def take_rules(shots: Shots) -> None:
    """Every rule of the owner's as it holds: the dashboard's top and the rule's row, all sixteen in one."""
    tiles: dict[str, dict[str, QImage]] = {theme: {} for theme in THEMES}
    for act in rule_pictures.ACTS:
        with tempfile.TemporaryDirectory(prefix="titan-") as folder:
            home = Path(folder)
            async with LocalCoordinator() as coordinator, session_of(home, shots.scale) as (session, desktop, _):
                await asyncio.to_thread(
                    write_settings, home, coordinator.endpoint, {**rule_pictures.QUICK, **act.settings}
                )
                environ = {**UNSET, **look_of(shots.scale)}
                async with rule_pictures.ToldDesktop(home, session, **environ) as program:
                    await program.wait_event("started")
                    stage = Stage(shots, session, desktop, program)
                    for rule, signals in act.rules.items():
                        for theme, tile in (
                            await take_rule(stage, program, coordinator.endpoint, rule, signals)
                        ).items():
                            tiles[theme][rule] = tile
                            say(f"{rule}, {theme}")
                    complain_about(program, await program.stop())
    for theme, taken in tiles.items():
        in_order = [taken[rule.code] for rule in RULES]  # every one, or this fails
        shots.save(rule_pictures.stacked(in_order, rule_pictures.TILES_ACROSS), EACH_RULE, theme)


async def take_rule(
    stage: Stage, program: rule_pictures.ToldDesktop, coordinator: str, rule: str, signals: Mapping[str, object]
) -> dict[str, QImage]:
    """Make it hold, and see it on both pages; by theme."""
    clients = Clients(coordinator, 3) if rule == "budget_spent" else None  # which only serving spends
    try:
        program.tell(signals)
        await program.wait_rules(rule)
    finally:
        if clients is not None:
            await clients.close()
    await stage.command("show_window", page="dashboard")
    await asyncio.sleep(SETTLE_S)
    top = await stage.look()
    row_box, top_box = await program.show_rule(signals, rule)
    row = await stage.look()
    return {theme: rule_pictures.stacked([top[theme].copy(top_box), row[theme].copy(row_box)]) for theme in THEMES}


def complain_about(program: DesktopProcess, code: int) -> None:
    """What no picture shows: another end than an ordered one, and anything on stderr that is no log line."""
    if code:
        say(f"the program ended with {code}")
    for line in program.err.decode(errors="replace").splitlines():
        if line and not line.startswith("{"):
            say(f"on stderr: {line}")


async def take_all(arguments: argparse.Namespace) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    for scale in arguments.scales:
        shots = Shots(arguments.out, scale)
        if SETUP in arguments.pages:
            await take_setup(shots)
        if EACH_RULE in arguments.pages and scale == 1:  # of a size with the rest
            await take_rules(shots)
        pages = [page for page in arguments.pages if page in PAGES]
        if pages:
            await take_pages(shots, pages, arguments.serve_s)


def main() -> int:
    split: Callable[[str], list[str]] = lambda text: text.split(",")  # noqa: E731
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots", help="folder (docs/screenshots)")
    parser.add_argument("--serve-s", type=float, default=150.0, help="seconds of serving before the pictures (150)")
    parser.add_argument("--scales", type=lambda text: [int(part) for part in split(text)], default=[1, 2])
    parser.add_argument(
        "--pages", type=split, default=[*PAGES, SETUP, EACH_RULE], help=",".join((*PAGES, SETUP, EACH_RULE))
    )
    arguments = parser.parse_args()
    problem = missing_programs()
    if problem:
        say(problem)
        return 1
    asyncio.run(take_all(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
