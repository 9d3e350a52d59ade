"""A table of texts that changes only what differs: selection and scroll position stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QLocale, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QStyledItemDelegate, QTableView, QWidget

from titan_gui.activity_view import Row
from titan_gui.theme import tabular

Index = QModelIndex | QPersistentModelIndex
DisplayRole, UserRole = Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.UserRole
_NO_PARENT = QModelIndex()
_GAP = "\u2002"  # between a figure at its column's right edge and the words that follow at theirs


class RowModel(QAbstractTableModel):
    """Rows with stable keys. `show_rows` inserts, removes and changes; it never resets."""

    def __init__(self, titles: Sequence[str], numbers: frozenset[str]) -> None:
        super().__init__()
        self._titles = tuple(titles)
        self._numbers = {column for column, title in enumerate(titles) if title in numbers}
        self._rows: list[Row] = []

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(row.key for row in self._rows)

    def follows_number(self, column: int) -> bool:
        """Whether words stand right of a figure there."""
        return column - 1 in self._numbers and column not in self._numbers

    def row_of(self, key: str) -> int:
        """The row's number, -1 when there is none."""
        return next((number for number, row in enumerate(self._rows) if row.key == key), -1)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Both lists keep the order of the rows that they share."""
        wanted = {row.key for row in rows}
        for number in range(len(self._rows) - 1, -1, -1):
            if self._rows[number].key not in wanted:
                self.beginRemoveRows(_NO_PARENT, number, number)
                del self._rows[number]
                self.endRemoveRows()
        for number, row in enumerate(rows):
            if number < len(self._rows) and self._rows[number].key == row.key:
                self._change(number, row)
            else:
                self.beginInsertRows(_NO_PARENT, number, number)
                self._rows.insert(number, row)
                self.endInsertRows()

    # Qt overrides

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self._titles)

    def data(self, index: Index, role: int = DisplayRole) -> Any:
        if not index.isValid() or index.row() >= len(self._rows):
            return None
        cells = self._rows[index.row()].cells
        text = cells[index.column()] if index.column() < len(cells) else ""
        if role in (DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return text
        if role == Qt.ItemDataRole.ToolTipRole and index.column() not in self._numbers:
            return text if text.isprintable() and "<" not in text else None  # never as rich text
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() in self._numbers:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == UserRole:
            return self._rows[index.row()].key
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = DisplayRole) -> Any:
        if orientation is Qt.Orientation.Horizontal and role == DisplayRole and section < len(self._titles):
            return f"{_GAP if self.follows_number(section) else ''}{self.tr(self._titles[section])}"
        if role == Qt.ItemDataRole.TextAlignmentRole and section in self._numbers:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def _change(self, number: int, row: Row) -> None:
        before, self._rows[number] = self._rows[number], row
        changed = [column for column, cell in enumerate(row.cells) if cell != before.cells[column]]
        if changed:
            self.dataChanged.emit(self.index(number, changed[0]), self.index(number, changed[-1]), [DisplayRole])


class _AfterNumber(QStyledItemDelegate):
    def displayText(self, value: Any, locale: QLocale | QLocale.Language) -> str:
        return f"{_GAP}{super().displayText(value, locale)}"


class RowTable(QTableView):
    """The view of a RowModel: whole rows are chosen, Ctrl+C copies them, Tab leaves the table."""

    def __init__(self, titles: Sequence[str], numbers: frozenset[str], widths: Sequence[int], stretched: int) -> None:
        """`widths` in characters; the column `stretched` takes what is left."""
        super().__init__()
        self.rows = RowModel(titles, numbers)
        self.setModel(self.rows)
        self.setFont(tabular(self.font()))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 12)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setMinimumSectionSize(48)
        for column, width in enumerate(widths):
            header.resizeSection(column, self.fontMetrics().averageCharWidth() * width + 16)
            if self.rows.follows_number(column):
                self.setItemDelegateForColumn(column, _AfterNumber(self))
        header.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy_selection)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Rows that come in above the view push nothing: the first visible row stays where it is."""
        top = self.indexAt(self.viewport().rect().topLeft())
        anchor = QPersistentModelIndex(top)
        is_scrolled = self.verticalScrollBar().value() > 0
        offset = self.rowViewportPosition(top.row()) if top.isValid() else 0
        self.rows.show_rows(rows)
        if is_scrolled and anchor.isValid():
            moved = self.rowViewportPosition(anchor.row()) - offset
            if moved:
                bar = self.verticalScrollBar()
                bar.setValue(bar.value() + moved)

    def selected_keys(self) -> tuple[str, ...]:
        return tuple(str(index.data(UserRole)) for index in self.selectionModel().selectedRows())

    def copy_selection(self) -> None:
        """The chosen rows as text, one per line, tabs between the cells."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        columns = range(self.rows.columnCount())
        lines = ["\t".join(str(self.rows.index(row, column).data()) for column in columns) for row in rows]
        if lines:
            QApplication.clipboard().setText("\n".join(lines))


class ButtonColumn:
    """A button in the last column of each row, made and dropped with its row."""

    def __init__(self, table: RowTable, make: Callable[[str], QWidget]) -> None:
        self._table = table
        self._make = make
        self._column = table.rows.columnCount() - 1
        table.rows.rowsInserted.connect(self._on_rows_inserted)

    def _on_rows_inserted(self, _: QModelIndex, first: int, last: int) -> None:
        for number in range(first, last + 1):
            index = self._table.rows.index(number, self._column)
            button = self._make(str(index.data(UserRole)))
            self._table.setIndexWidget(index, button)
            above = self._table.indexWidget(self._table.rows.index(number - 1, self._column)) if number else None
            QWidget.setTabOrder(above or self._table, button)
