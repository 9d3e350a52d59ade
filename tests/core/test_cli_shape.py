"""What holds for every command of `titan`, whichever they are: --json, and --profile before or after the name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from core.cli.app import build_app, run_cli
from core.config_load import LoadedSettings

ABOUT_ALL_PROFILES = ("demo", "uninstall", "desktop-entry install", "desktop-entry remove")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    for name in ("AGENT_ID", "TITAN_PROFILE", "TITAN_LOG_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def commands(group: Any, before: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each command's whole name and its options."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", {option for parameter in command.params for option in parameter.opts}


OPTIONS = dict(commands(typer.main.get_command(build_app())))


def test_every_command_takes_json() -> None:
    assert [name for name, options in OPTIONS.items() if "--json" not in options] == []


def test_every_command_about_one_profile_takes_it() -> None:
    assert tuple(name for name, options in OPTIONS.items() if "--profile" not in options) == ABOUT_ALL_PROFILES


@pytest.mark.parametrize(
    ("arguments", "profile"),
    [
        (("--profile", "agent-2", "config", "path"), "agent-2"),
        (("config", "path", "--profile", "agent-2"), "agent-2"),
        (("--profile", "agent-2", "config", "path", "--profile", "agent-3"), "agent-3"),
    ],
)
def test_the_profile_may_stand_before_the_command_as_the_readme_prints_it(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], profile: str
) -> None:
    assert run_cli(arguments) == 0
    assert Path(capsys.readouterr().out.strip()).parent.name == profile


@pytest.mark.parametrize("name", ["uninstall", "demo", "desktop-entry"])
def test_a_profile_is_refused_where_it_would_be_overlooked(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run_cli(("--profile", "agent-2", name, "--json")) == 2
    assert "isn't about one profile" in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_run_takes_the_profile_and_json(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def run_agent(loaded: LoadedSettings) -> int:
        seen.append((loaded.settings.profile, loaded.settings.log_format))
        return 0

    monkeypatch.setattr("core.app.run_agent", run_agent)

    assert run_cli(("--profile", "agent-2", "run", "--json")) == 0
    assert run_cli(("run", "--json", "--log-format", "text")) == 0
    assert seen == [("agent-2", "json"), ("default", "text")]
