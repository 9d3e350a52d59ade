"""Check the built wheel: what it holds, and that it runs away from this tree.

Usage: verify_wheel.py DIST_FOLDER. Run with the Python of .venv: the fresh environment borrows its packages, so that
nothing is downloaded twice.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("titan_gui", "core", "proto")


def check_contents(wheel: Path) -> None:
    """Every package named in pyproject.toml, the package data, and nothing from elsewhere in the tree."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packages = {name.replace(".", "/") for name in settings["tool"]["setuptools"]["packages"]}
    wanted = {f"{package}/__init__.py" for package in packages if not package.startswith("assets")}
    wanted |= {path.relative_to(ROOT).as_posix() for package in OURS for path in (ROOT / package).rglob("*.py")}
    wanted |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "assets").rglob("*") if path.is_file()}
    wanted |= {"proto/titancompute.proto", "proto/titancompute_pb2.pyi"}
    if missing := sorted(wanted - names):
        raise SystemExit(f"not in the wheel (packages in pyproject.toml?): {', '.join(missing)}")
    if strange := sorted(
        name for name in names if name.split("/")[0] not in (*OURS, "assets") and ".dist-info/" not in name
    ):
        raise SystemExit(f"does not belong in the wheel: {', '.join(strange)}")


def check_command(wheel: Path, folder: Path) -> None:
    """`titan --version` and `titan --help` from a fresh environment, in a folder that holds nothing of ours."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    variables = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    fresh = Path(sysconfig.get_path("purelib", "venv", vars=variables))
    # A path in a .pth file is put on sys.path, but the .pth files in it (our editable install's) are not read.
    (fresh / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([python, *install], check=True, cwd=folder)
    where = subprocess.run(
        [python, "-c", "import core; print(core.__file__)"], check=True, cwd=folder, capture_output=True, text=True
    )
    if not where.stdout.startswith(str(folder)):
        raise SystemExit(f"the fresh environment took core from {where.stdout.strip()}")
    for option in ("--version", "--help"):
        subprocess.run([folder / "venv" / "bin" / "titan", option], check=True, cwd=folder, timeout=60)


def main() -> None:
    (wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    check_contents(wheel)
    with tempfile.TemporaryDirectory() as folder:
        check_command(wheel, Path(folder).resolve())
    print(f"wheel ok: {wheel.name}, {wheel.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
