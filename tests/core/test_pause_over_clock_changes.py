"""A pause until tomorrow morning ends at eight by the clock on the wall, also in a night in which it is changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
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
    "2026-03-28T22:00",  # Europe: an hour is missing that night
    "2026-10-24T22:00",  # Europe: an hour comes twice
    "2026-03-07T22:00",  # America
    "2026-10-31T23:30",
    "2026-04-04T22:00",  # Lord Howe: half an hour
    "2026-10-03T22:00",
    "2026-11-25T22:00",  # an ordinary night
]


@pytest.mark.parametrize("evening", EVENINGS)
async def test_pause_until_tomorrow_ends_at_eight(tmp_path: Path, zone: ZoneInfo, evening: str) -> None:
    local = datetime.fromisoformat(evening).replace(tzinfo=zone)
    now = local.timestamp()
    morning = (local + timedelta(days=1)).replace(hour=8, minute=0).timestamp()  # days by the calendar, as zoneinfo has
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
