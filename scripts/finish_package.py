"""Finish the tree that briefcase has built, before it is packed: what no template and no cleanup_paths can do.

usage: finish_package.py TREE    (the folder that becomes the package's root, with usr/ in it)

Run by scripts/package with the system's Python, whose byte code this is; needs binutils.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts.package_notices import write_notices
from scripts.trim_icu import trim

ROOT = Path(__file__).resolve().parent.parent
APP = "titan-desktop"
ICON_SIZES_PX = (16, 24, 32, 48, 64, 128, 256, 512)


def main() -> None:
    tree = Path(sys.argv[1]).resolve()
    library = tree / "usr" / "lib" / APP
    before = size_of(tree)
    drop_unneeded_qt_libraries(library / "app_packages" / "PySide6")
    for data in (library / "app_packages" / "PySide6" / "Qt" / "lib").glob("libicudata.so.*"):
        trim(data)
    strip_libraries(library)
    add_launcher(tree)
    add_desktop_files(tree)
    write_notices(library / "app_packages", tree / "usr" / "share" / "doc" / APP)
    compile_modules(library, f"/usr/lib/{APP}")
    open_to_everybody(tree)
    print(f"finished: {before / 1e6:.1f} MB -> {size_of(tree) / 1e6:.1f} MB unpacked")


def size_of(tree: Path) -> int:
    return sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file())


def elf_files(folder: Path) -> Iterator[Path]:
    """Every program and shared library, by its first bytes: names say little (`libQt6Core.so.6`, `titan-desktop`)."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def needed_by(path: Path) -> set[str]:
    """The names of the libraries that one of ours asks the loader for."""
    printed = subprocess.run(["readelf", "--dynamic", "--wide", path], check=True, capture_output=True, text=True)
    return {line.rpartition("[")[2].rstrip("]") for line in printed.stdout.splitlines() if "(NEEDED)" in line}


def drop_unneeded_qt_libraries(pyside: Path) -> None:
    """Qt's libraries come all together; what no module, no plugin and no kept library asks for is removed."""
    shelf = {path.name: path for path in (pyside / "Qt" / "lib").iterdir()}
    if not shelf:
        raise SystemExit(f"no Qt libraries below {pyside}: has the wheel another layout now?")
    wanted: set[str] = set()
    ahead = [path for path in elf_files(pyside) if path.parent.name != "lib"]
    while ahead:
        found = needed_by(ahead.pop()) & shelf.keys()
        ahead += [shelf[name] for name in found - wanted]
        wanted |= found
    for name, path in shelf.items():
        if name not in wanted:
            path.unlink()
    print(f"Qt libraries kept: {', '.join(sorted(wanted))}")


def strip_libraries(folder: Path) -> None:
    """Without symbols that only a debugger reads.

    A few wheels' libraries were rearranged by patchelf in a way that strip breaks (numpy's OpenBLAS: "ELF load command
    address/offset not page-aligned"): those stay as they are.
    """
    for path in elf_files(folder):
        stripped = path.with_name(f"{path.name}.stripped")
        subprocess.run(["strip", "--strip-unneeded", "-o", stripped, path], check=True)
        if is_loadable(stripped):
            stripped.replace(path)
        else:
            stripped.unlink()
            print(f"not stripped: {path.relative_to(folder)}")


def is_loadable(path: Path) -> bool:
    """Whether each LOAD segment's place in the file fits its place in memory, as the loader demands."""
    printed = subprocess.run(
        ["readelf", "--program-headers", "--wide", path], check=True, capture_output=True, text=True
    )
    rows = [line.split() for line in printed.stdout.splitlines() if line.split()[:1] == ["LOAD"]]
    places = [(int(row[1], 16), int(row[2], 16), int(row[-1], 16)) for row in rows]
    return bool(places) and all((offset - address) % align == 0 for offset, address, align in places)


def add_launcher(tree: Path) -> None:
    """`titan` is the same program under its other name (packaging/entry)."""
    replace_link(tree / "usr" / "bin" / "titan", APP)
    manual = tree / "usr" / "share" / "man" / "man1"
    replace_link(manual / "titan.1.gz", f"{APP}.1.gz")


def replace_link(link: Path, target: str) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def add_desktop_files(tree: Path) -> None:
    """Ours instead of a template's: Wayland finds the window's icon by the name that titan_gui sets, "titancompute"."""
    share, source = tree / "usr" / "share", ROOT / "packaging" / "linux"
    for folder in ("applications", "icons"):
        shutil.rmtree(share / folder, ignore_errors=True)
    copy(source / "titancompute.desktop", share / "applications" / "titancompute.desktop")
    copy(source / "titancompute.metainfo.xml", share / "metainfo" / "titancompute.metainfo.xml")
    copy(source / "titancompute.service", tree / "usr" / "lib" / "systemd" / "user" / "titancompute.service")
    icons, theme = ROOT / "assets" / "icons", share / "icons" / "hicolor"
    copy(icons / "titancompute.svg", theme / "scalable" / "apps" / "titancompute.svg")
    for size in ICON_SIZES_PX:
        copy(icons / "png" / f"titancompute-{size}.png", theme / f"{size}x{size}" / "apps" / "titancompute.png")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def compile_modules(library: Path, installed: str) -> None:
    """Byte code beside each module, since the program may not write any: without it each start compiles all again.

    Not checked against the source's date: nobody edits an installed package's files, and dates may differ.
    """
    for part in ("app", "app_packages"):
        is_compiled = compileall.compile_dir(
            library / part,
            quiet=1,
            maxlevels=20,
            ddir=f"{installed}/{part}",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        if not is_compiled:
            raise SystemExit(f"some modules below {library / part} could not be compiled")


def open_to_everybody(tree: Path) -> None:
    """Readable by all, writable by root alone, whatever the umask was here."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or is_program(tree, path) else 0o644)


def is_program(tree: Path, path: Path) -> bool:
    return path.parent == tree / "usr" / "bin"


if __name__ == "__main__":
    main()
