"""From "model not ready" to the model that is wanted: through the window as it is put together."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from PySide6.QtWidgets import QApplication, QLineEdit

from core.engines import MissingModel
from tests.fakes.snapshots import busy_snapshot
from tests.gui.test_rule_links import dashboard_of, window
from titan_gui.main_window import MainWindow
from titan_gui.pages.models import ModelsPage
from titan_gui.remedies import Action, Does

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

__all__ = ["window"]  # a fixture


def test_the_remedy_of_a_model_that_is_not_ready_leads_to_it_with_its_name(window: MainWindow) -> None:
    wanted = MissingModel(name="chat:8b", pull_name="chat:8b")
    window.render_snapshot(replace(busy_snapshot(), missing_models=(wanted,)))
    dashboard_of(window).action_requested.emit(Action(Does.MODELS))
    QApplication.processEvents()
    assert window.current_page == "models"
    page = cast(ModelsPage, window.page("models"))
    line = page.findChild(QLineEdit)
    assert isinstance(line, QLineEdit)
    assert line.text() == "chat:8b"
    assert page.focusWidget() is page.missing_row("chat:8b").get
    assert page.question.dialog is None  # nothing is asked, let alone downloaded, before the click
