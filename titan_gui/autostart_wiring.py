"""The switch "start at login" and the system that keeps it, connected; files and registry never on the Qt thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject

from core.errors import AgentError
from titan_gui.autostart import Autostart
from titan_gui.background import Background
from titan_gui.remedies import error_text
from titan_gui.widgets.login_switch import LoginSwitch


class AutostartWiring(QObject):
    """Each click and each showing of the switch ends in the state that the system reports then."""

    def __init__(self, switch: LoginSwitch, autostart: Callable[[], Autostart]) -> None:
        """`autostart` is called on the worker; it raises AgentError where this installation can't start at login."""
        super().__init__(switch)
        self._switch, self._autostart = switch, autostart
        self._background = Background(self)
        switch.state_requested.connect(self._read)
        switch.change_requested.connect(self._change)

    def wait(self, timeout_ms: int = 5_000) -> bool:
        """Until everything asked for is done; False when the limit came first."""
        return self._background.wait(timeout_ms)

    def _read(self) -> None:
        self._background.run(self._state, self._switch.show_state, partial(self._show_problem, None))

    def _change(self, is_wanted: bool) -> None:
        def change() -> bool:
            autostart = self._autostart()
            if is_wanted:
                autostart.enable()
            else:
                autostart.disable()
            return autostart.is_enabled()

        self._background.run(change, self._switch.show_state, partial(self._show_problem, not is_wanted))

    def _state(self) -> bool:
        return self._autostart().is_enabled()

    def _show_problem(self, is_on: bool | None, error: AgentError) -> None:
        self._switch.show_problem(error_text(error), is_on=is_on)
