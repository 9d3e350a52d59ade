"""A D-Bus bus of a test's own, without a display: dbus-daemon, started, stopped for a while, and ended by id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

START_LIMIT_S = 20.0


def missing_bus() -> str:
    """Why there can be no bus here; "" when there can."""
    if sys.platform != "linux":
        return "D-Bus is a Linux desktop's"
    return "" if shutil.which("dbus-daemon") else "not installed: dbus-daemon (apt-get install dbus-daemon)"


class PrivateBus:
    """Use as `async with PrivateBus(folder) as bus`; a second one in the same folder has the same address.

    Programs that it may start by itself are described in `<folder>/data/dbus-1/services`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"unix:path={folder}/bus"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", f"--address={self.address}"),
            env={**os.environ, "XDG_DATA_HOME": str(self._folder / "data")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_LIMIT_S):
            line = await self._process.stdout.readline()
        assert line.decode().startswith(self.address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    def hang(self) -> None:
        """It answers nobody until `go_on`; a connection can still be made."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def end(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()
