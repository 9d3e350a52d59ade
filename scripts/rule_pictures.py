"""Each of the owner's rules as it holds in the real window: the machine is told, everything else is the program."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint, QRect
from PySide6.QtGui import QColor, QImage, QPainter

from tests.fakes.agent_process import ROOT
from tests.fakes.desktop_process import DesktopProcess
from tests.fakes.session_bus import SessionBus

# Shorter hold times than the owner's: nobody wants to wait for minutes between two pictures.
QUICK = {
    "pause_while_in_use": "true",
    "idle_minutes": "0.5",
    "listed_apps": "Steam",
    "listed_app_hold_s": "2",
    "gpu_others_for_s": "1",
    "gpu_others_resume_s": "2",
    "cpu_others_for_s": "1",
    "cpu_others_resume_s": "2",
    "cpu_busy_effect": "finish, keep",
}
HOLDS_LIMIT_S = 90.0  # the longest hold time is half a minute; the machine may be busy
POLL_S = 0.5
TILES_ACROSS = 2
GAP = 12


@dataclass(frozen=True, slots=True)
class Act:
    """One start of the program, with these settings; then each rule in its turn, by what the machine is told."""

    rules: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, str] = field(default_factory=dict)


def closed_now() -> str:
    """Hours that begin two hours from now, every day."""
    hour = datetime.now().astimezone().hour
    return f"daily {(hour + 2) % 24:02}-{(hour + 4) % 24 or 24:02}"


ON_BATTERY = {"on_mains": False, "battery_percent": 64.0}
ACTS = (
    Act(
        {
            "listed_app": {"listed_apps": ["Steam"]},
            "gpu_in_use": {"gpu_use_by_others": {"percent": 71.0, "program": "Blender"}},
            "full_screen": {"full_screen": {"is_on": True, "program": "VLC"}},
            "on_battery": {"power": ON_BATTERY},
            "gpu_hot": {"gpu_temperature_c": 84.0},
            "cpu_busy": {"cpu_percent_others": 83.0},
            "gpu_lost": {"is_gpu_lost": True},
            "engine_used_by_owner": {"engine_used_by_owner": "llama3.1:8b"},
            "memory_tight": {"free_ram_mb": 430, "total_ram_mb": 32_000},
            "vram_short": {"free_vram_mb": 150, "total_vram_mb": 24_000},
            "ram_short": {"free_ram_mb": 150, "total_ram_mb": 32_000},
            "metered": {"is_metered": True},
            "in_use": {"idle_s": 2.0},
            "cpu_hot": {
                "processor_heat": {"celsius": 94.0, "mean_c": 93.0, "sensor": "k10temp, Tdie"}
            },  # last: it holds for a minute
        }
    ),
    Act(
        {"battery_low": {"power": {**ON_BATTERY, "battery_percent": 12.0}}, "budget_spent": {}},
        {"pause_on_battery": "false", "hours_per_day": "0.001"},
    ),
    Act({"schedule": {}}, {"schedule": closed_now()}),
)


class ToldDesktop(DesktopProcess):
    """The program on a machine that `tell` makes."""

    def __init__(self, home: Path, session: SessionBus, **environ: str) -> None:
        super().__init__(home, session, **environ)
        self._file = home / "told.json"
        self.program = (str(ROOT / "tests" / "fakes" / "told_desktop.py"), str(self._file))
        self.tell({})

    def tell(self, signals: Mapping[str, Any], rule: str = "") -> None:
        self._file.write_text(json.dumps({"signals": signals, "rule": rule}))

    async def show_rule(self, signals: Mapping[str, Any], rule: str) -> tuple[QRect, QRect]:
        """Turn to the rule; returns where it and the dashboard's first card stand, in the window's pixels."""
        mark = len(self.log)
        self.tell(signals, rule)
        told = await self.wait_event("rule in view", after=mark, rule=rule)
        return QRect(*told["row"]), QRect(*told["top"])

    async def wait_rules(self, *codes: str) -> None:
        """Until these hold and nothing else keeps the machine; a step of memory before its shortage may stay."""
        async with asyncio.timeout(HOLDS_LIMIT_S):
            while True:
                snapshot = await self.snapshot()
                holding = {rule["code"] for rule in snapshot["rules"] if rule["holds"]}
                blocking = {reason["code"] for reason in snapshot["reasons"] if reason["blocks"]}
                if set(codes) <= holding and blocking - {"memory_tight"} <= {*codes}:
                    return
                await asyncio.sleep(POLL_S)


def stacked(images: Sequence[QImage], across: int = 1) -> QImage:
    """All in one, row by row, on the first one's ground."""
    width, height = max(image.width() for image in images), max(image.height() for image in images)
    rows = -(-len(images) // across)
    heights = [max(image.height() for image in images[row * across : (row + 1) * across]) for row in range(rows)]
    whole = QImage(across * (width + GAP) + GAP, sum(heights) + GAP * (rows + 1), QImage.Format.Format_RGB32)
    whole.fill(images[0].pixelColor(0, 0) if height else QColor("white"))
    painter = QPainter(whole)
    y = GAP
    for row in range(rows):
        for column, image in enumerate(images[row * across : (row + 1) * across]):
            painter.drawImage(QPoint(GAP + column * (width + GAP), y), image)
        y += heights[row] + GAP
    painter.end()
    return whole
