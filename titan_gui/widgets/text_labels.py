"""Labels for text from anywhere: plain, never rich; they repaint only when their text changes."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from titan_gui.theme import dimmed, tabular
from titan_gui.widgets.tinted_label import TintedLabel


class TextLabel(TintedLabel):
    """Plain text in tabular figures. `is_quiet`: what is said second, in a weaker colour that stays readable."""

    def __init__(self, text: str = "", *, scale: float = 1.0, bold: bool = False, is_quiet: bool = False) -> None:
        super().__init__(text, dimmed if is_quiet else None)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setFont(tabular(self.font(), scale=scale, bold=bold))

    def show_text(self, text: str) -> None:
        if self.text() != text:
            self.setText(text)


class WrappedLabel(TextLabel):
    """As many lines as the text needs at this width; can be selected and copied."""

    def __init__(self, text: str = "", *, scale: float = 1.0, bold: bool = False, is_quiet: bool = False) -> None:
        super().__init__(text, scale=scale, bold=bold, is_quiet=is_quiet)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def sizeHint(self) -> QSize:
        """As high as at this width: Qt's own guess is for a narrow column, and scroll areas keep it as empty room."""
        return QSize(super().sizeHint().width(), self.heightForWidth(self.width()))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()


class ElidedLabel(QWidget):
    """At most `lines` lines, the rest as "…" and whole in the tool tip: keeps its height whatever it says."""

    def __init__(self, *, lines: int = 1, scale: float = 1.0, bold: bool = False, is_quiet: bool = False) -> None:
        super().__init__()
        self._lines = lines
        self._is_quiet = is_quiet
        self._text = ""
        self.setFont(tabular(self.font(), scale=scale, bold=bold))
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    @property
    def text(self) -> str:
        return self._text

    def show_text(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self.setAccessibleName(text)
            self._tell()
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(80, self.fontMetrics().lineSpacing() * self._lines)

    def minimumSizeHint(self) -> QSize:
        return QSize(40, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._tell()

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        palette = self.palette()
        painter.setPen(dimmed(palette) if self._is_quiet else palette.windowText().color())
        metrics = self.fontMetrics()
        for number, line in enumerate(self._broken()):
            painter.drawText(0, number * metrics.lineSpacing() + metrics.ascent(), line)

    def _tell(self) -> None:
        is_cut = "".join(self._broken()).replace(" ", "") != self._text.replace(" ", "").replace("\n", "")
        self.setToolTip(f"<qt>{_escaped(self._text)}</qt>" if is_cut else "")

    def _broken(self) -> list[str]:
        return broken_lines(self._text, self.fontMetrics(), self.width(), self._lines)


def broken_lines(text: str, metrics: QFontMetrics, width: int, lines: int) -> list[str]:
    """The text in at most `lines` lines of `width` pixels, broken at spaces; the last one ends in "…" if cut."""
    words = text.split()
    broken: list[str] = []
    while words and len(broken) < lines - 1:
        line = words.pop(0)
        while words and metrics.horizontalAdvance(f"{line} {words[0]}") <= width:
            line += f" {words.pop(0)}"
        broken.append(metrics.elidedText(line, Qt.TextElideMode.ElideRight, width))
    if words:
        broken.append(metrics.elidedText(" ".join(words), Qt.TextElideMode.ElideRight, width))
    return broken


def _escaped(text: str) -> str:
    """A tool tip wraps only as rich text, so the text is made harmless first."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
