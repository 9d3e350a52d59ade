"""How each engine loads a model by the owner's settings, and what the embedded one may take of the RAM."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from core.capacity import automatic_reserve_mb, least_free_mb
from core.config import Settings
from core.engines import Engine
from core.engines.worker_main import PROMPT_STEP_CPU_TOKENS, PROMPT_STEP_GPU_TOKENS
from core.host_meter import Host, PsutilHost
from core.memory_need import LoadPlan, embedded_plan, ollama_plan


def load_plan(engine: Engine, settings: Settings, environ: Mapping[str, str] = os.environ) -> LoadPlan | None:
    """The plan that this engine loads by, None for one that decides it elsewhere."""
    if engine.name == "embedded":
        is_on_card = bool(engine.status.device) and not engine.status.device.startswith("CPU")
        return embedded_plan(
            sessions=settings.max_concurrent_jobs,
            context_tokens=settings.context_tokens,
            batch_tokens=PROMPT_STEP_GPU_TOKENS if is_on_card else PROMPT_STEP_CPU_TOKENS,
        )
    if engine.name == "ollama":
        parallel = environ.get("OLLAMA_NUM_PARALLEL", "")
        return ollama_plan(
            context_tokens=settings.context_tokens,
            sessions=max(1, int(parallel)) if parallel.isdecimal() else 1,
            cache_type=_ollama_cache_type(environ),
        )
    return None


def _ollama_cache_type(environ: Mapping[str, str]) -> str:
    """As Ollama reads it: another than f16 counts only with flash attention."""
    asked = environ.get("OLLAMA_KV_CACHE_TYPE", "").strip().lower()
    has_flash = environ.get("OLLAMA_FLASH_ATTENTION", "").strip().lower() in ("1", "t", "true")
    return asked if asked in ("q8_0", "q4_0") and has_flash else "f16"


def lendable_ram_mb(settings: Callable[[], Settings], host: Host | None = None) -> Callable[[int], int]:
    """What models may take of the RAM now, MiB, once what ours holds (the argument, MiB) is back: what is free then,
    less what must stay free (or a load would at once be one too many), and never more than the owner lends (all but
    the reserve, or ram_budget_mb).

    0 where RAM isn't measured.
    """
    meter = host or PsutilHost()

    def read(own_mb: int) -> int:
        ram, now = meter.ram(), settings()
        if ram is None:
            return 0
        reserve_mb = now.ram_reserve_mb or automatic_reserve_mb(ram.total_mb)
        budget_mb = ram.total_mb - reserve_mb
        if now.ram_budget_mb:
            budget_mb = min(budget_mb, now.ram_budget_mb)
        return max(0, min(budget_mb, ram.available_mb + own_mb - least_free_mb(ram.total_mb)))

    return read
