"""The installed package, used as a person with a desktop uses it. Run by packaging/linux/check-deb as a normal user.

Display, session bus and panel are the test's own; coordinator and libraries are the package's, on PYTHONPATH. Prints
one JSON object with what was measured; ends with a traceback at the first thing that is wrong.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pkgutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from core.assets_path import SELFTEST_MODEL_NAME
from core.config_rules import EFFECT_SETTINGS
from core.local_coordinator import LocalCoordinator
from tests.fakes.session_bus import SessionBus
from tests.fakes.sni_watcher import Entry, SniWatcher

DESKTOP, TITAN = "/usr/bin/titan-desktop", "/usr/bin/titan"
PROGRAM = Path(DESKTOP).resolve()
STEP_LIMIT_S = 30.0
QUIT_LIMIT_S = 15.0
# The owner's rules are other tests' matter: a machine that runs tests is a busy one, and would pause.
NO_RULES = {f"TITAN_{name.upper()}": "off" for name in EFFECT_SETTINGS}
WATCHED_S = 3.0  # a fork bomb doubles each 0.3 s or so
# One running desktop program and its engine; in the demo titan and its engine.
MOST_PROCESSES = 2


LAZILY_IMPORTED = (
    *("aiohttp", "cryptography.x509", "dbus_fast.aio", "huggingface_hub.utils", "keyring.backends.SecretService"),
    *("ollama", "pynvml", "rich.live", "rich.table", "typer", "xllamacpp"),
)


class Process:
    """One running process of the package."""

    def __init__(self, folder: Path) -> None:
        self.pid = int(folder.name)
        self.arguments = [part.decode() for part in (folder / "cmdline").read_bytes().split(b"\0")[:-1]]
        self.rss_mb = next(
            int(line.split()[1]) / 1024 for line in (folder / "status").read_text().splitlines() if "VmRSS" in line
        )


def our_processes() -> list[Process]:
    """By the program's file, whatever name it was started under."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "exe").resolve() == PROGRAM:
                    found.append(Process(folder))
            except (OSError, StopIteration):  # ended meanwhile, or somebody else's
                continue
    return sorted(found, key=lambda process: process.pid)


