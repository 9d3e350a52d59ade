"""What people read, made from real snapshot values as they come through the door."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from core.cli.demo_cmd import demo_summary
from core.cli.render_quant import quant_table
from core.cli.render_status import render_status, state_sentence
from core.cli.render_tables import models_table, sessions_table
from core.demo import DemoResult
from core.engines import EngineStatus
from core.gpu import GpuSample
from core.inference_client import AnswerEnd
from core.snapshot import AgentSnapshot, GiveBack, GiveBackView, ProcessorHeatView
from core.state import AgentState
from core.updates.release_index import Release
from tests.fakes.snapshots import NOW, busy_snapshot, paused_snapshot


def through_the_door(snapshot: AgentSnapshot) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(snapshot.to_json())
    return values


def text_of(part: RenderableType, *, width: int = 80, has_colour: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=has_colour, markup=False, highlight=False)
    console.print(part)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_status_of_a_busy_agent() -> None:
    assert text_of(render_status(through_the_door(busy_snapshot()), NOW)) == (
        "● Ready: 1 of 4 sessions run.\n"
        "\n"
        "Agent        agent-0123456789ab (profile default), version 0.1.0, process 4321,\n"
        "             up 2 h 5 min\n"
        "Sessions     1 running, 0 queued, limit 4; 43.2 tokens/s\n"
        "Engine       ollama 0.6.3, ready, on CUDA0 (Ollama answers)\n"
        "Breaker      closed (the engine is trusted)\n"
        "Models       offered: llama3.1:8b\n"
        "             loaded: llama3.1:8b (5,200 MB)\n"
        "Coordinator  coordinator.example.com:50051, registered, round trip 12.3 ms, beat\n"
        "             each 10 s, last answer 3 s ago, key held\n"
        "Address      listens on [::]:50052; clients are sent to gpu.example.com:50052\n"
        "Capacity     7,000 MB of 7,168 MB VRAM to lend, 3 % CPU used by others; tier\n"
        "             High\n"
        "Machine      20,000 MB of 32,000 MB RAM free, 2,800 MB of 8,192 MB VRAM free,\n"
        "             CPU 25 % (ours 2 %), GPU 61 °C, GPU use 97 %, 180 W\n"
        "Totals       1,198 sessions served, 3 failed, 4 refused; 98,765 tokens"
    )


def test_status_says_how_hot_the_processor_is_or_why_nothing_tells_it() -> None:
    heat = ProcessorHeatView(celsius=71.4, sensor="coretemp, Package id 0", high_c=84.0, critical_c=100.0)
    text = text_of(render_status(through_the_door(replace(busy_snapshot(), processor_heat=heat)), NOW))
    assert "\nProcessor    71 °C (coretemp, Package id 0; high at 84; critical at 100)\n" in text
    untold = ProcessorHeatView(problem="macOS doesn't tell other programs how hot the processor is.")
    text = text_of(render_status(through_the_door(replace(busy_snapshot(), processor_heat=untold)), NOW))
    assert "\nProcessor    macOS doesn't tell other programs how hot the processor is.\n" in text


def test_status_lists_the_cards_where_there_are_several_or_one_is_kept() -> None:
    snapshot = busy_snapshot()
    assert snapshot.machine is not None
    big = GpuSample(uuid="GPU-a", name="RTX 4090", total_mb=24564, free_mb=20000, temperature_c=51.0)
    shown = GpuSample(uuid="GPU-b", name="RTX 3060", total_mb=12288, free_mb=9000, kept_because="it drives the display")
    lost = GpuSample(uuid="GPU-c", name="RTX 2060", is_lost=True)
    cards = replace(snapshot, machine=replace(snapshot.machine, gpus=(big, shown, lost)))
    assert (
        "Cards        RTX 4090: lent, 20,000 MB of 24,564 MB free, 51 °C (GPU-a)\n"
        "             RTX 3060: kept for you, it drives the display, 9,000 MB of 12,288 MB free (GPU-b)\n"
        "             RTX 2060: lent; gone: its driver doesn't find it any more\n"
    ) in text_of(render_status(through_the_door(cards), NOW), width=120)


def test_status_tells_the_owners_own_model_from_ours() -> None:
    (model,) = busy_snapshot().loaded_models
    snapshot = replace(busy_snapshot(), loaded_models=(model, replace(model, name="mine", is_owners=True)))
    text = text_of(render_status(through_the_door(snapshot), NOW), width=120)
    assert "loaded: llama3.1:8b (5,200 MB), mine (5,200 MB), by your own work\n" in text


def test_status_says_what_memory_came_back_and_how_fast_that_is_as_a_rule() -> None:
    last = GiveBack(held_mb=10_035, freed_mb=10_035, seconds=1.4, kind="vram", ok=True, at=NOW - 7200)
    given = GiveBackView(last=last, sentence=last.sentence, median_s=1.3, count=12)
    text = text_of(render_status(through_the_door(replace(busy_snapshot(), give_back=given)), NOW))
    assert "Given back   9.8 GB back in 1.4 s, 2 h ago; median of 12: 1.3 s\n" in text
    first = replace(given, median_s=None, count=0)
    text = text_of(render_status(through_the_door(replace(busy_snapshot(), give_back=first)), NOW))
    assert "Given back   9.8 GB back in 1.4 s, 2 h ago\n" in text


def test_status_tells_of_a_newer_version() -> None:
    snapshot = replace(busy_snapshot(), update=Release(version="0.2.0"))
    assert "Version 0.2.0 can be had: titan update (titan update --skip 0.2.0)" in text_of(
        render_status(through_the_door(snapshot), NOW)
    )


def test_status_of_a_paused_agent_says_why_and_what_to_do() -> None:
    text = text_of(render_status(through_the_door(paused_snapshot()), NOW))

    assert "● Connecting to the coordinator: no session runs." in text
    assert "✗ Paused by you. (another 30 min)\n  → titan resume\n" in text
    assert "· The coordinator does not answer.\n" in text
    assert "restarted 2 times\n             The child ended (SIGSEGV).\n             → titan logs\n" in text
    assert "Breaker      open, tried again at " in text
    assert ", in 30 s\n" in text
    assert "no key yet" in text
    assert "Note: A damaged settings file was set aside." in text
    assert "\x1b" not in text


@pytest.mark.parametrize("state", list(AgentState))
def test_every_state_has_a_sentence_and_an_empty_snapshot_can_be_shown(state: AgentState) -> None:
    snapshot = through_the_door(AgentSnapshot(state=state))

    assert state_sentence(snapshot).endswith(".")
    assert text_of(render_status(snapshot, NOW), width=40)


def test_what_is_not_measured_is_a_question_mark_never_zero() -> None:
    snapshot = through_the_door(busy_snapshot())
    snapshot["machine"] |= {"free_ram_mb": None, "cpu_percent": None, "cpu_percent_ours": None}

    assert "? of 32,000 MB RAM free" in text_of(render_status(snapshot, NOW))
    assert "CPU ? %" in text_of(render_status(snapshot, NOW))


def test_a_broken_engine_is_not_said_to_answer() -> None:
    snapshot = busy_snapshot()
    engine = replace(snapshot.engine, status=EngineStatus(state="fault", detail="Ollama does not answer"))
    text = text_of(render_status(through_the_door(replace(snapshot, engine=engine)), NOW))
    assert "Engine       ollama, fault\n             Ollama does not answer\n" in text


def test_machine_that_coordinators_skip_for_its_cpu_is_told_so() -> None:
    snapshot = through_the_door(busy_snapshot())
    snapshot["capacity"]["cpu_percent_others"] = 95.0

    assert "coordinators skip a machine" in text_of(render_status(snapshot, NOW))


def test_sessions_table_shows_figures_and_no_text() -> None:
    assert text_of(sessions_table(through_the_door(busy_snapshot()), NOW)) == (
        "id  model        client    phase    since  tokens  tok/s\n"
        "s7  llama3.1:8b  1a2b3c4d  running   12 s   1,234   43.2"
    )
    assert text_of(sessions_table(through_the_door(AgentSnapshot()), NOW)) == "No session runs."


def test_models_table_marks_offered_and_loaded_and_reads_no_markup() -> None:
    text = text_of(models_table(through_the_door(busy_snapshot())))

    assert "llama3.1:8b       4.9 GB  Q4_K_M  131,072  offered, loaded" in text
    assert "odd[bold]:latest       ?  ?             ?" in text


def test_quant_table_points_at_this_machines_row() -> None:
    rows = [
        {"memory": "8GB+", "tier": "Premium", "quantizations": ["Q8_0"], "quality": "Near-original"},
        {"memory": "<4GB", "tier": "Emergency", "quantizations": ["Q2_K"], "quality": "Minimal"},
    ]
    text = text_of(quant_table({"tier": "Emergency", "reason": "2 GB.", "assumption": "guess", "table": rows}))

    assert "→  <4GB" in text
    assert "→  8GB+" not in text


def test_colour_is_only_where_the_console_has_it() -> None:
    status = render_status(through_the_door(busy_snapshot()), NOW)

    assert "\x1b[1;32m" in text_of(status, has_colour=True)
    assert "\x1b" not in text_of(status)


def make_result(*, is_selftest_model: bool = True, metadata: dict[str, str] | None = None) -> DemoResult:
    known = {"tokens_per_second": "386.31", "completion_tokens": "96", "finish_reason": "length"}
    return DemoResult(
        model="m",
        engine="embedded",
        device="CPU",
        agent_id="demo-1",
        coordinator="127.0.0.1:1",
        agent_endpoint="127.0.0.1:2",
        is_selftest_model=is_selftest_model,
        end=AnswerEnd(metadata=known if metadata is None else metadata, time_to_first_token_ms=205.6, seconds=0.5),
    )


def test_demo_shows_its_figures_and_what_to_do_next() -> None:
    text = demo_summary(make_result(), "titan")

    assert "Tokens/s             386.3\nTime to first token  206 ms\nTokens               96\n" in text
    assert "random weights" in text
    assert "  titan demo --model FILE.gguf" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_demo_with_the_owners_model_says_nothing_of_random_weights_and_guesses_no_figures() -> None:
    text = demo_summary(make_result(is_selftest_model=False, metadata={}), "titan")

    assert "random" not in text
    assert "Tokens/s             not measured" in text


def test_models_table_says_how_far_downloads_are() -> None:
    from dataclasses import replace

    from core.snapshot import PullView

    pulls = (
        PullView(model="new:1b", completed_bytes=1, total_bytes=4),
        PullView(model="b\x1b[2J", phase="failed", problem="no space left"),
    )
    text = text_of(models_table(through_the_door(replace(busy_snapshot(), pulls=pulls))))
    assert "Download of new:1b: running, 25 %" in text
    assert "failed: no space left" in text
    assert "\x1b" not in text
