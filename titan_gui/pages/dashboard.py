"""The first page: how it stands in one sentence, the switch, the figures, the charts, and what was given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from core.snapshot import AgentSnapshot
from titan_gui.history import History
from titan_gui.tiles import RARE_TILES, Tile, contribution_of, rare_tiles_of, tiles_of
from titan_gui.view_model import mood_of
from titan_gui.widgets.charts_panel import ChartsPanel
from titan_gui.widgets.day_bars import DayBars
from titan_gui.widgets.headline_card import HeadlineCard
from titan_gui.widgets.page_area import PageArea
from titan_gui.widgets.pause_switch import PauseSwitch
from titan_gui.widgets.stat_tile import StatTile
from titan_gui.widgets.text_labels import TextLabel, WrappedLabel
from titan_gui.widgets.time_panel import TimePanel
from titan_gui.widgets.update_bar import UpdateBar

TILE_COLUMNS = 3
FIGURES_MS = 1000  # figures change once a second at the most; a change of state is shown at once
CONTRIBUTION_S = 60.0  # how often the ledger is asked while the page is shown
BUSY_CONTRIBUTION_S = 5.0  # and where a session has ended since
DAY_REFRESH_S = 30.0  # how often the day's record is asked for, besides each change of state


class DashboardPage(QWidget):
    """`render(snapshot)` and `show_contribution(result)`; the switch's intents are this page's."""

    pause_requested = Signal(object)  # seconds since the epoch at which it ends; None: until resumed
    resume_requested = Signal()
    finish_requested = Signal()
    share_requested = Signal(object)  # now, whatever some rules say, until then: seconds since the epoch
    follow_rules_requested = Signal()
    take_back_requested = Signal()
    start_requested = Signal()
    action_requested = Signal(object)  # remedies.Action: a button beside a reason or on a tile
    contribution_requested = Signal()  # ask the command "contribution"
    time_use_requested = Signal()  # ask the command "time_use"
    reason_requested = Signal(str)  # show the rule behind a reason, by its code

    def __init__(self, history: History, *, clock: Callable[[], float] = time.time, is_empty: bool = False) -> None:
        """`is_empty`: the caller calls `build_more` until everything stands, before anything else."""
        super().__init__()
        self._history = history
        self._clock = clock
        self._snapshot = AgentSnapshot()
        self._is_due = False
        self._asked_at = 0.0
        self._processed = 0
        self._day_asked_at = 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_timer_timeout)
        self._steps = self._build()
        while not is_empty and self.build_more():
            pass

    def build_more(self) -> bool:
        """One step of some milliseconds; False once all stands."""
        return next(self._steps, None) is not None

    @property
    def switch(self) -> PauseSwitch:
        return self._switch

    def render(self, snapshot: AgentSnapshot) -> None:  # type: ignore[override]  # our pages' name, not Qt's
        before, self._snapshot = self._snapshot, snapshot
        if not self.isVisible():
            return
        if mood_of(before) != mood_of(snapshot) or before.reasons != snapshot.reasons:  # how many run is a figure
            self._day_asked_at = 0.0
            self._show_all()
        elif self._timer.isActive():
            self._is_due = True
        else:
            self._show_all()

    def show_contribution(self, result: Mapping[str, object]) -> None:
        """The result of the command "contribution"."""
        given = contribution_of(result)
        for tile in (given.today, given.last_7_days, given.all):
            self.given[tile.name].show_tile(tile)
        self.bars.show_days(given.days)
        self.bars.setVisible(bool(given.days))
        self._given_notice.show_text(given.notice)
        self._given_notice.setVisible(bool(given.notice))

    def show_time_use(self, result: Mapping[str, object]) -> None:
        """The result of the command "time_use"."""
        self.day.show_result(result)

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._asked_at = self._day_asked_at = 0.0
        self._show_all()

    def _show_all(self) -> None:
        snapshot = self._snapshot
        self._is_due = False
        self._timer.start(FIGURES_MS)
        self.headline.show_snapshot(snapshot)
        self.update_bar.show_release(snapshot.update)
        self._switch.show_snapshot(snapshot)
        for tile in tiles_of(snapshot):
            self.tiles[tile.name].show_tile(tile)
        rare = {tile.name: tile for tile in rare_tiles_of(snapshot)}
        for name, shown in self.rare.items():
            if name in rare:
                shown.show_tile(rare[name])
            shown.setVisible(name in rare)
        self.charts.refresh(snapshot.machine.gpu_problem if snapshot.machine else "")
        has_ended = snapshot.totals.requests_processed != self._processed
        if self._clock() - self._asked_at >= (BUSY_CONTRIBUTION_S if has_ended else CONTRIBUTION_S):
            self._asked_at, self._processed = self._clock(), snapshot.totals.requests_processed
            self.contribution_requested.emit()
        if self._clock() - self._day_asked_at >= DAY_REFRESH_S:
            self._day_asked_at = self._clock()
            self.time_use_requested.emit()

    def _on_timer_timeout(self) -> None:
        if self._is_due and self.isVisible():
            self._show_all()

    def _connect_intents(self) -> None:
        self._switch.pause_requested.connect(self.pause_requested)
        self._switch.resume_requested.connect(self.resume_requested)
        self._switch.finish_requested.connect(self.finish_requested)
        self._switch.share_requested.connect(self.share_requested)
        self._switch.follow_rules_requested.connect(self.follow_rules_requested)
        self._switch.take_back_requested.connect(self.take_back_requested)
        self._switch.start_requested.connect(self.start_requested)
        self.headline.action_requested.connect(self.action_requested)
        self.day.reason_requested.connect(self.reason_requested)
        for tile in self.tiles.values():
            tile.action_requested.connect(self.action_requested)

    def _build(self) -> Iterator[str]:
        """Each part in a step, named after what it built, from top to bottom."""
        self._switch = PauseSwitch(clock=self._clock)
        self.headline = HeadlineCard(self._switch)
        self.update_bar = UpdateBar()
        yield "headline"
        self.tiles = {tile.name: StatTile(tile) for tile in tiles_of(self._snapshot)}
        yield "tiles"
        self.rare = {name: StatTile(Tile(name=name, title="", value="")) for name in RARE_TILES}
        self.given = {name: StatTile(Tile(name=name, title="", value="–")) for name in ("today", "last_7_days", "all")}
        yield "other tiles"
        self.day = TimePanel()
        self.charts = ChartsPanel(self._history, clock=self._clock)
        self.bars = DayBars()
        yield "pictures"
        self._connect_intents()
        self._lay_out()
        yield "layout"

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(4, 4, 12, 4)
        column.setSpacing(16)
        column.addWidget(self.headline)
        column.addWidget(self.update_bar)
        column.addLayout(_grid([*self.tiles.values(), *self.rare.values()]))
        column.addWidget(self.day)
        column.addWidget(self.charts)
        column.addWidget(TextLabel(self.tr("Given to the network"), bold=True))
        self._given_notice = WrappedLabel(is_quiet=True)
        self._given_notice.hide()
        column.addLayout(_grid(list(self.given.values())))
        column.addWidget(self.bars)
        column.addWidget(self._given_notice)
        column.addStretch(1)
        self.show_contribution({})
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(PageArea(self.tr("Dashboard"), content))


def _grid(tiles: list[StatTile]) -> QGridLayout:
    grid = QGridLayout()
    grid.setSpacing(10)
    for number, tile in enumerate(tiles):
        grid.addWidget(tile, number // TILE_COLUMNS, number % TILE_COLUMNS)
    for column in range(TILE_COLUMNS):
        grid.setColumnStretch(column, 1)
    return grid
