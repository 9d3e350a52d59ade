"""How fast does a model answer here? Twenty seconds of real prompts, on the owner's click."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QToolButton, QVBoxLayout, QWidget

from core.snapshot import AgentSnapshot

if TYPE_CHECKING:
    from titan_gui.widgets.measure_body import MeasureBody


class MeasurePanel(QWidget):
    """Closed until it is asked for; opened by itself while something is measured. Most owners never open it, so what
    is in it is made, and imported, only then."""

    measure_requested = Signal(str)
    stop_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._snapshot: AgentSnapshot | None = None
        self.body: MeasureBody | None = None
        self.toggle = QToolButton()
        self.toggle.setText(self.tr("How fast does a model answer here?"))
        self.toggle.setCheckable(True)
        self.toggle.setAutoRaise(True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setArrowType(Qt.ArrowType.RightArrow)
        self.toggle.toggled.connect(self._on_toggle_toggled)
        self._lines = QVBoxLayout(self)
        self._lines.setContentsMargins(0, 0, 0, 0)
        self._lines.addWidget(self.toggle)

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        has_begun = snapshot.measuring is not None and (self._snapshot is None or self._snapshot.measuring is None)
        self._snapshot = snapshot
        if has_begun:
            self.toggle.setChecked(True)
        self._show()

    def show_answered(self) -> None:
        """The command is over, well or not."""
        if self.body is not None:
            self.body.show_answered()

    def _show(self) -> None:
        if self.body is not None and self._snapshot is not None and self.toggle.isChecked():
            self.body.show_snapshot(self._snapshot)

    def _on_toggle_toggled(self, is_open: bool) -> None:
        self.toggle.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        if self.body is None:
            self.body = self._make_body()
        self.body.setVisible(is_open)
        self._show()

    def _make_body(self) -> MeasureBody:
        from titan_gui.widgets.measure_body import MeasureBody

        body = MeasureBody()
        body.measure_requested.connect(self.measure_requested)
        body.stop_requested.connect(self.stop_requested)
        self._lines.addWidget(body)
        return body
