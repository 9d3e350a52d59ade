"""Which pages the window has, and what their intents do: the only place where pages meet the running program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_gui.main_window import MainWindow

if TYPE_CHECKING:
    from titan_gui.app import Desktop


def add_pages(window: MainWindow, desktop: Desktop) -> None:
    """Fill the window when it opens for the first time. Heavy imports (pages, charts) are made in here, not at start.

    `desktop` has what pages ask for: `bridge` (snapshots and commands), `loaded` (the settings as they are),
    `use_settings` (they have changed), `start_agent`, `pause`, `autostart`, `open_window("page")`, `quit`.
    """
    from titan_gui.autostart_wiring import AutostartWiring
    from titan_gui.log_wiring import LogWiring
    from titan_gui.models_wiring import ModelsWiring
    from titan_gui.overview_wiring import OverviewWiring
    from titan_gui.pages.activity import ActivityPage
    from titan_gui.pages.dashboard import DashboardPage
    from titan_gui.pages.log import LogPage
    from titan_gui.pages.models import ModelsPage
    from titan_gui.pages.rules import RulesPage
    from titan_gui.pages.settings import SettingsPage
    from titan_gui.settings_files import SettingsFiles
    from titan_gui.settings_wiring import SettingsWiring

    dashboard, activity, rules = DashboardPage(desktop.history), ActivityPage(), RulesPage()
    OverviewWiring(dashboard, activity, rules, desktop.bridge).connect_to(
        pause=desktop.pause,
        start_agent=desktop.start_agent,
        open_setup=desktop.open_setup,
        show_page=window.show_page,
        show_setting=lambda name: _show_setting(window, name),
    )
    models, settings = ModelsPage(), SettingsPage()
    models_wiring = ModelsWiring(models, desktop.bridge, desktop.loaded.settings.models_dir)
    files = SettingsFiles(desktop.loaded, parent=settings)
    SettingsWiring(settings, files, desktop.bridge, start_agent=desktop.start_agent)
    AutostartWiring(settings.login_switch, lambda: desktop.autostart)
    files.loaded.connect(desktop.use_settings)
    files.loaded.connect(lambda loaded: models_wiring.use_folder(loaded.settings.models_dir))
    settings.setup_requested.connect(desktop.open_setup)
    window.add_page("dashboard", window.tr("Dashboard"), dashboard)
    window.add_page("activity", window.tr("Activity"), activity)
    window.add_page("models", window.tr("Models"), models)
    window.add_page("rules", window.tr("Rules"), rules)
    window.add_page("settings", window.tr("Settings"), settings)
    log_page = LogPage()
    LogWiring(log_page, loaded=lambda: desktop.loaded, snapshot=lambda: desktop.bridge.snapshot)
    window.add_page("log", window.tr("Log"), log_page)


def _show_setting(window: MainWindow, name: str) -> None:
    """Turn to the settings, at the one named."""
    window.show_page("settings")
    page = window.page("settings") if "settings" in window.page_names else None
    if page is not None and hasattr(page, "focus_setting"):
        page.focus_setting(name)
