"""The icon of each mood, at every size that a panel may ask for.

One file serves light and dark panels: no program can ask a Linux panel for its colour, so each shape has a middle tone
that stands out from white and from black (tests/gui/test_tray_icon.py). The shapes differ, not only the colours.

They are drawn from the SVG beforehand (scripts/make-icons): at each start that took 30 ms and 3 MB.
"""

from __future__ import annotations

from functools import cache

from PySide6.QtGui import QIcon, QImage, QPixmap

from core.assets_path import asset_path
from titan_gui.view_model import Mood

SIZES_PX = (16, 18, 20, 22, 24, 32, 36, 40, 44, 48, 64)  # 16 to 32 and their doubles, as panels have them


@cache
def mood_icon(mood: Mood) -> QIcon:
    """Kept for the life of the program: six icons are 0.3 MB. Needs a QGuiApplication."""
    icon = QIcon()
    for image in mood_images(mood).values():
        icon.addPixmap(QPixmap.fromImage(image))
    return icon


def mood_images(mood: Mood) -> dict[int, QImage]:
    """Square pictures with a transparent ground, by their size in pixels. Their file has them side by side."""
    strip = QImage(str(asset_path("icons", "tray", f"{mood.value}.png")))
    images, left = {}, 0
    for size_px in SIZES_PX:
        images[size_px] = strip.copy(left, 0, size_px, size_px)
        left += size_px
    return images


@cache
def app_icon() -> QIcon:
    """The program's own icon, for windows and task bars."""
    return QIcon(str(asset_path("icons", "png", "titancompute-256.png")))
