"""docs/settings.md, made from the declarations: scripts/generate-settings-doc writes it, a test keeps it equal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from core.config import DECLARATIONS, SECRET_ENVIRONMENT
from core.config_values import Declaration, display

_INTRODUCTION = """\
# Settings

<!-- Made by scripts/generate-settings-doc from core/config.py. Change it there. -->

Every setting can be said in four places. A later one overrides an earlier one:

1. the default below;
2. the profile's settings file (`titan config path` names it), a TOML file with one `key = value` a line, which
   `titan config set KEY VALUE` changes too;
3. the environment, under either of the names below. Both set to different values is an error; an empty one counts as
   not set;
4. the command line: `--agent-port 50060` for `agent_port`.

`titan config show --origins` lists what is in use and where each value came from. Any value that is not allowed, and
any unknown key in the file or unknown `TITAN_` variable, stops the start with a message that names all of them. A
number of the heartbeat that is out of range is held within it instead, with a notice. Text is trimmed; a relative path
is taken from the current directory on the command line and in the environment, and refused in the file.

A **profile** has its own settings file, data, logs, lock and control door, so that several agents run on one host.
`--profile NAME` picks it, else `TITAN_PROFILE`, else an `AGENT_ID` set in the environment names it, else it is
`default`. Names are made safe for a folder; two different ones never share it.
Model files are shared by all profiles. `TITAN_HOME=/folder` keeps everything under one folder.
"""


def settings_document() -> str:
    """The whole document, as Markdown."""
    return "\n".join([_INTRODUCTION, *_groups(), *_secrets()])


def _groups() -> Iterator[str]:
    for group, declarations in groupby(DECLARATIONS.values(), key=lambda declaration: declaration.group):
        yield f"## {group}\n"
        yield "| key | default | allowed | environment | what it is |\n|---|---|---|---|---|"
        yield from (_row(declaration) for declaration in declarations)
        yield ""


def _row(declaration: Declaration) -> str:
    default = declaration.default_text or f"`{display(declaration.default)}`".replace("``", "")
    names = ", ".join(f"`{name}`" for name in declaration.environment_names)
    cells = (f"`{declaration.name}`", default, declaration.expectation, names, declaration.help)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _secrets() -> Iterator[str]:
    yield "## Secrets\n"
    yield (
        "Secrets never stand in the settings file. `titan config set --secret NAME` reads one from the terminal or\n"
        "from standard input and keeps it in the system's keyring, or where there is none in a file that only this\n"
        "user can read, and says so. On a headless host the environment can give them.\n"
    )
    yield "| name | environment |\n|---|---|"
    yield from (f"| `{name}` | `{variable}` |" for name, variable in SECRET_ENVIRONMENT.items())
    yield ""
