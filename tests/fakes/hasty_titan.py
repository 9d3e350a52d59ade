"""`titan` whose rules end soon: the whole real program, for tests of what lies between a signal and the door.

For how long a rule goes on once its cause is gone is proven with a clock of the tests' own (tests/core/test_rules_*);
the real program would only sit it out. So a rule ends after LONGEST_S at most, and the owner counts as away after a few
seconds where the setting says so. Everything that closes the door keeps its time.

HASTY in the environment shortens further intervals, for tests of what happens and not of when: "module:NAME=seconds",
several of them with blanks between.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.config import DECLARATIONS
from core.rules import table
from core.rules.look import Seconds

LONGEST_S = 3.0


def main() -> None:
    """Changes the table before anybody else reads it."""
    hasty: Any = tuple(
        replace(rule, ends_after=_at_most(rule.ends_after), least=_at_most(rule.least)) for rule in table.RULES
    )
    table.RULES = hasty
    object.__setattr__(DECLARATIONS["idle_minutes"], "minimum", 0.05)
    for interval in os.environ.get("HASTY", "").split():
        _shorten(*interval.replace("=", ":").split(":"))
    from core.cli import main as titan

    titan()


def _shorten(module_name: str, name: str, seconds: str) -> None:
    module = import_module(module_name)
    assert float(seconds) <= getattr(module, name), f"{name} is shorter already"
    setattr(module, name, float(seconds))


def _at_most(seconds: Seconds) -> Seconds:
    return lambda settings: min(LONGEST_S, seconds(settings))


if __name__ == "__main__":
    main()
