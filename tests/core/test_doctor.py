"""The doctor: every check on its own, with its remedy, within its time."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.cli.doctor_cmd import summary
from core.config import Settings
from core.config_load import LoadedSettings, load_settings
from core.doctor import Check, Finding, Report, Verdict, broken, examine, is_healthy, note, ok
from core.doctor_checks import make_checks
from core.errors import ConfigError, CoordinatorUnreachable
from core.local_coordinator import LocalCoordinator
from core.paths import profile_paths
from core.setup_probe import probe_coordinator
from tests.fakes.snapshots import busy_snapshot


async def never() -> Finding:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def fine() -> Finding:
    return ok("fine")


async def has_a_bug() -> Finding:
    raise KeyError("bug")


async def unreachable() -> Finding:
    raise CoordinatorUnreachable("it is away", hint="Start it.")


async def misconfigured() -> Finding:
    raise ConfigError(["one", "two"], hint="Correct them.")


async def test_checks_are_independent_and_each_failure_has_its_remedy() -> None:
    heard: list[str] = []
    reports = await examine(
        [
            Check("hangs", never, limit_s=0.01, remedy="Start it again."),
            Check("bug", has_a_bug),
            Check("away", unreachable),
            Check("settings", misconfigured),
            Check("fine", fine),
        ],
        lambda report: heard.append(report.name),
    )

    assert heard == ["hangs", "bug", "away", "settings", "fine"]
    assert [(report.verdict, report.detail, report.remedy) for report in reports] == [
        ("broken", "no answer within 0.01 s", "Start it again."),
        ("warning", "this check itself failed (KeyError)", "Report it, please."),
        ("broken", "it is away", "Start it."),
        ("broken", "one; two", "Correct them."),
        ("ok", "fine", ""),
    ]
    assert not is_healthy(reports)


async def test_checks_run_side_by_side() -> None:
    together = asyncio.Barrier(3)

    async def meet() -> Finding:
        await together.wait()  # one after the other they would never meet
        return ok("met")

    reports = await examine([Check(str(number), meet, limit_s=5) for number in range(3)])

    assert is_healthy(reports)


def test_summary_counts_what_is_to_fix() -> None:
    def reports(*findings: Finding) -> tuple[Report, ...]:
        return tuple(
            Report(name="x", verdict=finding.verdict, detail=finding.detail, remedy="", seconds=0.0)
            for finding in findings
        )

    assert summary(reports(ok(""), note(""))) == "Ready to serve."
    assert summary(reports(broken("", ""), broken("", ""))) == "2 things to fix before this machine can serve."


def load(home: Path, **overrides: Any) -> LoadedSettings:
    return load_settings(environ={"TITAN_HOME": str(home)}, overrides={"engine": "embedded", **overrides})


async def look(home: Path, *names: str, snapshot: dict[str, Any] | None = None, **overrides: Any) -> dict[str, Report]:
    """Run the named real checks over settings; by name."""
    loaded = load(home, **overrides)
    checks = [check for check in make_checks(loaded, loaded.paths, snapshot) if check.name in names]
    assert len(checks) == len(names)
    return {report.name: report for report in await examine(checks)}


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


async def test_coordinator_and_its_key(tmp_path: Path) -> None:
    async with LocalCoordinator() as coordinator:
        reports = await look(tmp_path, "coordinator", "coordinator key", coordinator_endpoint=coordinator.endpoint)

    assert [report.verdict for report in reports.values()] == ["ok", "ok"]
    assert "RSA key" in reports["coordinator key"].detail


async def test_what_speaks_something_else_is_no_coordinator_and_said_without_grpc_words(tmp_path: Path) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reports = await look(tmp_path, "coordinator", "coordinator key", coordinator_endpoint=endpoint)
        answer = await probe_coordinator(Settings(), endpoint, tls=False)

    key = reports["coordinator key"]
    assert key.verdict is Verdict.BROKEN
    assert key.detail == f"{endpoint} gives no key: what answers there is no coordinator"
    assert answer.sentence == f"Something answers at {endpoint}, but not as a coordinator does."


async def test_coordinator_that_is_away_is_one_failure_with_its_remedy(tmp_path: Path) -> None:
    reports = await look(tmp_path, "coordinator", "coordinator key", coordinator_endpoint="127.0.0.1:1")

    assert reports["coordinator"].verdict is Verdict.BROKEN
    assert reports["coordinator"].detail == "127.0.0.1:1 cannot be reached: connection refused"
    assert "COORDINATOR_ENDPOINT" in reports["coordinator"].remedy
    assert reports["coordinator key"].verdict is Verdict.SKIPPED


async def test_port_that_another_program_has_is_broken(tmp_path: Path) -> None:
    with listening() as port:
        taken = (await look(tmp_path, "port", agent_port=port))["port"]
    free = (await look(tmp_path, "port", agent_port=port))["port"]

    assert taken.verdict is Verdict.BROKEN
    assert f"127.0.0.1:{port} cannot be listened on: address already in use" in taken.detail
    assert "--port" in taken.remedy
    assert free.verdict is Verdict.OK


async def test_public_host_that_means_the_clients_own_machine_is_broken(tmp_path: Path) -> None:
    report = (await look(tmp_path, "public host", coordinator_endpoint="coordinator.example.com:50051"))["public host"]

    assert report.verdict is Verdict.BROKEN
    assert "PUBLIC_HOST" in report.remedy


async def test_models_none_of_which_is_there_are_broken_and_the_selftest_model_serves_loopback(tmp_path: Path) -> None:
    missing = await look(tmp_path, "engine", "models", supported_models="nope")
    there = await look(tmp_path, "engine", "models", supported_models="titan-selftest-random")

    assert missing["engine"].verdict is Verdict.OK
    assert missing["models"].verdict is Verdict.BROKEN
    assert "nope" in missing["models"].detail
    assert missing["models"].remedy
    assert there["models"].detail == "offered: titan-selftest-random"


async def test_engine_that_is_away_is_broken_and_its_models_are_skipped(tmp_path: Path) -> None:
    reports = await look(tmp_path, "engine", "models", engine="ollama", ollama_host="http://127.0.0.1:1")

    assert reports["engine"].verdict is Verdict.BROKEN
    assert reports["engine"].remedy
    assert reports["models"].verdict is Verdict.SKIPPED


async def test_running_agent_is_believed_about_its_port_engine_and_models(tmp_path: Path) -> None:
    snapshot = json.loads(busy_snapshot().to_json())

    reports = await look(tmp_path, "agent", "port", "engine", "models", snapshot=snapshot)

    assert {report.verdict for report in reports.values()} == {Verdict.OK}
    assert "4321" in reports["agent"].detail
    assert "[::]:50052" in reports["port"].detail
    assert "ollama 0.6.3" in reports["engine"].detail


async def test_card_that_the_running_engine_leaves_idle_is_said_with_its_remedy(tmp_path: Path) -> None:
    snapshot = json.loads(busy_snapshot().to_json())
    snapshot["engine"] |= {"name": "embedded", "status": snapshot["engine"]["status"] | {"device": "CPU"}}
    snapshot["machine"]["gpus"] = [{"name": "RTX 4090", "total_mb": 24_576, "is_unified": False}]

    report = (await look(tmp_path, "engine", snapshot=snapshot))["engine"]

    assert report.verdict is Verdict.WARNING
    assert "RTX 4090 (24,576 MB) is not used" in report.detail
    assert "Ollama" in report.remedy


async def test_running_agents_own_coordinator_is_checked(tmp_path: Path) -> None:
    snapshot = json.loads(busy_snapshot().to_json())
    snapshot["coordinator"]["endpoint"] = "127.0.0.1:1"

    report = (await look(tmp_path, "coordinator", snapshot=snapshot))["coordinator"]

    assert "127.0.0.1:1 cannot be reached" in report.detail


async def test_engine_fault_and_missing_model_of_a_running_agent_are_shown(tmp_path: Path) -> None:
    snapshot = json.loads(busy_snapshot().to_json())
    snapshot["engine"]["status"] |= {"state": "attention", "detail": "It crashed.", "hint": "titan logs"}
    snapshot["offered_models"] = []
    snapshot["reasons"] = [{"code": "model_not_ready", "sentence": "None.", "remedy": "Pull it.", "blocks": True}]

    reports = await look(tmp_path, "agent", "engine", "models", snapshot=snapshot)

    assert (reports["engine"].verdict, reports["engine"].remedy) == (Verdict.BROKEN, "titan logs")
    assert (reports["models"].verdict, reports["models"].remedy) == (Verdict.BROKEN, "Pull it.")
    assert reports["agent"].verdict is Verdict.WARNING


async def test_folder_that_cannot_be_made_is_broken(tmp_path: Path) -> None:
    assert (await look(tmp_path, "folders"))["folders"].verdict is Verdict.OK
    assert not (tmp_path / "data").exists()  # looking makes nothing
    (tmp_path / "state").write_text("a file where the folder should be")

    report = (await look(tmp_path, "folders"))["folders"]

    assert report.verdict is Verdict.BROKEN
    assert f"{tmp_path / 'state'} is no folder" in report.detail
    assert report.remedy


async def test_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10**12, 10**12, 100 * 2**20))

    assert (await look(tmp_path, "disk space"))["disk space"].detail.startswith("only 100 MB are free")


async def test_unusable_settings_leave_the_machines_checks(tmp_path: Path) -> None:
    paths = profile_paths(environ={"TITAN_HOME": str(tmp_path)})

    reports = await examine(make_checks(ConfigError(["agent_port: bad"], hint="titan config show"), paths, None))

    assert [report.name for report in reports] == [
        "settings",
        "folders",
        "disk space",
        "graphics card",
        "clock",
        "IPv6",
    ]
    assert (reports[0].verdict, reports[0].detail) == (Verdict.BROKEN, "agent_port: bad")
    assert all(report.verdict is not Verdict.BROKEN for report in reports[1:])
