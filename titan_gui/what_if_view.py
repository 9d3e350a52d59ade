"""What the models page says of another share of the memory. Pure: a snapshot and a number in, lines of text out."""

from __future__ import annotations

from dataclasses import dataclass

from core.memory_need import LoadPlan, embedded_plan
from core.plurals import counted
from core.quantization import row_for
from core.snapshot import AgentSnapshot
from core.speed_book import find_speed, rate_text
from core.what_if import EXAMPLES, WhatIf, known_models, what_if
from titan_gui.view_model import memory_text, size_text

MOST_LINES = 6  # the page has other things to show
EXAMPLE_NOTE = "Well-known models as examples; of your own the program doesn't know enough yet."
_USUAL_PLAN: LoadPlan = embedded_plan(sessions=4, context_tokens=4096, batch_tokens=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareView:
    """What so many gigabytes are good for."""

    headline: str
    lines: tuple[str, ...]
    note: str = ""


def most_gb(snapshot: AgentSnapshot) -> int:
    """The whole gigabytes of the memory that models live in; 0 while it isn't measured."""
    machine = snapshot.machine
    if machine is None:
        return 0
    total_mb = machine.total_vram_mb if snapshot.capacity.kind == "vram" else machine.total_ram_mb
    return (total_mb or 0) // 1024


def lent_gb(snapshot: AgentSnapshot) -> int:
    """What is lent now, in whole gigabytes, at least one."""
    return max(1, snapshot.capacity.total_mb // 1024)


def share_view(snapshot: AgentSnapshot, share_gb: int) -> ShareView:
    where = "graphics memory" if snapshot.capacity.kind == "vram" else "memory"
    row = row_for(share_gb * 1024)
    models = known_models(snapshot.models)
    device = snapshot.engine.status.device

    def speed_of(name: str) -> float | None:
        found = find_speed(snapshot.speeds, name, device)
        return found.tokens_per_second if found else None

    shown = models[:MOST_LINES]
    found = what_if(share_gb * 1024, shown, snapshot.load_plan or _USUAL_PLAN, speed_of)
    lines = [_line(line, is_example=models is EXAMPLES) for line in found]
    if len(models) > len(shown):
        lines.append(f"… and {counted(len(models) - len(shown), 'model')} more")
    return ShareView(
        headline=f"With {share_gb} GB of {where}: {row.quality.lower()} quality ({row.tier})",
        lines=tuple(lines),
        note=EXAMPLE_NOTE if models is EXAMPLES else "",
    )


def _line(line: WhatIf, *, is_example: bool) -> str:
    if not line.quant:
        return f"{line.model}: does not fit; it needs {memory_text(line.needed_mb)} at least"
    parts = [
        line.quant,
        memory_text(line.needed_mb),
        f"{counted(line.sessions, 'session')} of {line.context_tokens:,} tokens at once",
    ]
    if line.most_sessions > line.sessions:
        parts.append(f"room for {line.most_sessions}")
    if line.tokens_per_second is not None:
        parts.append(f"{rate_text(line.tokens_per_second)} tokens per second, measured here")
    if not line.is_here and not is_example:
        parts.append(f"to be downloaded, {size_text(line.size_bytes)}")
    return f"{line.model}: {', '.join(parts)}"
