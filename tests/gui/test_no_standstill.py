"""What keeps Qt's thread from standing still: slices a turn each, imports on a worker, and labels that remember."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from core.engines import EngineModel
from tests.fakes.agent_process import ROOT
from tests.fakes.snapshots import busy_snapshot
from titan_gui.garbage import keep_what_is_there, put_off_full_collections
from titan_gui.pages.models import ROWS_A_TURN, ModelsPage
from titan_gui.qt_imports import SWITCH_INTERVAL_S, import_modules
from titan_gui.step_builder import StepBuilder, Steps, measured
from titan_gui.theme import dimmed
from titan_gui.turns import next_turn
from titan_gui.widgets.notes import dim_note
from titan_gui.widgets.text_labels import TextLabel, WrappedLabel

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")  # what the offscreen display can't do


def test_two_slices_never_share_a_turn_and_timers_come_between(qtbot: QtBot) -> None:
    owner = QObject()
    done: list[str] = []
    beat = QTimer(interval=0)
    beat.timeout.connect(lambda: done.append("beat"))
    beat.start()

    def two() -> None:
        done.append("two")
        next_turn(owner, lambda: done.append("three"))

    next_turn(owner, lambda: done.append("one"))
    next_turn(owner, two)
    assert done == []
    qtbot.waitUntil(lambda: "three" in done)
    slices = [what for what in done if what != "beat"]
    assert slices == ["one", "two", "three"]
    for first, second in pairwise(slices):
        assert "beat" in done[done.index(first) : done.index(second)]


def test_a_slice_whose_owner_is_gone_is_not_done(qtbot: QtBot) -> None:
    gone, there = QObject(), QObject()
    done: list[str] = []
    next_turn(gone, lambda: done.append("gone"))
    next_turn(there, lambda: done.append("there"))
    gone.deleteLater()
    QApplication.sendPostedEvents(gone)
    qtbot.waitUntil(lambda: bool(done))
    assert done == ["there"]


def test_a_slice_that_fails_stops_no_other(qtbot: QtBot) -> None:
    owner = QObject()
    done: list[str] = []

    def fail() -> None:
        raise ValueError("a bug")

    with qtbot.captureExceptions() as raised:
        next_turn(owner, fail)
        next_turn(owner, lambda: done.append("other"))
        qtbot.waitUntil(lambda: bool(done))
    assert [str(error) for _, error, _ in raised] == ["a bug"]


def test_modules_are_imported_by_another_thread_before_the_step_that_needs_them(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    by: list[tuple[tuple[str, ...], int]] = []
    monkeypatch.setattr(
        "titan_gui.step_builder.import_modules", lambda names: by.append((names, threading.get_ident()))
    )
    builder = StepBuilder()

    def make() -> Steps:
        yield ("one", "two")
        assert [names for names, _ in by] == [("one", "two")]
        return label

    label = QLabel()
    qtbot.addWidget(label)
    builder.add("label", make)
    assert "label" in builder
    with qtbot.waitSignal(builder.built) as built:
        builder.start()
    assert built.args == ["label", label]
    assert "label" not in builder
    assert by[0][1] != threading.get_ident()


def test_what_is_wanted_is_built_while_another_waits_for_its_modules(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr("titan_gui.step_builder.import_modules", lambda names: goes_on.wait(10))
    builder = StepBuilder()
    order: list[str] = []
    builder.built.connect(lambda name, _: order.append(name))

    def make(modules: tuple[str, ...]) -> Steps:
        yield modules
        return shown

    shown = QWidget()
    qtbot.addWidget(shown)
    builder.add("slow", lambda: make(("slow",)))
    builder.add("quick", lambda: make(()))
    builder.start()
    qtbot.waitUntil(lambda: order == ["quick"])
    goes_on.set()
    qtbot.waitUntil(lambda: order == ["quick", "slow"])


def test_an_import_that_fails_is_the_steps_own_error_and_the_others_are_built(qtbot: QtBot) -> None:
    builder = StepBuilder()
    shown = QWidget()
    qtbot.addWidget(shown)

    def make(module: str) -> Steps:
        yield (module,)
        __import__(module)
        return shown

    builder.add("bad", lambda: make("titan_gui.nowhere"))
    builder.add("good", lambda: make("titan_gui.theme"))
    with qtbot.captureExceptions() as raised, qtbot.waitSignal(builder.built) as built:
        builder.start()
    assert built.args == ["good", shown]
    assert [kind for kind, _, _ in raised] == [ModuleNotFoundError]
    assert "bad" not in builder


def test_while_modules_are_imported_other_threads_wait_less(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr("importlib.import_module", lambda name: seen.append(sys.getswitchinterval()))
    before = sys.getswitchinterval()
    import_modules(("not there yet",))
    assert seen == [pytest.approx(SWITCH_INTERVAL_S)]
    assert sys.getswitchinterval() == pytest.approx(before)


def test_all_of_qts_classes_are_made_before_another_thread_imports() -> None:
    """PySide6 makes them when they are first asked for, and two threads that ask at once find half of one."""
    code = (
        "import titan_gui\n"
        "from PySide6.QtWidgets import QApplication\n"
        "from titan_gui.qt_imports import WINDOW_QT, make_types\n"
        "import PySide6.QtGui as gui\n"
        "made = lambda: sum(isinstance(value, type) for value in vars(gui).values())\n"
        "before, steps = made(), len(list(make_types(('PySide6.Nowhere', *WINDOW_QT))))\n"
        "after = made()\n"
        "exec('from PySide6.QtGui import *')\n"
        "assert before < after == made(), (before, after, made())\n"
        "assert steps > 3, steps\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_full_collections_are_put_off_and_come_back(collector: None) -> None:
    before = gc.get_threshold()
    put_off_full_collections()
    assert gc.get_threshold()[:2] == before[:2]
    assert gc.get_threshold()[2] > before[2]
    keep_what_is_there()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() > 0


def test_a_label_lays_its_text_out_once_for_a_width(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    label = WrappedLabel("some words that need more than one line at this width " * 3)
    qtbot.addWidget(label)
    asked: list[int] = []
    real = QLabel.heightForWidth

    def noted(label: QLabel, width: int) -> int:
        asked.append(width)
        return real(label, width)

    monkeypatch.setattr(QLabel, "heightForWidth", noted)
    high = label.heightForWidth(200)
    assert [label.heightForWidth(width) for width in (200, 300, 200)] == [high, real(label, 300), high]
    assert asked == [200, 300]
    label.setText("short")
    assert label.heightForWidth(200) < high
    font = label.font()
    font.setPointSizeF(font.pointSizeF() * 3)
    before = label.heightForWidth(200)
    label.setFont(font)
    assert label.heightForWidth(200) > before


@pytest.fixture
def darken(qtbot: QtBot) -> Iterator[Callable[[], None]]:
    def take() -> None:
        dark = QPalette(before)
        dark.setColor(QPalette.ColorRole.Window, QColor("#202020"))
        dark.setColor(QPalette.ColorRole.WindowText, QColor("#f0f0f0"))
        QApplication.setPalette(dark)

    before = QApplication.palette()
    yield take
    QApplication.setPalette(before)


def test_a_hidden_label_takes_the_new_themes_colour_when_it_is_shown(qtbot: QtBot, darken: Callable[[], None]) -> None:
    labels = (dim_note("a hint"), TextLabel("a hint", is_quiet=True))
    page = QWidget()
    qtbot.addWidget(page)
    for label in labels:
        label.setParent(page)
        qtbot.addWidget(label)
    before = labels[0].palette().windowText().color()
    darken()
    qtbot.wait(0)
    assert [label.palette().windowText().color() for label in labels] == [before] * 2  # nothing was worked out
    page.show()
    now = dimmed(QPalette())
    assert now != before
    assert [label.palette().windowText().color() for label in labels] == [now] * 2


def test_measuring_a_page_asks_every_part_of_it(qtbot: QtBot) -> None:
    asked: list[str] = []

    class Part(QLabel):
        def minimumSizeHint(self):  # type: ignore[no-untyped-def]
            asked.append(self.text())
            return super().minimumSizeHint()

    page = QWidget()
    qtbot.addWidget(page)
    for number in range(5):
        Part(str(number), page)
    for _ in measured(page):
        pass
    assert set(asked) == set("01234")


def test_a_hundred_models_come_in_slices(qtbot: QtBot) -> None:
    page = ModelsPage()
    qtbot.addWidget(page)
    names = [f"model-{number:03}:8b" for number in range(100)]
    page.render(replace(busy_snapshot(), models=tuple(EngineModel(name=name) for name in names)))
    page.show()
    assert len(page._models) == ROWS_A_TURN
    page.render(replace(busy_snapshot(), models=tuple(EngineModel(name=name) for name in names)))
    qtbot.waitUntil(lambda: list(page._models) == names)
