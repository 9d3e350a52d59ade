"""Which pages the window has, and what their intents do: the only place where pages meet the running program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from titan_gui.main_window import MainWindow
from titan_gui.step_builder import Steps, measured

if TYPE_CHECKING:
    from titan_gui.app import Desktop
    from titan_gui.overview_wiring import OverviewWiring
    from titan_gui.settings_files import SettingsFiles


def add_pages(window: MainWindow, desktop: Desktop) -> None:
    """Fill the window. Each page is imported, then built, when its turn comes (MainWindow.add_page_later): modules are
    named one step ahead, so that a worker thread imports them.

    `desktop` has what pages ask for: `bridge` (snapshots and commands), `loaded` (the settings as they are),
    `use_settings` (they have changed), `start_agent`, `pause`, `autostart`, `open_window("page")`, `quit`.
    """
    from titan_gui.overview_wiring import OverviewWiring
    from titan_gui.settings_files import SettingsFiles

    files = SettingsFiles(desktop.loaded, parent=window)
    files.loaded.connect(desktop.use_settings)
    desktop.bridge.agent_started.connect(files.reload)  # the setup, run again, has written others
    overview = OverviewWiring(
        desktop.bridge,
        pause=desktop.pause,
        start_agent=desktop.start_agent,
        open_setup=desktop.open_setup,
        show_page=window.show_page,
        show_setting=lambda name: _show_setting(window, name),
        show_reason=lambda code: _show_reason(window, code),
        show_models=lambda: _show_at(window, "models", "focus_missing", ""),
        parent=window,
    )
    window.add_page_later("dashboard", window.tr("Dashboard"), lambda: _make_dashboard(desktop, overview))
    window.add_page_later("activity", window.tr("Activity"), lambda: _make_activity(overview))
    window.add_page_later("models", window.tr("Models"), lambda: _make_models(desktop, files))
    window.add_page_later("rules", window.tr("Rules"), lambda: _make_rules(desktop, overview, files))
    window.add_page_later("settings", window.tr("Settings"), lambda: _make_settings(desktop, files))
    window.add_page_later("log", window.tr("Log"), lambda: _make_log(desktop))


def _make_dashboard(desktop: Desktop, overview: OverviewWiring) -> Steps:
    yield ("titan_gui.pages.dashboard",)
    from titan_gui.pages.dashboard import DashboardPage

    page = DashboardPage(desktop.history, is_empty=True)
    while page.build_more():
        yield None
    overview.connect_dashboard(page)
    yield from measured(page)
    return page


def _make_activity(overview: OverviewWiring) -> Steps:
    yield ("titan_gui.pages.activity",)
    from titan_gui.pages.activity import ActivityPage

    page = ActivityPage()
    overview.connect_activity(page)
    return page


def _make_models(desktop: Desktop, files: SettingsFiles) -> Steps:
    yield ("titan_gui.models_wiring", "titan_gui.pages.models")
    from titan_gui.models_wiring import ModelsWiring
    from titan_gui.pages.models import ModelsPage

    page = ModelsPage()
    wiring = ModelsWiring(page, desktop.bridge, desktop.loaded.settings.models_dir)
    files.loaded.connect(lambda loaded: wiring.use_folder(loaded.settings.models_dir))
    return page


def _make_rules(desktop: Desktop, overview: OverviewWiring, files: SettingsFiles) -> Steps:
    yield ("titan_gui.pages.rules", "titan_gui.rules_wiring")
    from titan_gui.pages.rules import RulesPage
    from titan_gui.rules_wiring import RulesWiring

    page = RulesPage(is_empty=True)
    while page.build_more():
        yield None
    overview.connect_rules(page)
    RulesWiring(page, files, desktop.bridge)
    yield from measured(page)
    return page


def _make_settings(desktop: Desktop, files: SettingsFiles) -> Steps:
    yield ("titan_gui.autostart_wiring", "titan_gui.pages.settings", "titan_gui.settings_wiring")
    from titan_gui.autostart_wiring import AutostartWiring
    from titan_gui.pages.settings import SettingsPage
    from titan_gui.settings_wiring import SettingsWiring

    page = SettingsPage(is_empty=True)
    while page.build_more():
        yield None
    SettingsWiring(page, files, desktop.bridge, start_agent=desktop.start_agent)
    AutostartWiring(page.login_switch, lambda: desktop.autostart)
    page.setup_requested.connect(desktop.open_setup)
    yield from measured(page)
    return page


def _make_log(desktop: Desktop) -> Steps:
    yield ("titan_gui.log_wiring", "titan_gui.pages.log")
    from titan_gui.log_wiring import LogWiring
    from titan_gui.pages.log import LogPage

    page = LogPage()
    LogWiring(page, loaded=lambda: desktop.loaded, snapshot=lambda: desktop.bridge.snapshot)
    return page


def _show_setting(window: MainWindow, name: str) -> None:
    """Turn to the settings, at the one named; a rule's setting stands with its rule."""
    from titan_gui.rule_forms import FORM_OF_SETTING

    _show_at(window, "rules" if name in FORM_OF_SETTING else "settings", "focus_setting", name)


def _show_reason(window: MainWindow, code: str) -> None:
    """Turn to the rules, at the reason of that code."""
    _show_at(window, "rules", "focus_reason", code)


def _show_at(window: MainWindow, page: str, focus: str, what: str) -> None:
    """Turn to a page and, once it stands, to something on it."""

    def show(widget: QWidget) -> None:
        if hasattr(widget, focus) and window.current_page == page:
            getattr(widget, focus)(what)

    window.show_page(page)
    window.when_built(page, show)
