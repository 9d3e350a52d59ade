"""What somebody with sharp eyes, a screen reader or no mouse finds wrong with a window: sentences, [] when fine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QAccessible, QPalette
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QScrollArea,
    QScrollBar,
    QTabBar,
    QWidget,
)

from titan_gui.theme import contrast
from titan_gui.widgets.text_labels import ElidedLabel

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTabBar,
)
LEAST_TARGET = 14  # a click's target, pixels; less than any of a style's own controls has
MOST_STEPS = 600
SWATCH = "■"  # a legend's


def shown(top: QWidget) -> Iterator[QWidget]:
    """All that is laid out in the window, scrolled out of sight or not."""
    for widget in top.findChildren(QWidget):
        if widget.isVisibleTo(top) and widget.window() is top.window():
            yield widget


def named(widget: QWidget) -> str:
    """How a complaint calls it."""
    text = widget.text() if isinstance(widget, QLabel | QAbstractButton | QLineEdit) else ""
    if isinstance(widget, ElidedLabel):
        text = widget.text
    parents: list[str] = []
    parent = widget.parentWidget()
    while parent is not None and len(parents) < 2:
        parents.append(type(parent).__name__)
        parent = parent.parentWidget()
    return f"{'/'.join(reversed(parents))}/{type(widget).__name__} {(text or widget.accessibleName())[:60]!r}"


def cut_texts(top: QWidget) -> list[str]:
    """Texts that get less room than they need. An ElidedLabel says the whole in its tool tip, so it may."""
    found = []
    for widget in shown(top):
        if isinstance(widget, QLabel) and widget.text():
            if widget.wordWrap():
                needed = widget.heightForWidth(widget.width())
                if widget.height() < needed - 1:
                    found.append(f"{named(widget)} is {widget.height()} px high and needs {needed}")
            elif widget.width() < widget.minimumSizeHint().width() - 1:
                found.append(
                    f"{named(widget)} is {widget.width()} px wide and needs {widget.minimumSizeHint().width()}"
                )
        elif isinstance(widget, QAbstractButton | QComboBox) and not _is_part(widget):
            needed_size = widget.minimumSizeHint()
            if widget.width() < needed_size.width() - 1 or widget.height() < needed_size.height() - 1:
                found.append(f"{named(widget)} is {widget.size().toTuple()} and needs {needed_size.toTuple()}")
    return found


def overlaps(top: QWidget) -> list[str]:
    """Widgets of one parent that lie on each other, and widgets that stick out of their parent."""
    found = []
    for parent in (top, *shown(top)):
        if isinstance(parent, QAbstractScrollArea | QComboBox | QAbstractSpinBox | QLineEdit) or _is_part(parent):
            continue
        children = [
            child
            for child in parent.children()
            if isinstance(child, QWidget) and child.isVisibleTo(top) and not child.isWindow() and child.size().isValid()
        ]
        for row, child in enumerate(children):
            if not parent.rect().adjusted(-1, -1, 1, 1).contains(child.geometry()) and not _is_scrolled(parent):
                found.append(f"{named(child)} sticks out of {named(parent)}")
            for other in children[row + 1 :]:
                both: QRect = child.geometry().intersected(other.geometry())
                if both.width() > 1 and both.height() > 1:
                    found.append(f"{named(child)} lies on {named(other)}")
    return found


def too_wide(top: QWidget) -> list[str]:
    """Areas that would have to be scrolled sideways, or can't be and hide a part."""
    found = []
    for area in shown(top):
        content = area.widget() if isinstance(area, QScrollArea) else None
        if isinstance(area, QScrollArea) and content is not None:
            spare = area.viewport().width() - content.width()
            if spare < 0:
                found.append(f"{named(area)} hides {-spare} px at the side")
    return found


