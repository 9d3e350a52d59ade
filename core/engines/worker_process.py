"""One running engine child: its ready line, its log, its end. Knows nothing of models, restarts or sessions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from core.engines.engine_errors import Category, category_of_log_line
from core.engines.worker_launch import WorkerRequest, launch_worker
from core.engines.worker_main import EXIT_SECOND_GENERATION
from core.errors import AgentError, EngineFailed, EngineTimeout, NotEnoughMemory

LogLine = Callable[[str], None]
Launch = Callable[[WorkerRequest], Awaitable[asyncio.subprocess.Process]]

LOG_LINES_KEPT = 200
_MAX_LINE = 2000  # characters
_ERROR_START = b'{"error":'  # how a line begins that says why the child can't start (worker_main)
_LAST_WORDS_S = 5.0
MEMORY_HINT = "Choose a smaller model, fewer sessions or a smaller context."
_KILLED = -9  # while a model loads that is the system's doing, for want of memory, or the owner's
_LINE_HEAD = re.compile(r"[\d.]{1,32} [A-Z] ")  # llama.cpp's: the time since its start, and the level
_NOT_KEPT = "(not kept: it may quote a prompt or an answer)"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReady:
    """What a started child says about itself."""

    port: int
    device: str
    version: str


class WorkerProcess:
    """Make it with `start`; always end it with `end`, which is safe to call twice."""

    def __init__(self, process: asyncio.subprocess.Process, api_key: str, on_log: LogLine) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self.api_key = api_key
        self._stdout = process.stdout
        self._on_log = on_log
        self._lines: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._reader = asyncio.create_task(self._read_log(process.stderr), name="engine-log")
        self.was_ended = False  # by us, so its exit is no crash
        self._is_ready = False  # from then on it sees prompts and answers

    @classmethod
    async def start(cls, request: WorkerRequest, *, on_log: LogLine, launch: Launch = launch_worker) -> WorkerProcess:
        return cls(await launch(request), request.api_key, on_log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def log_lines(self) -> tuple[str, ...]:
        """The last lines that it printed, oldest first; never a word of a prompt or an answer."""
        return tuple(self._lines)

    async def wait_ready(self, limit_s: float) -> WorkerReady:
        """Wait for the ready line.

        Raises EngineFailed with the child's own reason, NotEnoughMemory where it is that, EngineTimeout at the limit.
        """
        try:
            async with asyncio.timeout(limit_s):
                line = await self._stdout.readline()
        except TimeoutError:
            raise EngineTimeout(f"the model was not loaded within {limit_s:.0f} s") from None
        except ValueError:  # longer than the reader's limit
            raise EngineFailed("the engine's process did not introduce itself") from None
        if not line.endswith(b"\n"):
            if await self.wait_exit() == _KILLED or self._said_memory():
                raise NotEnoughMemory(self.reason_of_exit(), hint=MEMORY_HINT)
            raise EngineFailed(self.reason_of_exit(), hint=self.hint_of_exit())
        if line.startswith(_ERROR_START):
            await self._wait_last_words()
        ready = _parse_ready(line, self._last_error_line())
        self._is_ready = True  # nobody has heard its port yet
        return ready

    async def wait_exit(self) -> int:
        """Wait until the process and its log have ended. Negative: the signal that ended it."""
        code = await self._process.wait()
        await asyncio.wait([self._reader])
        return code

    async def _wait_last_words(self) -> None:
        """It ends now; the cause is in its log, which a thread of llama.cpp's own writes, in its own time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self.wait_exit()

    async def end(self) -> None:
        """End the child and wait until the system has its memory back."""
        self.was_ended = True
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                self._process.kill()
        await self.wait_exit()

    def reason_of_exit(self) -> str:
        """One clause on why the ended child ended, as an owner would say it."""
        code = self._process.returncode
        if code is None:
            return "its process still runs"
        if code == EXIT_SECOND_GENERATION:
            return "it was started from inside another engine process"
        if code < 0 and sys.platform != "win32":
            return _reason_of_signal(-code)
        said = self._last_error_line()
        return f"its process ended with status {code}" + (f": {said}" if said else "")

    def hint_of_exit(self) -> str:
        code = self._process.returncode
        if code == -4:
            return "Use Ollama: it has builds for other processors (set engine to ollama)."
        if code == _KILLED:
            return MEMORY_HINT
        return "See the log for the engine's last lines."

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        """Chunks, not lines: a line of any length must not stop the reading, or the child would block on it."""
        rest = b""
        while chunk := await stream.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._keep(line)
            rest = rest[:_MAX_LINE]
        if rest:
            self._keep(rest)

    def _keep(self, raw: bytes) -> None:
        line = raw.decode("utf-8", errors="replace").rstrip()[:_MAX_LINE]
        if self._is_ready:
            line = _without_words(line)
        if line:
            self._lines.append(line)
            self._on_log(line)

    def _said_memory(self) -> bool:
        """Whether its log says that memory didn't suffice; a C++ program that gets none ends without a word of ours."""
        return any(category_of_log_line(line) is Category.MEMORY for line in self._lines)

    def _last_error_line(self) -> str:
        """llama.cpp marks errors with E after the time; the first of a run of them is the cause."""
        errors = [line for line in self._lines if line[:24].partition(" E ")[1] and not line.endswith(_NOT_KEPT)]
        return errors[0].partition(" E ")[2].strip()[:300] if errors else ""


def _without_words(line: str) -> str:
    """What may be kept of a line from a child that serves: when, how bad, and a known cause; "" when all is unknown.

    llama.cpp quotes prompts and answers in some of its warnings (a template's own message, a parser's excerpt), and
    nothing in a line tells for certain that it isn't one of those.
    """
    head = _LINE_HEAD.match(line)
    category = category_of_log_line(line)
    if category is Category.UNKNOWN:
        return f"{head[0]}{_NOT_KEPT}" if head else ""
    return f"{head[0] if head else ''}{category}"


def _parse_ready(line: bytes, last_error: str) -> WorkerReady:
    try:
        message: dict[str, Any] = json.loads(line)
        if code := message.get("error"):
            raise _error_of(str(code), str(message["detail"]), str(message["hint"]), last_error)
        return WorkerReady(port=int(message["port"]), device=str(message["device"]), version=str(message["version"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineFailed("the engine's process did not introduce itself") from error


def _error_of(code: str, detail: str, hint: str, last_error: str) -> AgentError:
    if code == "load":
        if category_of_log_line(last_error) is Category.MEMORY:
            return NotEnoughMemory(f"{detail}: {last_error}", hint=MEMORY_HINT)
        return EngineFailed(
            f"{detail}: {last_error}" if last_error else detail, hint=hint or "Download the file again."
        )
    return EngineFailed(detail, hint=hint)


def _reason_of_signal(number: int) -> str:
    if number == 4:
        return "its process used an instruction that this processor lacks"
    if number == 9:
        return "its process was killed, perhaps because memory ran out"
    try:
        return f"its process crashed ({signal.Signals(number).name})"
    except ValueError:
        return f"its process ended by signal {number}"
