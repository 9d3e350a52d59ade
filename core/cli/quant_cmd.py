"""`titan quant`: the tier of this machine's memory, what another share of it would be good for, and how fast it is."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption
from core.errors import ConfigError, ControlError, ModelError, StorageError
from core.sizes import memory_text

if TYPE_CHECKING:
    from core.config import Settings
    from core.engines import EngineModel
    from core.memory_need import LoadPlan
    from core.stats_collector import SystemStats

MEASURE_LIMIT_S = 420.0  # 20 s, and the load of a big model from a slow disk
MOST_SHARE_GB = 100_000


def quant(
    share: Annotated[
        float | None, typer.Option("--share", metavar="GB", min=0, max=MOST_SHARE_GB, help="What if I lent so much?")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Does this GGUF file, here or at https://…, fit?")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Measure a model's speed for 20 seconds.")] = False,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model to measure.")] = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which quantisations fit this machine's memory, how many sessions, how fast. Works without a running agent."""
    if measure:
        if share is not None or file is not None:
            raise typer.BadParameter("--measure goes alone, or with --model")
        typer.echo("Measuring: 20 seconds once the model is in memory. Ctrl+C stops it.", err=True)
        message, result = door.execute(profile, "measure_speed", {"model": model}, timeout_s=MEASURE_LIMIT_S)
        output.print_json({"message": message, **result}) if as_json else typer.echo(output.plain(message))
        return
    status = _status(profile)
    stats = _sample()
    facts = _tier_facts(status, stats, share)
    facts["hardware"] = _hardware(status, profile, stats)
    facts["models"] = _what_if(status, profile, facts["memory_mb"])
    if file is not None:
        facts["file"] = _file_facts(file, status, profile, stats, facts)
    if as_json:
        output.print_json(facts)
        return
    from core.cli.render_quant import quant_table

    output.print_text(quant_table(facts))


def _status(profile: str | None) -> dict[str, Any] | None:
    """What the running agent shows, None without one."""
    with contextlib.suppress(ControlError):
        return door.fetch_snapshot(profile)
    return None


def _sample() -> SystemStats:
    from core.stats_collector import StatsCollector

    collector = StatsCollector()
    try:
        return collector.collect()
    finally:
        collector.close()


def _tier_facts(status: Mapping[str, Any] | None, stats: SystemStats, share_gb: float | None) -> dict[str, Any]:
    from core.quantization import TIERS, arm_note, row_for, tier_for

    uses_gpu, assumption = _engine_uses_gpu(status, has_gpu=stats.total_vram_mb is not None)
    choice = tier_for(stats, uses_gpu)
    tier, memory_mb, reason = choice.tier, choice.memory_mb, choice.reason
    if share_gb is not None:
        memory_mb = int(share_gb * 1024)
        tier = row_for(memory_mb).tier
        reason = f"If you lend {share_gb:g} GB of {'VRAM' if uses_gpu else 'RAM'}."
        total_mb = stats.total_vram_mb if uses_gpu else stats.total_ram_mb
        if total_mb is not None and memory_mb > total_mb:
            reason += f" This machine has {memory_text(total_mb)}."
    return {
        "tier": tier,
        "reason": reason,
        "assumption": assumption,
        "memory_mb": memory_mb,
        "share_gb": share_gb,
        "total_ram_mb": stats.total_ram_mb,
        "free_ram_mb": stats.free_ram_mb,
        "total_vram_mb": stats.total_vram_mb,
        "free_vram_mb": stats.free_vram_mb,
        "arm": arm_note(platform.machine()),
        "table": [
            {"memory": row.memory, "tier": row.tier, "quantizations": row.quantizations, "quality": row.quality}
            for row in TIERS
        ],
    }


def _hardware(status: Mapping[str, Any] | None, profile: str | None, stats: SystemStats) -> dict[str, Any]:
    from core.engines.cpu_features import missing_cpu_features
    from core.hardware_facts import hardware_facts

    settings = _settings(profile)
    return hardware_facts(
        stats,
        own_pids=(status or {}).get("engine", {}).get("pids", ()),
        vram_reserve_mb=settings.vram_reserve_mb,
        ram_reserve_mb=settings.ram_reserve_mb,
        missing_cpu_features=missing_cpu_features(),
    )


def _settings(profile: str | None) -> Settings:
    """This profile's; the defaults where they can't be read: `titan config` says what is wrong with them."""
    from core.config import Settings
    from core.config_load import load_settings

    with contextlib.suppress(ConfigError, StorageError):
        return load_settings(overrides={"profile": profile}).settings
    return Settings()


