"""The real machine through psutil, and which processes are ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.cgroup_memory import CgroupMemory, MemoryAllowance
from core.host_meter import NamedProcesses, OwnProcesses, PsutilHost


class FakeCgroup(CgroupMemory):
    def __init__(self, allowance: MemoryAllowance | None) -> None:
        super().__init__()
        self._allowance = allowance

    def read(self) -> MemoryAllowance | None:
        return self._allowance


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process that computes when it is sent a line, answers with its own processor time, and holds 64 MiB."""
    program = (
        "import sys, time\nheld = bytearray(64 << 20)\nprint('ready', flush=True)\n"
        "for line in sys.stdin:\n    while time.process_time() < 0.3: pass\n    print('done', flush=True)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def work(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("go\n")
    child.stdin.flush()
    assert child.stdout.readline() == "done\n"


def test_container_limit_holds_where_it_is_lower() -> None:
    limited = PsutilHost(FakeCgroup(MemoryAllowance(total_mb=300, free_mb=7))).ram()
    assert limited is not None
    assert (limited.total_mb, limited.available_mb) == (300, 7)


def test_limit_above_the_machine_changes_nothing() -> None:
    machine = PsutilHost(FakeCgroup(None)).ram()
    limited = PsutilHost(FakeCgroup(MemoryAllowance(total_mb=1 << 40, free_mb=1 << 40))).ram()
    assert machine is not None
    assert limited is not None
    assert limited.total_mb == machine.total_mb


def test_processor_time_is_busy_within_total_and_grows() -> None:
    host = PsutilHost()
    before = host.cpu()
    deadline_s = time.process_time() + 0.1
    while time.process_time() < deadline_s:
        pass
    after = host.cpu()
    assert before is not None
    assert after is not None
    assert 0 <= after.busy_s <= after.total_s
    assert after.busy_s > before.busy_s


def test_engine_child_counts_as_ours_from_its_birth(child: subprocess.Popen[str]) -> None:
    pids: list[int] = []
    meter = OwnProcesses(lambda: pids)
    alone = meter.read()
    pids.append(child.pid)
    meter.read()
    before = meter.read()
    work(child)
    after = meter.read()
    assert after.cpu_s - before.cpu_s >= 0.15  # 0.3 s less what its start took
    assert alone.ram_mb is not None
    assert after.ram_mb is not None
    assert after.ram_mb - alone.ram_mb >= 60


def test_ended_child_keeps_its_time_and_gives_its_memory_back(child: subprocess.Popen[str]) -> None:
    meter = OwnProcesses(lambda: [child.pid])
    work(child)
    before = meter.read()
    child.kill()
    child.wait()
    after = meter.read()
    assert after.cpu_s >= before.cpu_s
    assert before.ram_mb is not None
    assert after.ram_mb is not None
    assert before.ram_mb - after.ram_mb >= 60


def test_process_that_was_there_before_us_brings_no_old_time(child: subprocess.Popen[str]) -> None:
    work(child)
    meter = OwnProcesses(lambda: [child.pid])
    start_s = time.process_time()
    reading = meter.read()
    assert reading.cpu_s <= time.process_time() - start_s + 0.05


def test_pid_that_does_not_exist_is_no_error() -> None:
    assert OwnProcesses(lambda: [2**22 + 1]).read().ram_mb is not None


def test_programs_are_found_by_name_at_a_slow_pace(child: subprocess.Popen[str]) -> None:
    import psutil

    now_s = [0.0]
    name = psutil.Process(child.pid).name()
    ours = psutil.Process().name()  # "pytest" or "python": whoever started the tests decides
    named = NamedProcesses("no-such-program", name, ours, rescan_s=10, clock=lambda: now_s[0])
    assert {child.pid, os.getpid()} <= set(named())
    child.kill()
    child.wait()
    assert child.pid in named()
    now_s[0] = 10.0
    assert child.pid not in named()


def test_refresh_looks_again_at_once(child: subprocess.Popen[str]) -> None:
    import psutil

    named = NamedProcesses(psutil.Process(child.pid).name(), clock=lambda: 0.0)
    assert child.pid in named()
    child.kill()
    child.wait()
    named.refresh()
    assert child.pid not in named()


@pytest.mark.skipif(sys.platform != "linux", reason="a script's name is its process's name only there")
def test_runner_of_ollama_counts_and_a_server_that_the_owner_started_does_not(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    for folder in ("of-ollama", "of-owner"):
        (tmp_path / folder).mkdir()
        shutil.copy(sleep, tmp_path / folder / "llama-server")
    ollama = tmp_path / "ollama"
    ollama.write_text(f"#!/bin/sh\n{tmp_path}/of-ollama/llama-server 60 & echo $!; read line; kill $!\n")
    ollama.chmod(0o755)
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([str(ollama)], stdin=pipe, stdout=pipe, text=True) as server,
        subprocess.Popen([str(tmp_path / "of-owner" / "llama-server"), "60"]) as of_owner,
    ):
        assert server.stdout is not None
        runner = int(server.stdout.readline())
        named = NamedProcesses("ollama", helpers=("llama-server",))
        found = set(named())
        of_owner.kill()
        assert {server.pid, runner} <= found
        assert of_owner.pid not in found
        server.communicate("go\n")