async def run(*command: str, **environ: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        cwd="/",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(STEP_LIMIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise AssertionError(f"{' '.join(command)} did not end within {STEP_LIMIT_S} s") from None
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def most_processes_during(work: asyncio.Task[Any]) -> int:
    most = 0
    while not work.done():
        most = max(most, len(our_processes()))
        await asyncio.wait([work], timeout=0.02)
    return most


async def wait_status(condition: Callable[[dict[str, Any]], bool], **environ: str) -> dict[str, Any]:
    """`titan status --json` until the condition holds."""
    answer = (1, "", "never asked")
    try:
        async with asyncio.timeout(STEP_LIMIT_S):
            while True:
                answer = await run(TITAN, "status", "--json", **environ)
                if answer[0] == 0 and condition(json.loads(answer[1])):
                    snapshot: dict[str, Any] = json.loads(answer[1])
                    return snapshot
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"titan status stayed at {answer}") from None


def has_resume(menu: Entry) -> bool:
    entry = menu.find("Resume")
    return entry is not None and entry.is_visible


def check_imports() -> None:
    """Every module of ours, and what is imported only when it is wanted: a third of the wheels is left out."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    for name in ("core", "proto", "titan_gui"):
        for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if found.name.rpartition(".")[2] != "__main__":
                importlib.import_module(found.name)
    for name in LAZILY_IMPORTED:
        importlib.import_module(name)
    import huggingface_hub
    import pyqtgraph
    from PySide6.QtWidgets import QApplication

    assert huggingface_hub.HfApi(endpoint="http://127.0.0.1:9", token=False).endpoint
    application = QApplication([])
    chart = pyqtgraph.PlotWidget()
    chart.addLegend()
    chart.plot([1, 3, 2], name="a chart")
    assert not chart.grab().isNull()
    chart.close()
    del chart
    application.processEvents()


async def check_command_line() -> dict[str, float]:
    """Without a display: quick, right, and Qt is never loaded (it would need its libraries and a font)."""
    began = time.monotonic()
    code, out, _ = await run(TITAN, "--version")
    version_s = time.monotonic() - began
    assert (code, out.split()[0]) == (0, "titan"), (code, out)
    code, _, err = await run(TITAN, "status")
    assert (code, "Not running" in err) == (1, True), (code, err)
    code, out, _ = await run(DESKTOP, "--cli", "--version")
    assert (code, out.split()[0]) == (0, "titan"), "the --cli way in"
    code, _, err = await run(DESKTOP)
    assert (code, "no display" in err) == (1, True), (code, err)
    return {"titan_version_s": version_s}


async def check_demo() -> dict[str, float]:
    demo = asyncio.create_task(run(TITAN, "demo", "--json"))
    most = await most_processes_during(demo)
    code, out, err = demo.result()
    assert code == 0, (out, err)
    answer = json.loads(out.splitlines()[-1])
    assert answer["engine"] == "embedded"
    assert most == MOST_PROCESSES, f"{most} processes"
    assert our_processes() == []
    return {"demo_tokens_per_s": answer["tokens_per_second"]}


async def check_no_second_generation() -> None:
    """`sys.executable` is the package's program here: what would start a Python elsewhere must start nothing."""
    worker = {"TITAN_ENGINE_WORKER_DEPTH": "1"}
    for arguments, environ, expected in (
        (("-c", "print('a Python')"), {}, 2),
        (("-m", "this"), {}, 2),
        (("--engine-worker",), {}, 71),  # not as the child of an agent
        ((), worker, 71),  # a worker that starts the program again
        (("--engine-worker",), {"TITAN_ENGINE_WORKER_DEPTH": "2"}, 71),  # a worker that starts a worker
        (("--engine-worker",), worker, 70),  # a worker whose parent has gone: end of input
    ):
        began = asyncio.create_task(run(DESKTOP, *arguments, **environ))
        most = await most_processes_during(began)
        code, out, err = began.result()
        assert code == expected, (arguments, environ, code, out, err)
        assert "a Python" not in out
        assert most <= 1, f"{most} processes after {arguments}"
    assert our_processes() == []


async def check_desktop(folder: Path) -> dict[str, float]:
    """Icon, a session by the package's own engine, the window with its charts, pause, quit."""
    figures: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(SessionBus(folder))
        coordinator = await stack.enter_async_context(LocalCoordinator())
        panel = await stack.enter_async_context(SniWatcher(session.address))
        environ = {
            **session.environ,
            **NO_RULES,
            "COORDINATOR_ENDPOINT": coordinator.endpoint,
            "PUBLIC_HOST": "127.0.0.1",
            "AGENT_PORT": "0",
            "SUPPORTED_MODELS": SELFTEST_MODEL_NAME,
            "TITAN_ENGINE": "embedded",
            "TITAN_SETUP_DONE": "true",
            "TITAN_NOTIFICATIONS": "false",
        }
        began = time.monotonic()
        program = await asyncio.create_subprocess_exec(
            *(DESKTOP, "--hidden"),
            env={**os.environ, **environ},
            cwd="/",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await panel.wait_item()
            figures["icon_s"] = time.monotonic() - began
            await wait_status(lambda status: status["state"] == "ready", **environ)
            figures["ready_s"] = time.monotonic() - began
            await check_session(environ)
            figures |= await check_two_processes(program.pid)

            code, _, err = await run(DESKTOP, **environ)  # a second start brings the window of the first
            assert code == 0, err
            maps = Path(f"/proc/{program.pid}/maps")
            await wait_until(lambda: "_multiarray_umath" in maps.read_text(), "the dashboard's charts")
            figures["window_mb"] = our_processes()[0].rss_mb

            await panel.click("1 hour")
            await panel.wait_menu(has_resume)
            await wait_status(lambda status: status["state"] == "paused", **environ)
            await panel.click("Resume")
            await wait_status(lambda status: status["state"] == "ready", **environ)
            await panel.click("Quit")
            began = time.monotonic()
            async with asyncio.timeout(QUIT_LIMIT_S):
                _, err_bytes = await program.communicate()
            figures["quit_s"] = time.monotonic() - began
        finally:
            if program.returncode is None:
                program.kill()
                print((await program.communicate())[1].decode())
        strange = [line for line in err_bytes.decode().splitlines() if line.startswith(("Traceback", "qt.", "QObject"))]
        assert (program.returncode, strange) == (0, []), err_bytes.decode()
        assert our_processes() == []
    return figures


async def check_session(environ: dict[str, str]) -> None:
    code, out, err = await run(TITAN, "ask", "hello", "--max-tokens", "16", "--json", **environ)
    assert code == 0, err
    end = json.loads(out.splitlines()[-1])
    assert (end["done"], end["engine"]) == (True, "embedded"), end
    assert end["completion_tokens"] > 0, end


async def check_two_processes(pid: int) -> dict[str, float]:
    """The program and its engine, now and after a while."""
    for _ in range(2):
        desktop, engine = our_processes()
        assert desktop.pid == pid
        assert engine.arguments == [DESKTOP, "--engine-worker"], engine.arguments
        await asyncio.sleep(WATCHED_S / 2)
    return {"hidden_mb": desktop.rss_mb, "engine_mb": engine.rss_mb}


async def wait_until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(STEP_LIMIT_S):
            while not condition():  # noqa: ASYNC110 - another process's doing: it tells nobody
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{what} did not come within {STEP_LIMIT_S} s") from None


async def check_all() -> dict[str, float]:
    figures = await check_command_line()
    await check_no_second_generation()
    figures |= await check_demo()
    with tempfile.TemporaryDirectory(prefix="titan-") as folder:
        figures |= await check_desktop(Path(folder))
    return {name: round(value, 2) for name, value in figures.items()}


if __name__ == "__main__":
    if sys.argv[1:] == ["imports"]:  # in a process of its own: it takes much memory, and Qt
        check_imports()
    else:
        print(json.dumps(asyncio.run(check_all())))
