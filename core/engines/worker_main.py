"""The embedded engine's child process: llama.cpp's OpenAI-compatible server around one model.

It reads one JSON line from stdin (the request), answers one JSON line on stdout ("ready" or an error), and ends when
its parent does. Started by worker_launch.py only, as a script under `python -I` or behind the flag of a packaged app;
so nothing here may import more of this program than cpu_features.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

WORKER_FLAG = "--engine-worker"
DEPTH_VARIABLE = "TITAN_ENGINE_WORKER_DEPTH"  # "1" in a worker; whoever sees it and isn't one is a second generation
EXIT_CANNOT_START = 70
EXIT_SECOND_GENERATION = 71
MAX_REQUEST_BYTES = 65536

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_BELOW_NORMAL_PRIORITY_CLASS = 0x4000  # winbase.h
# Prompts are computed in steps of this many tokens, and a cancel is seen one or two steps later. Measured on one core
# with a model of 95 million 32-bit weights, processor time per step: 8 tokens 57 ms, 16 101, 32 179, 64 299, 256 1,116;
# so 32 costs 29 % more per token than 256. A graphics device computes 512 in the time of a few.
PROMPT_STEP_CPU_TOKENS = 32
PROMPT_STEP_GPU_TOKENS = 512
_LOG_ERRORS_AND_WARNINGS = 2  # from 5 on llama.cpp logs prompts and answers; a test sends a canary


class CannotStart(Exception):
    """The worker cannot serve; `code` is stable, the texts are for the owner."""

    def __init__(self, code: str, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.code, self.detail, self.hint = code, detail, hint


def run_if_worker(argv: Sequence[str] | None = None) -> None:
    """Become the worker when this process was started as one. The first call in every main(), before any other import.

    A packaged app's `sys.executable` is the app itself: without this a worker would be the whole app again, and again.
    """
    arguments = sys.argv if argv is None else argv
    if arguments[1:2] == [WORKER_FLAG]:
        sys.exit(main())
    if DEPTH_VARIABLE in os.environ:
        sys.exit(EXIT_SECOND_GENERATION)


def main() -> int:
    """Serve until the parent is gone. Returns an exit status only when it cannot start."""
    if os.environ.get(DEPTH_VARIABLE) != "1":
        return EXIT_SECOND_GENERATION
    os.environ[DEPTH_VARIABLE] = "2"  # whatever is started from here is one too many
    answers = _take_over_stdout()
    line = sys.stdin.buffer.readline(MAX_REQUEST_BYTES)
    if not line.endswith(b"\n"):
        return EXIT_CANNOT_START  # the parent died before it had asked
    request = json.loads(line)
    _end_with_parent(request["parent_pid"])
    _be_modest(request["niceness"])
    try:
        server, facts = _open_server(request)
    except CannotStart as problem:
        _answer(answers, {"error": problem.code, "detail": problem.detail, "hint": problem.hint})
        return EXIT_CANNOT_START
    _answer(answers, {"ready": True, **facts})
    threading.Event().wait()  # the watcher thread ends the process
    del server
    return 0


def _take_over_stdout() -> BinaryIO:
    """Keep stdout for our one line; whatever a library prints goes to stderr, where the log is read."""
    sys.stdout.flush()
    private = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return private


def _answer(answers: BinaryIO, message: Mapping[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.close()


def _end_with_parent(parent_pid: int) -> None:
    """End at once when the parent is gone, however it died: end of stdin everywhere, the kernel's signal on Linux.

    A load holds the interpreter's lock for its whole time, and then the thread waits for it; the signal does not.
    """
    threading.Thread(target=_exit_on_end_of_input, name="parent-watch", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C and a service manager's SIGTERM reach the whole group:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent drains first, then ends us
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if sys.platform != "win32" and os.getppid() != parent_pid:
        os._exit(0)  # it died before the kernel was asked to tell us


def _exit_on_end_of_input() -> NoReturn:
    while True:
        try:
            if not os.read(0, 4096):
                os._exit(0)
        except OSError:
            os._exit(0)


def _be_modest(niceness: int) -> None:
    """Give way to the owner's programs."""
    if sys.platform == "win32":
        import ctypes

        kernel32 = ctypes.windll.kernel32
        if niceness > 0:
            kernel32.SetPriorityClass(kernel32.GetCurrentProcess(), _BELOW_NORMAL_PRIORITY_CLASS)
    elif niceness > 0:
        os.nice(niceness)


