"""The owner's commands on the real admission, pause, models and engine keeper, without server and coordinator."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import cast

import pytest

from core.agent import Agent
from core.commands import CommandError, CommandOutcome
from core.engine_keeper import EngineKeeper
from core.engines import EngineStatus
from core.errors import ModelNotOffered, SessionEnded, StorageError
from core.give_back import MemoryKeeper
from core.give_back_file import GiveBackFile
from core.model_manager import ModelManager
from core.owner import LONGEST_SHARE_S, OwnerControl
from core.owner_commands import owner_commands
from core.pause_commands import LONGEST_PAUSE_S, pause_end, share_end
from core.reasons import ReasonBook
from core.reasons.of_network import no_public_address
from core.reasons.of_owner import setup_not_done
from core.sessions import Admission, EndReason, ended_error
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.fake_memory import FakeMemory

NOW = 1_800_000_000.0


class AgentParts:
    """What the commands use of core.agent.Agent."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine(name="ollama", models=("tiny",))
        self.reasons = ReasonBook()
        self.admission = Admission(max_jobs=2, closed_because=self.reasons.closed_because)
        self.models = ModelManager(engine=self.engine, supported=("tiny",))
        self.keeper = EngineKeeper(
            requested="ollama",
            factories={"ollama": lambda: self.engine},
            models=self.models,
            admission=self.admission,
            reasons=self.reasons,
        )
        self.owner = OwnerControl(
            admission=self.admission, reasons=self.reasons, state_file=folder / "pause.json", finish_limit_s=120
        )
        self.meter = FakeMemory(lambda: len(self.engine.loaded))
        self.memory = MemoryKeeper(
            models=self.models, admission=self.admission, meter=self.meter, file=GiveBackFile(None)
        )
        self.ledger = self.updates = None  # their commands have tests of their own
        self.published = 0
        self.stopped = False
        self.table = owner_commands(cast(Agent, self), shut_down=self._stop, self_test=self._self_test)

    def publish_now(self) -> None:
        self.published += 1

    async def do(self, name: str, **arguments: str) -> CommandOutcome:
        return await self.table.execute(name, arguments)

    async def session(self) -> asyncio.Task[None]:
        async def run() -> None:
            async with self.admission.slot(model="tiny", client="c", job_id="j", spend=lambda: None) as session:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    assert session.end_reason is not None
                    raise ended_error(session.end_reason) from None

        task = asyncio.create_task(run())
        await asyncio.sleep(0)
        return task

    def _stop(self) -> None:
        self.stopped = True

    async def _self_test(self, model: str) -> CommandOutcome:
        return CommandOutcome("passed")


@pytest.fixture
async def agent(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    await made.keeper.start()
    return made


async def test_pause_and_resume(agent: AgentParts) -> None:
    outcome = await agent.do("pause")
    assert (outcome.message, outcome.result) == ("Paused until you resume.", {"until": None, "running": 0})
    assert agent.owner.is_paused
    assert (await agent.do("resume")).message == "Resumed."
    assert (await agent.do("resume")).result == {"resumed": False}


async def test_timed_pause_says_until_when(agent: AgentParts) -> None:
    outcome = await agent.do("pause", for_s="3600")
    assert isinstance(outcome.result["until"], float)
    assert abs(outcome.result["until"] - time.time() - 3600) < 60
    assert agent.owner.pause_until == outcome.result["until"]
    await agent.owner.close()


async def test_resume_says_what_else_blocks(agent: AgentParts) -> None:
    agent.reasons.put(no_public_address("No public address: it is localhost.", ""))
    await agent.do("pause")
    assert (await agent.do("resume")).message == "Resumed, but not serving: No public address: it is localhost."


async def test_pause_says_what_became_of_running_sessions(agent: AgentParts) -> None:
    running = await agent.session()
    assert (await agent.do("pause")).message.endswith(" 1 running session may finish.")
    assert (await agent.do("pause", mode="stop")).message.endswith(" Stopped 1 session.")
    with pytest.raises(SessionEnded):
        await running
    await agent.owner.close()


@pytest.mark.parametrize("name", ["pause", "finish", "resume", "take_back", "share_now", "follow_rules"])
async def test_change_that_is_not_on_disk_is_said_in_the_answer(
    agent: AgentParts, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object) -> None:
        raise StorageError("The disk is full", hint="Make room.")

    if name in ("share_now", "follow_rules"):
        await agent.do("share_now", for_s="3600")
    else:
        agent.owner.pause()
    assert await agent.owner.wait_saved() == ""
    monkeypatch.setattr("core.pause_file.write_atomically", full)
    outcome = await agent.do(name, **({"for_s": "60"} if name == "share_now" else {}))
    assert outcome.message.endswith("A restart would forget it: The disk is full. Make room.")
    assert outcome.result["not_kept"] == "The disk is full. Make room."
    await agent.owner.close()


async def test_finish_answers_when_a_kill_would_come_back_paused(agent: AgentParts, tmp_path: Path) -> None:
    running = await agent.session()
    await agent.do("finish")
    assert json.loads((tmp_path / "pause.json").read_text()) == {"paused": True, "until": None}
    agent.admission.end_all(EndReason.PAUSED)
    with pytest.raises(SessionEnded):
        await running
    await agent.owner.close()


async def test_finish_and_cancel(agent: AgentParts) -> None:
    running = await agent.session()
    assert (await agent.do("finish")).result == {"running": 1}
    with pytest.raises(CommandError, match="no session 's9'"):
        await agent.do("cancel_session", session_id="s9")
    await agent.do("cancel_session", session_id="s1")
    with pytest.raises(SessionEnded, match="owner of this machine stopped"):
        await running
    await agent.owner.close()


async def test_models_are_loaded_and_unloaded(agent: AgentParts) -> None:
    assert (await agent.do("load_model", model="tiny:latest")).message == "Loaded tiny."
    assert [model.name for model in agent.models.loaded] == ["tiny"]
    assert (await agent.do("unload_models")).message == "Unloaded tiny."
    assert (await agent.do("unload_models")).message == "No model was loaded."
    with pytest.raises(ModelNotOffered):
        await agent.do("load_model", model="other")
    assert agent.published == 3


async def test_model_in_use_is_not_taken_away(agent: AgentParts) -> None:
    running = await agent.session()
    with pytest.raises(CommandError, match="1 session") as refusal:
        await agent.do("unload_models")
    assert "titan pause" in refusal.value.hint
    assert "unload" not in agent.engine.calls
    agent.admission.end_all(EndReason.PAUSED)
    with pytest.raises(SessionEnded):
        await running


async def test_engine_is_tried_again(agent: AgentParts) -> None:
    assert (await agent.do("retry_engine")).message == "The engine ollama is ready."
    assert agent.engine.calls.count("start") == 2
    agent.engine.status = EngineStatus(state="fault", detail="it is gone")
    assert (await agent.do("retry_engine")).message == "The engine ollama is not ready: it is gone."


async def test_self_test_and_shutdown(agent: AgentParts) -> None:
    assert (await agent.do("self_test")).message == "passed"
    await agent.do("shutdown")
    assert agent.stopped


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        ({}, None),
        ({"for_s": "60"}, NOW + 60),
        ({"for_s": "1e3"}, NOW + 1000),
        ({"until": str(NOW + 5)}, NOW + 5),
        ({"for_s": str(LONGEST_PAUSE_S)}, NOW + LONGEST_PAUSE_S),
    ],
)
def test_end_of_a_pause(arguments: dict[str, str], end: float | None) -> None:
    assert pause_end(arguments, NOW) == end


