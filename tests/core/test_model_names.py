"""The owner's table of names: read, refused, and followed from the offer to the file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from core.assets_path import selftest_model_path
from core.config_edit import change_settings
from core.config_load import load_settings
from core.config_values import Value
from core.engines.factory import engine_factories
from core.errors import ConfigError
from core.live_settings import apply_settings_outcome
from core.model_commands import offer, withdraw
from core.model_names import BadNames, local_name, named_files, parse_model_names
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.small_agent import small_agent

NETWORK = "llama3.1:8b-instruct-q4_k_m"
HERE = "Meta-Llama-3.1-8B-Instruct-Q4_K_M"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))


def test_table_is_read_and_names_compare_as_everywhere() -> None:
    names = parse_model_names([f"{NETWORK} = {HERE}", "Llama3=other=name", f"second={HERE}"])
    assert local_name("LLAMA3.1:8b-instruct-Q4_K_M", names) == HERE
    assert local_name("second:latest", names) == HERE  # one model may have several names
    assert local_name("llama3:latest", names) == "other=name"
    assert local_name("unknown", names) == "unknown"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["llama"], "no pair of names"),
        (["=x"], "no pair of names"),
        (["x="], "no pair of names"),
        (["a=b", "a:latest=c"], "stands for two models"),
        (["a=models/x.gguf"], "no whole path"),
    ],
)
def test_entry_that_is_no_pair_is_refused(entries: list[str], said: str) -> None:
    with pytest.raises(BadNames, match=said):
        parse_model_names(entries)
    with pytest.raises(ConfigError, match="model_names"):
        load_settings(overrides={"model_names": tuple(entries)})


def test_file_stands_for_its_model_and_a_part_for_all_parts(tmp_path: Path) -> None:
    folder = tmp_path / "odd [name]"
    folder.mkdir()
    for part in (1, 2, 3):
        (folder / f"big-{part:05}-of-00003.gguf").touch()
    names = parse_model_names([f"big={folder}/big-00001-of-00003.gguf", f"small={folder}/small.gguf"])
    assert [path.name for path in named_files(names)] == [
        "big-00001-of-00003.gguf",
        "big-00002-of-00003.gguf",
        "big-00003-of-00003.gguf",
        "small.gguf",
    ]
    assert local_name("big", names) == "big"
    assert local_name("small", names) == "small"


def overrides(**more: Value) -> dict[str, Value]:
    return {"supported_models": (NETWORK,), "model_names": (f"{NETWORK}={HERE}",), **more}


async def test_network_s_name_is_served_by_the_engine_s_model_and_the_table_is_visible() -> None:
    engine = FakeEngine(models=(HERE, "other"))
    async with small_agent(engine, overrides()) as agent:
        assert agent.models.offered == (NETWORK,)
        assert agent.models.resolve(NETWORK) == HERE
        (choice,) = agent.models.chosen_quants
        assert (choice.offered, choice.model, choice.reason) == (NETWORK, HERE, "By your table of names.")


async def test_table_that_changes_counts_at_once() -> None:
    engine = FakeEngine(models=(HERE, "other"))
    async with small_agent(engine) as agent:
        profile = agent.settings.profile
        change_settings({"supported_models": NETWORK}, os.environ, profile=profile)
        await apply_settings_outcome(agent)
        assert not agent.models.offered
        change_settings({"model_names": f"{NETWORK}=other"}, os.environ, profile=profile)
        outcome = await apply_settings_outcome(agent)
        assert "Applied at once: model_names" in outcome.message
        assert agent.models.resolve(NETWORK) == "other"


async def test_name_of_the_table_is_offered_and_withdrawn_as_it_is_said() -> None:
    engine = FakeEngine(models=(HERE,))
    async with small_agent(engine) as agent:
        profile = agent.settings.profile
        change_settings({"model_names": f"{NETWORK}={HERE}", "supported_models": ""}, os.environ, profile=profile)
        await apply_settings_outcome(agent)
        await offer(agent, NETWORK)
        assert agent.models.offered == (NETWORK,)
        await withdraw(agent, HERE)  # the row on the Models page is the file's
        assert not agent.models.offered


async def test_file_in_a_folder_of_its_own_is_an_embedded_model(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "mine.gguf"
    elsewhere.parent.mkdir()
    shutil.copy(selftest_model_path(), elsewhere)
    loaded = load_settings(overrides={"model_names": (f"net={elsewhere}",), "models_dir": tmp_path / "none"})
    engine = engine_factories(loaded.settings, loaded.paths)["embedded"]()
    await engine.start()
    assert "mine" in [model.name for model in await engine.list_models()]
    await engine.close()
