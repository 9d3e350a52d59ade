"""`titan run` without options: what it loads, and that it reports like the command with options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.plain_run import is_plain, run_plainly, serve
from core.errors import ConfigError

HEAVY = ("typer", "rich", "pydantic", "ollama", "httpx", "jwt", "keyring", "core.local_coordinator")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], True),
        (["run", "--headless"], True),
        (["run", "--port", "1"], False),
        (["run", "--help"], False),
        (["status"], False),
        ([], False),
    ],
)
def test_only_run_without_options_is_plain(arguments: list[str], expected: bool) -> None:
    assert is_plain(arguments) is expected


def test_bad_setting_ends_it_with_the_code_and_the_line_of_the_full_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    monkeypatch.setenv("AGENT_PORT", "many")
    assert run_plainly() == 2
    line = json.loads(capsys.readouterr().err)
    assert "AGENT_PORT" in line["problems"][0]


def test_bad_option_is_reported_in_the_format_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    def read_overrides() -> dict[str, str]:
        raise ConfigError(["--set 'x' is not KEY=VALUE"])

    assert serve(read_overrides, "text") == 2
    assert not capsys.readouterr().err.startswith("{")


def test_starting_an_agent_loads_nothing_that_it_does_not_need() -> None:
    """Each of these costs megabytes for as long as the agent runs, and part of the 0.8 s until it is registered."""
    script = f"""
import sys
import core.cli.plain_run, core.app, core.engines.ollama
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
