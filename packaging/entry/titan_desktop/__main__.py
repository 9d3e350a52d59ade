"""The packaged app's one program, under its two names: `titan-desktop` opens the window, `titan` is the command line.

/usr/bin/titan is a link to /usr/bin/titan-desktop. Where there is no such link (an app's folder on macOS) the first
argument `--cli` says the same. Decided before Qt is imported, so the command line costs no window's start.
"""

from __future__ import annotations

import sys
from pathlib import Path


def wants_command_line(program: str, argv: list[str]) -> bool:
    """Whether `titan` was called. Takes `--cli` out of `argv`, which then reads as `titan`'s own."""
    if argv[1:2] == ["--cli"]:
        del argv[1]
        return True
    return Path(program).stem == "titan"


if __name__ == "__main__":  # the stub runs this module; the engine's worker comes this way too, and both mains know it
    # Of the command as it was typed: sys.argv[0] is this file's path by now.
    if wants_command_line(sys.orig_argv[0], sys.argv):
        from core.cli import main
    else:
        from titan_gui.__main__ import main
    main()
