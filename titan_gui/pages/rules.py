"""The rules page: what keeps the machine from serving now, then the owner's rules with all that can be changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from core.config_load import LoadedSettings
from core.errors import AgentError, ConfigError
from core.snapshot import AgentSnapshot
from titan_gui.remedies import Action, Does, error_text
from titan_gui.rule_forms import FORM_OF_SETTING, FORMS, GROUPS
from titan_gui.rule_texts import energy_text
from titan_gui.rules_view import ReasonView, reason_views, summary_of
from titan_gui.settings_text import place_problems
from titan_gui.theme import colours_of, tint
from titan_gui.view_model import Mood
from titan_gui.widgets.action_buttons import ActionButtons
from titan_gui.widgets.notes import problem_note
from titan_gui.widgets.page_area import PageArea
from titan_gui.widgets.rule_row import RuleRow
from titan_gui.widgets.stat_tile import Card
from titan_gui.widgets.text_labels import TextLabel, WrappedLabel


class RulesPage(QWidget):
    """`render(snapshot)` and `show_settings(loaded)` fill it.

    Reasons that hold stand first, strongest first, as cards that come and go; the owner's rules below stay where they
    are, so that nothing moves under a hand that changes them. It writes nothing itself.
    """

    action_requested = Signal(object)  # remedies.Action
    save_requested = Signal(object)  # dict: name → text, or None for "back to the default"
    running_requested = Signal()  # which programs run: `show_running` brings them

    def __init__(self, *, is_empty: bool = False) -> None:
        """`is_empty`: the caller calls `build_more` until everything stands, before anything else."""
        super().__init__()
        self._snapshot = AgentSnapshot()
        self._loaded: LoadedSettings | None = None
        self._summary = WrappedLabel(scale=1.2, bold=True)
        self._problem = problem_note()
        self._cards: dict[str, ReasonCard] = {}
        self._rows: dict[str, RuleRow] = {}
        self._energy = WrappedLabel(is_quiet=True)
        self._holding, self._rules, self._others = QVBoxLayout(), QVBoxLayout(), QVBoxLayout()
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(4, 4, 12, 4)
        column.setSpacing(10)
        column.addWidget(self._summary)
        column.addWidget(self._problem)
        for part in (self._holding, self._rules, self._others):
            part.setSpacing(10)
            column.addLayout(part)
        column.addStretch(1)
        self._area = area = PageArea(self.tr("Rules"), content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self._steps = self._build()
        while not is_empty and self.build_more():
            pass

    def build_more(self) -> bool:
        """One step of some milliseconds; False once all stands."""
        return next(self._steps, None) is not None

    @property
    def cards(self) -> dict[str, ReasonCard]:
        """The reasons that hold, and those that are no rules."""
        return dict(self._cards)

    @property
    def rows(self) -> dict[str, RuleRow]:
        """The owner's rules."""
        return dict(self._rows)

    @property
    def summary(self) -> str:
        return self._summary.text()

    @property
    def problem_shown(self) -> str:
        return self._problem.text()

    def render(self, snapshot: AgentSnapshot) -> None:  # type: ignore[override]  # our pages' name, not Qt's
        before, self._snapshot = self._snapshot, snapshot
        if not self.isVisible():
            return
        if before.reasons != snapshot.reasons:
            self._show_reasons()
        if before.rules != snapshot.rules or before.energy != snapshot.energy:
            self._show_rules()

    def show_settings(self, loaded: LoadedSettings) -> None:
        """What is in force, and where it comes from. What is being typed stays."""
        self._loaded = loaded
        for row in self._rows.values():
            row.show_settings(loaded)

    def show_saved(self) -> None:
        """A change is written."""
        self._problem.say("")

    def show_error(self, error: AgentError) -> None:
        """A change could not be written: said where it was made. What was typed stays."""
        by_field, elsewhere = place_problems(error.problems if isinstance(error, ConfigError) else ())
        placed = {name: sentence for name, sentence in by_field.items() if name in FORM_OF_SETTING}
        for row in self._rows.values():
            row.show_refused()
            if self._loaded is not None:
                row.show_settings(self._loaded)  # a switch shows what is in force
        for name, sentence in placed.items():
            self._rows[FORM_OF_SETTING[name].code].show_problem(name, sentence)
        if not placed or elsewhere or len(placed) < len(by_field):
            self._problem.say(error_text(error))

    def show_running(self, names: Sequence[str]) -> None:
        """The programs that run now, for the list."""
        apps = self._rows["listed_app"].apps
        if apps is not None:
            apps.show_running(names)

    def focus_reason(self, code: str) -> None:
        """Bring a reason into view: the rule behind it, or its card. A link from the day's ribbon comes here."""
        row, card = self._rows.get(code), self._cards.get(code)
        if row is not None:
            row.focus_setting("")
            self._bring_into_view(row)
        elif card is not None:
            if card.buttons:
                card.buttons[0].setFocus(Qt.FocusReason.OtherFocusReason)
            self._bring_into_view(card)

    def focus_setting(self, name: str) -> None:
        """Bring the rule of a setting into view, open, with the keyboard on it."""
        form = FORM_OF_SETTING.get(name)
        if form is not None:
            self._rows[form.code].focus_setting(name)
            self._bring_into_view(self._rows[form.code])

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show_reasons()
        self._show_rules()

    def _build(self) -> Iterator[str]:
        """Each rule, then the cards of the other reasons: a step each, named after what it built."""
        for group in GROUPS:
            self._rules.addWidget(TextLabel(self.tr(group.title), scale=1.15, bold=True))
            for form in group.forms:
                self._rows[form.code] = row = RuleRow(form)
                row.save_requested.connect(self.save_requested)
                row.running_requested.connect(self.running_requested)
                self._rules.addWidget(row)
                if form.code == "budget_spent":
                    self._rules.addWidget(self._energy)
                yield form.code
        self._others.addWidget(TextLabel(self.tr("Other reasons not to serve"), scale=1.15, bold=True))
        for view in reason_views(()):
            if view.code not in FORMS:
                self._others.addWidget(self._card(view.code))
                self._cards[view.code].show_reason(view)
                yield view.code
        self._show_reasons()
        yield "others"

    def _card(self, code: str) -> ReasonCard:
        if code not in self._cards:
            self._cards[code] = ReasonCard()
            self._cards[code].action_requested.connect(self.action_requested)
        return self._cards[code]

    def _show_rules(self) -> None:
        views = {view.code: view for view in self._snapshot.rules}
        for code, row in self._rows.items():
            row.show_rule(views.get(code))
        energy = energy_text(self._snapshot.energy)
        self._energy.show_text(energy)
        self._energy.setVisible(bool(energy))

    def _show_reasons(self) -> None:
        reasons = self._snapshot.reasons
        self._summary.show_text(self.tr(summary_of(reasons)))
        views = [_brief(view) for view in reason_views(reasons) if view.now or view.code not in FORMS]
        for code in self._cards.keys() - {view.code for view in views}:
            gone = self._cards.pop(code)
            gone.hide()
            gone.setParent(None)
            gone.deleteLater()
        for view in views:
            self._card(view.code).show_reason(view)
        holding = [self._cards[view.code] for view in views if view.now]
        others = [self._cards[view.code] for view in views if not view.now]
        _put_in_order(self._holding, holding, first=0)
        _put_in_order(self._others, others, first=1)  # its heading is 0
        self._set_tab_order(holding, others)

    def _set_tab_order(self, holding: list[ReasonCard], others: list[ReasonCard]) -> None:
        """The keyboard goes from top to bottom, as the eye does."""
        stops: list[QWidget] = [button for card in holding for button in card.buttons]
        for row in self._rows.values():
            stops += row.focus_targets()
        stops += [button for card in others for button in card.buttons]
        for before, after in pairwise(stops):
            QWidget.setTabOrder(before, after)

    def _bring_into_view(self, widget: QWidget) -> None:
        QTimer.singleShot(0, widget, lambda: self._area.ensureWidgetVisible(widget))  # once it is laid out


