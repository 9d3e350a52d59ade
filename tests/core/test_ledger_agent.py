"""The ledger inside the agent: what a session leaves behind, and what the owner's commands say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.agent import Agent
from core.app import identified
from core.commands import CommandError, CommandOutcome, CommandTable
from core.config_load import load_settings
from core.config_values import Value
from core.inference import InferenceCall
from core.ledger_commands import add_ledger_commands
from core.paths import profile_paths
from core.selftest import run_self_test
from core.token_signer import TokenSigner
from tests.fakes.canary import assert_no_canary
from tests.fakes.fake_engine import FakeEngine, pieces_of
from tests.fakes.small_agent import small_agent

CANARY = "qXv7-canary-Zw93kT-unlike-anything"
MODEL = "tiny:latest"
OFFER: dict[str, Value] = {"supported_models": (MODEL,), "agent_id": "agent-1"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def new_engine() -> FakeEngine:
    return FakeEngine(pieces_of(CANARY[:10], CANARY[10:]), models=(MODEL,))


async def serve(agent: Agent, *clients: str) -> None:
    """One session for each client, whose prompt and answer are the canary."""

    async def take(text: str) -> None:
        pass

    signer = await TokenSigner.generate()
    agent.keys.adopt(signer.public_key_pem)
    assert agent.public.service is not None
    for client in clients:
        token = signer.issue(agent_id="agent-1", model=MODEL, client_id=client)
        await agent.public.service.serve(InferenceCall(session_token=token, prompt=CANARY), take)


async def ask(agent: Agent, name: str, **arguments: str) -> CommandOutcome:
    table = CommandTable()
    add_ledger_commands(table, agent.ledger)
    return await table.execute(name, arguments)


async def recent(agent: Agent) -> list[dict[str, Any]]:
    result = (await ask(agent, "contribution", days="2", recent="10")).result
    rows: list[dict[str, Any]] = json.loads(json.dumps(result))["recent"]  # as the door sends it
    return rows


async def test_session_leaves_figures_and_no_text(home: Path, tmp_path: Path) -> None:
    async with small_agent(new_engine(), OFFER) as agent:
        await serve(agent, f"client {CANARY}")

        (row,) = await recent(agent)
        for file_format in ("csv", "json"):
            await ask(agent, "export_ledger", path=str(tmp_path / f"out.{file_format}"), format=file_format)

        expected = {"model": MODEL, "engine": "fake", "completion_tokens": 2, "prompt_tokens": 7}
        assert {name: row[name] for name in expected} == expected
        assert row["end_reason"] == "completed"
        assert_no_canary([home, tmp_path], CANARY)  # the write-ahead log too
    assert_no_canary([home, tmp_path], CANARY)
    assert profile_paths().ledger_file.exists()


async def test_client_looks_the_same_after_a_restart_and_different_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small_agent(new_engine(), OFFER) as agent:
        await serve(agent, "anna", "ben", "anna")
        third, second, first = [row["client"] for row in await recent(agent)]
        assert first == third != second

    async with small_agent(new_engine(), OFFER) as agent:
        await serve(agent, "anna")
        assert [row["client"] for row in await recent(agent)] == [first, third, second, first]
        assert agent.report.notices == []

    monkeypatch.setenv("TITAN_HOME", str(home / "other"))
    async with small_agent(new_engine(), OFFER) as agent:
        await serve(agent, "anna")
        assert (await recent(agent))[0]["client"] != first


async def test_lost_key_is_said_and_clients_look_new(home: Path) -> None:
    async with small_agent(new_engine(), OFFER) as agent:
        await serve(agent, "anna")
    profile_paths().client_key_file.unlink()

    async with small_agent(new_engine(), OFFER) as agent:
        await serve(agent, "anna")

        newer, older = [row["client"] for row in await recent(agent)]
        assert newer != older
        assert "The key for client hashes is gone" in agent.report.notices[0]


async def test_the_owners_own_test_is_no_contribution(home: Path) -> None:
    async with small_agent(new_engine(), OFFER) as agent:
        await run_self_test(agent)

        assert await recent(agent) == []


async def test_damaged_ledger_is_a_notice_and_no_reason_to_stop(home: Path) -> None:
    paths = profile_paths()
    paths.ensure()
    paths.ledger_file.write_bytes(b"no database " * 500)

    async with small_agent(new_engine(), OFFER) as agent:
        await serve(agent, "anna")

        assert len(await recent(agent)) == 1
        assert any("The ledger was damaged" in notice for notice in agent.report.notices)


async def test_ledger_that_cannot_be_opened_is_a_notice_and_no_reason_to_stop(home: Path) -> None:
    profile_paths().ensure()
    profile_paths().ledger_file.mkdir()

    async with small_agent(new_engine(), OFFER) as agent:
        await serve(agent, "anna")

        assert len(await recent(agent)) == 1  # from memory
        assert any("The ledger cannot be written" in notice for notice in agent.report.notices)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("contribution", {"days": "0"}, "days is '0'"),
        ("contribution", {"days": "many"}, "no whole number from 1 to 3,660"),
        ("contribution", {"recent": "1001"}, "recent is '1001'"),
        ("contribution", {"rows": "1"}, "no argument 'rows'"),
        ("export_ledger", {}, "no absolute path"),
        ("export_ledger", {"path": "here.csv"}, "no absolute path"),
        ("export_ledger", {"path": "/tmp/a\0b"}, "no absolute path"),
        ("export_ledger", {"path": "/tmp/out", "format": "xml"}, "no format 'xml'"),
    ],
)
async def test_wrong_argument_is_refused(name: str, arguments: dict[str, str], said: str) -> None:
    agent = Agent(identified(load_settings(overrides={"agent_port": 0})), factories={"ollama": new_engine})

    with pytest.raises(CommandError, match=said):
        await ask(agent, name, **arguments)
