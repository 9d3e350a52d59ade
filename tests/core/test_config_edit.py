"""Changing settings: the declaration and the other layers decide, and nothing is written that they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config_edit import change_settings
from core.config_load import Layer, load_settings
from core.errors import ConfigError, StorageError
from tests.fakes.disk import FailingDisk


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"TITAN_HOME": str(tmp_path)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config" / "profiles" / "default" / "settings.toml"
    path.parent.mkdir(parents=True)
    return path


def test_value_is_written_and_counts(environ: dict[str, str]) -> None:
    loaded = change_settings({"agent_port": "6000", "supported_models": "a, b"}, environ)
    assert loaded.settings.agent_port == 6000
    assert load_settings(environ).settings.supported_models == ("a", "b")


def test_value_goes_to_the_profile_that_was_asked_for(environ: dict[str, str]) -> None:
    change_settings({"agent_port": "6000"}, environ, profile="p")
    assert load_settings(environ).settings.agent_port == 50052
    assert load_settings(environ, {"profile": "p"}).settings.agent_port == 6000


def test_value_that_the_environment_overrides_is_written_and_its_origin_says_so(environ: dict[str, str]) -> None:
    loaded = change_settings({"agent_port": "6000"}, environ | {"AGENT_PORT": "7000"})
    assert loaded.settings.agent_port == 7000
    assert loaded.origins["agent_port"].layer is Layer.ENVIRONMENT
    assert load_settings(environ).settings.agent_port == 6000


def test_none_goes_back_to_the_default(environ: dict[str, str], file: Path) -> None:
    file.write_text("agent_port = 6000\nlog_level = 'debug'\n")
    assert change_settings({"agent_port": None}, environ).settings.agent_port == 50052
    assert file.read_text() == "log_level = 'debug'\n"


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"agent_port": "99999"}, "from 0 to 65535"),
        ({"agent_prt": "1"}, "did you mean agent_port?"),
        ({"openai_api_key": "s3cret"}, "--secret"),
        ({"profile": "p"}, "--profile"),
        ({"engine": "openai"}, "openai_base_url"),
        ({"coordinator_endpoint": "http://c:1"}, "without the scheme"),
        ({"log_level": "debug", "agent_port": "x"}, "whole number"),
    ],
)
def test_refused_change_writes_nothing(
    environ: dict[str, str], file: Path, changes: dict[str, str | None], remedy: str
) -> None:
    file.write_text("agent_port = 6000\n")
    with pytest.raises(ConfigError) as caught:
        change_settings(changes, environ)
    assert remedy in caught.value.detail
    assert "s3cret" not in caught.value.detail
    assert file.read_text() == "agent_port = 6000\n"


def test_two_settings_that_need_each_other_can_be_changed_together(environ: dict[str, str]) -> None:
    loaded = change_settings({"engine": "openai", "openai_base_url": "http://localhost:8000/v1"}, environ)
    assert loaded.settings.engine == "openai"


def test_bad_file_can_be_repaired_one_setting_at_a_time(environ: dict[str, str], file: Path) -> None:
    file.write_text("agent_port = 99999\nagent_prt = 1\nlog_level = 'loud'\n")
    for name, text in (("agent_port", "6000"), ("agent_prt", None)):
        with pytest.raises(ConfigError) as caught:  # written; the rest of the problems is still there
            change_settings({name: text}, environ)
        assert caught.value.hint.startswith("The change is written.")
    assert change_settings({"log_level": "info"}, environ).settings.agent_port == 6000


def test_full_disk_is_told_and_the_old_file_counts(environ: dict[str, str], file: Path) -> None:
    file.write_text("agent_port = 6000\n")
    with pytest.raises(StorageError, match="No space left"):
        change_settings({"agent_port": "7000"}, environ, disk=FailingDisk("write"))
    assert load_settings(environ).settings.agent_port == 6000


def test_damage_found_while_changing_is_told(environ: dict[str, str], file: Path) -> None:
    file.write_bytes(b"agent_port = ")
    loaded = change_settings({"log_level": "debug"}, environ)
    assert loaded.settings.log_level == "debug"
    assert "damaged-1" in loaded.notices[0]
