"""The entry in the desktop's menu, for a program that came from a wheel: packages of the system bring their own.

Linux only; on Windows and macOS the package does it. Only this user's folders are written.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.assets_path import asset_path
from core.atomic_file import write_atomically
from core.desktop_file import desktop_exec
from core.errors import AgentError
from core.paths import storage_error

NAME = "titancompute"  # as titan_gui names the window: Wayland finds its icon through the entry of that name
ICON_SIZES_PX = (16, 24, 32, 48, 64, 128, 256, 512)


def entry_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The entry and its icons, there or not; the entry is the first."""
    share = _share_folder(environ)
    theme = share / "icons" / "hicolor"
    pictures = (theme / f"{size}x{size}" / "apps" / f"{NAME}.png" for size in ICON_SIZES_PX)
    return (share / "applications" / f"{NAME}.desktop", theme / "scalable" / "apps" / f"{NAME}.svg", *pictures)


def install_entry(command: Sequence[str], environ: Mapping[str, str]) -> Path:
    """Write the entry that starts `command`, and its icons; returns the entry's file.

    Raises AgentError off Linux, and StorageError.
    """
    if sys.platform != "linux":
        raise AgentError(
            "a menu entry of this kind is a Linux desktop's", hint="The package for this system brings one."
        )
    entry, *pictures = entry_files(environ)
    for picture in pictures:
        write_atomically(picture, _shipped_icon(picture))
    lines = (
        "[Desktop Entry]",
        "Type=Application",
        "Name=TitanCompute",
        "GenericName=Share your GPU",
        "Comment=Lend your GPU to a network, and take it back with one click",
        f"Exec={desktop_exec(command)}",
        f"Icon={NAME}",
        "Terminal=false",
        "Categories=Network;Utility;",
        "StartupWMClass=TitanCompute",
    )
    write_atomically(entry, "\n".join((*lines, "")).encode())
    return entry


def remove_entry(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Remove what install_entry wrote; returns what was there. Raises StorageError."""
    found = tuple(file for file in entry_files(environ) if file.is_symlink() or file.exists())
    for file in found:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error("remove", file, error) from error
    return found


def _share_folder(environ: Mapping[str, str]) -> Path:
    data = environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):  # the specification ignores relative ones
        return Path(data)
    return Path(environ.get("HOME") or Path.home()) / ".local" / "share"


def _shipped_icon(picture: Path) -> bytes:
    if picture.suffix == ".svg":
        shipped = asset_path("icons", f"{NAME}.svg")
    else:
        size = picture.parent.parent.name.partition("x")[0]
        shipped = asset_path("icons", "png", f"{NAME}-{size}.png")
    try:
        return shipped.read_bytes()
    except OSError as error:
        raise storage_error("read", shipped, error) from error