def _engine_uses_gpu(status: Mapping[str, Any] | None, *, has_gpu: bool) -> tuple[bool, str]:
    """Whether models live in VRAM, and how that is known: from the running agent, else guessed from the cards."""
    if status is not None and (engine := status["engine"]["name"]):
        return status["capacity"]["kind"] == "vram", f"as the running agent's engine, {engine}"
    if has_gpu:
        return True, "if the engine uses the graphics card, as Ollama does; the embedded one uses the processor"
    return False, "no graphics card was found, so models live in RAM"


def _what_if(status: Mapping[str, Any] | None, profile: str | None, memory_mb: int | None) -> list[dict[str, Any]]:
    """One line for each model that the engine has, or for some well-known ones; none where memory isn't measured."""
    if memory_mb is None:
        return []
    from dataclasses import asdict

    from core.speed_book import find_speed
    from core.what_if import EXAMPLES, known_models, what_if

    models = known_models(_engine_models(status))
    speeds = _speeds(profile)
    device = status["engine"]["status"]["device"] if status else ""

    def speed_of(name: str) -> float | None:
        found = find_speed(speeds, name, device)
        return found.tokens_per_second if found else None

    lines = what_if(memory_mb, models, _plan(status, profile), speed_of)
    return [{**asdict(line), "is_example": models is EXAMPLES} for line in lines]


def _engine_models(status: Mapping[str, Any] | None) -> list[EngineModel]:
    from core.engines import EngineModel
    from core.fit import shape_of_json

    return [
        EngineModel(
            name=model["name"],
            size_bytes=model["size_bytes"],
            quant=model["quant"],
            context_tokens=model["context_tokens"],
            is_selftest=model["is_selftest"],
            shape=shape_of_json(model),
        )
        for model in (status or {}).get("models", ())
    ]


def _plan(status: Mapping[str, Any] | None, profile: str | None) -> LoadPlan:
    """How the running engine loads; without one, as the embedded engine would with this profile's settings."""
    from core.engines.worker_main import PROMPT_STEP_CPU_TOKENS
    from core.memory_need import LoadPlan, embedded_plan

    if status is not None and status.get("load_plan"):
        return LoadPlan(**status["load_plan"])
    settings = _settings(profile)
    return embedded_plan(
        sessions=settings.max_concurrent_jobs,
        context_tokens=settings.context_tokens,
        batch_tokens=PROMPT_STEP_CPU_TOKENS,
    )


def _speeds(profile: str | None) -> tuple[Any, ...]:
    from core.config_load import load_settings
    from core.speed_book import SpeedBook

    with contextlib.suppress(ConfigError, StorageError):
        return SpeedBook(load_settings(overrides={"profile": profile}).paths.speeds_file).read()
    return ()


def _file_facts(
    wanted: str, status: Mapping[str, Any] | None, profile: str | None, stats: SystemStats, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The verdict on one file. Raises ModelError."""
    from dataclasses import replace

    from core.fit import Room, judge, room_of_json
    from core.model_shape import shape_of

    values, size_bytes = _read_head(wanted)
    if status is not None:
        room = room_of_json(status)
    else:
        room = Room(
            kind="vram" if stats.total_vram_mb is not None else "ram",
            free_mb=facts["memory_mb"],
            budget_mb=facts["memory_mb"],
            plan=_plan(status, profile),
        )
    if facts["share_gb"] is not None:
        room = replace(room, free_mb=facts["memory_mb"], budget_mb=facts["memory_mb"])
    verdict = judge(size_bytes, room, shape_of(values))
    return {
        "file": wanted,
        "size_bytes": size_bytes,
        "fit": verdict.fit,
        "sentence": verdict.sentence,
        "needed_mb": verdict.needed_mb,
    }


def _read_head(wanted: str) -> tuple[Mapping[str, object], int]:
    """(metadata, size of all parts). A part of a split file stands for the whole."""
    from core.gguf_reader import DamagedGguf, open_local, read_metadata
    from core.remote_head import is_web_address, read_remote_metadata

    if is_web_address(wanted):
        return read_remote_metadata(wanted)
    from core.engines.model_files import parts_of

    try:
        parts = parts_of(Path(wanted))
        with open_local(parts[0]) as source:
            return read_metadata(source), sum(part.stat().st_size for part in parts)
    except DamagedGguf as error:
        raise ModelError(f"{wanted} is no model's file: {error}", hint="Download the file again.") from None
    except OSError as error:
        raise ModelError(f"{wanted} cannot be read: {error.strerror or error}", hint="Check the path.") from None
