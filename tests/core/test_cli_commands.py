"""The command line against a real door: messages, JSON alone on stdout, and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import __version__
from core.cli.app import run_cli
from core.config_load import LoadedSettings
from core.instance_lock import InstanceLock
from core.paths import profile_paths
from tests.fakes.commands import FakeCommands
from tests.fakes.running_door import running_door
from tests.fakes.snapshots import busy_snapshot


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    for name in ("AGENT_ID", "COORDINATOR_ENDPOINT", "TITAN_PROFILE", "SUPPORTED_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def door(home: Path) -> Iterator[FakeCommands]:
    with running_door(busy_snapshot()) as commands:
        yield commands


class Ran:
    """One command's exit code and output."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = run_cli(arguments)
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> dict[str, Any]:
        assert self.err == ""
        (line,) = self.out.splitlines()
        value: dict[str, Any] = json.loads(line)
        return value


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "--version")

    assert (ran.code, ran.out) == (0, f"titan {__version__}\n")


@pytest.mark.parametrize(
    "command", ["status", "pause", "resume", "finish", "stop", "sessions", "models", "retry", "selftest"]
)
def test_without_an_agent_each_command_says_so_and_what_to_do(capsys: pytest.CaptureFixture[str], command: str) -> None:
    ran = Ran(capsys, command)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "Not running: No agent is running for this profile\nStart it with `titan run`.\n"

    ran = Ran(capsys, command, "--json")
    assert ran.code == 1
    assert ran.json["error"] == "Not running"


def test_status_for_people_and_for_programs(capsys: pytest.CaptureFixture[str], door: FakeCommands) -> None:
    ran = Ran(capsys, "status")
    assert ran.code == 0
    assert ran.out.startswith("● Ready: 1 of 4 sessions run.\n")

    assert Ran(capsys, "status", "--json").json == json.loads(busy_snapshot().to_json())


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (("pause",), ("pause", {"mode": "finish"})),
        (("pause", "--for", "1h30m"), ("pause", {"mode": "finish", "for_s": "5400"})),
        (("pause", "--now", "--for", "90s"), ("pause", {"mode": "stop", "for_s": "90"})),
        (("resume",), ("resume", {})),
        (("finish",), ("finish", {})),
        (("share-now",), ("share_now", {"for_s": "3600"})),
        (("share-now", "--for", "4h"), ("share_now", {"for_s": "14400"})),
        (("follow-rules",), ("follow_rules", {})),
        (("sessions", "--cancel", "s7"), ("cancel_session", {"session_id": "s7"})),
        (("models", "--unload"), ("unload_models", {})),
        (("models", "--offer", "tiny"), ("offer_model", {"model": "tiny"})),
        (("models", "--withdraw", "tiny"), ("withdraw_model", {"model": "tiny"})),
        (("models", "--pull", "tiny"), ("pull_model", {"model": "tiny"})),
        (("models", "--cancel-pull", "tiny"), ("cancel_pull", {"model": "tiny"})),
        (("models", "--delete", "tiny"), ("delete_model", {"model": "tiny"})),
        (("retry",), ("retry_engine", {})),
        (("selftest",), ("self_test", {})),
        (("selftest", "--model", "tiny"), ("self_test", {"model": "tiny"})),
    ],
)
def test_owner_commands_reach_the_agent(
    capsys: pytest.CaptureFixture[str], door: FakeCommands, arguments: tuple[str, ...], call: tuple[str, dict[str, str]]
) -> None:
    assert Ran(capsys, *arguments).out == f"{call[0]} is done\n"
    assert Ran(capsys, *arguments, "--json").json == {"message": f"{call[0]} is done", **call[1]}
    assert door.calls == [call, call]


def test_two_wishes_about_models_at_once_are_none(capsys: pytest.CaptureFixture[str], door: FakeCommands) -> None:
    assert Ran(capsys, "models", "--pull", "tiny", "--offer", "tiny").code == 2
    assert door.calls == []


def test_long_pauses_are_sent_in_full_digits(capsys: pytest.CaptureFixture[str], door: FakeCommands) -> None:
    Ran(capsys, "pause", "--for", "30d2h1s")

    assert float(door.calls[0][1]["for_s"]) == 30 * 86_400 + 7201


def test_refused_command_shows_reason_and_hint(capsys: pytest.CaptureFixture[str], door: FakeCommands) -> None:
    ran = Ran(capsys, "models", "--load", "x")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "Not done: the engine has no model 'x'\nPull it: `ollama pull x`.\n"


def test_bad_length_of_time_never_reaches_the_agent(capsys: pytest.CaptureFixture[str], door: FakeCommands) -> None:
    ran = Ran(capsys, "pause", "--for", "soon")

    assert ran.code == 1
    assert ran.err == "No length of time: 'soon' is not understood\nWrite it as 90s, 15m, 1h, 1h30m or 2d.\n"
    assert door.calls == []


