"""The set-up scripts and what they install from: the locks, the stamps, the messages."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {"runtime": ROOT / "requirements" / "runtime.txt", "all": ROOT / "requirements" / "lock.txt"}
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))?(?P<rest> \\)?$")
LINUX = {"python_version": "3.11", "python_full_version": "3.11.2", "sys_platform": "linux", "platform_system": "Linux"}


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: Path) -> dict[str, str]:
    """Package → version that the lock installs on Linux with Python 3.11."""
    found: dict[str, str] = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if match := PIN.match(line):
            if match["marker"] is None or Marker(match["marker"]).evaluate(dict(LINUX)):
                found[canonicalize_name(match["name"])] = match["version"]
        else:
            assert line.startswith((" ", "#")) or not line, f"neither a pin, nor a hash, nor a comment: {line}"
    return found


def wanted(level: str) -> list[Requirement]:
    project = settings()["project"]
    extras = project["optional-dependencies"]
    chosen = extras if level == "all" else {"embedded": extras["embedded"]}
    texts = [*project["dependencies"], *(text for texts in chosen.values() for text in texts)]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("level", LOCKS)
def test_lock_satisfies_what_pyproject_asks_for(level: str) -> None:
    locked = pins(LOCKS[level])
    for requirement in wanted(level):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: run scripts/lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is locked as {version}"


@pytest.mark.parametrize("level", LOCKS)
def test_lock_holds_what_the_build_needs(level: str) -> None:
    (build,) = settings()["build-system"]["requires"]
    assert Requirement(build).specifier.contains(pins(LOCKS[level])["setuptools"])


@pytest.mark.parametrize("level", LOCKS)
def test_every_pin_has_a_hash(level: str) -> None:
    lines = LOCKS[level].read_text(encoding="utf-8").splitlines()
    for line, following in itertools.pairwise(lines):
        if PIN.match(line):
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", following), line


@pytest.mark.parametrize("level", LOCKS)
def test_lock_names_no_host_and_no_folder_of_a_machine(level: str) -> None:
    text = LOCKS[level].read_text(encoding="utf-8")
    for trace in ("://", "--index", "--find-links", "--trusted", "/home/", "/root/", "/tmp/", "/work/"):
        assert trace not in text


def test_full_lock_serves_the_runtime_too() -> None:
    """scripts/run counts an environment made by scripts/test as ready."""
    assert pins(LOCKS["runtime"]).items() <= pins(LOCKS["all"]).items()


def test_runtime_lock_has_no_qt_and_no_tools() -> None:
    assert (
        pins(LOCKS["runtime"]).keys().isdisjoint({"pyside6-essentials", "pyqtgraph", "numpy", "pytest", "gguf", "mypy"})
    )


def test_every_package_folder_is_in_the_wheel() -> None:
    listed = set(settings()["tool"]["setuptools"]["packages"])
    modules = {path.parent for top in ("core", "titan_gui", "proto") for path in (ROOT / top).rglob("__init__.py")}
    files = {path.parent for path in (ROOT / "assets").rglob("*") if path.is_file()}
    assert listed == {".".join(folder.relative_to(ROOT).parts) for folder in modules | files}


def test_the_tray_application_is_one_command() -> None:
    """`./scripts/run desktop`; the environment of these tests is ready for it."""
    done = subprocess.run(
        [ROOT / "scripts" / "run", "desktop", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "titan-desktop"), done.stderr


def bash(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `program` with the functions of scripts/lib.sh."""
    script = f"set -euo pipefail; source {str(ROOT / 'scripts' / 'lib.sh')!r}; {program}"
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


def fake_python(folder: Path, name: str, version: str) -> Path:
    """A program that answers the one question scripts/lib.sh asks as a Python of `version` would."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    accepted = "0" if version in ("3.11", "3.12", "3.13", "3.14") else "1"
    path.write_text(f"#!/bin/sh\nexit {accepted}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_first_python_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    fake_python(folder, "python3", "3.9")
    right = fake_python(folder, "python3.12", "3.12")
    result = bash(f"unset PYTHON; PATH={str(folder)!r}; find_python")
    assert result.stdout.strip() == str(right)


def test_python_named_by_the_user_is_the_only_candidate(tmp_path: Path) -> None:
    old = fake_python(tmp_path / "a folder", "python3", "3.9")
    result = bash("require_python", PYTHON=str(old))
    assert result.returncode == 1
    assert f"PYTHON={old} is not a 64-bit Python" in result.stderr


def test_without_root_the_one_command_is_printed() -> None:
    result = bash("can_install_packages() { return 1; }; need_packages 'the window (Qt)' libgl1 libegl1")
    assert result.returncode == 1
    assert "needed for the window (Qt)" in result.stderr
    assert "    sudo apt-get install -y --no-install-recommends libgl1 libegl1\n" in result.stderr


def test_missing_libraries_are_named_by_their_package() -> None:
    result = bash("missing_libraries \"$venv_python\" 'libc.so.6:libc6 libdoesnotexist.so.9:libdoesnotexist9'")
    assert result.stdout.split() == ["libdoesnotexist9"]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], ["demo"]),
        (["--model", "my model.gguf"], ["demo", "--model", "my model.gguf"]),
        (["--model=m.gguf"], ["demo", "--model=m.gguf"]),
        (["status", "--json"], ["status", "--json"]),
        (["ask", "two words", ""], ["ask", "two words", ""]),
    ],
)
def test_run_hands_its_arguments_and_status_to_titan(tmp_path: Path, arguments: list[str], command: list[str]) -> None:
    """In a copy with a path of two words, an environment that is ready, and a `titan` that tells what it was given."""
    tree = tmp_path / "two words"
    for name in ("scripts/run", "scripts/lib.sh", "requirements/runtime.txt", "pyproject.toml"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    binaries = tree / ".venv" / "bin"
    for name, program in {"python": "exit 1", "titan": 'printf "%s\\n" "$PWD" "$@"; exit 7'}.items():
        binaries.mkdir(parents=True, exist_ok=True)
        (binaries / name).write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
        (binaries / name).chmod(0o755)
    script = f'source {str(tree / "scripts" / "lib.sh")!r}; stamp_text runtime >"$venv/.ready-runtime"'
    subprocess.run(["bash", "-c", script], check=True, timeout=60)

    result = subprocess.run(
        ["bash", tree / "scripts" / "run", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert result.returncode == 7, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path), *command]
    assert result.stderr == ""


def test_a_changed_lock_makes_the_environment_stale(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1\n", encoding="utf-8")
    program = f"""
        lock_file() {{ printf '%s' {str(lock)!r}; }}
        first="$(stamp_text all)"; echo 'b==1' >>{str(lock)!r}
        [ "$first" != "$(stamp_text all)" ]
    """
    assert bash(program).returncode == 0
