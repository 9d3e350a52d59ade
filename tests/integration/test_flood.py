"""A flood of bad tokens beside good sessions: the good ones don't notice, and neither does the coordinator."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import psutil

from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import test_signer
from tests.integration.client import OK, client_of, token_of
from tests.integration.running import ID, ollama_agent
from tests.integration.settings import TINY

BAD = 1000
CONNECTIONS = 25
SERVING_LIMIT = 80_000_000  # bytes resident without the embedded engine, one session served
MEMORY_LIMIT = 20 * 1024 * 1024


async def test_thousand_bad_tokens_at_once_harm_no_good_session(home: Path) -> None:
    async with ollama_agent(home, MAX_CONCURRENT_JOBS="4") as (coordinator, engine, agent):
        engine.answer = [f"word{number} " for number in range(40)]
        resident = psutil.Process(agent.process.pid).memory_info
        forger = test_signer(99)
        bad = [forger.issue(agent_id=ID, model=TINY, client_id="c", lifetime_s=60) for _ in range(BAD)]
        async with client_of(agent.endpoint) as client:
            assert (await client.ask(token_of(coordinator, ID, TINY), max_tokens=40)).code is OK
            keys, before = coordinator.calls["GetPublicKey"], resident().rss
            assert before < SERVING_LIMIT
            engine.pace()
            good = [asyncio.create_task(client.ask(token_of(coordinator, ID, TINY), max_tokens=40)) for _ in range(4)]
            pacing = asyncio.create_task(_pace(engine, tokens=4 * 40))
            began = asyncio.get_running_loop().time()
            codes = await _flood(agent.endpoint, bad)
            took_s = asyncio.get_running_loop().time() - began
            answers = await asyncio.gather(*good)
            await pacing
            await agent.wait_snapshot(lambda snapshot: snapshot["running_jobs"] == 0)
        assert all(answer.code is OK for answer in answers), [answer.details for answer in answers]
        assert {answer.text for answer in answers} == {"".join(engine.answer)}
        assert codes[OK] == 0
        assert set(codes) <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes[grpc.StatusCode.UNAUTHENTICATED] > 0
        assert coordinator.calls["GetPublicKey"] - keys <= 1 + took_s // 5
        assert resident().rss - before < MEMORY_LIMIT
        assert await agent.stop() == 0


async def _pace(engine: FakeOllama, tokens: int) -> None:
    for _ in range(tokens):
        engine.let_through(1)
        await asyncio.sleep(0.005)


async def _flood(endpoint: str, tokens: list[str]) -> Counter[grpc.StatusCode | None]:
    async def one_connection(share: list[str]) -> list[grpc.StatusCode | None]:
        async with client_of(endpoint) as client:
            answers = await asyncio.gather(*(client.ask(token) for token in share))
        return [answer.code for answer in answers]

    shares = [tokens[start::CONNECTIONS] for start in range(CONNECTIONS)]
    results = await asyncio.gather(*(one_connection(share) for share in shares))
    return Counter(code for codes in results for code in codes)
