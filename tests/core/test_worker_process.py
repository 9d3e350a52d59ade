"""The child itself: how it is started, what it is told, when it ends. Real processes, the shipped model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import psutil
import pytest

from core.assets_path import SELFTEST_MODEL_NAME, selftest_model_path
from core.engines import worker_main
from core.engines.embedded import find_engine_folder
from core.engines.worker_launch import (
    WorkerRequest,
    engine_worker_command,
    is_packaged_app,
    launch_worker,
    worker_environment,
)
from core.engines.worker_main import DEPTH_VARIABLE, WORKER_FLAG, run_if_worker
from core.engines.worker_process import WorkerProcess
from core.errors import EngineFailed, EngineTimeout

ROOT = Path(__file__).resolve().parents[2]
FAKE_WORKER = ROOT / "tests" / "fakes" / "fake_engine_worker.py"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's signals")


def real_request(**changes: object) -> WorkerRequest:
    fields: dict[str, object] = {
        "model_path": str(selftest_model_path()),
        "model_name": SELFTEST_MODEL_NAME,
        "api_key": "a-key-for-one-test",
        "slots": 2,
        "context_tokens": 512,
        "threads": 1,
        "engine_folder": find_engine_folder(),
    }
    return WorkerRequest(**{**fields, **changes})  # type: ignore[arg-type]


async def start_fake(folder: Path, behaviour: str, lines: list[str] | None = None) -> WorkerProcess:
    request = real_request(model_path=str(folder / "m.gguf"), model_name=behaviour)
    process = await launch_worker(request, [sys.executable, "-I", str(FAKE_WORKER)])
    return WorkerProcess(process, request.api_key, (lines if lines is not None else []).append)


async def wait_gone(pid: int, limit_s: float) -> float:
    """Seconds until the process is gone (a zombie counts as gone: its memory is back)."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                break
        except psutil.NoSuchProcess:
            break
        await asyncio.sleep(0.005)  # nothing to wait on: the process isn't our child
    else:
        psutil.Process(pid).kill()
        pytest.fail(f"the child was still there after {limit_s} s")
    return time.monotonic() - began


def test_python_runs_the_worker_as_a_file_in_isolated_mode() -> None:
    command = engine_worker_command(lambda: False)
    assert command[:2] == [sys.executable, "-I"]
    assert Path(command[2]).is_absolute()
    assert Path(command[2]).samefile(ROOT / "core" / "engines" / "worker_main.py")


def test_packaged_app_is_asked_to_be_the_worker() -> None:
    assert engine_worker_command(lambda: True) == [sys.executable, WORKER_FLAG]


@pytest.mark.parametrize(
    ("executable", "is_packaged"),
    [
        ("/usr/bin/python3.11", False),
        ("C:\\x\\pythonw.exe".replace("\\", os.sep), False),
        ("/opt/x/bin/pypy3", False),
        ("/Library/Frameworks/Python.framework/Versions/3.12/bin/Python", False),
        ("/usr/bin/titan-desktop", True),
        ("/Applications/TitanCompute Desktop.app/Contents/MacOS/TitanCompute Desktop", True),
    ],
)
def test_stub_of_a_packaged_app_is_told_from_a_python(executable: str, is_packaged: bool) -> None:
    assert is_packaged_app(executable) is is_packaged


def test_child_gets_no_secrets_from_our_environment() -> None:
    ours = {"PATH": "/bin", "TITAN_OPENAI_API_KEY": "s3cret", "PYTHONPATH": "/x", "AWS_SECRET": "s3cret"}
    assert worker_environment(ours) == {"PATH": "/bin", DEPTH_VARIABLE: "1"}


async def test_real_child_gets_ready_with_its_port_and_device() -> None:
    lines: list[str] = []
    child = await WorkerProcess.start(real_request(), on_log=lines.append)
    try:
        ready = await child.wait_ready(30)
        command = psutil.Process(child.pid).cmdline()
        environment = psutil.Process(child.pid).environ()
        niceness = psutil.Process(child.pid).nice()
    finally:
        await child.end()
    assert 1024 <= ready.port <= 65535
    assert ready.device.endswith("1 thread") or "CPU" not in ready.device
    assert ready.version
    assert "a-key-for-one-test" not in " ".join([*command, *environment.values()])
    assert niceness == min(19, os.nice(0) + 10)


async def test_ended_child_is_no_process_any_more() -> None:
    child = await WorkerProcess.start(real_request(), on_log=print)
    await child.wait_ready(30)
    await child.end()
    assert not psutil.pid_exists(child.pid)
    assert not child.is_alive
    await child.end()  # twice is fine


async def test_child_ends_at_the_end_of_its_input() -> None:
    process = await launch_worker(real_request())
    child = WorkerProcess(process, "", print)
    await child.wait_ready(30)
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(2):
        assert await child.wait_exit() == 0


