"""Memory and file sizes as people read them."""

from __future__ import annotations


def memory_text(megabytes: float | None, *, unknown: str = "?") -> str:
    """MiB, as systems tell memory: "812 MB", "9.8 GB"."""
    if megabytes is None:
        return unknown
    return f"{megabytes:.0f} MB" if round(megabytes) < 1000 else f"{megabytes / 1024:.1f} GB"


def size_text(size_bytes: float | None, *, unknown: str = "?") -> str:
    """Bytes in decimal units, as file managers and model pages show them: "0 B", "12 kB", "3.4 MB", "4.9 GB"."""
    if size_bytes is None:
        return unknown
    size = float(size_bytes)
    for unit, digits in (("B", 0), ("kB", 0), ("MB", 1)):
        if round(size, digits) < 1000:
            return f"{size:.{digits}f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
