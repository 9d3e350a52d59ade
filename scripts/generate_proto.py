"""Generate the Python modules and type stubs of every .proto file in proto/.

The tools are those of the lock (grpcio-tools, mypy-protobuf), so the result is the same on every machine; the import
root is the repository, so that `from proto import titancompute_pb2` works wherever the package is installed.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
GENERATED = "*_pb2*.py*"


def generate(output: Path) -> None:
    """Write proto/*_pb2*.py and .pyi below `output` (a folder that holds, or will hold, `proto/`)."""
    sources = sorted((ROOT / "proto").glob("*.proto"))
    output.mkdir(parents=True, exist_ok=True)
    scripts = Path(sys.executable).parent  # not resolved: a virtual environment's own folder
    arguments = ["protoc", f"--proto_path={ROOT}"]
    for plugin in ("protoc-gen-mypy", "protoc-gen-mypy_grpc"):
        suffix = ".exe" if sys.platform == "win32" else ""
        arguments.append(f"--plugin={plugin}={scripts / (plugin + suffix)}")
    for kind, options in (("python", ""), ("grpc_python", ""), ("mypy", "quiet:"), ("mypy_grpc", "quiet:")):
        arguments.append(f"--{kind}_out={options}{output}")
    status = protoc.main([*arguments, *(str(source) for source in sources)])
    if status:
        raise SystemExit(f"protoc failed with status {status}")


def differences(tree: Path) -> list[str]:
    """Generated files of `tree`/proto that a fresh run would write otherwise, not write, or write in addition."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, present = Path(folder) / "proto", tree / "proto"
        names = {path.name for place in (fresh, present) for path in place.glob(GENERATED)}
        _, differing, missing = filecmp.cmpfiles(fresh, present, sorted(names), shallow=False)
    return sorted(f"proto/{name}" for name in (*differing, *missing))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "output", nargs="?", type=Path, default=ROOT, help="folder that gets proto/ (default: this tree)"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the tree's files are not current"
    )
    options = parser.parse_args()
    if not options.check:
        generate(options.output.absolute())
    elif stale := differences(ROOT):
        raise SystemExit("not what scripts/generate-proto writes: " + ", ".join(stale))


if __name__ == "__main__":
    main()
