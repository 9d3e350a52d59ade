"""The answers to the first questions: checked, kept, and turned into settings. Without a display."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config import Settings
from core.config_edit import change_settings
from core.config_load import Layer, load_settings
from core.engines import EngineModel
from core.gpu import GpuSample
from core.model_manager import ModelManager
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.snapshots import busy_snapshot
from titan_gui.setup_draft import (
    DRAFT_NAME,
    SetupDraft,
    Step,
    changes_of,
    draft_of,
    drop_draft,
    problem_of,
    read_draft,
    reserve_of,
    shareable,
    suggested_host,
    write_draft,
)

REMOTE = SetupDraft(coordinator_endpoint="coordinator.example.com:50051", public_host="gpu.example.com")


def test_the_first_answers_suit_a_home() -> None:
    draft = draft_of(load_settings({}))
    assert (draft.max_concurrent_jobs, draft.share, draft.reserve_mb) == (1, "", 0)
    assert suggested_host(draft, ("192.168.1.20",)) == "localhost"


def test_a_second_run_begins_with_what_is_set() -> None:
    loaded = change_settings(
        {
            "setup_done": "true",
            "coordinator_endpoint": "coordinator.example.com:50051",
            "public_host": "gpu.example.com",
            "vram_reserve_mb": "2048",
            "supported_models": "a,b",
            "share": "by_hand",
        },
        {},
    )
    draft = draft_of(loaded)
    assert (draft.public_host, draft.memory_kind, draft.reserve_mb) == ("gpu.example.com", "vram", 2048)
    assert (draft.model, draft.share, draft.max_concurrent_jobs) == ("a", "by_hand", 4)
    changes = changes_of(replace(draft, model="c"), loaded)
    assert changes["supported_models"] == "c,a,b"


def test_the_default_model_is_nobody_s_choice() -> None:
    loaded = load_settings({})
    assert draft_of(loaded).model == ""
    assert changes_of(draft_of(loaded), loaded)["supported_models"] == ""


def test_an_empty_list_of_models_is_kept_by_file_and_manager() -> None:
    changed = change_settings({"supported_models": ""}, {})
    assert changed.origins["supported_models"].layer is Layer.FILE
    assert load_settings({}).settings.supported_models == ()
    manager = ModelManager(engine=FakeEngine(), supported=load_settings({}).settings.supported_models)
    manager.models = (EngineModel(name=Settings().supported_models[0]),)
    assert manager.offered == ()


def test_a_second_run_that_says_nothing_withdraws_all() -> None:
    loaded = change_settings({"setup_done": "true", "supported_models": "a,b"}, {})
    draft = replace(draft_of(loaded), public_host="localhost", model="", is_without_model=True)
    changed = change_settings(changes_of(draft, loaded), {})
    assert changed.settings.supported_models == ()
    assert draft_of(changed).is_without_model


@pytest.mark.parametrize(
    ("draft", "step", "problem"),
    [
        (replace(REMOTE, coordinator_endpoint=" "), Step.COORDINATOR, "Type the coordinator's address."),
        (replace(REMOTE, coordinator_endpoint="http://x"), Step.COORDINATOR, "'http://x' is a URL"),
        (replace(REMOTE, coordinator_endpoint="0.0.0.0"), Step.COORDINATOR, "not connected to"),
        (replace(REMOTE, public_host=""), Step.ADDRESS, "Type the address under which"),
        (replace(REMOTE, public_host="localhost"), Step.ADDRESS, "means this computer alone"),
        (replace(REMOTE, public_host="x:50052"), Step.ADDRESS, "Type the address alone"),
        (replace(REMOTE, agent_port="many"), Step.ADDRESS, "The port must be a whole number from 0 to 65535."),
        (SetupDraft(public_host="localhost"), Step.ADDRESS, ""),
        (REMOTE, Step.COORDINATOR, ""),
        (REMOTE, Step.ADDRESS, ""),
        (REMOTE, Step.TEST, ""),
    ],
)
def test_what_a_step_says_of_its_answers(draft: SetupDraft, step: Step, problem: str) -> None:
    said = problem_of(draft, step)
    assert problem in said
    assert bool(said) is bool(problem)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text(), st.text())
def test_no_text_raises(endpoint: str, host: str, port: str) -> None:
    draft = SetupDraft(coordinator_endpoint=endpoint, public_host=host, agent_port=port)
    for step in Step:
        assert isinstance(problem_of(draft, step), str)


def test_answers_that_pass_are_settings_that_pass() -> None:
    loaded = load_settings({})
    changed = change_settings(changes_of(replace(REMOTE, model="mine:1b", reserve_mb=4096), loaded), {})
    assert changed.settings.setup_done
    assert changed.settings.public_host == "gpu.example.com"
    assert changed.settings.supported_models == ("mine:1b",)
    assert changed.settings.ram_reserve_mb == 4096
    assert changed.settings.max_concurrent_jobs == 1


def test_what_the_environment_decides_is_not_written() -> None:
    loaded = load_settings({"COORDINATOR_ENDPOINT": "other:1", "AGENT_PORT": "6000"})
    assert {"coordinator_endpoint", "agent_port"}.isdisjoint(changes_of(REMOTE, loaded))


def test_a_coordinator_elsewhere_wants_an_address_that_others_can_reach() -> None:
    here = replace(REMOTE, public_host="localhost")
    assert suggested_host(here, ("192.168.1.20", "10.0.0.1")) == "192.168.1.20"
    assert suggested_host(here, ()) == "localhost"
    assert suggested_host(REMOTE, ("192.168.1.20",)) == "gpu.example.com"


def test_a_draft_comes_back_as_it_was_typed(tmp_path: Path) -> None:
    draft = replace(REMOTE, agent_port="not a port", step=3, model="x")
    write_draft(tmp_path, draft)
    assert read_draft(tmp_path, SetupDraft()) == draft
    drop_draft(tmp_path)
    drop_draft(tmp_path)
    assert read_draft(tmp_path, SetupDraft()) == SetupDraft()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"step": 99}', b'{"share": "never"}', b'{"step": true}', b"[" * 60_000],
)
def test_a_damaged_draft_is_the_default(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DRAFT_NAME).write_bytes(content)
    assert read_draft(tmp_path, SetupDraft()) == SetupDraft()


def test_one_wrong_answer_in_a_draft_costs_only_itself(tmp_path: Path) -> None:
    content = asdict(REMOTE) | {"agent_port": 6000, "unknown": 1}
    (tmp_path / DRAFT_NAME).write_text(json.dumps(content))
    assert read_draft(tmp_path, SetupDraft()) == REMOTE


def test_a_card_that_the_engine_does_not_use_is_said() -> None:
    snapshot = busy_snapshot()
    assert snapshot.machine is not None
    card = GpuSample(uuid="1", name="GeForce RTX 4070")
    machine = replace(snapshot.machine, gpus=(card,))
    embedded = replace(
        snapshot,
        machine=machine,
        engine=replace(snapshot.engine, name="embedded"),
        capacity=replace(snapshot.capacity, kind="ram"),
    )
    what = shareable(embedded)
    assert what.sentence == "You share this computer's processor and memory."
    assert "Your GeForce RTX 4070 needs Ollama" in what.card_hint
    assert reserve_of(SetupDraft(), what) == 3200
    assert reserve_of(SetupDraft(memory_kind="vram", reserve_mb=9000), what) == 3200
    on_card = shareable(replace(snapshot, machine=machine))
    assert on_card.sentence == "You share your graphics card: GeForce RTX 4070."
    assert on_card.card_hint == ""


def test_being_away_is_a_rule_and_sharing_is_always() -> None:
    loaded = load_settings({})
    away = changes_of(replace(draft_of(loaded), share="away"), loaded)
    always = changes_of(replace(draft_of(loaded), share="always"), loaded)
    by_hand = changes_of(replace(draft_of(loaded), share="by_hand"), loaded)

    assert (away["share"], away["pause_while_in_use"]) == ("always", "true")
    assert (always["share"], always["pause_while_in_use"]) == ("always", "false")
    assert by_hand["share"] == "by_hand"
    assert "pause_while_in_use" not in by_hand  # a rule that the owner made since stays


def test_a_second_run_knows_that_it_was_away() -> None:
    loaded = change_settings({"setup_done": "true", "pause_while_in_use": "true", "idle_minutes": "5"}, {})

    assert (draft_of(loaded).share, draft_of(loaded).idle_minutes) == ("away", 5.0)


def test_a_rule_that_the_environment_decides_is_not_written() -> None:
    loaded = load_settings({"TITAN_PAUSE_WHILE_IN_USE": "true"})

    assert "pause_while_in_use" not in changes_of(replace(draft_of(loaded), share="always"), loaded)
