"""The first two questions: the coordinator, and how others reach this computer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
)

from core.errors import AgentError
from core.network import is_loopback_endpoint
from titan_gui.plain_text import plain, sentences
from titan_gui.remedies import error_text
from titan_gui.setup_draft import SetupDraft, suggested_host
from titan_gui.widgets.choices import CheckBox
from titan_gui.widgets.notes import dim_note, good_note, problem_note
from titan_gui.widgets.setup_step import Origins, SetupStep


class CoordinatorStep(SetupStep):
    title = "Who sends you work?"
    intro = (
        "A coordinator sends people's questions to the computers of its network. Whoever runs the network "
        "tells you its address."
    )
    test_requested = Signal(str, bool)  # address, encrypted

    def __init__(self, origins: Origins) -> None:
        super().__init__(origins)
        self.endpoint = QLineEdit()
        self.endpoint.setAccessibleName(self.tr("Coordinator's address"))
        self.endpoint.setPlaceholderText("coordinator.example.com:50051")
        self.tls = CheckBox(self.tr("Encrypted line"))
        self._test = QPushButton(self.tr("Test"))
        self._good, self._bad, self._here = good_note(), problem_note(), dim_note()
        row = QHBoxLayout()
        row.addWidget(self.endpoint, 1)
        row.addWidget(self._test)
        self.lines.addLayout(row)
        self.lines.addWidget(self.tls)
        self.lines.addWidget(self._good)
        self.lines.addWidget(self._bad)
        self.lines.addWidget(self._here)
        self.lock("coordinator_endpoint", self.endpoint)
        self.lock("coordinator_tls", self.tls)
        self.lines.addStretch(1)
        self.endpoint.textEdited.connect(self._on_edited)
        self.tls.clicked.connect(self._on_edited)
        self._test.clicked.connect(self._on_test_clicked)

    @property
    def said(self) -> str:
        return f"{self._good.text()}{self._bad.text()}"

    def show_draft(self, draft: SetupDraft) -> None:
        self.endpoint.setText(draft.coordinator_endpoint)
        self.tls.setChecked(draft.coordinator_tls)
        self._say_where()

    def answered(self, draft: SetupDraft) -> SetupDraft:
        return replace(draft, coordinator_endpoint=self.endpoint.text(), coordinator_tls=self.tls.isChecked())

    def show_answer(self, answer: Mapping[str, object]) -> None:
        """What core.setup_probe.CoordinatorAnswer says."""
        self._test.setEnabled(True)
        words = sentences(plain(str(answer["sentence"])), plain(str(answer["hint"])))
        is_good = answer["is_reached"] is True and answer["has_key"] is True
        self._good.say(words if is_good else "")
        self._bad.say("" if is_good else words)

    def show_error(self, error: AgentError) -> None:
        self._test.setEnabled(True)
        self._good.say("")
        self._bad.say(error_text(error))

    def _on_edited(self) -> None:
        self._good.say("")
        self._bad.say("")
        self._say_where()
        self.edited.emit()

    def _say_where(self) -> None:
        """The default is for trying things out: who was given an address would else leave it standing."""
        is_here = is_loopback_endpoint(self.endpoint.text().strip())
        self._here.say(
            self.tr(
                "This address means this computer itself: right for trying it out alone. To join a network, "
                "type the address that you were given."
            )
            if is_here
            else ""
        )

    def _on_test_clicked(self) -> None:
        self._test.setEnabled(False)
        self._bad.say("")
        self._good.say(self.tr("Asking …"))
        self.test_requested.emit(self.endpoint.text(), self.tls.isChecked())


class AddressStep(SetupStep):
    title = "How do others reach this computer?"
    intro = "People's programs connect to this computer directly, at an address and a port."
    port_check_requested = Signal(str)
    free_port_requested = Signal(str)  # the one that is taken

    def __init__(self, origins: Origins) -> None:
        super().__init__(origins)
        self.host = QComboBox()
        self.host.setEditable(True)
        self.host.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.host.setAccessibleName(self.tr("Address of this computer"))
        self.port = QLineEdit()
        self.port.setAccessibleName(self.tr("Port"))
        self.port.setFixedWidth(110)
        self._found: tuple[str, ...] = ()
        self._taken: tuple[str, str] = ("", "")  # the port that was found taken, and the sentence
        form = QFormLayout()
        form.addRow(self.tr("Address"), self.host)
        form.addRow(self.tr("Port"), self.port)
        self.lines.addLayout(form)
        self._good, self._bad = good_note(), problem_note()
        self._note = dim_note()
        self._use_free = QPushButton(self.tr("Use a free port"))
        self._use_free.hide()
        row = QHBoxLayout()
        row.addWidget(self._use_free)
        row.addStretch(1)
        self.lines.addWidget(self._bad)
        self.lines.addLayout(row)
        for line in (self._good, self._note):
            self.lines.addWidget(line)
        self.lock("public_host", self.host)
        self.lock("agent_port", self.port)
        self.lines.addStretch(1)
        self.host.editTextChanged.connect(self._on_host_edited)
        self.port.textEdited.connect(self._on_port_edited)
        self.port.editingFinished.connect(lambda: self.port_check_requested.emit(self.port.text()))
        self._use_free.clicked.connect(lambda: self.free_port_requested.emit(self.port.text()))

    @property
    def said(self) -> str:
        return "\n".join((self._good.text(), self._bad.text(), self._note.text())).strip()

    def show_draft(self, draft: SetupDraft) -> None:
        host = suggested_host(draft, self._found)
        self.host.blockSignals(True)
        self.host.clear()
        self.host.addItems(list(dict.fromkeys(text for text in (host, *self._found) if text)))
        self.host.setEditText(host)
        self.host.blockSignals(False)
        self.port.setText(draft.agent_port)
        if is_loopback_endpoint(draft.coordinator_endpoint):
            self._note.say(self.tr("The coordinator is on this computer, so localhost will do."))
        else:
            self._note.say(
                self.tr(
                    "Not verified yet: only from outside can be seen whether others get through. "
                    "Behind a router, let it forward this port to this computer."
                )
            )

    def answered(self, draft: SetupDraft) -> SetupDraft:
        return replace(draft, public_host=self.host.currentText(), agent_port=self.port.text())

    def show_addresses(self, hosts: Sequence[str], draft: SetupDraft) -> None:
        self._found = tuple(hosts)
        self.show_draft(draft)

    @property
    def port_problem(self) -> str:
        """Why the port that is typed can't be used, as the last check found; "" where it found it free, or none did.

        A port that the environment decides is nothing that this step could mend.
        """
        taken, problem = self._taken
        return problem if taken == _plain(self.port.text()) and self.port.isEnabled() else ""

    def show_port(self, port: str, problem: str, message: str) -> None:
        """What a check found of `port`; nothing, where another one is typed by now."""
        if _plain(port) != _plain(self.port.text()):
            return
        self._taken = (_plain(port), problem)
        self._bad.say(problem)
        self._good.say("" if problem else message)
        self._use_free.setVisible(bool(self.port_problem))

    def show_port_error(self, words: str) -> None:
        """No check, or no free port found: said, and no reason to stay."""
        self._bad.say(words)
        self._good.say("")

    def use_port(self, port: str, message: str) -> None:
        """One that was found free."""
        self.port.setText(port)
        self.show_port(port, "", message)
        self.edited.emit()

    def _on_host_edited(self) -> None:
        self.edited.emit()

    def _on_port_edited(self) -> None:
        self._use_free.hide()
        self._bad.say("")
        self._good.say("")
        self.edited.emit()


def _plain(port: str) -> str:
    return port.strip().lstrip("0")
