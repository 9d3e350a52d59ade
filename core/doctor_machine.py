"""What `titan doctor` looks at on the machine itself, whatever the settings say. Nothing is made or changed."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from pathlib import Path

from core import clock_sync
from core.doctor import Check, Finding, note, ok, warning
from core.network import has_ipv6
from core.paths import ProfilePaths, storage_error

LOW_DISK_MB = 1024


def machine_checks(paths: ProfilePaths) -> list[Check]:
    """Folders, disk, graphics card, clock and IPv6."""
    return [
        Check("folders", lambda: _folders(paths)),
        Check("disk space", lambda: _disk(paths)),
        Check("graphics card", _gpu),
        Check("clock", _clock),
        Check("IPv6", _ipv6),
    ]


async def _folders(paths: ProfilePaths) -> Finding:
    for folder in (paths.config_dir, paths.data_dir, paths.state_dir, paths.log_dir):
        await asyncio.to_thread(_try_write, _nearest(folder))
    return ok(f"writable (data in {paths.data_dir}, log in {paths.log_dir})")


def _try_write(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise storage_error("write into", folder / "file", error) from error


async def _disk(paths: ProfilePaths) -> Finding:
    folder = _nearest(paths.data_dir)
    free_mb = (await asyncio.to_thread(shutil.disk_usage, folder)).free >> 20
    if free_mb < LOW_DISK_MB:
        return warning(f"only {free_mb:,} MB are free on the disk of {folder}", "Free some: models need gigabytes.")
    return ok(f"{free_mb / 1024:,.0f} GB free on the disk of {folder}")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above that exists: it is where the folder would be made. Raises StorageError."""
    place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not place.is_dir():
        raise storage_error("create", folder, NotADirectoryError(errno.ENOTDIR, f"{place} is no folder"))
    return place


async def _gpu() -> Finding:
    from core.stats_collector import StatsCollector

    collector = StatsCollector()
    try:
        stats = await asyncio.to_thread(collector.collect)
    finally:
        await asyncio.to_thread(collector.close)
    if not stats.gpus:
        return note(stats.gpu_problem or "none was found: models are served from RAM, by the processor")
    names = ", ".join(f"{card.name} ({card.total_mb or '?'} MB)" for card in stats.gpus)
    if stats.gpu_problem or any(card.is_lost for card in stats.gpus):
        return warning(f"{names}; {stats.gpu_problem or 'a card is lost'}", "Check its driver, or restart the machine.")
    return ok(names)


async def _clock() -> Finding:
    """Tokens live 60 s with 10 s of leeway. The coordinator never tells its time, so only our own can be judged."""
    sync = await asyncio.to_thread(clock_sync.read)
    if sync is None:
        return note("this system does not say whether its clock is set by the network; tokens allow 10 s")
    if not sync.is_synchronised:
        return note(
            "the system says that its clock is not set by the network; tokens allow 10 s",
            "If tokens are refused as expired or not yet valid, turn on network time (NTP).",
        )
    return ok(f"set by the network, at most {sync.max_error_s:.1f} s off")


async def _ipv6() -> Finding:
    if has_ipv6():
        return ok("available")
    return note("not available here; IPv4 alone is used")
