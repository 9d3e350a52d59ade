"""A download in words: what it would bring, and how far it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.cli import output
from core.cli.durations import format_duration
from core.pull_offer import PullChoice, PullOffer
from core.sizes import size_text

BAR_WIDTH = 30


def offer_lines(offer: PullOffer) -> list[str]:
    """The choices with the one that is put forward marked, what that one needs, and the disk."""
    lines = []
    if len(offer.choices) > 1:
        names = [choice_name(choice) for choice in offer.choices]
        width = max(map(len, names))
        for number, choice in enumerate(offer.choices):
            mark = "→" if number == offer.best else " "
            said = [
                choice.fit,
                *(["here already"] if choice.is_here else []),
                *(["no room on the disk"] if choice.disk_problem else []),
            ]
            lines.append(f"{mark} {names[number]:<{width}}  {size_text(choice.size_bytes):>9}  {', '.join(said)}")
    lines.append(choice_line(offer, offer.best))
    if offer.note:
        lines.append(offer.note)
    return [output.plain(line) for line in lines]


def choice_line(offer: PullOffer, number: int) -> str:
    """ "Q4_K_M: fits. Needs 6.7 GB of memory ...; 4.9 GB to download, 120.3 GB free on the disk." """
    choice = offer.choices[number]
    parts = [f"{choice_name(choice)}: {choice.fit}. {choice.sentence}"] if choice.sentence else []
    size = "How much is to be downloaded isn't known yet"
    if choice.size_bytes:
        size = f"{'About ' if choice.is_guess else ''}{size_text(choice.size_bytes)} to download"
    free = f", {size_text(offer.free_bytes)} free on the disk" if offer.free_bytes is not None else ""
    return " ".join([*parts, f"{size}{free}."])


def choice_name(choice: PullChoice) -> str:
    return choice.pull_name.rpartition(":")[2] if "/" in choice.pull_name else choice.pull_name


def progress_line(view: Mapping[str, Any]) -> str:
    """One line of text: a bar, how much of how much, how fast, and how long it will take."""
    done, total = view["completed_bytes"], view["total_bytes"]
    if not total or done is None:
        return output.plain(str(view["status"]))
    filled = int(BAR_WIDTH * min(1.0, done / total))
    parts = [
        f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]",
        f"{done / total:4.0%}",
        f"{size_text(done)} of {size_text(total)}",
    ]
    if speed := view["bytes_per_second"]:
        parts += [f"{size_text(speed)}/s", f"{format_duration((total - done) / speed)} left"]
    return "  ".join(parts)
