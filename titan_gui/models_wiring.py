"""The models page and the running agent, connected."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtGui import QDesktopServices

from core.commands import CommandOutcome
from core.errors import AgentError
from core.pull_offer import offer_of_json
from titan_gui.bridge import AgentBridge
from titan_gui.opening import Opener, OpenUrl
from titan_gui.pages.models import ModelsPage

LOOK = "look_up_model"
MEASURE = "measure_speed"
COMMANDS = (
    *("pull_model", "cancel_pull", "delete_model", "offer_model", "withdraw_model"),
    *(MEASURE, "stop_measuring"),
)


class ModelsWiring(QObject):
    """Wishes become commands; their answers come back to the page."""

    def __init__(
        self, page: ModelsPage, bridge: AgentBridge, folder: Path, *, open_url: OpenUrl = QDesktopServices.openUrl
    ) -> None:
        super().__init__(page)
        self._page = page
        self.opener = Opener(folder, open_url=open_url, parent=self)
        page.add.folder_requested.connect(self.opener.open_folder)
        page.add.site_requested.connect(self.opener.open_site)
        self.opener.failed.connect(page.show_error)
        self.use_folder(folder)
        page.look_requested.connect(lambda name: bridge.command(LOOK, {"model": name}))
        page.pull_requested.connect(
            lambda name, serve_as: bridge.command("pull_model", {"model": name, "serve_as": serve_as})
        )
        page.speed.measure_requested.connect(lambda name: bridge.command(MEASURE, {"model": name}))
        page.speed.stop_requested.connect(lambda: bridge.command("stop_measuring"))
        page.cancel_requested.connect(lambda name: bridge.command("cancel_pull", {"model": name}))
        page.delete_requested.connect(lambda name: bridge.command("delete_model", {"model": name}))
        page.offer_requested.connect(lambda name: bridge.command("offer_model", {"model": name}))
        page.withdraw_requested.connect(lambda name: bridge.command("withdraw_model", {"model": name}))
        bridge.command_finished.connect(self._on_command_finished)
        bridge.command_failed.connect(self._on_command_failed)

    def use_folder(self, folder: Path) -> None:
        """The setting has changed: the page names the new folder, and opens that one."""
        self.opener.folder = folder
        self._page.add.show_folder(str(folder))

    def _on_command_finished(self, name: str, outcome: CommandOutcome) -> None:
        if name == LOOK:
            self._page.question.show_offer(offer_of_json(outcome.result))
        elif name in COMMANDS:
            is_shown = name == "pull_model" or (name == MEASURE and not outcome.result.get("stopped"))
            self._page.show_done("" if is_shown else outcome.message)  # a row, or the panel, says it already

    def _on_command_failed(self, name: str, error: AgentError) -> None:
        if name == LOOK:
            self._page.question.show_error(error)
        elif name in COMMANDS:
            self._page.show_error(error)
