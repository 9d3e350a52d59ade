"""The declaration, the four layers, their origins, and every problem said at once."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.config import DECLARATIONS, IGNORED_ENVIRONMENT, SECRET_ENVIRONMENT, Settings
from core.config_load import Layer, LoadedSettings, Origin, compose, load_settings
from core.config_values import BadValue, Declaration, Kind, display, parse_text, parse_toml, toml_value
from core.errors import ConfigError, StorageError
from core.paths import BaseFolders, profile_paths
from core.settings_file import FileContent

BASES = BaseFolders(config=Path("/c"), data=Path("/d"), state=Path("/s"), log=Path("/l"))
PATHS = profile_paths("default", environ={}, bases=BASES)
SEED_NAMES = {
    "AGENT_ID": "agent_id",
    "COORDINATOR_ENDPOINT": "coordinator_endpoint",
    "PUBLIC_HOST": "public_host",
    "AGENT_PORT": "agent_port",
    "OLLAMA_HOST": "ollama_host",
    "MAX_CONCURRENT_JOBS": "max_concurrent_jobs",
    "SUPPORTED_MODELS": "supported_models",
    "HEARTBEAT_INTERVAL": "heartbeat_interval_s",
}
every_declaration = pytest.mark.parametrize("declaration", DECLARATIONS.values(), ids=list(DECLARATIONS))


def composed(
    file: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> LoadedSettings:
    return compose(FileContent(values=dict(file or {})), PATHS, environ or {}, overrides or {})


def problems_of(
    file: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        composed(file, environ, overrides)
    return caught.value.problems


# The declaration


@every_declaration
def test_every_setting_has_help_and_a_group(declaration: Declaration) -> None:
    assert declaration.help.endswith(".")
    assert declaration.group
    assert declaration.expectation


@every_declaration
def test_numbers_have_a_range_and_every_default_is_allowed(declaration: Declaration) -> None:
    if declaration.kind in {Kind.INT, Kind.FLOAT}:
        assert declaration.minimum is not None
        assert declaration.maximum is not None
    if declaration.name != "models_dir":  # its default is worked out from the folders
        assert parse_text(declaration, display(declaration.default)) == declaration.default


def test_the_seeds_names_and_defaults_are_kept() -> None:
    assert {item.seed_name: item.name for item in DECLARATIONS.values() if item.seed_name} == SEED_NAMES
    settings = composed().settings
    assert settings.coordinator_endpoint == "localhost:50051"
    assert (settings.public_host, settings.agent_port) == ("localhost", 50052)
    assert settings.ollama_host == "http://localhost:11434"
    assert settings.supported_models == ("llama3.1:8b-instruct-q4_k_m",)
    assert (settings.max_concurrent_jobs, settings.heartbeat_interval_s) == (4, 10)


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        composed().settings.agent_port = 1  # type: ignore[misc]


def test_default_models_folder_is_the_shared_one() -> None:
    assert composed().settings.models_dir == PATHS.models_dir


# Layers and origins


def test_later_layers_override_earlier_ones_and_say_so() -> None:
    file, environ, overrides = {"agent_port": 1}, {"AGENT_PORT": "2"}, {"agent_port": "3"}
    seen = [composed(), composed(file), composed(file, environ), composed(file, environ, overrides)]
    assert [loaded.settings.agent_port for loaded in seen] == [50052, 1, 2, 3]
    assert [loaded.origins["agent_port"] for loaded in seen] == [
        Origin(Layer.DEFAULT, "default"),
        Origin(Layer.FILE, str(PATHS.config_file)),
        Origin(Layer.ENVIRONMENT, "environment AGENT_PORT"),
        Origin(Layer.COMMAND_LINE, "command line --agent-port"),
    ]


def test_every_setting_has_an_origin() -> None:
    assert composed().origins.keys() == DECLARATIONS.keys()


@every_declaration
def test_every_setting_can_be_said_by_its_titan_name(declaration: Declaration) -> None:
    loaded_by_name = {f"TITAN_{declaration.name.upper()}": display(declaration.default) or "x"}
    try:
        origin = composed(environ=loaded_by_name).origins[declaration.name]
    except ConfigError as error:  # "x" contradicts something, and is known all the same
        assert declaration.environment_name in str(error)  # noqa: PT017
    else:
        assert origin.source == f"environment {declaration.environment_name}"


def test_empty_environment_value_counts_as_not_set() -> None:
    loaded = composed({"agent_port": 1}, {"AGENT_PORT": "", "TITAN_AGENT_PORT": "  ", "TITAN_ENGINE": ""})
    assert loaded.settings.agent_port == 1
    assert loaded.origins["agent_port"].layer is Layer.FILE


def test_empty_text_on_the_command_line_is_a_value() -> None:
    assert composed({"listen_address": "127.0.0.1"}, overrides={"listen_address": ""}).settings.listen_address == ""
    assert composed(overrides={"supported_models": ""}).settings.supported_models == ()


def test_typed_overrides_are_taken_and_none_means_not_given(tmp_path: Path) -> None:
    environ = {"TITAN_HOME": str(tmp_path)}
    overrides: dict[str, Any] = {
        "agent_port": 7,
        "coordinator_tls": True,
        "models_dir": tmp_path,
        "engine": None,
        "log_level": "debug",
    }
    loaded = load_settings(environ, overrides)
    assert (loaded.settings.agent_port, loaded.settings.coordinator_tls) == (7, True)
    assert loaded.settings.models_dir == tmp_path
    assert loaded.origins["engine"].layer is Layer.DEFAULT


def test_seed_name_and_its_twin_that_agree_are_fine() -> None:
    assert composed(environ={"AGENT_PORT": "7", "TITAN_AGENT_PORT": " 7"}).settings.agent_port == 7


def test_seed_name_and_its_twin_that_differ_are_both_named() -> None:
    (problem,) = problems_of(environ={"AGENT_PORT": "7", "TITAN_AGENT_PORT": "8"})
    assert "environment AGENT_PORT says '7'" in problem
    assert "environment TITAN_AGENT_PORT says '8'" in problem


def test_coordinator_endpoint_gets_the_usual_port() -> None:
    assert composed({"coordinator_endpoint": "c.example.com"}).settings.coordinator_endpoint == "c.example.com:50051"
    assert composed({"coordinator_endpoint": "::1"}).settings.coordinator_endpoint == "[::1]:50051"


@pytest.mark.parametrize(
    ("text", "value"), [("0", 1.0), ("-4", 1.0), ("16", 15.0), ("3600", 15.0), ("9" * 300, 15.0), ("1e300", 15.0)]
)
def test_heartbeat_out_of_range_is_held_within_it_with_a_notice(text: str, value: float) -> None:
    loaded = composed(environ={"HEARTBEAT_INTERVAL": text})
    assert loaded.settings.heartbeat_interval_s == value
    (notice,) = loaded.notices
    assert "environment HEARTBEAT_INTERVAL" in notice
    assert display(value) in notice
    assert len(notice) < 300


@pytest.mark.parametrize("value", [1, 2.5, 15])
def test_heartbeat_within_its_range_is_taken_silently(value: float) -> None:
    loaded = composed({"heartbeat_interval_s": value})
    assert (loaded.settings.heartbeat_interval_s, loaded.notices) == (value, ())


def test_ollama_host_stays_the_text_it_was() -> None:
    assert composed(environ={"OLLAMA_HOST": "0.0.0.0"}).settings.ollama_host == "0.0.0.0"


def test_relative_path_is_the_callers_on_the_command_line_and_refused_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert composed(overrides={"models_dir": "models"}).settings.models_dir == tmp_path / "models"
    (problem,) = problems_of({"models_dir": "models"})
    assert "absolute path" in problem


def test_home_sign_in_a_path_is_the_home(isolated_home: Path) -> None:
    assert composed({"models_dir": "~/models"}).settings.models_dir == isolated_home / "models"
    (problem,) = problems_of({"models_dir": "~no-such-user-here/models"})
    assert "home folder" in problem


def test_lists_come_as_toml_lists_or_with_commas() -> None:
    expected = ("a:1", "b")
    assert composed({"supported_models": ["a:1", " b ", "", "b"]}).settings.supported_models == expected
    assert composed({"supported_models": "a:1,b"}).settings.supported_models == expected
    assert composed(environ={"SUPPORTED_MODELS": " a:1 , b,,"}).settings.supported_models == expected


@pytest.mark.parametrize("text", ["true", "YES", "on", "1"])
def test_yes_in_every_spelling(text: str) -> None:
    assert composed(environ={"TITAN_COORDINATOR_TLS": text}).settings.coordinator_tls is True


@pytest.mark.parametrize("text", ["false", "No", "off", "0"])
def test_no_in_every_spelling(text: str) -> None:
    assert composed({"coordinator_tls": True}, {"TITAN_COORDINATOR_TLS": text}).settings.coordinator_tls is False


# Problems


def test_all_problems_are_gathered_each_with_key_value_layer_and_remedy() -> None:
    problems = problems_of(
        {"agent_port": 99999, "agnet_id": "x", "log_level": "loud"},
        {"MAX_CONCURRENT_JOBS": "many", "TITAN_ENGIN": "ollama"},
        {"queue_size": "-1"},
    )
    assert len(problems) == 6
    told = "\n".join(problems)
    for part in (
        f"agent_port = '99999' ({PATHS.config_file}): must be a whole number from 0 to 65535",
        f"agnet_id ({PATHS.config_file}): there is no such setting; did you mean agent_id?",
        f"log_level = 'loud' ({PATHS.config_file}): must be one of debug, info, warning, error",
        "max_concurrent_jobs = 'many' (environment MAX_CONCURRENT_JOBS): must be a whole number from 1 to 256",
        "TITAN_ENGIN (environment): there is no such setting; did you mean TITAN_ENGINE?",
        "queue_size = '-1' (command line --queue-size): must be a whole number from 0 to 1024",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("file", "remedy"),
    [
        ({"agent_port": True}, "whole number"),
        ({"agent_port": "50052"}, "without quotes"),
        ({"agent_port": 1.5}, "whole number"),
        ({"coordinator_tls": 1}, "true or false"),
        ({"queue_wait_s": float("nan")}, "from 0 to 600"),
        ({"queue_wait_s": float("inf")}, "from 0 to 600"),
        ({"engine": 3}, "one of auto"),
        ({"engine": "echo"}, "one of auto"),
        ({"supported_models": [1]}, "list of names"),
        ({"supported_models": {"a": "b"}}, "list of names"),
        ({"agent_id": "a\nb"}, "printable"),
        ({"agent_id": "a\0b"}, "printable"),
        ({"agent_id": "x" * 129}, "at most 128"),
        ({"agent_id": "x" * 5000}, "4096"),
        ({"profile": "other"}, "belongs to one profile"),
        ({"rules": {"a": 1}}, "no such setting"),
        ({"coordinator_endpoint": "http://localhost:50051"}, "without the scheme"),
        ({"coordinator_endpoint": "localhost:port"}, "whole number from 1 to 65535"),
        ({"coordinator_endpoint": "0.0.0.0:50051"}, "localhost"),
        ({"coordinator_endpoint": ""}, "host name"),
        ({"public_host": "me.example.com:50052"}, "agent_port"),
        ({"public_host": ""}, "host name"),
        ({"listen_address": "127.0.0.1:50052"}, "agent_port"),
        ({"openai_base_url": "localhost:8000"}, "http://"),
        ({"openai_base_url": "http://[::1"}, "http://"),
        ({"engine": "openai"}, "openai_base_url"),
        ({"tls_cert": "/c.pem"}, "tls_key"),
        ({"tls_key": "/k.pem"}, "tls_cert"),
        ({"tls_cert": "/c.pem", "tls_key": "/k.pem", "tls_self_signed": True}, "one or the other"),
        ({"coordinator_ca": "/ca.pem"}, "coordinator_tls = true"),
    ],
)
def test_bad_value_is_refused_with_its_key_and_remedy(file: dict[str, Any], remedy: str) -> None:
    problems = problems_of(file)
    assert any(remedy in problem and problem.startswith(tuple(file)) for problem in problems), problems


def test_unknown_variable_never_shows_its_value() -> None:
    told = "".join(problems_of({"openai_api_key": "s3cret"}, {"TITAN_OPENAI_APIKEY": "s3cret"}))
    assert "s3cret" not in told
    assert "config set --secret openai_api_key" in told


def test_password_in_a_url_is_refused_and_not_shown() -> None:
    (problem,) = problems_of({"openai_base_url": "http://me:s3cret@example.com"})
    assert "s3cret" not in problem
    assert "password" in problem


def test_our_own_and_foreign_variables_are_no_problem() -> None:
    environ = dict.fromkeys(IGNORED_ENVIRONMENT, "x") | {"TITANIC": "1", "HOME": "/h"}
    assert set(SECRET_ENVIRONMENT.values()) <= IGNORED_ENVIRONMENT
    assert composed(environ=environ).settings == composed().settings


# Profiles


@pytest.mark.parametrize(
    ("environ", "overrides", "profile", "layer"),
    [
        ({}, {}, "default", Layer.DEFAULT),
        ({"AGENT_ID": "agent-1"}, {}, "agent-1", Layer.ENVIRONMENT),
        ({"TITAN_AGENT_ID": "agent-1"}, {}, "agent-1", Layer.ENVIRONMENT),
        ({"AGENT_ID": "agent-1", "TITAN_PROFILE": "p"}, {}, "p", Layer.ENVIRONMENT),
        ({"AGENT_ID": "agent-1", "TITAN_PROFILE": "p"}, {"profile": "q"}, "q", Layer.COMMAND_LINE),
        ({"AGENT_ID": ""}, {"profile": None}, "default", Layer.DEFAULT),
    ],
)
def test_profile_is_chosen_in_order(
    tmp_path: Path, environ: dict[str, str], overrides: dict[str, Any], profile: str, layer: Layer
) -> None:
    loaded = load_settings(environ | {"TITAN_HOME": str(tmp_path)}, overrides)
    assert loaded.settings.profile == loaded.paths.profile == profile
    assert loaded.origins["profile"].layer is layer


def test_the_seeds_three_agents_live_in_one_home(isolated_home: Path) -> None:
    block = [("agent-1", "50052"), ("agent-2", "50053"), ("agent-3", "50054")]
    loaded = [load_settings({"AGENT_ID": name, "AGENT_PORT": port}) for name, port in block]
    assert [(item.settings.agent_id, item.settings.agent_port) for item in loaded] == [
        ("agent-1", 50052),
        ("agent-2", 50053),
        ("agent-3", 50054),
    ]
    for name in ("config_file", "data_dir", "state_dir", "log_dir", "lock_file", "control_socket", "spent_tokens_file"):
        assert len({getattr(item.paths, name) for item in loaded}) == 3, name
        assert all(str(getattr(item.paths, name)).startswith((str(isolated_home), "/tmp")) for item in loaded)


def test_hostile_agent_id_stays_inside_the_home(tmp_path: Path) -> None:
    loaded = load_settings({"AGENT_ID": "../../etc/passwd", "TITAN_HOME": str(tmp_path)})
    assert loaded.paths.config_file.resolve().is_relative_to(tmp_path)
    assert loaded.settings.agent_id == "../../etc/passwd"


def test_each_profile_reads_its_own_file(tmp_path: Path) -> None:
    for profile, port in (("a", 1), ("b", 2)):
        file = tmp_path / "config" / "profiles" / profile / "settings.toml"
        file.parent.mkdir(parents=True)
        file.write_text(f"agent_port = {port}\n")
    environ = {"TITAN_HOME": str(tmp_path)}
    assert [load_settings(environ, {"profile": name}).settings.agent_port for name in "ab"] == [1, 2]


# Hostile input


toml_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(10**400), 10**400), st.floats(), st.text(), st.dates(), st.times()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# What os.environ can hold: no NUL, and bytes that aren't UTF-8 as lone surrogates.
environment_texts = st.binary(max_size=60).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
plausible_texts = st.one_of(
    environment_texts, st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")), st.integers().map(str)
)


@given(st.sampled_from(list(DECLARATIONS.values())), st.text())
@example(DECLARATIONS["models_dir"], "~\0")
@example(DECLARATIONS["agent_port"], "9" * 5000)
@example(DECLARATIONS["queue_wait_s"], "5e-324")
def test_any_text_is_a_value_or_a_bad_value(declaration: Declaration, text: str) -> None:
    try:
        value = parse_text(declaration, text)
    except BadValue as error:
        assert "must be" in str(error)  # noqa: PT017
    else:
        assert parse_text(declaration, display(value)) == value


@given(st.dictionaries(st.sampled_from(list(DECLARATIONS)) | st.text(), toml_values, max_size=6))
@example({"a\n\udcff": 1})
def test_any_file_is_settings_or_a_config_error(values: dict[str, Any]) -> None:
    try:
        loaded = composed(values)
    except ConfigError as error:
        assert all(problem.isprintable() for problem in error.problems)  # noqa: PT017
    else:
        assert isinstance(loaded.settings, Settings)


names_of_variables = [name for item in DECLARATIONS.values() for name in item.environment_names]


@given(st.dictionaries(st.sampled_from([*names_of_variables, "TITAN_X", "TITAN_"]), plausible_texts, max_size=6))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_environment_is_settings_or_a_config_error(tmp_path: Path, environ: dict[str, str]) -> None:
    try:
        loaded = load_settings({**environ, "TITAN_HOME": str(tmp_path)})
    except (ConfigError, StorageError):
        return
    assert loaded.paths.config_file.is_relative_to(tmp_path)


@given(st.binary())
@example(b"\xef\xbb\xbfagent_port = 1")
@example(b"a = " + b"[" * 100_000)
@example(b"a = 1" + b"0" * 5000)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_file_are_settings_or_an_error_of_ours(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "config" / "profiles" / "default" / "settings.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    for aside in file.parent.glob("*.damaged-*"):
        aside.unlink()
    file.write_bytes(data)
    with contextlib.suppress(ConfigError, StorageError):
        load_settings({"TITAN_HOME": str(tmp_path)})
    kept = file if file.exists() else file.with_name("settings.toml.damaged-1")
    assert kept.read_bytes() == data  # never lost


def valid_values(declaration: Declaration) -> st.SearchStrategy[Any]:
    texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=50).map(str.strip).filter(str.isprintable)
    match declaration.kind:
        case Kind.BOOL:
            return st.booleans()
        case Kind.CHOICE:
            return st.sampled_from(declaration.choices)
        case Kind.INT | Kind.FLOAT:
            low, high = declaration.minimum, declaration.maximum
            assert low is not None
            assert high is not None
            return st.integers(int(low), int(high)) if declaration.kind is Kind.INT else st.floats(low, high)
        case Kind.PATH:
            return texts.filter(lambda text: "/" not in text).map(lambda text: Path("/", text))
        case Kind.LIST:
            return st.lists(texts.filter(lambda text: bool(text) and "," not in text), unique=True).map(tuple)
        case Kind.TEXT:
            return texts


@given(st.data())
def test_valid_values_survive_the_file_and_the_environment(data: st.DataObject) -> None:
    declaration = data.draw(st.sampled_from(list(DECLARATIONS.values())))
    value = data.draw(valid_values(declaration))
    assert parse_toml(declaration, toml_value(value)) == value
    assert parse_text(declaration, display(value)) == value


def test_toml_dates_are_refused_not_raised() -> None:
    values = tomllib.loads("agent_port = 2026-01-01\nagent_id = 10:00:00\n")
    assert len(problems_of(values)) == 2
