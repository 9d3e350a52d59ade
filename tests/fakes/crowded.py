"""A window as full as it gets: long names, every rule, two cards, downloads, an update; and long words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from PySide6.QtCore import QTranslator

from core.contribution import LedgerRow
from core.engines import EngineModel, LoadedModel
from core.gpu import GpuSample
from core.rules.table import RULES
from core.snapshot import AgentSnapshot, EnergyView, GiveBack, GiveBackView, PullView, Reason, RuleView, SessionView
from core.speed_book import Speed
from core.stats_collector import SystemStats
from core.time_use import Doing, Stretch, time_use_json
from core.updates.release_index import Release
from tests.fakes.snapshots import NOW, busy_snapshot

LONG_MODEL = "hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-abliterated-v2-GGUF:Q4_K_M-00001-of-00003"
GB = 1_000_000_000
HELD = ("listed_app", "memory_tight")


class LongWords(QTranslator):
    """A language that says everything in a third more letters, as German does."""

    def translate(self, context: str, sourceText: str, disambiguation: str | None = None, n: int = -1) -> str:
        spare = [letter for letter in sourceText if letter not in "{}"]
        more = "".join(spare[: len(sourceText) * 3 // 10]).strip()
        if not more or not sourceText.strip():
            return sourceText
        head, dot, _ = sourceText.partition(".") if sourceText.endswith(".") else (sourceText, "", "")
        return f"{sourceText} {more}" if not dot else f"{head}. {more}"


def crowded_snapshot() -> AgentSnapshot:
    """Everything that a page can show at once, with the longest names that are met."""
    busy = busy_snapshot()
    cards = tuple(
        GpuSample(
            uuid=f"GPU-{number}",
            name="NVIDIA RTX 6000 Ada Generation Laptop GPU",
            total_mb=49_140,
            used_mb=30_000,
            free_mb=19_140,
            utilisation_percent=97.0,
            temperature_c=61.0 + number,
            power_w=180.0,
        )
        for number in (1, 2)
    )
    return replace(
        busy,
        sessions=tuple(_session(number) for number in range(4)),
        running_jobs=4,
        reasons=(
            *(
                Reason(
                    code=code,
                    sentence="Paused while The Elder Scrolls V: Skyrim Special Edition Launcher and Blender 4.2 run.",
                    setting="listed_apps",
                    ends_at=NOW + 1800,
                    blocks=code == "listed_app",
                )
                for code in HELD
            ),
            Reason(code="coordinator_away", sentence="The coordinator doesn't answer.", blocks=False),
        ),
        rules=tuple(_rule(rule.code) for rule in RULES),
        energy=EnergyView(
            served_s=12_345.0, kwh=1.234, cost=0.43, wh_per_1000_tokens=1.2, source="Measured by the graphics card."
        ),
        models=(
            *busy.models,
            EngineModel(name=LONG_MODEL, size_bytes=19 * GB, quant="Q4_K_M", context_tokens=131_072),
            EngineModel(name="huge:405b", size_bytes=243 * GB, quant="Q4_K_M"),
        ),
        offered_models=("llama3.1:8b", LONG_MODEL),
        loaded_models=(
            LoadedModel(
                name=LONG_MODEL, total_mb=21_000, vram_mb=15_000, context_tokens=4096, note="Less than wanted."
            ),
        ),
        pulls=(
            PullView(
                model=f"{LONG_MODEL}-second",
                status="pulling manifest 8eeb52dfb3bb",
                completed_bytes=3 * GB,
                total_bytes=19 * GB,
                bytes_per_second=23_400_000.0,
            ),
            PullView(model="gone:8b", phase="failed", problem="The hub doesn't know it.", hint="Check its name."),
        ),
        pulled_models=(LONG_MODEL,),
        speeds=(
            Speed(
                model="llama3.1:8b",
                device="CUDA0",
                tokens_per_second=43.2,
                first_token_ms=210.0,
                seconds=5.0,
                measured_at=NOW - 3600,
            ),
        ),
        machine=SystemStats(
            taken_at=NOW,
            total_ram_mb=128_000,
            free_ram_mb=20_000,
            cpu_percent=100.0,
            cpu_percent_ours=87.0,
            total_vram_mb=98_280,
            free_vram_mb=38_280,
            gpu_temperature=63.0,
            gpu_utilisation_percent=100.0,
            gpu_power_w=360.0,
            gpus=cards,
        ),
        give_back=GiveBackView(
            last=GiveBack(held_mb=21_000, freed_mb=9_000, seconds=5.0, kind="vram", ok=False, holder="blender"),
            sentence="Only 8.8 GB of 20.5 GB back after 5 s; blender still holds the rest",
            count=0,
        ),
        notices=("A damaged settings file was set aside as settings.toml.damaged-2026-11-25.",),
        update=Release(
            version="0.2.0",
            date="2026-12-01",
            summary="Serves two models at once, and asks before a large download.",
            url="https://example.com/releases/0.2.0",
        ),
    )


def full_day() -> Mapping[str, object]:
    """The answer of the command `time_use` for a day with everything in it."""
    hours: tuple[tuple[Doing, str], ...] = (
        (Doing.OFF, ""),
        (Doing.READY, ""),
        (Doing.SERVING, ""),
        (Doing.PAUSED, "listed_app"),
        (Doing.PAUSED, "gpu_in_use"),
        (Doing.UNREACHABLE, "coordinator_away"),
        (Doing.BROKEN, "engine_attention"),
        (Doing.ASLEEP, ""),
    )
    return time_use_json(
        tuple(
            Stretch(start=NOW - (24 - 3 * row) * 3600, end=NOW - (21 - 3 * row) * 3600, what=what, reason_code=code)
            for row, (what, code) in enumerate(hours)
        )
    )


def contribution() -> Mapping[str, object]:
    """The answer of the command `contribution`: past sessions alone."""
    rows = [
        LedgerRow(
            started_at=NOW - 60 * number,
            model=LONG_MODEL,
            quant="Q4_K_M",
            engine="ollama",
            client="1a2b3c4d5e6f7a8b",
            prompt_tokens=12,
            completion_tokens=345,
            seconds=6.78,
            end_reason="completed",
            time_to_first_token_ms=120.0,
        )
        for number in range(40)
    ]
    return {"recent": [asdict(row) for row in rows]}


def _session(number: int) -> SessionView:
    return SessionView(
        session_id=f"s{number}",
        model=LONG_MODEL,
        client=f"{number:08x}",
        phase="running",
        started_at=NOW - 100 + number,
        tokens=100_000 * number,
        tokens_per_second=43.2,
    )


def _rule(code: str) -> RuleView:
    if code in HELD:
        sentence = "Paused while The Elder Scrolls V: Skyrim Special Edition Launcher runs."
        return RuleView(
            code=code, is_on=True, holds=True, sentence=sentence, effect="stop after 5 s, unload", since=NOW - 60
        )
    return RuleView(code=code, is_on=True, effect="stop after 5 s, unload", unknown="No window manager tells it.")
