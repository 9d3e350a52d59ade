"""The rules of the house, as functions from a source tree to the list of what breaks them.

Read by tests/test_architecture.py, which applies each to this repository and shows on a small tree that each can fail.
A violation reads `core/sessions.py:12 imports grpc`. Rules look at every import, also one inside a function; only the
rule about cycles looks at the imports that run when a module is loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PRODUCT = ("core", "titan_gui", "proto")

# Modules that speak gRPC and the wire contract; everywhere else our own dataclasses. A folder ends with "/".
WIRE_USERS = (
    "core/agent_server.py",
    "core/switchboard.py",
    "core/coordinator_client.py",
    "core/coordinator_link.py",  # the calls of coordinator_client
    "core/inference_client.py",  # one request as a client makes it: ask, demo, self-test
    "core/local_coordinator.py",
    "core/control.py",
    "core/cli/",
)
# The one module that starts a process: in a packaged app sys.executable is the app itself (design: a fork bomb).
LAUNCHERS = ("core/engines/worker_launch.py",)
# The only places where any exception may be caught and not passed on, and which edge each one is.
EDGES = {
    "core/agent_server.py": "RPC",
    "core/control.py": "RPC",
    "core/doctor.py": "task: one check's bug must not hide the other checks",
    "core/key_keeper.py": "task",
    "core/runtime.py": "thread",
    "core/daemon_call.py": "thread",
    "core/gpu/guard.py": "thread",
    "core/signals/guard.py": "thread",
    "core/secrets.py": "thread",
    "core/engines/worker_main.py": "process",
    "titan_gui/background.py": "thread",
    "core/logs.py": "logging: a record of another library must not end a session",
    "core/log_format.py": "logging",
}
CHART = "titan_gui/widgets/history_chart.py"

WIRE = ("grpc", "grpc_health", "grpc_reflection", "google", "proto")
QT = ("PySide6", "PySide2", "PyQt5", "PyQt6", "shiboken6", "qtpy", "pyqtgraph")
PROCESS_MODULES = ("multiprocessing", "subprocess", "pty", "concurrent.futures.process")
PROCESS_NAMES = {
    "concurrent.futures": ("ProcessPoolExecutor",),
    "asyncio": ("create_subprocess_exec", "create_subprocess_shell"),
    "os": ("fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp", "startfile"),
    "sys": ("executable",),
}
PROCESS_PREFIXES = {"os": ("exec", "spawn")}
PROCESS_METHODS = ("subprocess_exec", "subprocess_shell")


@dataclass(frozen=True)
class Import:
    """One imported module or name: `from a.b import c` is module "a.b" with name "c"."""

    line: int
    module: str
    name: str = ""
    at_load: bool = True  # runs when the module is loaded: not in a function, not under TYPE_CHECKING

    def is_of(self, packages: Iterable[str]) -> bool:
        full = f"{self.module}.{self.name}" if self.name else self.module
        return any(full == package or full.startswith(f"{package}.") for package in packages)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def sources(root: Path, *folders: str) -> list[Path]:
    """Every hand-written module below `folders`; generated protobuf modules follow their generator's rules."""
    found = (path for folder in folders for path in (root / folder).rglob("*.py"))
    return sorted(path for path in found if "_pb2" not in path.name)


def relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def is_listed(name: str, listed: Iterable[str]) -> bool:
    """Whether a module is one of `listed` (files, or folders that end with "/")."""
    return any(name == entry or (entry.endswith("/") and name.startswith(entry)) for entry in listed)


