"""What a page says, as far as it isn't hidden; whether the page itself is on the screen doesn't count."""

from __future__ import annotations

from PySide6.QtWidgets import QLabel, QWidget


def words(page: QWidget) -> str:
    return "\n".join(label.text() for label in page.findChildren(QLabel) if not label.isHidden())
