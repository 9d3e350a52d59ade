"""A report for whoever helps: version, platform, settings, state, checks and the end of the log, without what would say
who or where the owner is. Pure: `collect_facts` reads the machine, `report_of` only writes.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from core import __version__
from core.config_load import LoadedSettings
from core.doctor import Report
from core.snapshot import AgentSnapshot
from titan_gui.redaction import Redactor

MAX_LOG_LINES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of the machine and its owner: partly to be told, partly to be taken out."""

    platform: str
    python: str
    qt: str
    homes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()


def collect_facts(qt: str) -> Facts:
    """Ask the system. May block (a name service): not on the Qt thread."""
    homes, users = [str(Path.home())], [Path.home().name]
    with suppress(OSError, KeyError, ImportError):
        users.append(getpass.getuser())
    users += [os.environ.get(name, "") for name in ("USER", "USERNAME", "LOGNAME")]
    users += _full_names()
    name = socket.gethostname()
    return Facts(
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        qt=qt,
        homes=tuple(home for home in {*homes, os.path.realpath(homes[0])} if len(home) > 1),
        users=tuple(sorted({user for user in users if user})),
        hosts=tuple(sorted({name, name.partition(".")[0], platform.node()} - {""})),
        kept=frozenset(module for module in sys.modules if "." in module),
    )


def redactor_of(facts: Facts, loaded: LoadedSettings, snapshot: AgentSnapshot) -> Redactor:
    """Knows every host that the settings and the state name, besides what it finds by its shape."""
    settings = loaded.settings
    endpoints = [settings.coordinator_endpoint, settings.public_host, settings.listen_address, settings.ollama_host]
    endpoints += [settings.openai_base_url, snapshot.endpoint, snapshot.coordinator.endpoint, *snapshot.listening_on]
    hosts = {*facts.hosts, *map(_host_of, endpoints)} - {""}
    return Redactor(homes=facts.homes, users=facts.users, hosts=tuple(sorted(hosts)), kept=facts.kept)


def report_of(
    facts: Facts,
    loaded: LoadedSettings,
    snapshot: AgentSnapshot,
    log_lines: Sequence[str],
    checks: Iterable[Report] = (),
) -> str:
    """The whole report as text. Every part is redacted by itself, then the whole once more."""
    redact = redactor_of(facts, loaded, snapshot)
    sections = {
        "Program": _program(facts),
        "Settings": _settings(loaded, redact),
        "Checks": "\n".join(redact.text(_check(check)) for check in checks) or "not run",
        "State": json.dumps(redact.value(json.loads(snapshot.to_json())), indent=1, ensure_ascii=False),
        "Log": "\n".join(_log_line(line, redact) for line in log_lines[-MAX_LOG_LINES:]) or "empty",
    }
    body = "\n\n".join(f"== {title} ==\n{redact.text(text)}" for title, text in sections.items())
    return f"TitanCompute diagnostics\n\n{body}\n"


def _program(facts: Facts) -> str:
    return f"titancompute-agent {__version__}\n{facts.platform}\n{facts.python}\nQt {facts.qt}"


def _settings(loaded: LoadedSettings, redact: Redactor) -> str:
    lines = []
    for field in fields(loaded.settings):
        value = getattr(loaded.settings, field.name)
        plain = [str(item) for item in value] if isinstance(value, tuple) else value
        shown = redact.value({field.name: str(plain) if isinstance(plain, Path) else plain})
        origin = loaded.origins.get(field.name)
        assert isinstance(shown, dict)
        text = json.dumps(next(iter(shown.values())), ensure_ascii=False)
        lines.append(f"{field.name} = {text}" + (f"  ({origin.layer.value})" if origin else ""))
    return "\n".join([*lines, *(f"note: {redact.text(notice)}" for notice in loaded.notices)])


def _check(check: Report) -> str:
    remedy = f" {check.remedy}" if check.remedy else ""
    return f"{check.verdict.value:<8} {check.name}: {check.detail}{remedy}"


def _log_line(line: str, redact: Redactor) -> str:
    """Through its fields where it is an event of ours, so that a secret's name is seen as such."""
    try:
        values: object = json.loads(line)
    except ValueError:
        return redact.text(line)
    if not isinstance(values, Mapping):
        return redact.text(line)
    return json.dumps(redact.value(values), ensure_ascii=False)


def _host_of(endpoint: str) -> str:
    """The host of "host:port", "[v6]:port", a URL, or a bare host."""
    try:
        return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname or ""
    except ValueError:
        return ""


def _full_names() -> list[str]:
    """The owner's name as the system knows it, whole and in parts."""
    try:
        import pwd

        whole = pwd.getpwuid(os.getuid()).pw_gecos.partition(",")[0]
    except (ImportError, KeyError, AttributeError):
        return []
    return [whole, *(part for part in whole.split() if len(part) > 2)]