def test_sessions_and_models_as_json(capsys: pytest.CaptureFixture[str], door: FakeCommands) -> None:
    assert Ran(capsys, "sessions", "--json").json["sessions"][0]["session_id"] == "s7"
    models = Ran(capsys, "models", "--json").json
    assert models["offered_models"] == ["llama3.1:8b"]
    assert models["engine"] == "ollama"


def test_other_profile_is_another_agent(capsys: pytest.CaptureFixture[str], door: FakeCommands) -> None:
    assert Ran(capsys, "status", "--profile", "other").code == 1
    assert Ran(capsys, "status", "--profile", "default").code == 0


def test_quant_works_without_an_agent(capsys: pytest.CaptureFixture[str]) -> None:
    facts = Ran(capsys, "quant", "--json").json
    assert [row["tier"] for row in facts["table"]] == ["Premium", "High", "Good", "Emergency"]
    assert facts["tier"] in ("Premium", "High", "Good", "Emergency")

    assert f"This machine: {facts['tier']}." in Ran(capsys, "quant").out


def test_ask_with_nobody_there_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "ask", "hello", "--coordinator", "127.0.0.1:1")

    assert (ran.code, ran.out) == (1, "")
    assert "the coordinator 127.0.0.1:1 can't be reached (connection refused)" in ran.err
    assert Ran(capsys, "ask", "hello", "--coordinator", "127.0.0.1:1", "--json").json["error"]


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_ask_without_a_question_is_refused(capsys: pytest.CaptureFixture[str], prompt: str) -> None:
    ran = Ran(capsys, "ask", prompt)

    assert ran.code == 1
    assert "the prompt is empty" in ran.err


def test_usage_error_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert Ran(capsys, "status", "--nope").code == 2
    assert Ran(capsys, "bogus").code == 2


def test_run_with_bad_settings_exits_2_with_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "run", "--port", "99999", "--set", "nonsense=1", "--set", "queue_size=x")

    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    problems = " ".join(json.loads(line)["problems"])
    assert "agent_port" in problems
    assert "nonsense" in problems
    assert "queue_size" in problems


def test_run_with_a_malformed_set_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "run", "--log-format", "text", "--set", "queue_size")

    assert ran.code == 2
    assert ran.err == (
        "Settings need attention: --set 'queue_size' is not KEY=VALUE\nFor example: titan run --set queue_size=4\n"
    )


def test_second_run_of_a_profile_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    with InstanceLock(profile_paths().lock_file, "default"):
        ran = Ran(capsys, "run", "--headless")

    assert ran.code == 3
    error = json.loads(ran.err.splitlines()[-1])
    assert error["title"] == "Already running"
    assert "titan status" in error["hint"]


def recorder(seen: list[Any], code: int) -> Callable[[LoadedSettings], int]:
    """A run_agent that keeps the settings it got and ends at once."""

    def run_agent(loaded: LoadedSettings) -> int:
        seen.append(loaded.settings)
        return code

    return run_agent


def test_run_options_become_overrides(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("core.app.run_agent", recorder(seen, 7))

    code = Ran(
        capsys,
        *("run", "--headless", "--coordinator", "c.example:1", "--port", "50100", "--models", "a,b", "--max-jobs", "2"),
        *("--public-host", "p.example", "--tls-self-signed", "--engine", "ollama", "--set", "queue-size=5"),
    ).code

    assert code == 7
    (settings,) = seen
    assert (settings.coordinator_endpoint, settings.agent_port, settings.supported_models) == (
        "c.example:1",
        50100,
        ("a", "b"),
    )
    assert (settings.max_concurrent_jobs, settings.public_host, settings.queue_size) == (2, "p.example", 5)
    assert (settings.tls_self_signed, settings.engine) == (True, "ollama")


def test_the_settings_own_names_work_beside_the_short_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("core.app.run_agent", recorder(seen, 0))

    assert Ran(capsys, "run", "--agent-port", "50101", "--coordinator-endpoint", "c.example:2").code == 0
    assert (seen[0].agent_port, seen[0].coordinator_endpoint) == (50101, "c.example:2")


def test_control_characters_from_elsewhere_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "ask", "hello", "--coordinator", "x\x1b[2J:1")

    assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize("arguments", [("quant",), ("quant", "--json"), ("status", "--json")])
def test_full_disk_behind_stdout_is_one_line(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "core", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_that_need_neither_import_grpc_nor_rich() -> None:
    code = (
        "import sys; from core.cli.app import run_cli; code = run_cli(['status']); "
        "sys.exit(f'{code} ' + ' '.join(m for m in ('grpc', 'rich', 'structlog', 'core.app') if m in sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1].strip() == "1"
