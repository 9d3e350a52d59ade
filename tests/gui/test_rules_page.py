"""The rules page lists every reason that the core can give, and which hold now."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QScrollArea, QWidget
from pytestqt.qtbot import QtBot

import core.reasons
from core.config import DECLARATIONS
from core.config_load import load_settings
from core.reasons.catalogue import CATALOGUE, STRENGTH
from core.rules.effects import DEFAULT_EFFECTS
from core.snapshot import AgentSnapshot, Reason
from core.state import AgentState
from titan_gui.pages.rules import ReasonCard, RulesPage
from titan_gui.remedies import Action, Does
from titan_gui.rule_forms import FORMS
from titan_gui.rules_view import reason_views, summary_of, what_to_do
from titan_gui.view_model import clock_text

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

ENGINE = Reason(
    code="engine_unreachable", sentence="The engine does not answer: refused.", remedy="Start Ollama.", setting="engine"
)
PAUSED = Reason(code="paused_by_owner", sentence="Paused by you.", ends_at=1_800_000_000.0)
NEW = Reason(code="too_hot", sentence="The card is at 91 °C.", setting="vram_reserve_mb")


@pytest.fixture
def page(qtbot: QtBot) -> RulesPage:
    made = RulesPage()
    made.show_settings(load_settings({}))
    qtbot.addWidget(made)
    made.resize(700, 500)
    with qtbot.waitExposed(made):
        made.show()
    return made


def test_every_reason_that_the_core_makes_is_in_the_catalogue() -> None:
    folder = Path(core.reasons.__file__).parent
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    made = {
        keyword.value.value
        for tree in trees
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Reason"
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }

    heats = {"gpu_warm", "cpu_warm"}  # from one function, as the rules' are
    assert made | heats | set(DEFAULT_EFFECTS) == set(STRENGTH)


def test_every_kind_is_explained_and_names_a_setting_that_exists() -> None:
    for kind in CATALOGUE:
        assert kind.title
        assert kind.meaning.endswith(".")
        assert kind.effect.endswith(".")
        assert kind.setting == "" or kind.setting in DECLARATIONS


def test_what_holds_stands_first_and_the_rest_keeps_its_order() -> None:
    codes = [view.code for view in reason_views((ENGINE, NEW, PAUSED))]
    rest = [kind.code for kind in CATALOGUE if kind.code not in ("paused_by_owner", "engine_unreachable")]

    assert codes == ["paused_by_owner", "engine_unreachable", "too_hot", *rest]
    assert [view.code for view in reason_views(())] == [kind.code for kind in CATALOGUE]


def test_what_holds_says_what_to_do_and_until_when() -> None:
    views = {view.code: view for view in reason_views((PAUSED, ENGINE))}

    assert views["engine_unreachable"].now == "The engine does not answer: refused. Start Ollama."
    assert "Ends at" in views["paused_by_owner"].now
    assert views["coordinator_away"].now == ""


def test_the_end_is_not_said_twice() -> None:
    ends_at = 1_800_000_000.0

    assert what_to_do("Paused by you.", "", ends_at) == f"Ends at {clock_text(ends_at)}."
    assert what_to_do(f"Paused by you until {clock_text(ends_at)}.", "", ends_at) == ""


def test_a_reason_that_this_list_does_not_know_is_shown_all_the_same() -> None:
    view = reason_views((NEW,))[0]

    assert (view.code, view.title, view.setting) == ("too_hot", "Too hot", "vram_reserve_mb")
    assert view.now == "The card is at 91 °C."


def test_summaries() -> None:
    assert summary_of(()) == "Nothing keeps it from serving."
    assert summary_of((ENGINE,)).startswith("One reason")
    assert summary_of((ENGINE, PAUSED)).startswith("2 reasons")
    assert "something to know" in summary_of((Reason(code="x", sentence="x", blocks=False),))


def test_the_page_shows_what_holds_and_what_no_longer_does(page: RulesPage) -> None:
    page.render(AgentSnapshot(state=AgentState.PAUSED, reasons=(ENGINE, NEW)))
    assert page.cards["engine_unreachable"].now.startswith("The engine does not answer")
    assert "too_hot" in page.cards

    page.render(AgentSnapshot(state=AgentState.READY))

    assert page.cards["engine_unreachable"].now == ""
    assert "too_hot" not in page.cards
    assert page.summary == "Nothing keeps it from serving."


def test_a_rule_leads_to_its_setting(qtbot: QtBot, page: RulesPage) -> None:
    (button,) = page.cards["model_not_ready"].buttons
    assert button.text() == "Open the setting “Offered models”"
    with qtbot.waitSignal(page.action_requested, timeout=0) as asked:
        button.click()

    assert asked.args == [Action(Does.SETTING, "supported_models")]


def test_what_holds_has_a_button_for_all_that_can_be_done(qtbot: QtBot, page: RulesPage) -> None:
    page.render(AgentSnapshot(reasons=(ENGINE,)))
    buttons = {button.text(): button for button in page.cards["engine_unreachable"].buttons}

    assert list(buttons) == ["Try again", "Open the setting “Engine”"]
    with qtbot.waitSignal(page.action_requested, timeout=0) as asked:
        buttons["Try again"].click()
    assert asked.args == [Action(Does.RETRY)]


def test_a_hidden_page_shows_the_newest_when_it_is_shown(qtbot: QtBot) -> None:
    page = RulesPage()
    qtbot.addWidget(page)
    page.render(AgentSnapshot(reasons=(ENGINE,)))
    assert page.cards["engine_unreachable"].now == ""

    page.show()

    assert page.cards["engine_unreachable"].now


def test_cards_that_hold_are_above_the_others_on_the_page(page: RulesPage) -> None:
    others = [kind.code for kind in CATALOGUE if kind.code not in FORMS]

    def top_down() -> list[str]:
        QApplication.processEvents()
        return sorted(page.cards, key=lambda code: page.cards[code].y())

    page.render(AgentSnapshot(reasons=(ENGINE, NEW)))
    assert top_down()[:2] == ["engine_unreachable", "too_hot"]
    page.render(AgentSnapshot(reasons=(PAUSED,)))
    assert top_down()[0] == "paused_by_owner"
    page.render(AgentSnapshot())
    assert top_down() == others


def test_the_page_scrolls_to_its_end_and_no_further(qtbot: QtBot, page: RulesPage) -> None:
    area = page.findChild(QScrollArea)
    assert area is not None
    content = area.widget()
    assert content is not None
    page.render(AgentSnapshot(reasons=(ENGINE, PAUSED)))
    for width in (960, 420, 960):  # narrow on the way: what it took there must not stay
        page.resize(width, 640)
        last = page.cards[reason_views((ENGINE, PAUSED))[-1].code]

        def empty(content: QWidget = content, last: ReasonCard = last) -> int:
            return content.height() - last.geometry().bottom() - 1

        qtbot.waitUntil(lambda: empty() <= 14, timeout=2000)  # a gap between cards and the margin
        assert area.verticalScrollBar().maximum() == content.height() - area.viewport().height() > 0
        assert content.height() == content.heightForWidth(content.width())


def test_the_keyboard_goes_through_the_cards_from_top_to_bottom(page: RulesPage) -> None:
    page.render(AgentSnapshot(reasons=(ENGINE,)))
    page.render(AgentSnapshot(reasons=(PAUSED,)))

    paused, *others = (view.code for view in reason_views((PAUSED,)) if view.code in page.cards)
    buttons: list[QWidget] = [*page.cards[paused].buttons]
    for row in page.rows.values():
        buttons += row.focus_targets()
    buttons += [button for code in others for button in page.cards[code].buttons]
    found: list[QWidget] = []
    after = page.nextInFocusChain()
    while after is not None and after is not page:
        if after in buttons:
            found.append(after)
        after = after.nextInFocusChain()

    assert found == buttons
