"""What a download would bring, before it begins: sizes, verdicts, the one put forward, and what it costs to ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.agent import Agent
from core.assets_path import selftest_model_path
from core.commands import CommandError
from core.config_load import load_settings
from core.config_values import Value
from core.engines.embedded import EmbeddedEngine
from core.errors import AgentError, EngineUnreachable
from core.fit import Fit, Room
from core.hub.download import HubError
from core.hub.look_up import HEAD_STEPS, RepositoryLook, look_into
from core.hub.names import HubFile, HubModel, ModelReference, whole_models
from core.hub.source import HuggingFaceSource
from core.memory_need import embedded_plan
from core.pull_offer import BY_NAME, SIZE_COMES_LATER, PullOffer, hub_offer, name_offer
from tests.core.test_model_commands import command, phases, until
from tests.fakes.calm_signals import FakeSignals
from tests.fakes.fake_hub import FakeHub
from tests.fakes.llama_8b import LLAMA_8B
from tests.fakes.pulling_engine import PullingEngine
from tests.fakes.small_agent import small_agent

REPO = "maker/Tiny-GGUF"
TINY = selftest_model_path().read_bytes()
FILES = {
    "Tiny-BF16.gguf": TINY + bytes(2_000_000),
    "Tiny-Q8_0.gguf": TINY + bytes(1_000_000),
    "Tiny-Q4_K_M.gguf": TINY,
    "Other-Q4_K_M.gguf": TINY,
    "mmproj-Tiny-F16.gguf": b"GGUF eyes",
}
SIZES_8B = {"BF16": 16_068, "Q8_0": 8_541, "Q6_K": 6_596, "Q4_K_M": 4_921, "Q2_K": 3_180}  # MB
PLAN = embedded_plan(sessions=4, context_tokens=4096, batch_tokens=32)


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    with FakeHub({REPO: dict(FILES)}) as hub:
        yield hub


def look_8b(wanted: str = "") -> RepositoryLook:
    files = [
        HubFile(path=f"Llama-3.1-8B-{quant}.gguf", size_bytes=size * 1_000_000, sha256="0" * 64)
        for quant, size in SIZES_8B.items()
    ]
    reference = ModelReference("maker", "Llama-3.1-8B-GGUF", wanted)
    models = whole_models(files, wanted)
    return RepositoryLook(reference=reference, models=models, base="llama-3.1-8b", shape=LLAMA_8B)


def room(gigabytes: float) -> Room:
    mb = int(gigabytes * 1024)
    return Room(kind="ram", free_mb=mb, budget_mb=mb, plan=PLAN, can_step_down=True)


def best_of(offer: PullOffer) -> str:
    return offer.choices[offer.best].quant


async def offered(agent: Agent, name: str) -> dict[str, Any]:
    return dict((await command(agent, "look_up_model", name)).result)


# The verdicts


@pytest.mark.parametrize(
    ("gigabytes", "quant"), [(64, "Q8_0"), (9, "Q6_K"), (7.2, "Q4_K_M"), (5.5, "Q2_K"), (4.5, "Q2_K"), (1, "Q2_K")]
)
def test_the_best_quantisation_that_fits_is_put_forward(gigabytes: float, quant: str) -> None:
    offer = hub_offer("maker/Llama-3.1-8B-GGUF", "embedded", look_8b(), room(gigabytes))
    assert best_of(offer) == quant
    assert [choice.quant for choice in offer.choices] == list(SIZES_8B)


def test_where_nothing_fits_as_wanted_fewer_sessions_decide() -> None:
    offer = hub_offer("x", "embedded", look_8b(), replace(room(8), free_mb=2048))  # other programs hold the rest now
    assert (best_of(offer), offer.choices[offer.best].fit) == ("Q6_K", Fit.TIGHT)


def test_each_choice_says_what_it_needs_and_what_there_is() -> None:
    offer = hub_offer("x", "embedded", look_8b(), room(7.2))
    by_quant = {choice.quant: choice for choice in offer.choices}
    assert by_quant["Q4_K_M"].fit == Fit.FITS
    assert by_quant["Q4_K_M"].sentence.startswith("Needs 6.7 GB of memory for 4 sessions of 4,096 tokens; 7.2 GB")
    assert by_quant["Q6_K"].fit == Fit.TIGHT
    assert "so it is loaded with" in by_quant["Q6_K"].sentence
    assert by_quant["Q8_0"].fit == Fit.TOO_BIG


def test_what_was_named_stays_first_and_chosen_though_it_is_too_big() -> None:
    offer = hub_offer("x", "embedded", look_8b("Q8_0"), room(4))
    assert (offer.best, best_of(offer), offer.choices[0].fit) == (0, "Q8_0", Fit.TOO_BIG)
    assert offer.choices[0].pull_name == "maker/Llama-3.1-8B-GGUF:Q8_0"


def test_what_has_no_room_on_the_disk_is_not_put_forward() -> None:
    def disk_problem(model: HubModel) -> str:
        return "no room" if model.size_bytes > 4_000_000_000 else ""

    offer = hub_offer("x", "embedded", look_8b(), room(64), disk_problem=disk_problem)
    assert best_of(offer) == "Q2_K"
    assert offer.choices[1].disk_problem == "no room"


def test_two_files_of_one_quantisation_are_named_by_file() -> None:
    look = look_8b()
    twin = replace(look.models[-1], stem="Twin-Q2_K")
    offer = hub_offer("x", "ollama", replace(look, models=(*look.models, twin)), room(64))
    names = [choice.pull_name for choice in offer.choices]
    assert names[0] == "hf.co/maker/Llama-3.1-8B-GGUF:BF16"  # as Ollama wants it
    assert names[-1] == "hf.co/maker/Llama-3.1-8B-GGUF:Twin-Q2_K.gguf"
    assert "size of its file" in offer.choices[-1].sentence  # of another model nothing but its size is known


def test_of_a_library_s_name_only_what_the_name_tells_is_said() -> None:
    told = name_offer("llama3.1:8b-instruct-q4_k_m", "ollama", room(7.2), here=("tiny:latest",), free_bytes=9)
    assert told.choices[0].fit == Fit.FITS
    assert told.choices[0].sentence.endswith(BY_NAME)
    assert told.note == SIZE_COMES_LATER
    silent = name_offer("llama3.2", "ollama", room(7.2), here=("llama3.2:latest",))
    assert (silent.choices[0].fit, silent.choices[0].size_bytes, silent.choices[0].is_here) == (Fit.UNKNOWN, None, True)
    assert silent.note.startswith("It is here already")


# Asking the hub


def test_a_look_takes_a_listing_and_one_head(fake_hub: FakeHub) -> None:
    look = look_into(HuggingFaceSource(ModelReference("maker", "Tiny-GGUF"), fake_hub.url), ModelReference("a", "b"))
    assert [model.stem for model in look.models] == ["Tiny-BF16", "Tiny-Q8_0", "Other-Q4_K_M", "Tiny-Q4_K_M"]
    assert look.shape is not None
    assert fake_hub.sent_ranges == [f"bytes=0-{min(HEAD_STEPS[0], len(TINY)) - 1}"]
    assert len(fake_hub.headers) == 3  # with the hub's own redirect
    assert sum(HEAD_STEPS) < 4_900_000


def test_a_head_that_tells_nothing_leaves_the_sizes(fake_hub: FakeHub) -> None:
    fake_hub.files[REPO] = {"Odd-Q8_0.gguf": b"no model at all, but a file of that name"}
    reference = ModelReference("maker", "Tiny-GGUF")
    look = look_into(HuggingFaceSource(reference, fake_hub.url), reference)
    assert look.shape is None
    offer = hub_offer("x", "embedded", look, room(1))
    assert offer.choices[0].sentence.endswith("Estimated from the size of its file.")


def test_a_hub_that_knows_no_ranges_is_not_read_to_the_end(fake_hub: FakeHub) -> None:
    fake_hub.faults.ignores_range = True
    source = HuggingFaceSource(ModelReference("maker", "Tiny-GGUF"), fake_hub.url)
    file = next(file for file in source.files() if file.name == "Tiny-Q8_0.gguf")
    assert source.read(file, 0, 1000) == FILES["Tiny-Q8_0.gguf"][:1000]
    with pytest.raises(HubError, match="in the middle"):
        source.read(file, 1000, 1000)


# The owner's command


def embedded_in(folder: Path, hub: str) -> tuple[EmbeddedEngine, Mapping[str, Value]]:
    folder.mkdir()
    return EmbeddedEngine(folder), {"models_dir": folder, "hub_endpoint": hub}


async def test_a_look_says_what_fits_and_downloads_nothing(fake_hub: FakeHub, tmp_path: Path) -> None:
    engine, overrides = embedded_in(tmp_path / "models", fake_hub.url)
    async with small_agent(engine, overrides) as agent:
        offer = await offered(agent, REPO)
        assert [choice["quant"] for choice in offer["choices"]] == ["BF16", "Q8_0", "Q4_K_M", "Q4_K_M"]
        assert offer["choices"][offer["best"]]["quant"] == "Q8_0"
        assert {choice["fit"] for choice in offer["choices"]} == {"fits"}
        assert offer["free_bytes"] > 0
        assert agent.shelf.pulls == ()
    assert list((tmp_path / "models").iterdir()) == []


async def test_a_look_says_where_the_disk_has_no_room(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.hub.hub.shutil.disk_usage", lambda _: SimpleNamespace(free=2_000_000_000 + len(TINY)))
    engine, overrides = embedded_in(tmp_path / "models", fake_hub.url)
    async with small_agent(engine, overrides) as agent:
        choices = (await offered(agent, REPO))["choices"]
        problems = [choice["disk_problem"] for choice in choices]
        assert [bool(problem) for problem in problems] == [True, True, False, False]
        assert "are to come, and the disk of" in problems[0]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("maker/Nothing-GGUF", "the hub has no maker/Nothing-GGUF"),
        (f"{REPO}:Q9_Z", "has no Q9_Z"),
        ("llama3.2:3b", "names no model on the hub"),
    ],
)
async def test_a_name_that_the_hub_does_not_know_is_refused(
    fake_hub: FakeHub, tmp_path: Path, name: str, problem: str
) -> None:
    engine, overrides = embedded_in(tmp_path / "models", fake_hub.url)
    async with small_agent(engine, overrides) as agent:
        with pytest.raises(AgentError, match=problem):
            await offered(agent, name)


async def test_a_hub_that_does_not_answer_is_said(tmp_path: Path) -> None:
    engine, overrides = embedded_in(tmp_path / "models", "http://127.0.0.1:1")
    async with small_agent(engine, overrides) as agent:
        with pytest.raises(HubError, match="does not answer"):
            await offered(agent, REPO)


async def test_nobody_is_asked_over_a_network_that_costs(fake_hub: FakeHub, tmp_path: Path) -> None:
    engine, overrides = embedded_in(tmp_path / "models", fake_hub.url)
    async with small_agent(engine, overrides) as agent:
        signals = agent.rules.signals
        assert isinstance(signals, FakeSignals)
        signals.current = replace(signals.current, is_metered=True)
        with pytest.raises(CommandError, match="costs by use"):
            await offered(agent, REPO)
        with pytest.raises(CommandError, match="costs by use"):
            await command(agent, "pull_model", REPO)
    assert fake_hub.headers == []


async def test_a_dead_ollama_is_said_before_anything_begins() -> None:
    engine = PullingEngine()
    async with small_agent(engine) as agent:
        offer = await offered(agent, "llama3.2:3b")
        assert offer["note"] == SIZE_COMES_LATER

        engine.check_fault = EngineUnreachable("Ollama does not answer", hint="Start it.")
        with pytest.raises(EngineUnreachable):
            await offered(agent, "llama3.2:3b")


async def test_what_ollama_gets_from_the_hub_is_looked_up_there(fake_hub: FakeHub) -> None:
    engine = PullingEngine()
    async with small_agent(engine, {"hub_endpoint": fake_hub.url}) as agent:
        offer = await offered(agent, f"hf.co/{REPO}:Q8_0")
        assert offer["choices"][0]["pull_name"] == f"hf.co/{REPO}:Q8_0"
        assert offer["choices"][0]["size_bytes"] == len(FILES["Tiny-Q8_0.gguf"])


async def test_a_hub_that_tells_nothing_does_not_keep_ollama_from_fetching_it() -> None:
    async with small_agent(PullingEngine(), {"hub_endpoint": "http://127.0.0.1:1"}) as agent:
        offer = await offered(agent, f"hf.co/{REPO}:Q8_0")
        assert [choice["pull_name"] for choice in offer["choices"]] == [f"hf.co/{REPO}:Q8_0"]
        assert offer["note"].startswith("What it needs can't be told: the hub does not answer")


# For a name that is wanted and not here


async def test_what_comes_for_a_wanted_name_is_served_under_it(fake_hub: FakeHub, tmp_path: Path) -> None:
    engine, overrides = embedded_in(tmp_path / "models", fake_hub.url)
    async with small_agent(engine, {**overrides, "supported_models": ("tiny:8b", "other")}) as agent:
        assert [model.name for model in agent.store.current.missing_models] == ["tiny:8b", "other"]
        name = f"{REPO}:Q8_0"
        await command(agent, "pull_model", name, serve_as="tiny:8b")
        done = await until(agent, lambda seen: phases(seen) == {name: "done"})
        assert done.offered_models == ("tiny:8b",)
        assert [model.name for model in done.missing_models] == ["other"]
        assert load_settings({}).settings.model_names == ("tiny:8b=Tiny-Q8_0",)


async def test_what_comes_for_no_wanted_name_is_offered_to_nobody(fake_hub: FakeHub, tmp_path: Path) -> None:
    engine, overrides = embedded_in(tmp_path / "models", fake_hub.url)
    async with small_agent(engine, {**overrides, "supported_models": ("tiny:8b",)}) as agent:
        await command(agent, "pull_model", REPO, serve_as="not:wanted")
        done = await until(agent, lambda seen: phases(seen) == {REPO: "done"})
        assert done.offered_models == ()
        assert not agent.paths.config_file.exists()


async def test_a_hub_s_name_that_is_wanted_is_served_as_it_stands(fake_hub: FakeHub, tmp_path: Path) -> None:
    engine, overrides = embedded_in(tmp_path / "models", fake_hub.url)
    name = f"hf.co/{REPO}:Q8_0"
    async with small_agent(engine, {**overrides, "supported_models": (name,)}) as agent:
        assert agent.store.current.missing_models[0].pull_name == name
        await command(agent, "pull_model", name)
        done = await until(agent, lambda seen: phases(seen) == {name: "done"})
        assert (done.offered_models, done.missing_models) == ((name,), ())


async def test_a_name_that_cannot_be_kept_is_told_and_the_download_stays(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TITAN_MODEL_NAMES", "a=b")
    engine, overrides = embedded_in(tmp_path / "models", fake_hub.url)
    async with small_agent(engine, {**overrides, "supported_models": ("tiny:8b",)}) as agent:
        name = f"{REPO}:Q8_0"
        await command(agent, "pull_model", name, serve_as="tiny:8b")
        done = await until(agent, lambda seen: phases(seen) == {name: "done"})
        assert done.offered_models == ()
        assert "not served as tiny:8b" in agent.report.notices[-1]


async def test_with_ollama_the_wanted_name_itself_comes_and_no_table_is_needed() -> None:
    engine = PullingEngine()
    async with small_agent(engine, {"supported_models": ("new:1b",)}) as agent:
        assert [model.pull_name for model in agent.store.current.missing_models] == ["new:1b"]
        await command(agent, "pull_model", "new:1b", serve_as="new:1b")
        done = await until(agent, lambda seen: phases(seen) == {"new:1b": "done"})
        assert (done.offered_models, done.missing_models) == (("new:1b",), ())
        assert not agent.paths.config_file.exists()