def weak_contrasts(top: QWidget) -> list[str]:
    """Texts that stand out too little from both grounds that they may stand on."""
    found = []
    for widget in shown(top):
        if isinstance(widget, QLabel | ElidedLabel | QAbstractButton) and widget.isEnabledTo(top):
            palette, role = widget.palette(), QPalette.ColorRole
            is_button = isinstance(widget, QAbstractButton)
            text = palette.color(role.ButtonText if is_button else role.WindowText)
            if isinstance(widget, QLabel) and widget.text() == SWATCH:
                continue  # no text: tests/gui/test_theme.py
            grounds = (
                (QPalette.ColorRole.Button,) if is_button else (QPalette.ColorRole.Window, QPalette.ColorRole.Base)
            )
            worst = min(contrast(text, palette.color(ground)) for ground in grounds)
            if worst < 4.5:
                found.append(f"{named(widget)} has a contrast of {worst:.1f}")
    return found


def nameless(top: QWidget) -> list[str]:
    """Controls of which a screen reader could only say what kind they are; and targets too small to hit."""
    found = []
    for widget in shown(top):
        if not isinstance(widget, CONTROLS) or _is_part(widget):
            continue
        interface = QAccessible.queryAccessibleInterface(widget)
        if not interface.text(QAccessible.Text.Name).strip():
            found.append(f"{named(widget)} has no name")
        if min(widget.width(), widget.height()) < LEAST_TARGET and widget.focusPolicy() != Qt.FocusPolicy.NoFocus:
            found.append(f"{named(widget)} is only {widget.width()} x {widget.height()} px")
    return found


def out_of_reach(top: QWidget) -> list[str]:
    """Controls that the mouse can use and the Tab key doesn't come to, and such as it doesn't leave."""
    wanted = {
        widget
        for widget in shown(top)
        if isinstance(widget, CONTROLS)
        and not _is_part(widget)
        and widget.isEnabledTo(top)
        and not widget.testAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    }
    reached: set[QWidget] = set()
    for _ in range(MOST_STEPS):
        focused = QApplication.focusWidget()
        if focused is None:
            return ["nothing has the keyboard"]
        QTest.keyClick(focused, Qt.Key.Key_Tab)
        now = QApplication.focusWidget()
        if now is focused:
            return [f"{named(focused)} doesn't let the keyboard go"]
        if now in reached:
            break
        if now is not None:
            reached.add(now)
    return [f"{named(widget)} isn't reached" for widget in wanted - reached if not _speaks_through(widget, reached)]


def backwards(top: QWidget, start: QWidget) -> list[str]:
    """Steps of the Tab key, from `start` on once around, that go up within `top`; into an area is no step up."""
    start.setFocus(Qt.FocusReason.OtherFocusReason)
    order: list[QWidget] = []
    focused = QApplication.focusWidget()
    while focused is not None and focused not in order and len(order) < MOST_STEPS:
        order.append(focused)
        QTest.keyClick(focused, Qt.Key.Key_Tab)
        focused = QApplication.focusWidget()
    inside = [widget for widget in order if top.isAncestorOf(widget)]
    return [
        f"from {named(before)} up to {named(after)}"
        for before, after in pairwise(inside)
        if not before.isAncestorOf(after)
        and before.mapTo(top, QPoint(0, 0)).y() > after.mapTo(top, QPoint(0, after.height())).y()
    ]


def _is_part(widget: QWidget) -> bool:
    """Of another control: its own buttons, its line edit, its headers, its scroll bars."""
    if isinstance(widget, QScrollBar) or widget.objectName().startswith("qt_"):
        return True
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QComboBox | QAbstractSpinBox | QLineEdit | QAbstractItemView):
            return True
        parent = parent.parentWidget()
    return False


def _is_scrolled(parent: QWidget) -> bool:
    return isinstance(parent.parentWidget(), QAbstractScrollArea)


def _speaks_through(widget: QWidget, reached: set[QWidget]) -> bool:
    """Radio buttons: Tab comes to one of the group, the arrow keys to the others. A proxy stands for its owner."""
    if widget.focusProxy() in reached:
        return True
    if isinstance(widget, QAbstractButton) and widget.autoExclusive():
        group = widget.group()
        members = group.buttons() if group is not None else widget.parentWidget().findChildren(type(widget))
        return any(member in reached for member in members)
    return False
