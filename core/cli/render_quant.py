"""`titan quant` as text. Pure: values in, a renderable out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.cli.output import plain
from core.hardware_facts import sentences
from core.sizes import memory_text, size_text
from core.speed_book import rate_text


def quant_table(facts: Mapping[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [
        Text(plain(f"This machine: {facts['tier']}. {facts['reason']}" if facts.get("share_gb") is None
                   else f"{facts['tier']}. {facts['reason']}")),
        Text(f"({facts['assumption']})", style="dim"),
        Text(),
        _tiers(facts),
    ]  # fmt: skip
    if (hardware := facts.get("hardware")) is not None:
        parts += [Text(), Text(plain("\n".join(sentences(hardware))))]
    if facts.get("models"):
        parts += [Text(), _models(facts["models"])]
    if (file := facts.get("file")) is not None:
        parts += [Text(), Text(plain(f"{file['file']}: {file['fit']}. {file['sentence']}"))]
    if facts.get("arm"):
        parts += [Text(), Text(plain(facts["arm"]), style="dim")]
    return Group(*parts)


def _tiers(facts: Mapping[str, Any]) -> Table:
    table = _table("", "memory", "tier", "quantisations", "quality")
    for row in facts["table"]:
        is_ours = row["tier"] == facts["tier"]
        cells = ("→" if is_ours else "", row["memory"], row["tier"], ", ".join(row["quantizations"]), row["quality"])
        table.add_row(*(Text(plain(cell)) for cell in cells), style="bold green" if is_ours else "")
    return table


def _models(models: list[Mapping[str, Any]]) -> RenderableType:
    table = _table("model", "best that fits", "size", "needs", "sessions × context", "room for", "tokens/s")
    for row in models:
        if not row["quant"]:
            table.add_row(*(Text(plain(cell)) for cell in (row["model"], "none", "", memory_text(row["needed_mb"]))))
            continue
        rate = row["tokens_per_second"]
        table.add_row(
            Text(plain(row["model"])),
            Text(plain(row["quant"] + ("" if row["is_here"] or row["is_example"] else " (to download)"))),
            Text(size_text(row["size_bytes"])),
            Text(memory_text(row["needed_mb"])),
            Text(f"{row['sessions']} × {row['context_tokens']:,}"),
            Text(f"{row['most_sessions']}"),
            Text("–" if rate is None else rate_text(rate)),
        )
    notes = []
    if models[0]["is_example"]:
        notes.append("Well-known models as examples: the engine has none of its own whose need can be computed.")
    if any(not row["quant"] for row in models):
        notes.append("“none”: even the smallest quantisation needs more, for one session.")
    if any(row["tokens_per_second"] is None for row in models) and not models[0]["is_example"]:
        notes.append("Speeds are only told where they were measured here: titan quant --measure --model NAME")
    return Group(table, *(Text(note, style="dim") for note in notes))


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
