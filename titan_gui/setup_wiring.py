"""The setup, the held agent behind it, and the last click: written, started anew, and only then shared."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QDesktopServices

from core.commands import CommandOutcome
from core.config_edit import change_settings
from core.config_load import LoadedSettings
from core.config_reload import reload_settings
from core.errors import AgentError, ConfigError, StorageError
from core.logs import get_logger
from core.pull_offer import offer_of_json
from core.settings_file import is_previous_wanted, restore_previous
from titan_gui.background import Background
from titan_gui.bridge import AgentBridge
from titan_gui.opening import Opener, OpenUrl
from titan_gui.pages.setup import SetupWindow
from titan_gui.remedies import error_text
from titan_gui.setup_draft import SetupDraft, Step, changes_of, draft_of, drop_draft, read_draft, write_draft

log = get_logger(__name__)

KEEP_AFTER_MS = 500  # typing is kept once it rests


class SetupWiring(QObject):
    """One run of the setup. Needs an agent thread: before the first run it is a held one, which shares nothing."""

    finished = Signal(object)  # LoadedSettings: written; start the agent with them
    closed = Signal()

    def __init__(
        self,
        loaded: LoadedSettings,
        bridge: AgentBridge,
        *,
        environ: Mapping[str, str] | None = None,
        change: Callable[..., object] = change_settings,
        open_url: OpenUrl = QDesktopServices.openUrl,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._loaded, self._bridge, self._change = loaded, bridge, change
        self._environ = os.environ if environ is None else environ
        self._folder = loaded.paths.config_dir
        self._background = Background(self)
        self._is_done = False
        self._finishing: SetupDraft | None = None  # until its port is checked
        self.window = SetupWindow(read_draft(self._folder, draft_of(loaded)), loaded.origins)
        self.opener = Opener(loaded.settings.models_dir, open_url=open_url, parent=self)
        self.window.model.add.show_folder(str(loaded.settings.models_dir))
        self._keep = QTimer(self, singleShot=True, interval=KEEP_AFTER_MS)
        self._keep.timeout.connect(self._on_keep_timeout)
        self._connect()
        wanted = partial(is_previous_wanted, loaded.paths.config_file)
        self._background.run(wanted, self.window.offer_previous, self.window.show_error)

    def wait(self, timeout_ms: int = 5_000) -> bool:
        """At the end of the program: until what was typed is on disk."""
        if self._keep.isActive():
            self._keep.stop()
            self._on_keep_timeout()
        return self._background.wait(timeout_ms)

    def _connect(self) -> None:
        window, bridge = self.window, self._bridge
        window.draft_changed.connect(lambda _: self._keep.start())
        window.step_shown.connect(self._on_step_shown)
        window.finish_requested.connect(self._on_finish_requested)
        window.previous_requested.connect(self._on_previous_requested)
        window.closed.connect(self._on_window_closed)
        window.coordinator.test_requested.connect(self._on_coordinator_test_requested)
        window.address.port_check_requested.connect(self._check_port)
        window.address.free_port_requested.connect(lambda port: bridge.command("find_port", {"port": port.strip()}))
        window.model.look_requested.connect(lambda name: bridge.command("look_up_model", {"model": name}))
        window.model.pull_requested.connect(lambda name: bridge.command("pull_model", {"model": name}))
        window.model.cancel_requested.connect(lambda name: bridge.command("cancel_pull", {"model": name}))
        window.model.add.folder_requested.connect(self.opener.open_folder)
        window.model.add.site_requested.connect(self.opener.open_site)
        self.opener.failed.connect(window.model.show_error)
        window.test.test_requested.connect(self._on_test_requested)
        bridge.snapshot_changed.connect(window.render)
        bridge.command_finished.connect(self._on_command_finished)
        bridge.command_failed.connect(self._on_command_failed)
        bridge.agent_ended.connect(self._on_agent_ended)
        window.render(bridge.snapshot)
        bridge.agent_started.connect(self._ask_for_idle)
        if bridge.is_running:
            self._ask_for_idle()

    def _ask_for_idle(self) -> None:
        """At once: its answer is there before the step that it is for."""
        if not self._is_done:
            self._bridge.command("check_idle")

    def _on_step_shown(self, step: int) -> None:
        if step == Step.ADDRESS:
            self._bridge.command("find_addresses")
            self._check_port(self.window.draft.agent_port)

    def _check_port(self, port: str) -> None:
        self._bridge.command("check_port", {"port": port.strip()})

    def _on_coordinator_test_requested(self, endpoint: str, tls: bool) -> None:
        self._bridge.command("test_coordinator", {"endpoint": endpoint, "tls": "true" if tls else "false"})

    def _on_test_requested(self, model: str) -> None:
        self._bridge.command("self_test", {"model": model} if model else {})

    def _on_command_finished(self, name: str, outcome: CommandOutcome) -> None:
        window, result = self.window, outcome.result
        match name:
            case "test_coordinator":
                window.coordinator.show_answer(result)
            case "check_idle":
                window.when.show_idle(str(result.get("problem", "")))
            case "find_addresses":
                window.show_addresses(_hosts(result))
            case "check_port":
                window.address.show_port(str(result.get("port", "")), str(result.get("problem", "")), outcome.message)
                self._finish_after_check()
            case "find_port":
                window.address.use_port(str(result.get("port", "")), outcome.message)
            case "look_up_model":
                window.model.question.show_offer(offer_of_json(result))
            case "self_test" if window.test.is_running:
                window.test.show_result(result)

    def _on_command_failed(self, name: str, error: AgentError) -> None:
        window = self.window
        match name:
            case "test_coordinator":
                window.coordinator.show_error(error)
            case "check_port":
                window.address.show_port_error(error_text(error))
                self._finish_after_check()
            case "find_port":
                window.address.show_port_error(error_text(error))
            case "look_up_model":
                window.model.question.show_error(error)
            case "pull_model" | "cancel_pull":
                window.model.show_error(error)
            case "self_test" if window.test.is_running:
                window.test.show_error(error)

    def _on_agent_ended(self, error: BaseException | None) -> None:
        if isinstance(error, AgentError) and not self._is_done:
            self.window.show_error(error)

    def _on_keep_timeout(self) -> None:
        if not self._is_done:
            work = partial(write_draft, self._folder, self.window.draft)
            self._background.run(work, lambda _: None, self._on_keep_failed)

    def _on_keep_failed(self, error: AgentError) -> None:
        """What was typed still stands in the window; the last click will say whether the disk can be written."""
        log.warning("setup draft not kept", error=error.detail)

    def _on_window_closed(self) -> None:
        """Over once the draft is on disk; the Qt thread doesn't wait for that."""
        self._keep.stop()
        self._finishing = None
        draft = None if self._is_done else self.window.draft

        def keep() -> None:
            if draft is not None:
                write_draft(self._folder, draft)

        def failed(error: AgentError) -> None:
            self._on_keep_failed(error)
            self.closed.emit()

        self._background.run(keep, lambda _: self.closed.emit(), failed)

    def _on_previous_requested(self) -> None:
        """The settings of before the damage: done where they were a whole setup, else its answers so far."""
        file = self._loaded.paths.config_file

        def restore() -> LoadedSettings:
            restore_previous(file)
            try:
                return reload_settings(self._loaded, self._environ)
            except ConfigError:  # they can't be used as they are: then it stays as it was
                file.unlink(missing_ok=True)
                raise

        self._background.run(restore, self._on_restored, self.window.show_error)

    def _on_restored(self, loaded: LoadedSettings) -> None:
        self._loaded = loaded
        self.window.offer_previous(False)
        if loaded.settings.setup_done:
            self._on_written(loaded)
        else:
            self.window.use_draft(draft_of(loaded))

    def _on_finish_requested(self, draft: SetupDraft) -> None:
        """The port once more: since the second step another program may have taken it."""
        self._keep.stop()
        if self.window.address.port.isEnabled():
            self._finishing = draft
            self._check_port(draft.agent_port)
        else:
            self._write(draft)

    def _finish_after_check(self) -> None:
        """The port has been looked at (or nobody can: then the agent says it). Nothing where nobody waits for that."""
        draft, self._finishing = self._finishing, None
        if draft is None:
            return
        if self.window.address.port_problem:
            self.window.go_back_to(Step.ADDRESS)
        else:
            self._write(draft)

    def _write(self, draft: SetupDraft) -> None:
        changes = changes_of(draft, self._loaded)

        def write() -> LoadedSettings:
            self._change(changes, self._environ, profile=self._loaded.settings.profile)
            loaded = reload_settings(self._loaded, self._environ)
            try:
                drop_draft(self._folder)
            except StorageError as error:  # the settings are written: an old draft does no harm
                log.warning("setup draft not removed", error=error.detail)
            return loaded

        self._background.run(write, self._on_written, self.window.show_error)

    def _on_written(self, loaded: LoadedSettings) -> None:
        self._is_done = True
        self.finished.emit(loaded)
        self.window.close()


def _hosts(result: Mapping[str, object]) -> list[str]:
    addresses = result.get("addresses", [])
    return [str(entry["host"]) for entry in addresses] if isinstance(addresses, list) else []