@linux_only
async def test_child_outlives_ctrl_c_and_sigterm_which_are_the_parents_to_answer() -> None:
    child = await WorkerProcess.start(real_request(), on_log=print)
    await child.wait_ready(30)
    os.kill(child.pid, signal.SIGINT)
    os.kill(child.pid, signal.SIGTERM)
    reader, writer = await asyncio.open_connection("127.0.0.1", (await _port_of(child)))
    writer.close()
    assert child.is_alive
    await child.end()
    assert reader.at_eof() or not child.is_alive


async def _port_of(child: WorkerProcess) -> int:
    ports = [link.laddr.port for link in psutil.Process(child.pid).net_connections() if link.status == "LISTEN"]
    assert len(ports) == 1
    return int(ports[0])


async def test_child_listens_on_loopback_only() -> None:
    child = await WorkerProcess.start(real_request(), on_log=print)
    await child.wait_ready(30)
    links = psutil.Process(child.pid).net_connections()
    await child.end()
    assert {link.laddr.ip for link in links if link.status == "LISTEN"} == {"127.0.0.1"}


async def test_child_serves_nobody_without_its_key() -> None:
    child = await WorkerProcess.start(real_request(), on_log=print)
    ready = await child.wait_ready(30)
    statuses = {}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ready.port}") as session:
        for key in ("", "another", "a-key-for-one-test"):
            for path in ("/v1/chat/completions", "/tokenize"):
                body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "content": "x"}
                async with session.post(path, json=body, headers={"Authorization": f"Bearer {key}"}) as answer:
                    statuses[key, path] = answer.status
    await child.end()
    assert {status for (key, _), status in statuses.items() if key != "a-key-for-one-test"} == {401}
    assert {status for (key, _), status in statuses.items() if key == "a-key-for-one-test"} == {200}


async def test_child_that_cannot_load_says_what_llama_cpp_said(tmp_path: Path) -> None:
    model = tmp_path / "cut.gguf"
    model.write_bytes(selftest_model_path().read_bytes()[:-100_000])
    child = await WorkerProcess.start(real_request(model_path=str(model)), on_log=print)
    with pytest.raises(EngineFailed, match=r"could not load cut\.gguf.*data is not within the file bounds"):
        await child.wait_ready(30)
    await child.end()


async def test_child_without_the_package_names_the_remedy(tmp_path: Path) -> None:
    # An isolated Python without our packages: what a broken installation looks like from inside.
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('no such library')")
    child = await WorkerProcess.start(real_request(engine_folder=str(tmp_path)), on_log=print)
    with pytest.raises(EngineFailed, match="no such library") as caught:
        await child.wait_ready(30)
    await child.end()
    assert "pip install" in caught.value.hint


async def test_child_that_dies_before_it_is_ready_gives_its_last_words(tmp_path: Path) -> None:
    child = await start_fake(tmp_path, "crash-at-start")
    with pytest.raises(EngineFailed, match="status 9: srv: ran into a wall"):
        await child.wait_ready(30)


async def test_child_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    child = await start_fake(tmp_path, "silent")
    with pytest.raises(EngineTimeout, match="not loaded within"):
        await child.wait_ready(0.05)
    await child.end()


async def test_child_that_introduces_itself_wrongly_is_refused(tmp_path: Path) -> None:
    child = await start_fake(tmp_path, "babble")
    with pytest.raises(EngineFailed, match="did not introduce itself"):
        await child.wait_ready(30)
    await child.end()


async def test_log_is_bounded_and_keeps_no_words_of_a_caller(tmp_path: Path) -> None:
    """A child that serves may quote a prompt or an answer in any line; one that loads has seen none."""
    lines: list[str] = []
    child = await start_fake(tmp_path, "steady", lines)
    await child.wait_ready(30)  # came through although a line of 440,000 bytes was in the way
    assert child._process.stdin is not None
    child._process.stdin.close()  # it says its last words then
    assert await child.wait_exit() == 0
    assert lines[0].startswith("a line without an end")
    assert lines[1:] == [
        "0.00.003.000 W (not kept: it may quote a prompt or an answer)",
        "0.00.004.000 E answer not readable to it",
        "0.00.005.000 E compute device failed",
    ]
    assert child.reason_of_exit() == "its process ended with status 0: answer not readable to it"
    assert max(map(len, lines)) <= 2000
    assert child.log_lines == tuple(lines)


def run_python(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environment}, input=b"", capture_output=True, timeout=30
    )


def test_worker_that_was_not_started_by_a_parent_exits_71() -> None:
    worker = engine_worker_command(lambda: False)[2]
    assert run_python(["-I", worker]).returncode == 71
    assert run_python(["-I", worker], **{DEPTH_VARIABLE: "2"}).returncode == 71


def test_worker_whose_parent_died_before_it_asked_ends() -> None:
    assert run_python(["-I", engine_worker_command(lambda: False)[2]], **{DEPTH_VARIABLE: "1"}).returncode == 70


