"""`titan config`: what it prints, what it writes, its exit codes, and that it never prints a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from core.cli.config_cmd import config_app
from core.config import DECLARATIONS

KEY = "sk-canary-5f2e"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def file(home: Path) -> Path:
    path = home / "config" / "profiles" / "default" / "settings.toml"
    path.parent.mkdir(parents=True)
    return path


def config(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(config_app, arguments, input=typed)


def test_show_names_every_setting_its_value_and_its_layer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_PORT", "6000")
    result = config("show")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line and not line.startswith(" ")}
    assert rows.keys() >= DECLARATIONS.keys()
    assert "6000" in rows["agent_port"]
    assert "environment" in rows["agent_port"]
    assert "AGENT_PORT" not in rows["agent_port"]
    assert "environment AGENT_PORT" in config("show", "--origins").stdout


def test_show_json_is_one_object_with_values_and_origins(file: Path) -> None:
    file.write_text("agent_port = 6000\n")
    shown = json.loads(config("show", "--json").stdout)
    assert shown["settings"].keys() == DECLARATIONS.keys()
    assert shown["settings"]["agent_port"] == {
        "value": 6000,
        "default": 50052,
        "layer": "file",
        "source": str(file),
        "unit": "",
        "help": DECLARATIONS["agent_port"].help,
    }


def test_show_of_bad_settings_lists_every_problem_and_exits_2(file: Path) -> None:
    file.write_text("agent_port = 99999\nagent_prt = 1\n")
    result = config("show")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "agent_port = '99999'" in result.stderr
    assert "did you mean agent_port?" in result.stderr
    as_json = config("show", "--json")
    assert as_json.exit_code == 2
    assert len(json.loads(as_json.stdout)["problems"]) == 2


def test_show_tells_notices_on_stderr(file: Path) -> None:
    file.write_text("heartbeat_interval_s = 99\n")
    result = config("show")
    assert result.exit_code == 0
    assert "is held at 15" in result.stderr


def test_show_never_shows_a_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config("set", "--secret", "enrolment_token", typed=f"{KEY}\n")
    monkeypatch.setenv("TITAN_OPENAI_API_KEY", KEY)
    for arguments in (["show"], ["show", "--origins"], ["show", "--json"]):
        result = config(*arguments)
        assert result.exit_code == 0
        assert KEY not in result.output
    secrets = json.loads(config("show", "--json").stdout)["secrets"]
    assert secrets["openai_api_key"] == {"set": True, "source": "environment TITAN_OPENAI_API_KEY"}
    assert secrets["enrolment_token"]["set"]


def test_set_and_unset_change_the_file(file: Path) -> None:
    result = config("set", "agent_port", "6000")
    assert result.exit_code == 0
    assert str(file) in result.stdout
    assert "agent_port = 6000" in file.read_text()
    assert config("unset", "agent_port").exit_code == 0
    assert "agent_port" not in file.read_text()


def test_set_of_what_the_environment_overrides_succeeds_and_says_so(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_PORT", "7000")
    result = config("set", "agent_port", "6000")
    assert result.exit_code == 0
    assert "environment AGENT_PORT says 7000" in result.stdout
    assert "agent_port = 6000" in file.read_text()
    assert json.loads(config("set", "agent_port", "6001", "--json").stdout)["overridden_by"] == "environment AGENT_PORT"


def test_set_in_a_profile_leaves_the_others_alone(file: Path) -> None:
    assert config("set", "agent_port", "6000", "--profile", "p").exit_code == 0
    assert not file.exists()
    assert (file.parents[1] / "p" / "settings.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["set", "agent_port", "99999"], "from 0 to 65535"),
        (["set", "agent_port", "-5"], "from 0 to 65535"),
        (["set", "agent_prt", "1"], "did you mean agent_port?"),
        (["set", "frobnicate", "1"], "frobnicate: there is no such setting\n"),
        (["unset", "frobnicate"], "frobnicate: there is no such setting\n"),
        (["unset", "agent_prt"], "did you mean agent_port?"),
        (["set", "agent_port"], "No value was given"),
        (["set", "openai_api_key"], "titan config set --secret openai_api_key"),
        (["set", "openai_api_key", KEY], "--secret"),
        (["set", "--secret", "openai_api_key", KEY], "isn't given on the command line"),
        (["set", "--secret", "other"], "There is no secret"),
        (["set", "--secret", "openai_api_key"], "not a usable secret"),
        (["unset", "--secret", "other"], "There is no secret"),
    ],
)
def test_bad_change_exits_2_with_the_remedy_and_writes_nothing(file: Path, arguments: list[str], told: str) -> None:
    result = config(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert KEY not in result.output
    assert not file.exists()


def test_folder_that_cannot_be_made_exits_1_with_the_remedy(home: Path) -> None:
    (home / "config").write_text("in the way")
    result = config("set", "agent_port", "6000")
    assert result.exit_code == 1
    assert str(home / "config") in result.stderr
    assert "TITAN_HOME" in result.stderr


def test_secret_comes_from_stdin_and_is_forgotten_again(home: Path) -> None:
    result = config("set", "--secret", "openai_api_key", typed=f"{KEY}\n")
    assert result.exit_code == 0
    assert KEY not in result.output
    kept = home / "data" / "profiles" / "default" / "secrets" / "openai_api_key"
    assert kept.read_text() == f"{KEY}\n"
    assert str(kept) in result.stderr  # the notice: no keyring here
    assert config("unset", "--secret", "openai_api_key").exit_code == 0
    assert not kept.exists()


def test_path_prints_the_file_and_as_json_every_path(home: Path) -> None:
    assert config("path").stdout.strip() == str(home / "config" / "profiles" / "default" / "settings.toml")
    paths = json.loads(config("path", "--json", "--profile", "p").stdout)
    assert paths["profile"] == "p"
    assert paths["lock_file"] == str(home / "state" / "profiles" / "p" / "lock")
    assert not any(home.iterdir())  # asking makes nothing


def test_long_values_are_shown_whole_and_passwords_never(file: Path) -> None:
    folder = "/models/" + "x" * 200
    file.write_text(f"models_dir = '{folder}'\nollama_host = 'http://me:{KEY}@localhost'\n")
    result = config("show", "--json")
    settings = json.loads(result.stdout)["settings"]
    assert settings["models_dir"]["value"] == folder
    assert settings["ollama_host"]["value"] == "http://***@localhost"
    assert KEY not in result.stdout + config("show").output


def test_a_live_setting_reaches_the_running_agent(home: Path) -> None:
    from core.snapshot import AgentSnapshot
    from tests.fakes.running_door import running_door

    assert "counts from the next start" in config("set", "queue_size", "3").stdout
    with running_door(AgentSnapshot()) as commands:
        result = config("set", "queue_size", "4")
    assert result.exit_code == 0, result.output
    assert [name for name, _ in commands.calls] == ["apply_settings"]
