"""The entry point of `titan-desktop`, and of the packaged app."""

from __future__ import annotations

import sys


def main() -> None:
    """Become the engine's worker where this process was started as one; else the program, and exit with its code."""
    from core.engines.worker_main import run_if_worker

    run_if_worker()
    from titan_gui.launch import launch

    sys.exit(launch(sys.argv[1:]))


if __name__ == "__main__":
    main()