def test_worker_that_tries_to_be_a_parent_exits_71(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        "import asyncio\nfrom core.engines.worker_launch import WorkerRequest, launch_worker\n"
        "request = WorkerRequest(model_path='m', model_name='m', api_key='k', slots=1, context_tokens=1, threads=1)\n"
        "asyncio.run(launch_worker(request, ['/bin/true']))\nprint('started')\n"
    )
    result = run_python([str(program)], PYTHONPATH=str(ROOT), **{DEPTH_VARIABLE: "1"})
    assert (result.returncode, result.stdout) == (71, b"")


def test_main_of_an_app_in_a_worker_environment_exits_71(monkeypatch: pytest.MonkeyPatch) -> None:
    run_if_worker(["titan-desktop"])  # an ordinary start goes on
    monkeypatch.setenv(DEPTH_VARIABLE, "1")
    with pytest.raises(SystemExit) as caught:
        run_if_worker(["titan-desktop"])
    assert caught.value.code == 71


# An app whose stub starts the whole app again, whatever Python arguments it is given: briefcase on Linux.
APP = """
import asyncio, os, sys
sys.path.insert(0, {root!r})
with open({starts!r}, "a") as starts:
    starts.write(f"{{os.getpid()}} {{' '.join(sys.argv[1:])}}\\n")
from core.engines.worker_main import run_if_worker
run_if_worker()
sys.executable = {stub!r}
from core.engines.worker_launch import WorkerRequest
from core.engines.worker_process import WorkerProcess

async def main():
    request = WorkerRequest(model_path={model!r}, model_name="m", api_key="k", slots=1, context_tokens=256, threads=1,
                            engine_folder={engine!r})
    child = await WorkerProcess.start(request, on_log=lambda line: None)
    try:
        print((await child.wait_ready(30)).port > 0, child.pid, flush=True)
    except Exception as error:
        print(error, flush=True)
        return
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def make_app(folder: Path, *, passes_arguments: bool) -> Path:
    """A shell script as the app's stub. Without its arguments it is the worst stub there could be."""
    stub, app = folder / "titan-desktop", folder / "app.py"
    passed = '"$@"' if passes_arguments else ""
    stub.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{app}" {passed}\n')
    stub.chmod(0o755)
    texts = {"root": ROOT, "starts": folder / "starts", "stub": stub, "model": selftest_model_path()}
    app.write_text(APP.format(engine=find_engine_folder(), **{key: str(value) for key, value in texts.items()}))
    return stub


@linux_only
async def test_packaged_app_has_exactly_one_child(tmp_path: Path) -> None:
    stub = make_app(tmp_path, passes_arguments=True)
    pipe = asyncio.subprocess.PIPE
    app = await asyncio.create_subprocess_exec(stub, stdin=pipe, stdout=pipe)
    assert app.stdout is not None
    said = (await app.stdout.readline()).split()
    descendants = psutil.Process(app.pid).children(recursive=True)
    await app.communicate(b"")
    assert said[0] == b"True", said
    assert [child.pid for child in descendants] == [int(said[1])]
    starts = (tmp_path / "starts").read_text().splitlines()
    assert [line.split()[1:] for line in starts] == [[], [WORKER_FLAG]]


@linux_only
async def test_stub_that_swallows_the_flag_does_not_loop(tmp_path: Path) -> None:
    stub = make_app(tmp_path, passes_arguments=False)
    result = await asyncio.to_thread(subprocess.run, [stub], input=b"", capture_output=True, timeout=30)
    assert b"started from inside another engine process" in result.stdout
    assert len((tmp_path / "starts").read_text().splitlines()) == 2


PARENT = """
import asyncio, json, sys
sys.path.insert(0, {root!r})
from core.engines.worker_launch import WorkerRequest
from core.engines.worker_process import WorkerProcess

async def main():
    child = await WorkerProcess.start(WorkerRequest(**json.loads({request!r})), on_log=lambda line: None)
    await child.wait_ready(30)
    print(child.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@linux_only
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_child_is_gone_within_2_s_of_its_parents_death(tmp_path: Path, death: signal.Signals) -> None:
    request = real_request()
    fields = {name: getattr(request, name) for name in WorkerRequest.__slots__}
    program = tmp_path / "parent.py"
    program.write_text(PARENT.format(root=str(ROOT), request=json.dumps(fields)))
    parent = await asyncio.create_subprocess_exec(sys.executable, program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child_pid = int(await parent.stdout.readline())
    parent.send_signal(death)
    took_s = await wait_gone(child_pid, 2.0)
    await parent.wait()
    print(f"child gone {took_s * 1000:.0f} ms after {death.name} of its parent")


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("libgomp.so.1: cannot open shared object file: No such file or directory", "apt-get install libgomp1"),
        (
            "libfoo.so.2: cannot open shared object file: No such file or directory",
            "system library that is missing: libfoo.so.2",
        ),
        ("No module named 'xllamacpp'", "titancompute-agent[embedded]"),
    ],
)
def test_engine_that_cannot_be_imported_names_what_to_install(message: str, remedy: str) -> None:
    assert remedy in worker_main._import_remedy(message)
