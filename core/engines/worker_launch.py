"""The one place that starts a process: the embedded engine's child.

Nobody else in this program spawns. In a packaged app `sys.executable` is the app's own stub, which ignores `-c` and
`-m` and runs the whole app again: multiprocessing in such an app became thousands of processes (docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.engines.worker_main import DEPTH_VARIABLE, EXIT_SECOND_GENERATION, WORKER_FLAG
from core.errors import AgentError, EngineFailed

_DESKTOP_SCRIPT = "titan-desktop"  # pyproject.toml: gui-scripts

# All that a child needs from our environment. Secrets may be in the rest.
_PASSED_ON = frozenset(
    {"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "HOME", "USERPROFILE"}
    | {"SYSTEMROOT", "WINDIR", "TMP", "TEMP", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "OMP_WAIT_POLICY"}
    | {"CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRequest:
    """What the child is told, as one JSON line on its stdin; argv and the environment can be read by others."""

    model_path: str
    model_name: str
    api_key: str
    slots: int
    context_tokens: int  # per slot
    threads: int
    niceness: int = 10  # 0 to 19, as nice(2); above 0 is "below normal" on Windows
    load_limit_s: float = 120.0
    engine_folder: str = ""  # the folder that holds the xllamacpp package

    def to_line(self, parent_pid: int) -> bytes:
        return json.dumps({**asdict(self), "parent_pid": parent_pid}).encode() + b"\n"


def is_packaged_app(executable: str | None = None) -> bool:
    """Whether `sys.executable` is an app's stub (briefcase and its like) and not a Python that takes `-I FILE`.

    Told by the name: a briefcase stub is named after the app, and so is every frozen program; an interpreter is
    `python`, `python3.11`, `pythonw.exe`, `pypy3` ... The app's metadata says "briefcase" in `briefcase dev` too, where
    the executable is a real Python, so it isn't asked.
    """
    name = Path(executable if executable is not None else sys.executable).name.lower()
    return not name.startswith(("python", "pypy"))


def engine_worker_command(is_packaged: Callable[[], bool] = is_packaged_app) -> list[str]:
    """How this installation starts the engine's child."""
    if not sys.executable:
        raise EngineFailed("this Python does not say where its program is", hint="Start the agent with a full path.")
    if is_packaged():
        return [sys.executable, WORKER_FLAG]
    return [sys.executable, "-I", str(Path(__file__).resolve().with_name("worker_main.py"))]


def desktop_command(argv: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The command that starts the desktop program as this installation has it, for the system's list of programs that
    start at login. `argv` and `environ` are this process's. Raises AgentError where there is none.
    """
    if environ.get("APPIMAGE"):  # what is mounted at a random path while it runs
        return [environ["APPIMAGE"]]
    if sys.executable and is_packaged_app():
        return [sys.executable]
    name = f"{_DESKTOP_SCRIPT}.exe" if sys.platform == "win32" else _DESKTOP_SCRIPT
    started = Path(argv[0] if argv else "").absolute()
    for script in (started.with_name(name), Path(sys.executable).absolute().with_name(name)):
        if script.is_file():
            return [str(script)]
    raise AgentError(
        f"the program {name} is not found beside {started} or {sys.executable}",
        hint='Install it: pip install "titancompute-agent[desktop]"',
    )


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: a few names of ours and the depth guard."""
    kept = {name: value for name, value in environ.items() if name.upper() in _PASSED_ON}
    return {**kept, DEPTH_VARIABLE: "1"}


async def launch_worker(request: WorkerRequest, command: Sequence[str] = ()) -> asyncio.subprocess.Process:
    """Start the child and hand it its request; its stdin stays open, for its end ends the child.

    Must run on the agent's own long-lived thread: Linux tells the child when the *thread* that started it ends.
    Raises EngineFailed when the system cannot start it.
    """
    if DEPTH_VARIABLE in os.environ:
        os._exit(EXIT_SECOND_GENERATION)  # a worker that starts workers: the last stop before a fork bomb
    pipe = asyncio.subprocess.PIPE
    arguments = list(command) or engine_worker_command()
    creation_flags = 0x08000000 if sys.platform == "win32" else 0  # CREATE_NO_WINDOW
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=worker_environment(os.environ),
            cwd=Path(arguments[0]).anchor or None,
            creationflags=creation_flags,
        )
    except OSError as error:
        raise EngineFailed(f"the engine's process cannot be started: {error.strerror or error}") from error
    if sys.platform == "win32":
        from core.engines.windows_job import tie_to_this_process

        tie_to_this_process(process.pid)
    assert process.stdin is not None
    process.stdin.write(request.to_line(os.getpid()))
    return process
