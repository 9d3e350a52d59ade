"""The dashboard's first lines: the mood's shape, one sentence, what to do; the other reasons below, smaller."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from core.snapshot import AgentSnapshot
from titan_gui.plain_text import plain, sentences
from titan_gui.remedies import Does
from titan_gui.rules_view import what_to_do
from titan_gui.theme import colours_of, tint
from titan_gui.tray_icon import mood_icon
from titan_gui.view_model import Headline, headline_of
from titan_gui.widgets.action_buttons import ActionButtons
from titan_gui.widgets.stat_tile import Card
from titan_gui.widgets.text_labels import TextLabel, WrappedLabel

ICON_PX = 40
_ON_THE_SWITCH = frozenset({Does.START, Does.RESUME, Does.FOLLOW_RULES})  # it has these buttons itself


class HeadlineCard(Card):
    """State, reason and remedy, with a place for the switch below."""

    action_requested = Signal(object)  # remedies.Action

    def __init__(self, switch: QWidget) -> None:
        super().__init__()
        self._headline: Headline | None = None
        self._others: tuple[str, ...] = ()
        self._icon = QLabel()
        self._icon.setFixedSize(ICON_PX, ICON_PX)
        self._state = TextLabel(scale=1.5, bold=True)
        self._sentence = WrappedLabel(scale=1.1)
        self._remedy = WrappedLabel()
        self._others_label = WrappedLabel(scale=0.9, is_quiet=True)
        self.actions_row = ActionButtons()
        self.actions_row.action_requested.connect(self.action_requested)
        words = QVBoxLayout()
        words.setSpacing(4)
        for label in (self._state, self._sentence, self._remedy, self._others_label):
            words.addWidget(label)
        words.addSpacing(6)
        words.addWidget(self.actions_row)
        words.addSpacing(2)
        words.addWidget(switch)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 14, 16, 14)
        layout.setSpacing(14)
        layout.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(words, 1)
        QWidget.setTabOrder(self.actions_row.last_stop, switch)

    @property
    def sentence(self) -> str:
        return self._sentence.text()

    @property
    def other_reasons(self) -> tuple[str, ...]:
        return self._others

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        headline = headline_of(snapshot)
        said = (*(reason.sentence for reason in snapshot.reasons), *snapshot.notices)
        others = tuple(line for line in map(plain, said) if line and line != headline.sentence)
        if headline == self._headline and others == self._others:
            return
        self._headline, self._others = headline, others
        self._state.show_text(self.tr(headline.state))
        self._sentence.show_text(self.tr(headline.sentence))
        self._remedy.show_text(what_to_do(headline.sentence, headline.remedy, headline.ends_at))
        self._remedy.setVisible(bool(self._remedy.text()))
        self._others_label.show_text("\n".join(f"• {line}" for line in others))
        self._others_label.setVisible(bool(others))
        self.actions_row.show_actions([action for action in headline.actions if action.does not in _ON_THE_SWITCH])
        self.setAccessibleName(sentences(headline.state, headline.sentence, headline.remedy))
        self._tint()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and self._headline is not None:
            self._tint()

    def _tint(self) -> None:
        if self._headline is None:
            return
        mood = self._headline.mood
        self.edge = QColor(colours_of(self.palette()).moods[mood])
        self._icon.setPixmap(mood_icon(mood).pixmap(ICON_PX, ICON_PX))
        tint(self._state, self.edge)
        self.update()
