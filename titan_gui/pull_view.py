"""What the window asks before a download: its choices, verdicts and the disk as text. Pure."""

from __future__ import annotations

from core.fit import Fit
from core.pull_offer import PullChoice, PullOffer
from titan_gui.plain_text import plain, sentences
from titan_gui.view_model import size_text

FIT_WORDS = {
    Fit.FITS: "Fits",
    Fit.TIGHT: "Tight",
    Fit.PARTLY: "Partly on the graphics card",
    Fit.TOO_BIG: "Too big",
    Fit.UNKNOWN: "Unknown",
}


def choice_text(choice: PullChoice) -> str:
    """ "Q4_K_M · 4.9 GB · Fits"."""
    parts = [
        choice.quant or choice.pull_name.rpartition(":")[2],
        size_text(choice.size_bytes) if choice.size_bytes else "",
        FIT_WORDS[Fit(choice.fit)],
        "no room on the disk" if choice.disk_problem else "",
        "here already" if choice.is_here else "",
    ]
    return " · ".join(part for part in parts if part)


def verdict_text(choice: PullChoice) -> str:
    """The verdict with its numbers; "" where nothing is known."""
    return f"{FIT_WORDS[Fit(choice.fit)]}. {choice.sentence}" if choice.sentence else ""


def disk_text(offer: PullOffer, choice: PullChoice) -> str:
    """ "4.9 GB to download; 120.3 GB are free on the disk." """
    free = f"{size_text(offer.free_bytes)} are free on the disk" if offer.free_bytes is not None else ""
    about = "About " if choice.is_guess else ""
    size = f"{about}{size_text(choice.size_bytes)} to download" if choice.size_bytes else ""
    here = "It is here already" if choice.is_here and not offer.note else ""
    return sentences(here, "; ".join(part for part in (size, free) if part), offer.note)


def problem_text(choice: PullChoice) -> str:
    """Why it can't come; "" when it can."""
    if not choice.disk_problem:
        return ""
    return sentences(
        plain(choice.disk_problem), "Free some space, allow more disk in the settings, or choose a smaller one"
    )


def is_too_big(choice: PullChoice) -> bool:
    return Fit(choice.fit) is Fit.TOO_BIG
