"""A driver library of our own in C, and the helper that builds it and runs a scenario against it.

The loader reads LD_LIBRARY_PATH when a process starts, so each scenario (scenarios.py) runs in a child interpreter,
where the real pynvml loads the double.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("nvml_double.c")
LIBRARY_NAME = "libnvidia-ml.so.1"
_ROOT = Path(__file__).parents[3]


def find_compiler() -> str | None:
    """A C compiler's path, None without one."""
    return next((path for name in ("gcc", "cc", "clang") if (path := shutil.which(name))), None)


def build(folder: Path, *, old_driver: bool = False) -> Path:
    """Compile the double into `folder`; returns the library. `old_driver` leaves out the newer calls."""
    compiler = find_compiler()
    assert compiler is not None, "check find_compiler() first"
    library = folder / LIBRARY_NAME
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{LIBRARY_NAME}"]
    command = [compiler, *flags, *(["-DOLD_DRIVER"] if old_driver else []), "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    return library


class NvmlDouble:
    """One folder with a state file, in which a scenario runs; the library is linked in unless told otherwise."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.library = library
        self.folder = folder

    def run(self, scenario: str, *, install: bool = True, limit_s: float = 30.0) -> Any:
        """Run one function of scenarios.py in a child interpreter; returns what it returned, by way of JSON."""
        if install:
            (self.folder / LIBRARY_NAME).symlink_to(self.library)
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.folder),
            "NVML_DOUBLE_STATE": str(self.folder / "state"),
            "NVML_DOUBLE_LIBRARY": str(self.library),
            "PYTHONPATH": str(_ROOT),
        }
        command = [sys.executable, "-m", "tests.fakes.nvml_double.scenarios", scenario]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
