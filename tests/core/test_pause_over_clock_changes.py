"""A pause until tomorrow morning ends at eight by the clock on the wall, in the nights in which that clock is changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from core.owner import OwnerControl
from core.reasons import ReasonBook
from core.sessions import Admission
from titan_gui.tray_view import tomorrow_morning


@pytest.fixture(params=["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield ZoneInfo(request.param)
    monkeypatch.undo()
    time.tzset()


EVENINGS = [
    datetime(2026, 3, 28, 22),  # Europe: an hour is missing that night
    datetime(2026, 10, 24, 22),  # Europe: an hour comes twice
    datetime(2026, 3, 7, 22),  # America
    datetime(2026, 10, 31, 23, 30),
    datetime(2026, 4, 4, 22),  # Lord Howe: half an hour
    datetime(2026, 10, 3, 22),
    datetime(2026, 11, 25, 22),  # an ordinary night
]


@pytest.mark.parametrize("evening", EVENINGS, ids=str)
async def test_pause_until_tomorrow_ends_at_eight(tmp_path: Path, zone: ZoneInfo, evening: datetime) -> None:
    now = evening.replace(tzinfo=zone).timestamp()
    morning = datetime(evening.year, evening.month, evening.day, 8, tzinfo=zone).timestamp() + 86_400
    morning = datetime.fromtimestamp(morning, zone).replace(hour=8, minute=0, tzinfo=zone).timestamp()
    until = tomorrow_morning(now)
    assert until == morning

    wall = [now]
    reasons = ReasonBook()
    owner = OwnerControl(
        admission=Admission(max_jobs=1),
        reasons=reasons,
        state_file=tmp_path / "pause.json",
        finish_limit_s=1,
        clock=lambda: wall[0],
    )
    owner.pause(until=until)
    assert reasons.all[0].sentence == "Paused by you until 08:00."
    await owner.wait_saved()
    again = OwnerControl(
        admission=Admission(max_jobs=1),
        reasons=ReasonBook(),
        state_file=tmp_path / "pause.json",
        finish_limit_s=1,
        clock=lambda: wall[0],
    )
    again.restore()
    for control in (owner, again):  # also over a restart in the night
        wall[0] = until - 1
        control.check_clock()
        assert control.is_paused
        wall[0] = until
        control.check_clock()
        assert not control.is_paused
        await control.close()