def _open_server(request: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Load the model and open the server on 127.0.0.1. Returns the server (keep it) and the facts about it."""
    _check_processor()
    engine = _import_engine(request["engine_folder"])
    # A load holds the interpreter's lock, so no Python timer can end one that hangs; this one runs in C.
    import faulthandler

    faulthandler.dump_traceback_later(request["load_limit_s"], exit=True, file=sys.stderr)
    try:
        server = engine.Server(_server_parameters(engine, request))
    except RuntimeError as error:  # it has no reason in it; llama.cpp's log has
        raise CannotStart("load", f"llama.cpp could not load {Path(request['model_path']).name}") from error
    finally:
        faulthandler.cancel_dump_traceback_later()
    port = int(str(server.listening_address).rpartition(":")[2])
    version = str(getattr(engine, "__version__", "")) or _version_of_engine()
    return server, {"port": port, "device": _device_name(engine, request["threads"]), "version": version}


def _check_processor() -> None:
    from core.engines.cpu_features import missing_cpu_features

    if missing := missing_cpu_features():
        raise CannotStart(
            "cpu",
            f"this processor lacks {', '.join(missing)}, which the embedded engine needs",
            "Use Ollama: it has builds for older processors (set engine to ollama).",
        )


def _import_engine(folder: str) -> Any:
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)  # where the parent found the package; `-I` leaves the user's own folder out
    try:
        import xllamacpp
    except ImportError as error:
        raise CannotStart(
            "missing",
            f"the embedded engine's package xllamacpp cannot be imported ({error})",
            _import_remedy(str(error)),
        ) from error
    return xllamacpp


def _import_remedy(message: str) -> str:
    """A package that is there but lacks a library of the system fails with the library's name."""
    if "libgomp" in message:
        return "Install the system's OpenMP library: apt-get install libgomp1 (Fedora: dnf install libgomp)"
    if ".so" in message and "cannot open shared object" in message:
        return f"Install the system library that is missing: {message.split(':', 1)[0]}"
    return 'Install it: pip install "titancompute-agent[embedded]"'


def _version_of_engine() -> str:
    from importlib import metadata

    try:
        return metadata.version("xllamacpp")
    except metadata.PackageNotFoundError:
        return ""


def _server_parameters(engine: Any, request: Mapping[str, Any]) -> Any:
    """llama.cpp's own parameters; the pinned version's names. What isn't set here keeps its default."""
    parameters = engine.CommonParams()
    parameters.model.path = request["model_path"]
    parameters.model_alias = {request["model_name"]}
    parameters.n_parallel = request["slots"]
    parameters.n_ctx = request["slots"] * request["context_tokens"]
    parameters.fit_params = False  # it would shrink the context in silence
    step = PROMPT_STEP_CPU_TOKENS if _graphics_device(engine) is None else PROMPT_STEP_GPU_TOKENS
    parameters.n_batch = parameters.n_ubatch = max(step, request["slots"])
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = request["threads"]
    parameters.n_threads_http = request["slots"] + 4  # one is held by every stream; the rest answer checks
    parameters.port = 0
    parameters.api_keys = [request["api_key"]]
    parameters.cors_origins = "http://127.0.0.1"
    parameters.ui = False
    parameters.endpoint_metrics = True  # goes through the work queue, so an answer proves that it moves
    parameters.endpoint_slots = False  # it would show sampling options of live requests
    parameters.offline = True  # never downloads
    parameters.cache_prompt = False  # a stranger's prompt must not make another stranger's answer faster
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    parameters.enable_reasoning = 0  # thinking is off where the model's template lets one
    parameters.verbosity = _LOG_ERRORS_AND_WARNINGS
    return parameters


def _device_name(engine: Any, threads: int) -> str:
    """What really computes: a graphics device when llama.cpp has one, else the processor and its vector unit."""
    if (graphics := _graphics_device(engine)) is not None:
        return graphics
    info = str(engine.get_system_info())
    units = [unit for unit in ("AVX512", "AVX2", "AVX", "NEON") if f"{unit} = 1" in info]
    unit = f" ({units[0]})" if units else ""
    return f"CPU{unit}, {threads} thread{'' if threads == 1 else 's'}"


def _graphics_device(engine: Any) -> str | None:
    """The first device that is neither the processor nor its helper (BLAS and the like)."""
    for device in engine.get_device_info():
        kind = getattr(device["type"], "name", str(device["type"]))
        if "CPU" not in kind and "ACCEL" not in kind:
            return f"{device['name']} ({device['description']})"
    return None


if __name__ == "__main__":
    # Run as a file under -I: the folder that holds `core` is put on the path by hand.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main())
