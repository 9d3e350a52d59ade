"""`titan pull` through a real agent: from a hub's stand-in to a model that can be offered; Ctrl+C in the middle."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from pathlib import Path

from core.assets_path import selftest_model_path
from core.cli.render_pull import progress_line
from tests.fakes.agent_process import ROOT, child_environment, run_titan
from tests.fakes.fake_hub import FakeHub
from tests.integration.running import ID, embedded_agent, ollama_agent
from tests.integration.settings import MODEL

REPO = "maker/Tiny-GGUF"


def test_the_line_says_how_far_how_fast_and_how_long() -> None:
    view = {"status": "downloading", "completed_bytes": 500_000_000, "total_bytes": 2_000_000_000}
    assert progress_line({**view, "bytes_per_second": 10_000_000.0}) == (
        "[#######.......................]   25%  500.0 MB of 2.0 GB  10.0 MB/s  2 min 30 s left"
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


async def test_it_says_first_what_fits_and_asks_before_what_is_too_big(home: Path) -> None:
    tiny = selftest_model_path().read_bytes()
    with FakeHub({REPO: {"Tiny-Q8_0.gguf": tiny + bytes(900_000), "Tiny-Q4_K_M.gguf": tiny}}) as hub:
        settings = {"TITAN_HUB_ENDPOINT": hub.url, "TITAN_RAM_BUDGET_MB": "20"}  # less than any model takes
        async with embedded_agent(home, **settings) as (_, agent):
            code, _, err = await run_titan(home, "pull", REPO, AGENT_ID=ID)
            assert code == 1
            assert "Q8_0    " in err
            assert "→ Q4_K_M" in err
            assert f"{REPO}:Q4_K_M is too big." in err
            assert f"titan pull {REPO}:Q4_K_M --yes" in err
            assert (await agent.snapshot())["pulls"] == []
            code, out, err = await run_titan(home, "pull", REPO, "--yes", AGENT_ID=ID)
            assert (code, out.startswith(f"{REPO}:Q4_K_M is there.")) == (0, True), err


async def test_json_asks_nothing_and_tells_each_step(home: Path) -> None:
    tiny = selftest_model_path().read_bytes()
    with FakeHub({REPO: {"Tiny-Q8_0.gguf": tiny, "Tiny-Q4_K_M.gguf": tiny}}) as hub:
        async with embedded_agent(home, TITAN_HUB_ENDPOINT=hub.url):
            code, out, err = await run_titan(home, "pull", REPO, "--json", AGENT_ID=ID)
            views = [json.loads(line) for line in out.splitlines()]
            assert (code, views[-1]["phase"], views[-1]["here_as"]) == (0, "done", "Tiny-Q4_K_M"), err
            assert "%" not in err
            code, out, err = await run_titan(home, "pull", "no-such-name", "--json", AGENT_ID=ID)
            assert (code, json.loads(out)["hint"] != "") == (1, True), err


async def test_what_is_wanted_and_not_here_is_named_with_its_command_and_served_once_it_came(home: Path) -> None:
    tiny = selftest_model_path().read_bytes()
    with FakeHub({REPO: {"Tiny-Q8_0.gguf": tiny}}) as hub:
        settings = {"TITAN_HUB_ENDPOINT": hub.url, "SUPPORTED_MODELS": f"{MODEL},tiny:8b-q8_0"}
        async with embedded_agent(home, **settings) as (_, agent):
            code, out, _ = await run_titan(home, "models", AGENT_ID=ID)
            assert code == 0
            assert "tiny:8b-q8_0: wanted, not here." in out
            assert "titan pull OWNER/REPOSITORY --as tiny:8b-q8_0" in " ".join(out.split())
            for other, problem in (("not:mine", "not one of the names that you offer"), (MODEL, "is here already")):
                code, _, err = await run_titan(home, "pull", REPO, "--as", other, AGENT_ID=ID)
                assert (code, problem in err) == (1, True), err
            assert hub.headers == []  # nothing is asked for before the owner does
            code, out, err = await run_titan(home, "pull", REPO, "--as", "tiny:8b-q8_0", AGENT_ID=ID)
            assert (code, f"{REPO}:Q8_0 is there, and offered as tiny:8b-q8_0." in out) == (0, True), err
            assert (await agent.snapshot())["offered_models"] == [MODEL, "tiny:8b-q8_0"]


async def test_of_a_library_nothing_is_known_before_and_the_verdict_comes_with_the_size(home: Path) -> None:
    async with ollama_agent(home) as (_, engine, _):
        code, _, err = await run_titan(home, "pull", "new:1b", AGENT_ID=ID)
        assert code == 0, err
        before, _, after = err.partition("Fits: Needs about 1 MB of memory")
        assert "Ollama tells a model's size only once its download has begun." in before
        assert "100%" in after
        engine.pull_lines = [{"error": "pull model manifest: file does not exist"}]
        code, _, err = await run_titan(home, "pull", "nosuch:1b", AGENT_ID=ID)
        assert (code, "there is no model nosuch:1b in Ollama's library" in err) == (1, True), err


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
