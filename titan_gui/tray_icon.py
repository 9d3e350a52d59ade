"""The icon of each mood, drawn from its SVG at every size that a panel may ask for.

One file serves light and dark panels: no program can ask a Linux panel for its colour, so each shape has a middle tone
that stands out from white and from black (tests/gui/test_tray_icon.py). The shapes differ, not only the colours.
"""

from __future__ import annotations

from functools import cache

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QIcon, QImage, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from core.assets_path import asset_path
from titan_gui.view_model import Mood

SIZES_PX = (16, 18, 20, 22, 24, 32, 36, 40, 44, 48, 64)  # 16 to 32 and their doubles, as panels have them


@cache
def mood_icon(mood: Mood) -> QIcon:
    """Kept for the life of the program: six icons are 0.3 MB. Needs a QGuiApplication."""
    icon = QIcon()
    for size_px in SIZES_PX:
        icon.addPixmap(QPixmap.fromImage(mood_image(mood, size_px)))
    return icon


def mood_image(mood: Mood, size_px: int) -> QImage:
    """One square picture with a transparent ground."""
    renderer = QSvgRenderer(str(asset_path("icons", "tray", f"{mood.value}.svg")))
    image = QImage(size_px, size_px, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    renderer.render(painter, QRectF(0, 0, size_px, size_px))
    painter.end()
    return image


@cache
def app_icon() -> QIcon:
    """The program's own icon, for windows and task bars."""
    return QIcon(str(asset_path("icons", "png", "titancompute-256.png")))
