"""The rules of tests/architecture.py hold in this repository, and each of them can fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import architecture

ROOT = Path(__file__).resolve().parents[1]
Rule = Callable[[Path], list[str]]


def cycles_in_core(root: Path) -> list[str]:
    return architecture.import_cycles(root, "core")


def cycles_in_window(root: Path) -> list[str]:
    return architecture.import_cycles(root, "titan_gui")


RULES: tuple[Rule, ...] = (
    architecture.wrong_direction,
    architecture.wire_outside_its_users,
    architecture.qt_in_core,
    architecture.eager_or_scattered_charts,
    architecture.model_writer_in_product,
    architecture.processes_outside_the_launcher,
    architecture.broad_excepts_off_the_edges,
    architecture.packaging_is_a_package,
    cycles_in_core,
    cycles_in_window,
)

# (rule, module, source): each breaks the rule.
BREAKING: list[tuple[Rule, str, str]] = [
    (architecture.wrong_direction, "core/a.py", "import titan_gui.app"),
    (architecture.wrong_direction, "core/a.py", "def f():\n    from titan_gui import app"),
    (architecture.wrong_direction, "core/a.py", "import importlib\nimportlib.import_module('titan_gui.app')"),
    (architecture.wrong_direction, "core/engines/a.py", "from ...titan_gui import app"),
    (architecture.wrong_direction, "core/a.py", "from tests.fakes import engine"),
    (architecture.wrong_direction, "titan_gui/a.py", "from proto import titancompute_pb2"),
    (architecture.wrong_direction, "titan_gui/a.py", "import grpc.aio"),
    (architecture.wrong_direction, "proto/__init__.py", "import core"),
    (architecture.wire_outside_its_users, "core/sessions.py", "import grpc"),
    (architecture.wire_outside_its_users, "core/sessions.py", "from grpc import aio"),
    (architecture.wire_outside_its_users, "core/sessions.py", "def f():\n    from proto import control_pb2"),
    (architecture.wire_outside_its_users, "core/sessions.py", "from google.protobuf import message"),
    (architecture.wire_outside_its_users, "core/controls.py", "import grpc"),
    (architecture.qt_in_core, "core/a.py", "from PySide6.QtCore import QObject"),
    (architecture.qt_in_core, "core/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import PySide6"),
    (architecture.qt_in_core, "core/a.py", "def f():\n    import pyqtgraph"),
    (architecture.eager_or_scattered_charts, "titan_gui/app.py", "def f():\n    import pyqtgraph"),
    (architecture.eager_or_scattered_charts, architecture.CHART, "import pyqtgraph"),
    (architecture.eager_or_scattered_charts, architecture.CHART, "class A:\n    from pyqtgraph import PlotWidget"),
    (architecture.model_writer_in_product, "core/a.py", "def f():\n    from gguf import GGUFWriter"),
    (architecture.processes_outside_the_launcher, "core/a.py", "import subprocess"),
    (architecture.processes_outside_the_launcher, "core/a.py", "def f():\n    import multiprocessing.pool"),
    (architecture.processes_outside_the_launcher, "core/a.py", "from concurrent.futures import ProcessPoolExecutor"),
    (
        architecture.processes_outside_the_launcher,
        "core/a.py",
        "from concurrent import futures\nfutures.ProcessPoolExecutor()",
    ),
    (architecture.processes_outside_the_launcher, "core/a.py", "import os\nos.fork()"),
    (architecture.processes_outside_the_launcher, "core/a.py", "import os\nos.execv('a', ['a'])"),
    (architecture.processes_outside_the_launcher, "core/a.py", "from os import spawnv"),
    (architecture.processes_outside_the_launcher, "core/a.py", "import asyncio\nrun = asyncio.create_subprocess_exec"),
    (architecture.processes_outside_the_launcher, "core/a.py", "async def f(loop):\n    loop.subprocess_exec()"),
    (architecture.processes_outside_the_launcher, "titan_gui/a.py", "import sys\npath = sys.executable"),
    (architecture.broad_excepts_off_the_edges, "core/a.py", "try:\n    pass\nexcept Exception:\n    pass"),
    (architecture.broad_excepts_off_the_edges, "core/a.py", "try:\n    pass\nexcept:\n    pass"),
    (
        architecture.broad_excepts_off_the_edges,
        "core/a.py",
        "try:\n    pass\nexcept (OSError, BaseException):\n    pass",
    ),
    (
        architecture.broad_excepts_off_the_edges,
        "core/a.py",
        "from contextlib import suppress\nwith suppress(Exception): pass",
    ),
    (architecture.broad_excepts_off_the_edges, "titan_gui/agent.py", "try:\n    pass\nexcept Exception:\n    pass"),
    (
        architecture.broad_excepts_off_the_edges,
        "core/a.py",
        "def f():\n    try:\n        pass\n    except Exception:\n        if f:\n            return\n        raise",
    ),
    (architecture.packaging_is_a_package, "packaging/__init__.py", ""),
    (architecture.packaging_is_a_package, "packaging/linux/__init__.py", ""),
]

# (rule, module, source): each is allowed.
KEEPING: list[tuple[Rule, str, str]] = [
    (architecture.wrong_direction, "titan_gui/a.py", "import core.snapshot"),
    (architecture.wrong_direction, "core/control.py", "from proto import control_pb2"),
    (architecture.wire_outside_its_users, "core/cli/ask.py", "import grpc"),
    (architecture.wire_outside_its_users, "core/agent_server.py", "import grpc"),
    (architecture.wire_outside_its_users, "core/a.py", "import protocols\nfrom core import grpc_names"),
    (architecture.eager_or_scattered_charts, architecture.CHART, "def show():\n    import pyqtgraph"),
    (architecture.processes_outside_the_launcher, architecture.LAUNCHERS[0], "import subprocess, sys\nsys.executable"),
    (architecture.processes_outside_the_launcher, "core/a.py", "import os, sys\nos.getpid(); sys.platform"),
    (architecture.processes_outside_the_launcher, "core/a.py", "from concurrent.futures import Future"),
    (architecture.broad_excepts_off_the_edges, "core/runtime.py", "try:\n    pass\nexcept BaseException:\n    pass"),
    (architecture.broad_excepts_off_the_edges, "core/a.py", "try:\n    pass\nexcept OSError:\n    pass"),
    (
        architecture.broad_excepts_off_the_edges,
        "core/a.py",
        "try:\n    pass\nexcept BaseException:\n    undo()\n    raise",
    ),
]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_repository_keeps(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize(("rule", "module", "source"), BREAKING)
def test_rule_can_fail(tmp_path: Path, rule: Rule, module: str, source: str) -> None:
    violations = rule(write(tmp_path, {module: source}))
    assert violations
    assert all(violation.startswith(module) for violation in violations)


@pytest.mark.parametrize(("rule", "module", "source"), KEEPING)
def test_rule_lets_pass(tmp_path: Path, rule: Rule, module: str, source: str) -> None:
    assert rule(write(tmp_path, {module: source})) == []


def test_a_cycle_is_found(tmp_path: Path) -> None:
    files = {
        "core/__init__.py": "",
        "core/a.py": "from core import b",
        "core/b.py": "class B:\n    from .sub import c",
        "core/sub/__init__.py": "",
        "core/sub/c.py": "try:\n    import core.a\nexcept ImportError:\n    pass",
    }
    assert cycles_in_core(write(tmp_path, files)) == ["core.a → core.b → core.sub.c → core.a"]


def test_imports_that_do_not_run_at_load_make_no_cycle(tmp_path: Path) -> None:
    files = {
        "core/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from core.b import B",
        "core/b.py": "from core.a import A",
        "core/c.py": "def f():\n    from core.d import D",
        "core/d.py": "from core.c import C",
    }
    assert cycles_in_core(write(tmp_path, files)) == []


def test_the_checker_sees_this_repository() -> None:
    """Guards against a checker that finds nothing because it looks nowhere."""
    names = {architecture.relative(ROOT, path) for path in architecture.sources(ROOT, *architecture.PRODUCT)}
    assert {"core/errors.py", "core/engines/__init__.py", "titan_gui/__init__.py", "proto/__init__.py"} <= names
    assert "core.engines.options" in architecture.import_graph(ROOT, "core")["core.engines"]


def loaded_after_importing(modules: list[str]) -> list[str]:
    """Names in sys.modules of a fresh interpreter that has imported `modules`."""
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    command = [sys.executable, "-c", program, *modules]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_importing_all_of_core_brings_in_no_qt() -> None:
    modules = [architecture.module_name(ROOT, path) for path in architecture.sources(ROOT, "core")]
    loaded = loaded_after_importing(modules)
    assert "core.errors" in loaded
    assert [name for name in loaded if name.split(".")[0] in architecture.QT] == []


def test_an_import_of_qt_would_be_seen() -> None:
    pytest.importorskip("PySide6")
    assert "PySide6" in loaded_after_importing(["PySide6"])
