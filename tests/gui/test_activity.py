"""The activity page: rows that come and go without moving anything, a stop button each, and no word of anybody."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtTest import QAbstractItemModelTester, QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QPushButton
from pytestqt.qtbot import QtBot

from core.contribution import LedgerRow
from core.sessions import EndReason
from core.snapshot import AgentSnapshot, SessionView
from core.state import AgentState
from titan_gui.activity_view import END_WORDS, Row, live_rows, past_rows
from titan_gui.pages.activity import ActivityPage
from titan_gui.widgets.row_table import RowModel

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

NOW = 1_800_000_000.0


def session(number: int, **changes: object) -> SessionView:
    made = SessionView(
        session_id=f"s{number}",
        model="llama3.1:8b",
        client=f"{number:08x}",
        phase="running",
        started_at=NOW - 100 + number,
        tokens=10 * number,
        tokens_per_second=5.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def snapshot(*sessions: SessionView, processed: int = 0) -> AgentSnapshot:
    empty = AgentSnapshot(state=AgentState.READY, sessions=sessions, running_jobs=len(sessions), max_jobs=32)
    return replace(empty, totals=replace(empty.totals, requests_processed=processed))


def past(number: int, **changes: object) -> dict[str, object]:
    row = LedgerRow(
        started_at=NOW - 60 * number,
        model="llama3.1:8b",
        quant="Q4_K_M",
        engine="ollama",
        client="1a2b3c4d5e6f7a8b",
        prompt_tokens=12,
        completion_tokens=345,
        seconds=6.78,
        end_reason="completed",
        time_to_first_token_ms=120.0,
    )
    return {**dataclasses.asdict(row), **changes}


@pytest.fixture
def page(qtbot: QtBot) -> ActivityPage:
    made = ActivityPage(clock=lambda: NOW)
    qtbot.addWidget(made)
    made.resize(800, 600)
    with qtbot.waitExposed(made):
        made.show()
    return made


def test_each_way_to_end_has_words() -> None:
    assert set(END_WORDS) == {reason.value for reason in EndReason}


def test_live_rows_are_the_oldest_first() -> None:
    rows = live_rows(snapshot(session(5), session(2, tokens_per_second=None)), NOW)

    assert [row.key for row in rows] == ["s2", "s5"]
    assert rows[0].cells == ("llama3.1:8b", "00000002", "running", "20", "–", "1 min")


def test_past_rows_say_how_it_ended() -> None:
    rows = past_rows({"recent": [past(1), past(2, end_reason="owner_stopped", completion_tokens=None)]})

    assert rows[0].cells[1:] == ("llama3.1:8b (Q4_K_M)", "1a2b3c4d", "345", "6.8 s", "answered")
    assert rows[1].cells[3] == "–"
    assert rows[1].cells[5] == "stopped by you"


@pytest.mark.parametrize("result", [{}, {"recent": None}, {"recent": ["x", {}]}, {"recent": [{"started_at": 1e300}]}])
def test_an_answer_in_another_shape_breaks_nothing(result: dict[str, object]) -> None:
    assert all(len(row.cells) == 6 for row in past_rows(result))


def test_equal_past_sessions_have_keys_of_their_own_that_last() -> None:
    first = past_rows({"recent": [past(1), past(1)]})
    later = past_rows({"recent": [past(0), past(1), past(1)]})

    assert len({row.key for row in first}) == 2
    assert [row.key for row in later[1:]] == [row.key for row in first]


def test_no_row_can_hold_text_of_a_prompt_or_an_answer() -> None:
    fields = {field.name for field in dataclasses.fields(SessionView)}

    assert fields == {
        "session_id",
        "model",
        "client",
        "phase",
        "started_at",
        "tokens",
        "tokens_per_second",
    }  # a new field: does it hold text? Then it has no place on the page


@settings(deadline=None)  # the machine may be busy with other things
@given(st.lists(st.lists(st.integers(0, 12), unique=True, max_size=12).map(sorted), max_size=8))
def test_the_model_follows_any_change_of_rows(steps: list[list[int]]) -> None:
    model = RowModel(("A", "B"), frozenset({"B"}))
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    for count, step in enumerate(steps):
        model.show_rows([Row(str(number), (str(number), str(count))) for number in step])
        assert model.keys == tuple(map(str, step))
        assert all(model.index(row, 1).data() == str(count) for row in range(len(step)))
    assert tester.model() is model


def test_only_cells_that_differ_are_reported() -> None:
    model = RowModel(("A", "B", "C"), frozenset())
    model.show_rows([Row("1", ("a", "b", "c")), Row("2", ("a", "b", "c"))])
    changed: list[tuple[int, int, int]] = []
    reset: list[bool] = []
    model.dataChanged.connect(lambda top, bottom, _: changed.append((top.row(), top.column(), bottom.column())))
    model.modelReset.connect(lambda: reset.append(True))

    model.show_rows([Row("1", ("a", "b", "c")), Row("2", ("a", "B", "c"))])

    assert changed == [(1, 1, 1)]
    assert reset == []


def test_selection_and_scroll_position_survive(qtbot: QtBot, page: ActivityPage) -> None:
    page.render(snapshot(*(session(number) for number in range(32))))
    table = page.live
    table.selectRow(20)
    table.scrollTo(table.rows.index(20, 0), table.ScrollHint.PositionAtTop)
    top = table.indexAt(table.viewport().rect().topLeft()).data(Qt.ItemDataRole.UserRole)

    page.render(snapshot(*(session(number, tokens=7) for number in range(3, 32)), session(40)))

    assert table.selected_keys() == ("s20",)
    assert table.indexAt(table.viewport().rect().topLeft()).data(Qt.ItemDataRole.UserRole) == top


def test_each_session_has_its_own_stop_button(qtbot: QtBot, page: ActivityPage) -> None:
    page.render(snapshot(session(1), session(2), session(3)))
    page.render(snapshot(session(1), session(3), session(4)))
    asked: list[str] = []
    page.stop_requested.connect(asked.append)

    for row in range(3):
        button = page.live.indexWidget(page.live.rows.index(row, 6))
        assert isinstance(button, QPushButton)
        button.click()

    assert asked == ["s1", "s3", "s4"]


def test_the_delete_key_stops_what_is_chosen(qtbot: QtBot, page: ActivityPage) -> None:
    page.render(snapshot(session(1), session(2)))
    page.activateWindow()
    page.live.setFocus()
    page.live.selectRow(1)

    with qtbot.waitSignal(page.stop_requested, timeout=1000) as asked:
        QTest.keyClick(page.live, Qt.Key.Key_Delete)

    assert asked.args == ["s2"]


def test_rows_are_copied_as_text(page: ActivityPage) -> None:
    page.show_contribution({"recent": [past(1), past(2)]})
    page.past.selectRow(0)

    page.past.copy_selection()

    assert QApplication.clipboard().text().split("\t")[1:] == [
        "llama3.1:8b (Q4_K_M)",
        "1a2b3c4d",
        "345",
        "6.8 s",
        "answered",
    ]


def test_the_ledger_is_asked_when_a_session_has_ended(qtbot: QtBot) -> None:
    now = [NOW]
    page = ActivityPage(clock=lambda: now[0])
    qtbot.addWidget(page)
    page.show()
    asked: list[bool] = []
    page.contribution_requested.connect(lambda: asked.append(True))

    now[0] += 2
    page._timer.timeout.emit()
    assert asked == []
    page.render(snapshot(processed=1))
    page._timer.timeout.emit()

    assert asked == [True]


def test_a_hidden_page_changes_nothing(qtbot: QtBot) -> None:
    page = ActivityPage(clock=lambda: NOW)
    qtbot.addWidget(page)

    page.render(snapshot(session(1)))
    assert page.live.rows.rowCount(QModelIndex()) == 0
    page.show()

    assert page.live.rows.keys == ("s1",)


def test_a_models_name_is_never_markup(page: ActivityPage) -> None:
    page.render(snapshot(session(1, model="<b>x</b>\n" + "y" * 500)))
    index = page.live.rows.index(0, 0)

    assert index.data(Qt.ItemDataRole.ToolTipRole) is None
    assert index.data() == "<b>x</b>\n" + "y" * 500


@pytest.mark.parametrize(("name", "form"), [("given.csv", "csv"), ("given.JSON", "json")])
def test_export_asks_for_a_file_and_says_which_form(qtbot: QtBot, page: ActivityPage, name: str, form: str) -> None:
    page.export_button.click()
    dialog = page.findChild(QFileDialog)
    assert isinstance(dialog, QFileDialog)
    with qtbot.waitSignal(page.export_requested) as asked:
        dialog.fileSelected.emit(f"/home/somebody/{name}")
    assert asked.args == [f"/home/somebody/{name}", form]
    dialog.reject()


def test_closing_the_export_dialog_asks_for_nothing(qtbot: QtBot, page: ActivityPage) -> None:
    page.export_button.click()
    dialog = page.findChild(QFileDialog)
    assert isinstance(dialog, QFileDialog)
    with qtbot.assertNotEmitted(page.export_requested):
        dialog.reject()
