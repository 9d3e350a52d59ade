"""A slider that asks "what if I lent so much?" and changes nothing."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSlider, QToolButton, QVBoxLayout, QWidget

from core.snapshot import AgentSnapshot
from titan_gui.what_if_view import lent_gb, most_gb, share_view
from titan_gui.widgets.notes import Note, dim_note


class WhatIfPanel(QWidget):
    """Closed until it is asked for. Nothing that is moved here is a setting."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._snapshot: AgentSnapshot | None = None
        self._said: tuple[object, ...] = ()  # what the shown text is the answer to
        self._is_moved = False  # by the owner; until then it stands at what is lent
        self.toggle = QToolButton()
        self.toggle.setText(self.tr("What if I lent more or less?"))
        self.toggle.setCheckable(True)
        self.toggle.setAutoRaise(True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setArrowType(Qt.ArrowType.RightArrow)
        self.toggle.toggled.connect(self._on_toggle_toggled)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setMinimum(1)
        self.slider.setAccessibleName(self.tr("Memory to try out, in gigabytes"))
        self.slider.valueChanged.connect(self._on_slider_value_changed)
        self._headline, self._lines, self._note = Note(), Note(), dim_note()
        font = self._headline.font()
        font.setBold(True)
        self._headline.setFont(font)
        self._body = QWidget()
        body = QVBoxLayout(self._body)
        body.setContentsMargins(0, 0, 0, 0)
        for widget in (self._headline, self.slider, self._lines, self._note):
            body.addWidget(widget)
        self._body.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.toggle)
        layout.addWidget(self._body)
        self.setVisible(False)

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        """Follow what is known; where the memory isn't measured there is nothing to ask."""
        self._snapshot = snapshot
        most = most_gb(snapshot)
        self.setVisible(most > 1)
        if most <= 1:
            return
        self.slider.blockSignals(True)
        self.slider.setMaximum(most)
        if not self._is_moved:
            self.slider.setValue(lent_gb(snapshot))
        self.slider.blockSignals(False)
        self._say()

    def _say(self) -> None:
        snapshot = self._snapshot
        if snapshot is None or not self.toggle.isChecked():
            return
        asked = (snapshot.models, snapshot.load_plan, snapshot.speeds, snapshot.capacity.kind, self.slider.value())
        if asked == self._said:  # snapshots come twice a second, and most change nothing here
            return
        self._said = asked
        view = share_view(snapshot, self.slider.value())
        self._headline.say(view.headline)
        self._lines.say("\n".join(view.lines))
        self._note.say(view.note)

    def _on_toggle_toggled(self, is_open: bool) -> None:
        self.toggle.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self._body.setVisible(is_open)
        self._say()

    def _on_slider_value_changed(self, _: int) -> None:
        self._is_moved = True
        self._say()
