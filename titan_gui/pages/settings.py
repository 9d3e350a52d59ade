"""Every setting, from the one declaration: what it is, what may stand in it, where its value comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from core import __version__
from core.config import DECLARATIONS
from core.config_load import LoadedSettings
from core.errors import AgentError, ConfigError
from core.snapshot import AgentSnapshot
from core.state import AgentState
from titan_gui.plain_text import plain
from titan_gui.remedies import error_text
from titan_gui.settings_text import HIDDEN, names_text, place_problems
from titan_gui.widgets.login_switch import LoginSwitch
from titan_gui.widgets.notes import Note, dim_note, good_note, heading, problem_note
from titan_gui.widgets.page_area import PageArea
from titan_gui.widgets.secret_editor import SecretEditor
from titan_gui.widgets.setting_editor import SettingEditor

SECRETS = ("openai_api_key",)  # those that something uses
KEY_GROUP = "Engine and models"  # where the secrets stand
FIRST_GROUPS = ("The owner's share", "Sessions", KEY_GROUP, "The window")  # what most people look for; then the rest
GROUP_TITLES = {"The owner's share": "What you lend and keep"}  # to the owner; the others are called as in the docs
WINDOW_GROUP = "The window"  # where "start at login" stands
EDITORS_A_STEP = 6  # 10 ms


class SettingsPage(QWidget):
    """Collects changes and shows what became of them. It reads and writes nothing itself."""

    save_requested = Signal(object)  # dict: name → text, or None for "back to the default"
    secret_set_requested = Signal(str, str)
    secret_removal_requested = Signal(str)
    restart_requested = Signal()
    setup_requested = Signal()

    def __init__(self, parent: QWidget | None = None, *, is_empty: bool = False) -> None:
        """`is_empty`: the caller calls `build_more` until everything stands, before anything else."""
        super().__init__(parent)
        self._editors: dict[str, SettingEditor] = {}
        self._secrets: dict[str, SecretEditor] = {}
        self.login_switch = LoginSwitch()
        self._groups: dict[str, QWidget] = {}
        self._pending: tuple[str, ...] = ()  # settings that count from the next start
        self._running_jobs = 0
        self._has_failed = False  # the agent ended by an error: what is saved counts from its next start
        self._is_start_due = False  # something was saved since
        self._snapshot: AgentSnapshot | None = None
        self._loaded: LoadedSettings | None = None
        self._is_saving = False
        self._search = QLineEdit()
        self._search.setPlaceholderText(self.tr("Find a setting"))
        self._search.setAccessibleName(self.tr("Find a setting"))
        self._search.setClearButtonEnabled(True)
        self._search.textChanged.connect(self._on_search_text_changed)
        self._nothing = dim_note()
        self._file = dim_note()
        self._area = self._make_area()
        self._done, self._problem, self._restart_words = good_note(), problem_note(), Note()
        self._save = QPushButton(self.tr("Save"))
        self._undo = QPushButton(self.tr("Undo changes"))
        self._restart = QPushButton(self.tr("Restart now"))
        self._setup = QPushButton(self.tr("Run the setup again…"))
        self._connect()
        self._lay_out()
        self._update()
        while not is_empty and self.build_more():
            pass

    def build_more(self) -> bool:
        """Make some more editors; False when all stand. Together they take 150 ms."""
        return next(self._steps, None) is not None

    @property
    def changes(self) -> dict[str, str | None]:
        """What is typed and not saved."""
        return {name: editor.change for name, editor in self._editors.items() if editor.is_changed}

    @property
    def pending_restart(self) -> tuple[str, ...]:
        return self._pending

    def editor(self, name: str) -> SettingEditor:
        return self._editors[name]

    def secret_editor(self, name: str) -> SecretEditor:
        return self._secrets[name]

    def render(self, snapshot: AgentSnapshot) -> None:  # type: ignore[override]
        self._snapshot = snapshot
        if self.isVisible():
            self._show_snapshot(snapshot)

    def show_settings(self, loaded: LoadedSettings) -> None:
        """Show what is in force, and where each value comes from. What is being typed stays."""
        self._loaded = loaded
        for name, editor in self._editors.items():
            editor.show_value(getattr(loaded.settings, name), loaded.origins[name])
        kept = self.tr("Kept in {0}").format(loaded.paths.config_file)
        self._file.say(f"{kept}\nTitanCompute {__version__}")
        self._update()

    def show_secrets(self, sources: Mapping[str, str]) -> None:
        for name, editor in self._secrets.items():
            editor.show_source(sources.get(name, ""))

    def show_saving(self) -> None:
        self._is_saving = True
        self._update()

    def show_saved(self, names: Iterable[str]) -> None:
        """The changes are in the file; whether they count already, `show_applied` will say."""
        self._is_saving = False
        self._is_start_due = self._has_failed
        for name in names:
            if name in self._editors:
                self._editors[name].take_saved()
        self._say(done=self.tr("Saved."))
        if self._loaded is not None:  # origins have changed with the file
            self.show_settings(self._loaded)

    def show_applied(self, at_once: Iterable[str], on_restart: Iterable[str]) -> None:
        """What the running agent has taken, and what waits for a restart."""
        applied, self._pending = names_text(at_once), tuple(on_restart)
        self._say(done=self.tr("Saved. It counts from now on: {0}.").format(applied) if applied else self.tr("Saved."))
        self._update()

    def show_restarted(self) -> None:
        """A new start has read everything."""
        self._pending, self._is_start_due = (), False
        self._update()

    def show_error(self, error: AgentError) -> None:
        """What was typed stays; each problem stands at its field where it names one."""
        self._is_saving = False
        by_field, elsewhere = place_problems(error.problems if isinstance(error, ConfigError) else (error.detail,))
        for name, sentence in by_field.items():
            self._editors[name].show_problem(plain(sentence))
        words = "\n".join(filter(None, map(plain, (*elsewhere, error.hint))))
        if by_field:
            words = "\n".join((self.tr("Not saved. Look at: {0}.").format(names_text(by_field)), words)).strip()
            self.focus_setting(next(iter(by_field)))
        self._say(problem=f"{error.title}: {words}" if not by_field else words)
        self._update()

    def show_secret_error(self, name: str, error: AgentError) -> None:
        self._secrets[name].show_problem(error_text(error))

    def show_notice(self, sentence: str) -> None:
        self._say(done=sentence)

    def focus_setting(self, name: str) -> None:
        """Bring a setting into view and put the keyboard there: a reason's link comes here."""
        editor = self._editors.get(name)
        if editor is None:
            return
        self._search.clear()
        editor.control.setFocus(Qt.FocusReason.OtherFocusReason)
        QTimer.singleShot(0, editor, lambda: self._area.ensureWidgetVisible(editor))  # once it is laid out

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._snapshot is not None:
            self._show_snapshot(self._snapshot)

    def _show_snapshot(self, snapshot: AgentSnapshot) -> None:
        if snapshot.machine is not None and (cards := self._editors.get("gpus")) is not None:
            cards.show_cards(snapshot.machine.gpus)
        has_failed = snapshot.state is AgentState.FAILED
        if snapshot.running_jobs != self._running_jobs or has_failed is not self._has_failed:
            self._running_jobs, self._has_failed = snapshot.running_jobs, has_failed
            self._update()

    def _make_area(self) -> PageArea:
        inner = QWidget()
        self._lines = QVBoxLayout(inner)
        self._lines.setContentsMargins(0, 0, 12, 0)
        self._lines.addWidget(self._nothing)
        self._lines.addStretch(1)
        groups = dict.fromkeys(DECLARATIONS[name].group for name in DECLARATIONS if name not in HIDDEN)
        self._steps = self._build(sorted(groups, key=lambda group: (*FIRST_GROUPS, group).index(group)))  # stable
        return PageArea(self.tr("Settings"), inner)

    def _build(self, groups: Sequence[str]) -> Iterator[str]:
        """Some editors a step, named after their group."""
        for group in groups:
            yield from self._add_group(group)
        self._put_buttons_last()

    def _add_group(self, group: str) -> Iterator[str]:
        self._groups[group] = box = QWidget()
        self._lines.insertWidget(self._lines.count() - 1, box)  # before the stretch
        lines = QVBoxLayout(box)
        lines.setContentsMargins(0, 8, 0, 8)
        lines.addWidget(heading(self.tr(GROUP_TITLES.get(group, group))))
        names = [name for name, declaration in DECLARATIONS.items() if declaration.group == group]
        for number, name in enumerate(name for name in names if name not in HIDDEN):
            if number and number % EDITORS_A_STEP == 0:
                yield group
            self._editors[name] = editor = SettingEditor(DECLARATIONS[name])
            editor.edited.connect(self._on_editor_edited)
            lines.addWidget(editor)
        if group == KEY_GROUP:
            for name in SECRETS:
                self._secrets[name] = secret = SecretEditor(name)
                secret.set_requested.connect(self.secret_set_requested)
                secret.removal_requested.connect(self.secret_removal_requested)
                lines.addWidget(secret)
        if group == WINDOW_GROUP:
            lines.addWidget(self.login_switch)
        yield group

    def _put_buttons_last(self) -> None:
        """By keyboard too: they stand below the editors, which are made after them."""
        last = self.window().previousInFocusChain()
        while last is not None and last.focusPolicy() is Qt.FocusPolicy.NoFocus:
            last = last.previousInFocusChain()
        for stop in (self._restart, self._undo, self._save):
            if last is not None:
                self.setTabOrder(last, stop)
            last = stop

    def _connect(self) -> None:
        self._save.clicked.connect(self._on_save_clicked)
        self._undo.clicked.connect(self._on_undo_clicked)
        self._restart.clicked.connect(self.restart_requested)
        self._setup.clicked.connect(self.setup_requested)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self._search, 1)
        top.addWidget(self._setup)
        restart = QHBoxLayout()
        restart.addWidget(self._restart_words, 1)
        restart.addWidget(self._restart)
        buttons = QHBoxLayout()
        buttons.addWidget(self._file, 1)
        buttons.addWidget(self._undo)
        buttons.addWidget(self._save)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addWidget(self._area, 1)
        layout.addWidget(self._problem)
        layout.addWidget(self._done)
        layout.addLayout(restart)
        layout.addLayout(buttons)

    def _say(self, *, done: str = "", problem: str = "") -> None:
        self._done.say(done)
        self._problem.say(problem)

    def _update(self) -> None:
        changed = [editor for editor in self._editors.values() if editor.is_changed]
        self._save.setEnabled(bool(changed) and not self._is_saving and not any(editor.problem for editor in changed))
        self._save.setText(self.tr("Saving…") if self._is_saving else self.tr("Save"))
        self._undo.setEnabled(bool(changed) and not self._is_saving)
        self._restart.setText(self.tr("Start now") if self._has_failed else self.tr("Restart now"))
        self._restart.setVisible(bool(self._pending) or (self._has_failed and self._is_start_due))
        self._restart_words.say(self._restart_sentence())

    def _restart_sentence(self) -> str:
        if self._has_failed:
            return self.tr("The agent is not running.") if self._pending or self._is_start_due else ""
        if not self._pending:
            return ""
        sentence = self.tr("Applies on restart: {0}.").format(names_text(self._pending))
        if self._running_jobs:
            sentence += " " + self.tr("Sessions that run now may finish within the time you set for quitting.")
        return sentence

    def _on_editor_edited(self) -> None:
        self._say()
        self._update()

    def _on_save_clicked(self) -> None:
        changes = self.changes
        if changes:
            self.show_saving()
            self.save_requested.emit(changes)

    def _on_undo_clicked(self) -> None:
        for editor in self._editors.values():
            editor.undo()
        self._say()
        self._update()

    def _on_search_text_changed(self, words: str) -> None:
        shown = 0
        for group, box in self._groups.items():
            hits = 0
            for editor in self._editors.values():
                if editor.declaration.group == group:
                    is_hit = editor.matches(words)
                    editor.setVisible(is_hit)
                    hits += is_hit
            if group == KEY_GROUP:
                for secret in self._secrets.values():
                    secret.setVisible(not words.strip() or words.strip().lower() in "api key secret openai")
            if group == WINDOW_GROUP:
                is_hit = self.login_switch.matches(words)
                self.login_switch.setVisible(is_hit)
                hits += is_hit
            box.setVisible(hits > 0)
            shown += hits
        self._nothing.say("" if shown else self.tr("No setting has to do with that."))
