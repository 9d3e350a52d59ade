"""A display and a session bus of a test's own: Xvfb and dbus-daemon, started and ended by id."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

START_LIMIT_S = 20.0


def missing_programs() -> str:
    """Why a real tray can't be tried here; "" when it can."""
    if sys.platform != "linux":
        return "a StatusNotifierWatcher is a Linux desktop's"
    missing = [name for name in ("Xvfb", "dbus-daemon") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (apt-get install xvfb dbus-daemon)" if missing else ""


class SessionBus:
    """Use as `async with SessionBus(folder) as session`; `environ` is what a program of that session needs.

    `screen_file` is the framebuffer as an XWD file: what is on the screen, readable without another program.
    """

    def __init__(
        self, folder: Path, *, screen: tuple[int, int] = (1280, 800), server_arguments: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self._server_arguments = server_arguments
        self._screen = screen
        self._processes: list[asyncio.subprocess.Process] = []
        self.environ: dict[str, str] = {}

    @property
    def screen_file(self) -> Path:
        return self._folder / "Xvfb_screen0"

    @property
    def address(self) -> str:
        return self.environ["DBUS_SESSION_BUS_ADDRESS"]

    async def __aenter__(self) -> Self:
        try:
            display = await self._start_display()
            address = await self._start_bus()
        except BaseException:
            await self._end()
            raise
        self.environ = {"DISPLAY": f":{display}", "DBUS_SESSION_BUS_ADDRESS": address, "QT_QPA_PLATFORM": "xcb"}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _start_display(self) -> str:
        """The server picks a free number itself and says it."""
        reader, writer = os.pipe()
        width, height = self._screen
        command = ("Xvfb", "-displayfd", str(writer), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp",
                   "-noreset", "-nocursor", "-fbdir", str(self._folder), *self._server_arguments)  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command, pass_fds=(writer,), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        self._processes.append(process)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            async with asyncio.timeout(START_LIMIT_S):
                line = await asyncio.to_thread(file.readline)
        return line.decode().strip()

    async def _start_bus(self) -> str:
        process = await asyncio.create_subprocess_exec(
            *("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"),
            f"--address=unix:path={self._folder}/bus",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._processes.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(START_LIMIT_S):
            return (await process.stdout.readline()).decode().strip()

    async def _end(self) -> None:
        for process in reversed(self._processes):
            if process.returncode is None:
                process.terminate()
            try:
                async with asyncio.timeout(5):
                    await process.communicate()
            except TimeoutError:
                process.kill()
                await process.communicate()
