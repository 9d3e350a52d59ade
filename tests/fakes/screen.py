"""What is on an Xvfb's screen, from its framebuffer file (`-fbdir`): no window manager and no other program needed."""

from __future__ import annotations

import struct
from pathlib import Path

from PySide6.QtGui import QImage

_HEADER = struct.Struct(">25I")  # XWD version 7, always big-endian
_XWD_VERSION = 7


def read_screen(file: Path) -> QImage:
    """A copy of the whole screen, 32 bits a pixel. Raises ValueError for a file that is none."""
    data = file.read_bytes()
    fields = _HEADER.unpack_from(data)
    header_bytes, version, width, height, bits, stride, colours = (fields[i] for i in (0, 1, 4, 5, 11, 12, 19))
    if version != _XWD_VERSION or bits != 32:
        raise ValueError(f"{file} is no screen with 32 bits a pixel")
    pixels = data[header_bytes + 12 * colours :]
    return QImage(pixels, width, height, stride, QImage.Format.Format_RGB32).copy()


def cut_window(screen: QImage) -> QImage:
    """What isn't the empty (black) root: without a window manager the only window lies in the corner, frameless."""
    black = 0xFF000000
    right = next((x for x in range(screen.width() - 1, -1, -1) if screen.pixel(x, 10) != black), -1)
    bottom = next((y for y in range(screen.height() - 1, -1, -1) if screen.pixel(10, y) != black), -1)
    return screen.copy(0, 0, right + 1, bottom + 1)