@pytest.mark.parametrize(
    "arguments",
    [
        {"for_s": "soon"},
        {"for_s": "0"},
        {"for_s": "-5"},
        {"for_s": "nan"},
        {"for_s": "inf"},
        {"for_s": str(LONGEST_PAUSE_S + 1)},
        {"until": str(NOW)},
        {"for_s": "1", "until": str(NOW + 1)},
    ],
)
def test_senseless_pause_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(CommandError):
        pause_end(arguments, NOW)


async def test_unknown_way_to_pause_is_refused(agent: AgentParts) -> None:
    with pytest.raises(CommandError, match="'gently'"):
        await agent.do("pause", mode="gently")
    assert not agent.owner.is_paused


async def test_share_now_and_follow_rules(agent: AgentParts) -> None:
    outcome = await agent.do("share_now", for_s="3600")
    assert outcome.message.startswith("You share now, until ")
    assert agent.owner.share_until == outcome.result["until"] == pytest.approx(time.time() + 3600, abs=60)
    assert (await agent.do("follow_rules")).message == "It follows your rules again."
    assert (await agent.do("follow_rules")).result == {"changed": False}
    agent.reasons.put(no_public_address("No public address: it is localhost.", ""))
    until = time.time() + 60
    assert (await agent.do("share_now", until=str(until))).message.endswith(
        " Not yet: No public address: it is localhost."
    )
    await agent.owner.close()


@pytest.mark.parametrize("name", ["pause", "take_back"])
async def test_a_pause_ends_sharing_now_and_only_a_resume_ends_the_pause(agent: AgentParts, name: str) -> None:
    await agent.do("share_now", for_s="3600")
    await agent.do(name)
    assert (agent.owner.is_paused, agent.owner.is_sharing) == (True, False)
    with pytest.raises(CommandError, match="you have paused") as refusal:
        await agent.do("share_now", for_s="3600")
    assert "titan resume" in refusal.value.hint
    assert agent.owner.is_paused
    await agent.owner.close()


async def test_nothing_is_shared_now_before_the_setup_is_done(agent: AgentParts) -> None:
    agent.reasons.put(setup_not_done())
    with pytest.raises(CommandError, match="before the setup is done"):
        await agent.do("share_now", for_s="60")
    assert not agent.owner.is_sharing


def test_sharing_now_ends_within_two_days() -> None:
    assert share_end({"for_s": str(LONGEST_SHARE_S)}, NOW) == NOW + LONGEST_SHARE_S
    for arguments in ({}, {"for_s": str(LONGEST_SHARE_S + 1)}, {"for_s": "0"}, {"until": "nan"}, {"for_s": "1e9"}):
        with pytest.raises(CommandError, match="sharing now has an end, within 48 hours") as refusal:
            share_end(arguments, NOW)
        assert "titan pause" not in refusal.value.hint  # once the remedy for an end that is over, or far away
