"""`ask`, `demo` and the watching commands: answers as they come, figures beside them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.app import run_cli
from core.cli.ask_cmd import AnswerPrinter, answer_facts, answer_summary
from core.inference_client import AnswerEnd
from core.paths import profile_paths
from tests.fakes.running_door import running_door
from tests.fakes.snapshots import busy_snapshot

END = AnswerEnd(
    metadata={"model": "m", "engine": "ollama", "completion_tokens": "42", "tokens_per_second": "31.24"},
    time_to_first_token_ms=120.4,
    seconds=1.44,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    monkeypatch.delenv("AGENT_ID", raising=False)
    return tmp_path


def test_answer_goes_to_stdout_and_figures_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    printer = AnswerPrinter(as_json=False)
    for piece in ("Hel", "lo"):
        printer.text(piece)
    printer.end(END, agent_id="a")

    out, err = capsys.readouterr()
    assert out == "Hello\n"
    assert err == "m (ollama): 42 tokens, 31.2 tokens/s, first after 120 ms, 1.4 s in all\n"


def test_answer_that_breaks_off_still_ends_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    printer = AnswerPrinter(as_json=False)
    printer.text("Hel")
    printer.close()
    printer.close()

    assert capsys.readouterr().out == "Hel\n"


def test_answer_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    printer = AnswerPrinter(as_json=True)
    printer.text('a "b"\n')
    printer.end(END, agent_id="a")

    out, err = capsys.readouterr()
    first, last = (json.loads(line) for line in out.splitlines())
    assert (first, err) == ({"text": 'a "b"\n'}, "")
    assert (last["done"], last["completion_tokens"], last["agent_id"]) == (True, 42, "a")


def test_an_agents_escape_sequences_do_not_reach_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.cli.output.stdout_is_terminal", lambda: True)
    printer = AnswerPrinter(as_json=False)
    printer.text("a\x1b]0;owned\x07\tb\nc\n")

    assert capsys.readouterr().out == "a]0;owned\tb\nc\n"


def test_figures_that_the_agent_does_not_give_are_not_guessed() -> None:
    end = AnswerEnd(metadata={}, time_to_first_token_ms=None, seconds=0.5)

    assert answer_facts(end)["tokens_per_second"] is None
    assert answer_summary(end) == "the model: ? tokens, 0.5 s in all"


@pytest.mark.slow
def test_demo_runs_the_whole_path_on_the_real_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["demo", "--json", "--max-tokens", "8"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert facts["answer"]
    assert (facts["completion_tokens"], facts["engine"], facts["is_selftest_model"]) == (8, "embedded", True)
    assert facts["tokens_per_second"] > 0
    assert facts["time_to_first_token_ms"] > 0


def test_demo_with_a_file_that_is_not_there_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["demo", "--model", "nowhere.gguf"]) == 1

    out, err = capsys.readouterr()
    assert err.startswith("Model not found: there is no file ")
    assert "Traceback" not in out + err


@pytest.mark.parametrize("arguments", [("status", "--watch", "--json"), ("logs", "-f", "--json")])
def test_ctrl_c_ends_a_watching_command_quietly(home: Path, arguments: tuple[str, ...]) -> None:
    log_file = profile_paths().log_file
    log_file.parent.mkdir(parents=True)
    log_file.write_text('{"event":"x"}\n')
    with running_door(busy_snapshot()):
        watcher = subprocess.Popen(
            [sys.executable, "-m", "core", *arguments],
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=20)

    assert watcher.returncode == 130
    assert err == ""


def test_watching_ends_when_the_agent_stops(capsys: pytest.CaptureFixture[str]) -> None:
    async def watch_while_it_stops() -> int:
        return await asyncio.to_thread(run_cli, ["status", "--watch", "--json"])

    with running_door(busy_snapshot(), stop_when_watched=True):
        code = asyncio.run(watch_while_it_stops())

    assert code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["pid"] == 4321
