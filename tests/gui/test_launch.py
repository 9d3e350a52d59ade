"""From the command line to Qt's loop, and everything that may stand in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMessageBox
from pytestqt.qtbot import QtBot

from core.errors import AlreadyRunningError
from core.instance_lock import InstanceLock
from core.paths import profile_paths
from tests.fakes.agent_process import ROOT, START_LIMIT_S, child_environment
from titan_gui import launch as launch_module
from titan_gui.launch import launch, take_lock_or_show_other

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do

EMBEDDED = {"TITAN_ENGINE": "embedded", "AGENT_PORT": "0"}


class Dialogs:
    """What was said in dialogs; each is closed at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.formats: list[str] = []
        self.have_our_icon: list[bool] = []
        monkeypatch.setattr(QMessageBox, "exec", lambda box: self._take(box))

    def _take(self, box: QMessageBox) -> int:
        self.said.append(f"{box.text()}\n{box.informativeText()}")
        self.formats.append(box.textFormat().name)
        self.have_our_icon.append(not box.windowIcon().isNull())
        return 0


@pytest.fixture
def dialogs(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Dialogs:
    monkeypatch.setenv("TITAN_HOME", os.environ["HOME"])
    return Dialogs(monkeypatch)


def run_desktop(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "titan_gui", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=child_environment(home, **environ), capture_output=True, text=True, timeout=60
    )


# Arguments


def test_the_engines_worker_is_told_apart_before_anything_else(tmp_path: Path) -> None:
    done = run_desktop(tmp_path, "--engine-worker")
    assert done.returncode == 71  # a worker that nobody of us started: the guard against a second generation
    assert done.stderr == ""


def test_version_and_unknown_options(tmp_path: Path) -> None:
    assert run_desktop(tmp_path, "--version").stdout.startswith("titan-desktop ")
    wrong = run_desktop(tmp_path, "--shout")
    assert wrong.returncode == 2
    assert "--shout" in wrong.stderr


# What stands in the way


def test_bad_settings_are_shown_in_a_dialog_with_every_problem(
    dialogs: Dialogs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENT_PORT", "many")
    monkeypatch.setenv("TITAN_QUEUE_SIZE", "-1")
    assert launch([]) == 2
    (said,) = dialogs.said
    assert said.startswith("Settings need attention")
    assert "many" in said
    assert "queue_size" in said.lower()
    assert "many" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used_is_shown_in_a_dialog(
    dialogs: Dialogs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "file"))
    assert launch([]) == 1
    assert dialogs.said[0].startswith("Cannot use a file")
    assert dialogs.have_our_icon == [True]


def test_text_in_a_dialog_is_never_read_as_markup(dialogs: Dialogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_PORT", "<b>")
    launch([])
    assert dialogs.formats == ["PlainText"]


# One instance


@pytest.fixture
def headless(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """`titan run` with its door open; a plain child, since the dialog's loop is not asyncio's."""
    monkeypatch.setenv("TITAN_HOME", str(home))
    environ = child_environment(home, **EMBEDDED)
    with subprocess.Popen(
        [sys.executable, "-m", "core", "run"],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        address = profile_paths("default", environ={"TITAN_HOME": str(home)}).control_address_file
        deadline = time.monotonic() + START_LIMIT_S
        while not address.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
        if process.poll() is None:
            process.terminate()


@pytest.mark.slow
def test_an_agent_without_a_window_is_ended_when_the_person_says_so(
    headless: subprocess.Popen[bytes], qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[InstanceLock] = []

    def run(application: object, loaded: object, lock: InstanceLock, *, is_hidden: bool) -> int:
        started.append(lock)
        assert lock.is_held
        return 0

    monkeypatch.setattr(launch_module, "_application", lambda: qapp)
    monkeypatch.setattr(launch_module, "_run", run)
    with pressing("End it and start here") as pressed:
        assert launch([]) == 0
    assert headless.wait(START_LIMIT_S) == 0
    assert started
    (box,) = pressed
    assert "titan" not in f"{box[0]} {box[1]}"
    assert "`" not in box[1]


@pytest.mark.slow
def test_an_agent_without_a_window_is_left_alone_when_the_person_says_so(
    headless: subprocess.Popen[bytes], qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_module, "_application", lambda: qapp)
    with pressing("Leave it running"):
        assert launch([]) == launch_module.EXIT_ALREADY_RUNNING
    assert headless.poll() is None


@contextmanager
def pressing(text: str) -> Iterator[list[tuple[str, str]]]:
    """Press that button in the dialog that comes; what the dialog said is collected."""
    said: list[tuple[str, str]] = []

    def look() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            return
        for button in box.buttons():
            if button.text().replace("&", "") == text:
                said.append((box.text(), box.informativeText()))
                button.click()
                return

    timer = QTimer(interval=20)
    timer.timeout.connect(look)
    timer.start()
    yield said
    timer.stop()


def test_a_lock_that_comes_free_while_we_wait_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    file = tmp_path / "lock"
    first, second = InstanceLock(file, "default"), InstanceLock(file, "default")
    first.acquire()
    timer = threading.Timer(0.3, first.release)
    timer.start()
    try:
        assert take_lock_or_show_other(second, None, is_hidden=False)
    finally:
        timer.join()
        second.release()


def test_an_instance_that_never_answers_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path))
    monkeypatch.setattr(launch_module, "HAND_OVER_LIMIT_S", 0.2)
    file = tmp_path / "lock"
    with InstanceLock(file, "default"), pytest.raises(AlreadyRunningError) as caught:
        take_lock_or_show_other(InstanceLock(file, "default"), None, is_hidden=False)
    assert "doesn't answer" in caught.value.detail
    assert caught.value.hint


def test_a_hidden_start_leaves_a_running_one_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with InstanceLock(file, "default"):
        assert not take_lock_or_show_other(InstanceLock(file, "default"), None, is_hidden=True)


SYSTEM_QUIT = """
import titan_gui
from PySide6.QtCore import QCoreApplication, QTimer
from titan_gui.application import DesktopApplication
application = DesktopApplication([])
asked = []
application.on_quit = lambda: asked.append(True)
QTimer.singleShot(0, QCoreApplication.quit)
QTimer.singleShot(50, lambda: application.exit(7))
print(application.exec(), len(asked))
"""


def test_the_systems_quit_takes_our_way_out(tmp_path: Path) -> None:
    """A program of its own: pytest-qt's application is another one."""
    environ = child_environment(tmp_path, QT_QPA_PLATFORM="offscreen")
    command = [sys.executable, "-c", SYSTEM_QUIT]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout == "7 1\n", done.stderr
