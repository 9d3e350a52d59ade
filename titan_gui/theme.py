"""Every fixed colour of the window, in a light and a dark variant, and the font feature that keeps numbers still.

Everything else comes from the system's palette. State colours keep a contrast of 4.5 or more against the palette's
window and base colours of Qt's own light and dark schemes (tests/gui/test_theme.py); a shape or a word always stands
beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from PySide6.QtGui import QColor, QFont, QGuiApplication, QPalette

from core.time_use import Doing
from titan_gui.view_model import Mood

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget


MANY = 64  # palettes, for which something is worked out once: with a new theme 600 widgets ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """One variant. Names are "#rrggbb"."""

    moods: dict[Mood, str]
    ours: str  # our own use in charts and bars
    others: str  # use by other programs
    whole: str  # where it can't be told whose it is
    cards: tuple[str, ...]  # one line per graphics card, from the third on again from the start with dashes
    paused_band: str  # "#aarrggbb", behind a chart
    offline_band: str


LIGHT = Colours(
    moods={
        Mood.SERVING: "#1a6b34",
        Mood.READY: "#1a5fb4",
        Mood.PAUSED: "#5c5c66",
        Mood.DRAINING: "#7a5200",
        Mood.ATTENTION: "#b3261e",
        Mood.OFFLINE: "#5c5c66",
    },
    ours="#1a5fb4",
    others="#c77700",
    whole="#6b6b76",
    cards=("#1a5fb4", "#b5541c", "#117a65", "#8e3a9d"),
    paused_band="#30808080",
    offline_band="#30c0392b",
)
DARK = Colours(
    moods={
        Mood.SERVING: "#6fd58b",
        Mood.READY: "#8ab8ff",
        Mood.PAUSED: "#c0c0ca",
        Mood.DRAINING: "#f0c060",
        Mood.ATTENTION: "#ff9a90",
        Mood.OFFLINE: "#c0c0ca",
    },
    ours="#6aa8ff",
    others="#f0a840",
    whole="#a0a0ac",
    cards=("#6aa8ff", "#ff9d5c", "#4fd0b5", "#d99bf0"),
    paused_band="#40909090",
    offline_band="#40e06050",
)


# What the agent did has the colour of the icon's mood at that time; a pattern stands beside it.
_MOOD_OF_DOING = {
    Doing.SERVING: Mood.SERVING,
    Doing.READY: Mood.READY,
    Doing.PREPARING: Mood.READY,
    Doing.PAUSED: Mood.PAUSED,
    Doing.UNREACHABLE: Mood.DRAINING,
    Doing.BROKEN: Mood.ATTENTION,
    Doing.ASLEEP: Mood.OFFLINE,
    Doing.OFF: Mood.OFFLINE,
}


def doing_colour(palette: QPalette, what: Doing) -> QColor:
    return QColor(colours_of(palette).moods[_MOOD_OF_DOING[what]])


def is_dark(palette: QPalette) -> bool:
    """Whether text is lighter than what it stands on, whatever the theme calls itself."""
    return _is_lighter(palette.windowText().color().rgba(), palette.window().color().rgba())


@lru_cache(MANY)
def _is_lighter(one: int, other: int) -> bool:
    return _luminance(QColor.fromRgba(one)) > _luminance(QColor.fromRgba(other))


def colours_of(palette: QPalette) -> Colours:
    return DARK if is_dark(palette) else LIGHT


def contrast(one: QColor, other: QColor) -> float:
    """The ratio that WCAG 2 defines: 1 to 21; text needs 4.5."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def tabular(font: QFont, *, scale: float = 1.0, bold: bool = False) -> QFont:
    """A copy of `font` whose digits all have one width, so that a changing number moves nothing."""
    copy = QFont(font)
    copy.setFeature(QFont.Tag("tnum"), 1)
    if scale != 1.0:
        if copy.pointSizeF() > 0:
            copy.setPointSizeF(copy.pointSizeF() * scale)
        else:
            copy.setPixelSize(max(1, round(copy.pixelSize() * scale)))
    copy.setBold(bold)
    return copy


def dimmed(palette: QPalette) -> QColor:
    """For what is said second: the text colour moved towards the background, still readable (4.5 or more)."""
    return QColor(_between(palette.windowText().color().rgba(), palette.window().color().rgba()))


@lru_cache(MANY)
def _between(text_rgba: int, ground_rgba: int) -> QColor:
    text, ground = QColor.fromRgba(text_rgba), QColor.fromRgba(ground_rgba)
    share = 0.30
    mixed = QColor.fromRgbF(
        text.redF() * (1 - share) + ground.redF() * share,
        text.greenF() * (1 - share) + ground.greenF() * share,
        text.blueF() * (1 - share) + ground.blueF() * share,
    )
    return QColor.fromRgba(mixed.rgba())  # of 8 bits a part, as those that it is compared with


def tint(widget: QWidget, colour: QColor) -> None:
    """Give a widget's text a colour. Nothing else of its palette is fixed, so the rest goes on following the theme."""
    if widget.palette().windowText().color() != colour:
        widget.setPalette(_tinted(QGuiApplication.palette().cacheKey(), colour.rgba()))


@lru_cache(MANY)
def _tinted(_: int, rgba: int) -> QPalette:
    """One for all widgets of that colour, as long as the application's palette is what it is."""
    palette = QPalette()  # the application's; a widget's own or QApplication.palette() would fix every role
    palette.setColor(QPalette.ColorRole.WindowText, QColor.fromRgba(rgba))
    return palette


def _luminance(colour: QColor) -> float:
    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)

    return 0.2126 * linear(colour.redF()) + 0.7152 * linear(colour.greenF()) + 0.0722 * linear(colour.blueF())
