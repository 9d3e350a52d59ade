"""Which pages the window has, and what their intents do: the only place where pages meet the running program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_gui.main_window import MainWindow, Steps

if TYPE_CHECKING:
    from titan_gui.app import Desktop
    from titan_gui.overview_wiring import OverviewWiring
    from titan_gui.settings_files import SettingsFiles


def add_pages(window: MainWindow, desktop: Desktop) -> None:
    """Fill the window. Each page is imported, then built, when its turn comes (MainWindow.add_page_later).

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
        parent=window,
    )
    window.add_page_later("dashboard", window.tr("Dashboard"), lambda: _make_dashboard(desktop, overview))
    window.add_page_later("activity", window.tr("Activity"), lambda: _make_activity(overview))
    window.add_page_later("models", window.tr("Models"), lambda: _make_models(desktop, files))
    window.add_page_later("rules", window.tr("Rules"), lambda: _make_rules(desktop, overview, files))
    window.add_page_later("settings", window.tr("Settings"), lambda: _make_settings(desktop, files))
    window.add_page_later("log", window.tr("Log"), lambda: _make_log(desktop))


def _make_dashboard(desktop: Desktop, overview: OverviewWiring) -> Steps:
    from titan_gui.pages.dashboard import DashboardPage

    yield
    page = DashboardPage(desktop.history)
    overview.connect_dashboard(page)
    return page


def _make_activity(overview: OverviewWiring) -> Steps:
    from titan_gui.pages.activity import ActivityPage

    yield
    page = ActivityPage()
    overview.connect_activity(page)
    return page


def _make_models(desktop: Desktop, files: SettingsFiles) -> Steps:
    from titan_gui.models_wiring import ModelsWiring
    from titan_gui.pages.models import ModelsPage

    yield
    page = ModelsPage()
    wiring = ModelsWiring(page, desktop.bridge, desktop.loaded.settings.models_dir)
    files.loaded.connect(lambda loaded: wiring.use_folder(loaded.settings.models_dir))
    return page


def _make_rules(desktop: Desktop, overview: OverviewWiring, files: SettingsFiles) -> Steps:
    from titan_gui.pages.rules import RulesPage
    from titan_gui.rules_wiring import RulesWiring

    yield
    page = RulesPage(is_empty=True)
    while page.build_more():
        yield
    yield
    overview.connect_rules(page)
    RulesWiring(page, files, desktop.bridge)
    yield  # placing it lays it out
    return page


def _make_settings(desktop: Desktop, files: SettingsFiles) -> Steps:
    from titan_gui.autostart_wiring import AutostartWiring
    from titan_gui.pages.settings import SettingsPage
    from titan_gui.settings_wiring import SettingsWiring

    yield
    page = SettingsPage(is_empty=True)
    while page.build_more():
        yield
    yield
    SettingsWiring(page, files, desktop.bridge, start_agent=desktop.start_agent)
    AutostartWiring(page.login_switch, lambda: desktop.autostart)
    page.setup_requested.connect(desktop.open_setup)
    yield
    return page


def _make_log(desktop: Desktop) -> Steps:
    from titan_gui.log_wiring import LogWiring
    from titan_gui.pages.log import LogPage

    yield
    page = LogPage()
    LogWiring(page, loaded=lambda: desktop.loaded, snapshot=lambda: desktop.bridge.snapshot)
    return page


def _show_setting(window: MainWindow, name: str) -> None:
    """Turn to the settings, at the one named; a rule's setting stands with its rule."""
    from titan_gui.rule_forms import FORM_OF_SETTING

    where = "rules" if name in FORM_OF_SETTING else "settings"
    window.show_page(where)
    page = window.page(where) if where in window.page_names else None
    if page is not None and hasattr(page, "focus_setting"):
        page.focus_setting(name)


def _show_reason(window: MainWindow, code: str) -> None:
    """Turn to the rules, at the reason of that code."""
    window.show_page("rules")
    page = window.page("rules") if "rules" in window.page_names else None
    if page is not None and hasattr(page, "focus_reason"):
        page.focus_reason(code)
