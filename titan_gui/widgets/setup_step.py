"""What the steps of the setup share."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QVBoxLayout,
    QWidget,
)

from core.config import DECLARATIONS
from core.config_load import Origin
from core.snapshot import AgentSnapshot
from titan_gui.settings_text import is_locked, lock_text
from titan_gui.setup_draft import SetupDraft
from titan_gui.widgets.notes import Note, dim_note

Origins = Mapping[str, Origin]


class SetupStep(QWidget):
    """What all steps share. `show_draft` fills the controls, `answered` puts what they hold into a draft."""

    edited = Signal()

    title = ""
    intro = ""

    def __init__(self, origins: Origins) -> None:
        super().__init__()
        self.origins = origins
        self.lines = QVBoxLayout(self)
        self.lines.setContentsMargins(0, 0, 0, 0)
        self.lines.setSpacing(10)
        self.lines.addWidget(Note(self.tr(self.intro)))

    def show_draft(self, draft: SetupDraft) -> None:
        raise NotImplementedError

    def answered(self, draft: SetupDraft) -> SetupDraft:
        raise NotImplementedError

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        """What the running agent knows by now."""

    def lock(self, name: str, *controls: QWidget) -> None:
        """Grey out what the environment or the command line decides, and say so."""
        declaration, origin = DECLARATIONS[name], self.origins[name]
        if is_locked(declaration, origin):
            for control in controls:
                control.setEnabled(False)
            self.lines.addWidget(dim_note(lock_text(declaration, origin)))