def _brief(view: ReasonView) -> ReasonView:
    """Of a rule only that it holds: what it means and does, as the owner set it, stands in its row below."""
    return replace(view, meaning="", effect="") if view.code in FORMS else view


def _put_in_order(column: QVBoxLayout, cards: list[ReasonCard], *, first: int) -> None:
    """Only what stands elsewhere is moved."""
    for place, card in enumerate(cards, start=first):
        if column.indexOf(card) != place:
            column.insertWidget(place, card)
            card.show()


class ReasonCard(Card):
    """One reason. While it holds it has a coloured edge and says so in words."""

    action_requested = Signal(object)  # remedies.Action

    def __init__(self) -> None:
        super().__init__()
        self._view: ReasonView | None = None
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
        """What is said while the reason holds; "" while it doesn't."""
        return self._view.now if self._view else ""

    def show_reason(self, view: ReasonView) -> None:
        if view == self._view:
            return
        self._view = view
        self._title.show_text(self.tr(view.title))
        self._now.show_text(view.now)
        self._now.setVisible(bool(view.now))
        self._meaning.show_text(" ".join(filter(None, (view.meaning, view.effect))))
        self._meaning.setVisible(bool(self._meaning.text()))
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
        if self._view.code in ("paused_by_owner", "draining", "stopping", *FORMS):
            mood = Mood.PAUSED  # what the owner did or ruled is no trouble
        self.edge = QColor(colours_of(self.palette()).moods[mood]) if self._view.now else None
        tint(self._title, self.edge or self.palette().windowText().color())
        self.update()

    def _on_setting_clicked(self) -> None:
        if self._view is not None:
            self.action_requested.emit(Action(Does.SETTING, self._view.setting))
