"""Every reason not to serve: what it means, what it does, which setting changes it, and whether it holds now."""

from __future__ import annotations

from itertools import pairwise

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QColor, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from core.snapshot import AgentSnapshot
from titan_gui.remedies import Action, Does
from titan_gui.rules_view import RuleView, rule_views, summary_of
from titan_gui.theme import colours_of, tint
from titan_gui.view_model import Mood
from titan_gui.widgets.action_buttons import ActionButtons
from titan_gui.widgets.stat_tile import Card
from titan_gui.widgets.text_labels import TextLabel, WrappedLabel


class RulesPage(QWidget):
    """`render(snapshot)`; what holds stands first, and a card moves only when its reason begins or ends to hold."""

    action_requested = Signal(object)  # remedies.Action

    def __init__(self) -> None:
        super().__init__()
        self._snapshot = AgentSnapshot()
        self._summary = TextLabel(scale=1.2, bold=True)
        self._cards: dict[str, RuleCard] = {}
        content = QWidget()
        self._column = QVBoxLayout(content)
        self._column.setContentsMargins(4, 4, 12, 4)
        self._column.setSpacing(10)
        self._column.addWidget(self._summary)
        self._column.addStretch(1)
        area = QScrollArea()
        area.setAccessibleName(self.tr("Rules"))
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)

    @property
    def cards(self) -> dict[str, RuleCard]:
        return dict(self._cards)

    @property
    def summary(self) -> str:
        return self._summary.text()

    def render(self, snapshot: AgentSnapshot) -> None:  # type: ignore[override]  # our pages' name, not Qt's
        before, self._snapshot = self._snapshot, snapshot
        if self.isVisible() and before.reasons != snapshot.reasons:
            self._show()

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show()

    def _show(self) -> None:
        reasons = self._snapshot.reasons
        self._summary.show_text(self.tr(summary_of(reasons)))
        views = rule_views(reasons)
        for code in self._cards.keys() - {view.code for view in views}:
            gone = self._cards.pop(code)
            self._column.removeWidget(gone)
            gone.deleteLater()
        for row, view in enumerate(views, start=1):  # the summary is row 0
            if view.code not in self._cards:
                self._cards[view.code] = RuleCard()
                self._cards[view.code].action_requested.connect(self.action_requested)
            card = self._cards[view.code]
            card.show_rule(view)
            if self._column.indexOf(card) != row:
                self._column.insertWidget(row, card)
        buttons = [button for view in views for button in self._cards[view.code].buttons]
        for before, after in pairwise(buttons):
            QWidget.setTabOrder(before, after)  # the keyboard goes from top to bottom too


class RuleCard(Card):
    """One rule. While it holds it has a coloured edge and says so in words."""

    action_requested = Signal(object)  # remedies.Action

    def __init__(self) -> None:
        super().__init__()
        self._view: RuleView | None = None
        self._title = TextLabel(bold=True)
        self._state = TextLabel(scale=0.9, is_quiet=True)
        self._now = WrappedLabel()
        self._meaning = WrappedLabel(is_quiet=True)
        self._actions = ActionButtons()  # while it holds
        self._actions.action_requested.connect(self.action_requested)
        self._setting = QPushButton()  # while it doesn't
        self._setting.clicked.connect(self._on_setting_clicked)
        top = QHBoxLayout()
        top.addWidget(self._title)
        top.addStretch(1)
        top.addWidget(self._state)
        below = QHBoxLayout()
        below.addWidget(self._meaning, 1)
        below.addWidget(self._setting, 0, Qt.AlignmentFlag.AlignBottom)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 10, 12, 10)
        column.setSpacing(4)
        column.addLayout(top)
        column.addWidget(self._now)
        column.addLayout(below)
        column.addWidget(self._actions)

    @property
    def buttons(self) -> tuple[QPushButton, ...]:
        """Those that are offered now, from left to right."""
        return self._actions.buttons or ((self._setting,) if self._view and self._view.setting else ())

    @property
    def now(self) -> str:
        """What is said while the rule holds; "" while it doesn't."""
        return self._view.now if self._view else ""

    def show_rule(self, view: RuleView) -> None:
        if view == self._view:
            return
        self._view = view
        self._title.show_text(self.tr(view.title))
        self._now.show_text(view.now)
        self._now.setVisible(bool(view.now))
        self._meaning.show_text(" ".join(filter(None, (view.meaning, view.effect))))
        kind = self.tr("no new sessions") if view.blocks else self.tr("good to know")
        self._state.show_text(self.tr("holds now: {0}").format(kind) if view.now else self.tr("not now"))
        self._actions.show_actions(view.actions)
        self._setting.setText(self.tr(Action(Does.SETTING, view.setting).title))
        self._setting.setVisible(bool(view.setting) and not view.actions)
        self.setAccessibleName(f"{view.title}: {self._state.text()}. {view.now}")
        self._tint()

    # Qt overrides

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and self._view is not None:
            self._tint()

    def _tint(self) -> None:
        if self._view is None:
            return
        mood = Mood.ATTENTION if self._view.blocks else Mood.DRAINING
        if self._view.code in ("paused_by_owner", "draining", "stopping"):
            mood = Mood.PAUSED  # what the owner did is no trouble
        self.edge = QColor(colours_of(self.palette()).moods[mood]) if self._view.now else None
        tint(self._title, self.edge or self.palette().windowText().color())
        self.update()

    def _on_setting_clicked(self) -> None:
        if self._view is not None:
            self.action_requested.emit(Action(Does.SETTING, self._view.setting))
