"""One of the owner's rules on the rules page: its switch, how it stands, and behind "Change" what it consists of."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QFormLayout, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from core.config import DECLARATIONS
from core.config_load import LoadedSettings
from core.snapshot import RuleView
from titan_gui.rule_forms import RuleForm, default_effect_of, is_switched_on, switch_changes
from titan_gui.rule_texts import state_of_rule, summary_of_rule
from titan_gui.settings_text import is_locked, lock_text, title_of
from titan_gui.theme import colours_of, tabular, tint
from titan_gui.view_model import Mood
from titan_gui.widgets.apps_field import AppsField
from titan_gui.widgets.choices import CheckBox
from titan_gui.widgets.notes import dim_note, problem_note
from titan_gui.widgets.rule_fields import EffectField, NumberField, RuleField, ScheduleField
from titan_gui.widgets.stat_tile import Card
from titan_gui.widgets.text_labels import TextLabel, WrappedLabel


class RuleRow(Card):
    """`show_settings` and `show_rule` fill it; `save_requested` says what the owner has changed."""

    save_requested = Signal(object)  # dict: name → text, or None for "back to the default"
    running_requested = Signal()  # the list of programs wants to know which run

    def __init__(self, form: RuleForm) -> None:
        super().__init__()
        self.form = form
        self._loaded: LoadedSettings | None = None
        self._view: RuleView | None = None
        self._effect_before = ""  # what it did when it was last on
        self.switch = CheckBox(self.tr(form.title))
        self.switch.setFont(tabular(self.switch.font(), bold=True))
        self.switch.clicked.connect(self._on_switch_clicked)
        self._state = TextLabel(scale=0.9)
        self._sentence = WrappedLabel()
        self._summary = WrappedLabel(is_quiet=True)
        self._lock = dim_note()
        self._problem = problem_note()
        self.more = QToolButton()
        self.more.setText(self.tr("Change"))
        self.more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.more.setArrowType(Qt.ArrowType.RightArrow)
        self.more.setAutoRaise(True)
        self.more.setCheckable(True)
        self.more.setAccessibleName(self.tr("Change the rule “{0}”").format(form.title))
        self.more.toggled.connect(self._on_more_toggled)
        self._details = QWidget()
        self._fields = self._make_fields()
        self._lay_out()

    @property
    def fields(self) -> dict[str, RuleField]:
        return dict(self._fields)

    @property
    def apps(self) -> AppsField | None:
        """The list of programs, in the row that has one."""
        found = self._fields.get("listed_apps")
        return found if isinstance(found, AppsField) else None

    @property
    def said(self) -> str:
        """State, sentence and summary, as they stand there."""
        return "\n".join(filter(None, (self._state.text(), self._sentence.text(), self._summary.text())))

    @property
    def problem_shown(self) -> str:
        return self._problem.text()

    def show_settings(self, loaded: LoadedSettings) -> None:
        self._loaded = loaded
        if is_switched_on(self.form, loaded.settings):
            self._effect_before = str(getattr(loaded.settings, self.form.effect))
        for field in self._fields.values():
            field.show_settings(loaded)
        name = self.form.switch or self.form.effect
        locked = is_locked(DECLARATIONS[name], loaded.origins[name])
        self.switch.setEnabled(not locked)
        self._lock.say(lock_text(DECLARATIONS[name], loaded.origins[name]))
        self._show()

    def show_rule(self, view: RuleView | None) -> None:
        """How it stands; None while nobody looks."""
        if view != self._view:
            self._view = view
            self._show()

    def show_refused(self) -> None:
        """What was asked to be written was not."""
        for field in self._fields.values():
            field.take_refused()

    def show_problem(self, name: str, sentence: str) -> None:
        """What one of the row's settings can't be."""
        field = self._fields.get(name)
        if field is None:
            self._problem.say(sentence)
        else:
            self.more.setChecked(True)
            field.show_problem(sentence)
        if self._loaded is not None:  # the switch shows what is in force
            self._show()

    def focus_targets(self) -> list[QWidget]:
        """What takes the keyboard, from top to bottom."""
        targets: list[QWidget] = [self.switch, self.more]
        for field in self._fields.values():
            targets += field.focus_targets()
        return targets

    def focus_setting(self, name: str) -> None:
        """Open it, and put the keyboard on that setting; "" is the switch."""
        field = self._fields.get(name)
        if field is None:
            self.switch.setFocus(Qt.FocusReason.OtherFocusReason)
        else:
            self.more.setChecked(True)
            field.focus_targets()[0].setFocus(Qt.FocusReason.OtherFocusReason)

    # Qt overrides

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._tint()

    def _make_fields(self) -> dict[str, RuleField]:
        form = self.form
        fields: dict[str, RuleField] = {}
        if form.extra == "listed_apps":
            apps = AppsField(DECLARATIONS[form.extra])
            apps.running_requested.connect(self.running_requested)
            fields[form.extra] = apps
        elif form.extra == "schedule":
            fields[form.extra] = ScheduleField(DECLARATIONS[form.extra])
        for name in form.fields:
            fields[name] = NumberField(DECLARATIONS[name])
        fields[form.effect] = EffectField(DECLARATIONS[form.effect], default_effect_of(form))
        for field in fields.values():
            field.committed.connect(self._on_field_committed)
        return fields

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.switch)
        top.addStretch(1)
        top.addWidget(self._state)
        top.addWidget(self.more)
        lines = QFormLayout(self._details)
        lines.setContentsMargins(0, 6, 0, 4)
        lines.setHorizontalSpacing(16)
        lines.setVerticalSpacing(8)
        lines.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        lines.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, field in self._fields.items():
            if name == self.form.effect:
                lines.addRow(self.tr("What happens"), field)
            elif name in self.form.fields:
                lines.addRow(self.tr(title_of(name)), field)
            else:
                lines.addRow(field)
        self._details.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 8, 10, 8)
        column.setSpacing(3)
        column.addLayout(top)
        for part in (self._sentence, self._summary, self._problem, self._lock, self._details):
            column.addWidget(part)

    def _show(self) -> None:
        if self._loaded is None:
            return
        settings = self._loaded.settings
        self.switch.setChecked(is_switched_on(self.form, settings))
        state, sentence = state_of_rule(self.form, settings, self._view)
        self._state.show_text(self.tr(state))
        self._sentence.show_text(sentence)
        self._sentence.setVisible(bool(sentence))
        self._summary.show_text(summary_of_rule(self.form, settings) or self.form.meaning)
        self.setAccessibleName(f"{self.form.title}: {state}. {sentence}")
        self.switch.setAccessibleDescription(f"{state}. {sentence} {self._summary.text()}")
        self._tint()

    def _tint(self) -> None:
        moods = colours_of(self.palette()).moods
        view = self._view
        holds = view is not None and view.holds and view.waits_until is None and self.switch.isChecked()
        is_unknown = self._view is not None and bool(self._view.unknown) and self.switch.isChecked()
        mood = Mood.READY if holds else Mood.DRAINING if is_unknown else Mood.PAUSED
        self.edge = QColor(moods[mood]) if holds else None
        tint(self._state, QColor(moods[mood]))
        self.update()

    def _on_more_toggled(self, is_open: bool) -> None:
        self.more.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self._details.setVisible(is_open)

    def _on_switch_clicked(self, is_on: bool) -> None:
        if self._loaded is not None:
            self._problem.say("")
            self.save_requested.emit(switch_changes(self.form, self._loaded.settings, is_on, self._effect_before))

    def _on_field_committed(self) -> None:
        """Whatever else in this row waits (two figures that only fit together) is written with it."""
        changes = {name: field.change for name, field in self._fields.items() if field.change is not None}
        for name in changes:
            self._fields[name].take_asked()
        if changes:
            self._problem.say("")
            self.save_requested.emit(changes)
