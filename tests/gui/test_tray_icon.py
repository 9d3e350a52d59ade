"""The icons: one per mood, told apart without colour, visible on any panel, sharp at every size."""

from __future__ import annotations

import itertools

import pytest
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer
from pytestqt.qtbot import QtBot

from core.assets_path import asset_path
from titan_gui.theme import contrast
from titan_gui.tray_icon import SIZES_PX, app_icon, mood_icon, mood_images
from titan_gui.view_model import Mood

PANELS = ("#ffffff", "#f0f0f0", "#1e1e1e", "#000000")
PAIRS = list(itertools.combinations(Mood, 2))


def pixels(image: QImage) -> list[QColor]:
    return [image.pixelColor(x, y) for y in range(image.height()) for x in range(image.width())]


def shape(image: QImage) -> list[bool]:
    """Where the icon stands out from the panel, without its colours: its own tone, not the white in it."""
    return [colour.alpha() > 127 and colour.lightnessF() < 0.85 for colour in pixels(image)]


@pytest.mark.parametrize("size_px", [16, 22, 64])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_no_two_moods_have_the_same_shape(qtbot: QtBot, one: Mood, other: Mood, size_px: int) -> None:
    first, second = shape(mood_images(one)[size_px]), shape(mood_images(other)[size_px])
    different = sum(a != b for a, b in zip(first, second, strict=True))
    assert different > 0.12 * size_px**2


@pytest.mark.parametrize("mood", list(Mood))
def test_every_icon_stands_out_from_light_and_dark_panels(qtbot: QtBot, mood: Mood) -> None:
    solid = [colour for colour in pixels(mood_images(mood)[64]) if colour.alpha() == 255 and colour.lightnessF() < 0.85]
    for panel in PANELS:
        assert min(contrast(colour, QColor(panel)) for colour in solid[:: len(solid) // 50]) >= 3  # WCAG 2, graphics


@pytest.mark.parametrize("mood", list(Mood))
def test_an_icon_fills_its_square_at_every_size(qtbot: QtBot, mood: Mood) -> None:
    for size_px in SIZES_PX:
        image = mood_images(mood)[size_px]
        seen = [[image.pixelColor(x, y).alpha() > 60 for x in range(size_px)] for y in range(size_px)]
        assert any(seen[-1]) or any(seen[-2])
        assert sum(map(any, seen)) >= 0.85 * size_px
    assert {size.width() for size in mood_icon(mood).availableSizes()} == set(SIZES_PX)


def test_edges_on_the_pixel_grid_are_sharp_at_16_32_and_64(qtbot: QtBot) -> None:
    """The pause bars lie on the grid of 16: no half-covered column beside them."""
    for size_px in (16, 32, 64):
        row = [mood_images(Mood.PAUSED)[size_px].pixelColor(x, size_px // 2) for x in range(size_px)]
        assert {colour.name() for colour in row} == {"#75757f", "#ffffff"}


@pytest.mark.parametrize("mood", list(Mood))
def test_the_pictures_are_those_of_the_drawing(qtbot: QtBot, mood: Mood) -> None:
    """After a change of the drawing: scripts/make-icons."""
    renderer = QSvgRenderer(str(asset_path("icons", "tray", f"{mood.value}.svg")))
    for size_px, picture in mood_images(mood).items():
        drawn = QImage(size_px, size_px, QImage.Format.Format_ARGB32_Premultiplied)
        drawn.fill(Qt.GlobalColor.transparent)
        painter = QPainter(drawn)
        renderer.render(painter, QRectF(0, 0, size_px, size_px))
        painter.end()
        pairs = zip(pixels(picture), pixels(drawn), strict=True)
        assert max(abs(one.alpha() - other.alpha()) for one, other in pairs) <= 32  # versions of Qt may differ a little


def test_the_programs_own_icon_is_there(qtbot: QtBot) -> None:
    assert app_icon().availableSizes()
