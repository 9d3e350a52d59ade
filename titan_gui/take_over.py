"""An agent without a window has this profile already: asked once, then it is ended and this program takes its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QMessageBox

from core.errors import AgentError, AgentNotRunning, AlreadyRunningError
from core.instance_lock import InstanceLock
from titan_gui.background import Background
from titan_gui.tray_icon import app_icon

END_LIMIT_S = 60.0  # running sessions get its own time to finish, 10 s unless the owner set another
LOOK_INTERVAL_S = 0.1


class TakeOver(QObject):
    """Needs an application; runs loops of its own, since it comes before the program's."""

    def __init__(self, lock: InstanceLock, end_other: Callable[[], object]) -> None:
        """`end_other` asks the other one to stop; on a worker, it may take its time, and raises AgentError."""
        super().__init__()
        self._lock = lock
        self._end_other = end_other
        self._is_given_up = threading.Event()
        self._background = Background(self)

    def ask(self) -> bool:
        """True with the lock taken; False when the person leaves things as they are.

        Raises AgentError when the other one doesn't stop.
        """
        box = QMessageBox(
            QMessageBox.Icon.Question, "TitanCompute", self.tr("Sharing already runs here, without a window.")
        )
        box.setWindowIcon(app_icon())
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setInformativeText(
            self.tr(
                "It was started in the background, by a service or another program. "
                "You can end it and go on here, with the same settings. Sessions that run now may finish first."
            )
        )
        end = box.addButton(self.tr("End it and start here"), QMessageBox.ButtonRole.AcceptRole)
        box.addButton(self.tr("Leave it running"), QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(end)
        box.exec()
        return box.clickedButton() is end and self._wait()

    def _wait(self) -> bool:
        # No QProgressDialog: its exec() crashed the interpreter when it was cancelled (PySide6 6.11).
        dialog = QMessageBox(
            QMessageBox.Icon.NoIcon, "TitanCompute", self.tr("Waiting until the other one has ended …")
        )
        dialog.setWindowIcon(app_icon())
        give_up = dialog.addButton(self.tr("Stop waiting"), QMessageBox.ButtonRole.RejectRole)
        give_up.setAutoDefault(False)  # Return, pressed twice for the question, is no answer to this
        failures: list[AgentError] = []

        def fail(error: AgentError) -> None:
            failures.append(error)
            dialog.reject()

        self._background.run(self._end_and_take, lambda _: dialog.accept(), fail)
        dialog.exec()
        self._is_given_up.set()
        self._background.wait()
        if failures:
            raise failures[0]
        return self._lock.is_held

    def _end_and_take(self) -> None:
        """On the worker."""
        with suppress(AgentNotRunning):  # it ends already
            self._end_other()
        deadline = time.monotonic() + END_LIMIT_S
        while not self._is_given_up.is_set():
            try:
                self._lock.acquire()
                return
            except AlreadyRunningError as error:
                if time.monotonic() > deadline:
                    raise AlreadyRunningError(
                        f"The other one has not ended within {END_LIMIT_S:g} s",
                        hint="Wait a moment, then start this again.",
                    ) from error
            self._is_given_up.wait(LOOK_INTERVAL_S)