def module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _walk(node: ast.AST, at_load: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below `node`, and whether it runs when the module is loaded."""
    for child in ast.iter_child_nodes(node):
        yield child, at_load
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for part in child.body:
                yield part, False
                yield from _walk(part, False)
            for part in child.orelse:
                yield part, at_load
                yield from _walk(part, at_load)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, at_load and not inside)


def _imported_by_call(node: ast.Call) -> str | None:
    """The module of `importlib.import_module("x")` or `__import__("x")`; None for anything else."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in ("import_module", "__import__") or not node.args:
        return None
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def imports(root: Path, path: Path) -> list[Import]:
    """Everything `path` imports, with relative imports made absolute."""
    package = module_name(root, path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: list[Import] = []
    for node, at_load in _walk(parse(path), at_load=True):
        if isinstance(node, ast.Import):
            found += [Import(node.lineno, alias.name, at_load=at_load) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [Import(node.lineno, module, alias.name, at_load) for alias in node.names]
        elif isinstance(node, ast.Call) and (called := _imported_by_call(node)):
            found.append(Import(node.lineno, called, at_load=at_load))
    return found


def _imports_of(root: Path, folders: Iterable[str], packages: Iterable[str], allowed: Iterable[str] = ()) -> list[str]:
    """Violations: imports of `packages` in `folders` outside the `allowed` modules."""
    return [
        f"{relative(root, path)}:{found.line} imports {found.module}"
        for path in sources(root, *folders)
        if not is_listed(relative(root, path), allowed)
        for found in imports(root, path)
        if found.is_of(packages)
    ]


def wrong_direction(root: Path) -> list[str]:
    """Imports that don't go titan_gui → core → proto (the window gets its data from core, never from the wire)."""
    return [
        *_imports_of(root, ["proto"], ["core", "titan_gui", "tests"]),
        *_imports_of(root, ["core"], ["titan_gui", "tests", "benchmarks", "scripts"]),
        *_imports_of(root, ["titan_gui"], [*WIRE, "tests", "benchmarks", "scripts"]),
    ]


def wire_outside_its_users(root: Path) -> list[str]:
    return _imports_of(root, ["core"], WIRE, WIRE_USERS)


def qt_in_core(root: Path) -> list[str]:
    return _imports_of(root, ["core", "proto"], QT)


def eager_or_scattered_charts(root: Path) -> list[str]:
    """pyqtgraph costs 54 MB and 0.25 s: one widget imports it, and only when it is shown."""
    at_load = [
        f"{CHART}:{found.line} imports pyqtgraph when it is loaded"
        for path in sources(root, "titan_gui")
        if relative(root, path) == CHART
        for found in imports(root, path)
        if found.is_of(["pyqtgraph"]) and found.at_load
    ]
    return [*_imports_of(root, ["titan_gui"], ["pyqtgraph"], [CHART]), *at_load]


def model_writer_in_product(root: Path) -> list[str]:
    return _imports_of(root, PRODUCT, ["gguf"])


def _starts_process(found: Import) -> bool:
    if found.is_of(PROCESS_MODULES):
        return True
    return found.name in PROCESS_NAMES.get(found.module, ()) or (
        found.name != "" and found.name.startswith(PROCESS_PREFIXES.get(found.module, ("\0",)))
    )


def _uses_process_name(node: ast.AST) -> bool:
    """`os.fork`, `sys.executable`, `asyncio.create_subprocess_exec`, `loop.subprocess_exec`, ..."""
    if not isinstance(node, ast.Attribute):
        return False
    owner = ast.unparse(node.value)
    return (
        node.attr in PROCESS_NAMES.get(owner, ())
        or node.attr.startswith(PROCESS_PREFIXES.get(owner, ("\0",)))
        or node.attr in (*PROCESS_METHODS, "ProcessPoolExecutor")
    )


def processes_outside_the_launcher(root: Path) -> list[str]:
    """Anything that can start a process, or names the interpreter to start, outside the one launcher."""
    violations = []
    for path in sources(root, *PRODUCT):
        name = relative(root, path)
        if is_listed(name, LAUNCHERS):
            continue
        violations += [
            f"{name}:{found.line} imports {found.module}" for found in imports(root, path) if _starts_process(found)
        ]
        violations += [
            f"{name}:{node.lineno} uses {ast.unparse(node)}"
            for node in ast.walk(parse(path))
            if isinstance(node, ast.Attribute) and _uses_process_name(node)
        ]
    return violations


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(part) for part in caught.elts)
    name = caught.attr if isinstance(caught, ast.Attribute) else getattr(caught, "id", "")
    return name in ("Exception", "BaseException")


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether the handler ends in `raise` and leaves in no other way: it cleans up, it swallows nothing."""
    leaves = any(isinstance(node, ast.Return | ast.Break | ast.Continue) for node in ast.walk(handler))
    return isinstance(handler.body[-1], ast.Raise) and not leaves


def broad_excepts_off_the_edges(root: Path) -> list[str]:
    """`except Exception`, a bare except, or `suppress(Exception)` that swallows, anywhere but at an edge."""
    violations = []
    for path in sources(root, *PRODUCT):
        name = relative(root, path)
        if is_listed(name, EDGES):
            continue
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _passes_on(node):
                violations.append(f"{name}:{node.lineno} catches everything")
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("suppress", "contextlib.suppress"):
                violations += [f"{name}:{node.lineno} suppresses everything" for part in node.args if _is_broad(part)]
    return violations


def packaging_is_a_package(root: Path) -> list[str]:
    """packaging/__init__.py would hide the `packaging` distribution from everything started in this folder."""
    return [relative(root, path) for path in (root / "packaging").rglob("__init__.py")]


def import_graph(root: Path, package: str) -> dict[str, set[str]]:
    """Module → modules of the same package that it imports while it is loaded."""
    paths = {module_name(root, path): path for path in sources(root, package)}
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        targets = set()
        for found in imports(root, path):
            full = f"{found.module}.{found.name}"
            target = full if full in paths else found.module
            if found.at_load and target in paths and target != name:
                targets.add(target)
        graph[name] = targets
    return graph


def import_cycles(root: Path, package: str) -> list[str]:
    """Cycles among the imports that run at load, each as "a → b → a"."""
    graph = import_graph(root, package)
    done: set[str] = set()
    cycles: list[str] = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            cycles.append(" → ".join((*trail[trail.index(name) :], name)))
        elif name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    return cycles
