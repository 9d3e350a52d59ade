"""PySide6 6.12 on Python 3.11 uses up the references of None; the window must outlive that."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
{first}
from PySide6.QtWidgets import QApplication, QPushButton
app = QApplication([])
button = QPushButton()
for _ in range(100_000):
    button.setVisible(False)
    button.pressed.emit()
print("alive", flush=True)
"""


def test_hundreds_of_thousands_of_calls_into_qt_do_not_end_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first="import titan_gui")], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "alive\n", done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is immortal there")
def test_importing_the_window_s_package_comes_before_anything_of_qt() -> None:
    import titan_gui

    assert titan_gui.__doc__
    assert sys.getrefcount(None) > 1 << 59
