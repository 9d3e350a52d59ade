"""`titan pull` through a real agent: from a hub's stand-in to a model that can be offered; Ctrl+C in the middle."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path

from core.assets_path import selftest_model_path
from core.cli.pull_cmd import progress_line
from tests.fakes.agent_process import ROOT, child_environment, run_titan
from tests.fakes.fake_hub import FakeHub
from tests.integration.running import ID, embedded_agent
from tests.integration.settings import MODEL

REPO = "maker/Tiny-GGUF"


def test_the_line_says_how_far_how_fast_and_how_long() -> None:
    view = {"status": "downloading", "completed_bytes": 500_000_000, "total_bytes": 2_000_000_000}
    assert progress_line({**view, "bytes_per_second": 10_000_000.0}) == (
        "[#######.......................]   25%  500.0 MB of 2.00 GB  10.0 MB/s  2 min 30 s left"
    )
    assert progress_line({**view, "completed_bytes": None, "bytes_per_second": None}) == "downloading"


async def test_a_pulled_model_is_there_whole_and_not_offered_by_itself(home: Path) -> None:
    tiny = selftest_model_path().read_bytes()
    with FakeHub({REPO: {"Tiny-Q8_0.gguf": tiny}}) as hub:
        async with embedded_agent(home, TITAN_HUB_ENDPOINT=hub.url) as (_, agent):
            code, out, err = await run_titan(home, "pull", f"{REPO}:Q8_0", AGENT_ID=ID)
            assert (code, "is there. Offer it: titan models --offer" in out) == (0, True), err
            assert "100%" in err
            snapshot = await agent.snapshot()
            assert snapshot["pulled_models"] == ["Tiny-Q8_0"]
            assert snapshot["offered_models"] == [MODEL]
            code, _, err = await run_titan(home, "pull", "no-such-name", AGENT_ID=ID)
            assert (code, "names no model on the hub" in err) == (1, True)


async def test_ctrl_c_ends_the_download_and_the_next_one_goes_on(home: Path) -> None:
    tiny = selftest_model_path().read_bytes()
    with FakeHub({REPO: {"Tiny-Q8_0.gguf": tiny}}) as hub:
        hub.faults.gate = threading.Event()
        async with embedded_agent(home, TITAN_HUB_ENDPOINT=hub.url) as (_, agent):
            pulling = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "core", "pull", f"{REPO}:Q8_0"),
                cwd=ROOT,
                env=child_environment(home, AGENT_ID=ID),
                stderr=asyncio.subprocess.PIPE,
            )
            await agent.wait_snapshot(lambda seen: any(pull["completed_bytes"] for pull in seen["pulls"]))
            pulling.send_signal(signal.SIGINT)
            async with asyncio.timeout(20):
                assert await pulling.wait() == 130
            await agent.wait_snapshot(lambda seen: [pull["phase"] for pull in seen["pulls"]] == ["cancelled"])
            hub.faults.gate.set()
            hub.faults.gate = None
            code, _, err = await run_titan(home, "pull", f"{REPO}:Q8_0", AGENT_ID=ID)
            assert code == 0, err
            assert hub.sent_ranges[-1].startswith("bytes=")
