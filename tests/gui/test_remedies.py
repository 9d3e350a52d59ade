"""No text of the window, the tray or a message is a command for a terminal, or gRPC's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import core
from core import errors
from core.commands import CommandError
from core.config import DECLARATIONS
from core.errors import AgentError, ConfigError, PortTakenError, SessionEnded, StorageError
from core.reasons import of_engine, of_network, of_owner, of_rules
from core.reasons.catalogue import CATALOGUE
from core.snapshot import AgentSnapshot, CoordinatorView, EngineView, PullView, Reason
from core.state import AgentState
from titan_gui.failure import failed_snapshot
from titan_gui.models_view import engine_text, pull_text
from titan_gui.notifications import NotificationRules
from titan_gui.plain_text import plain, sentences
from titan_gui.remedies import (
    FOR_REASONS,
    Action,
    Does,
    error_text,
    remedy_of,
    remedy_of_error,
)
from titan_gui.rules_view import reason_views
from titan_gui.tiles import tiles_of
from titan_gui.tray_view import tray_view_of
from titan_gui.view_model import headline_of

FOREIGN = re.compile(
    r"`|\btitan [a-z]|\b[A-Z][A-Z0-9_]*=|\bpip install|\bollama (?:pull|serve)|--[a-z]|TITAN_HOME"
    r"|\b(?:UNAVAILABLE|UNKNOWN|INVALID_ARGUMENT|DEADLINE_EXCEEDED)\b|(?i:grpc)|ipv4:|RegisterAgent"
)
GRPC = "UNAVAILABLE: UNKNOWN: ipv4:127.0.0.1:57051: Failed to connect to remote host: Connection refused"
NO_ANSWER = f"No answer from the coordinator at 127.0.0.1:57051: {GRPC}"
REFUSED = "The coordinator at 127.0.0.1:57051 refused RegisterAgent: INVALID_ARGUMENT: no such thing"
TERMINAL = "Start the engine again: titan retry"
HELD = (
    of_owner.stopping(),
    of_owner.setup_not_done(),
    of_owner.paused_by_owner(1_800_000_000.0),
    of_owner.paused_in_doubt(),
    of_owner.draining(2),
    of_engine.engine_attention("it crashed three times", ""),
    of_engine.engine_attention("it crashed three times", TERMINAL),
    of_engine.engine_unreachable("Ollama does not answer at http://localhost:11434", "Start Ollama: ollama serve"),
    of_engine.engine_unreachable("nothing there", ""),
    of_engine.engine_resting(1_800_000_000.0),
    of_engine.model_not_ready(
        ["m"], "", "Get it with `ollama pull m`, or offer one: titan config set supported_models M"
    ),
    of_engine.model_not_ready(
        [], "no model is named to be offered", "Tick one, or: titan config set supported_models M"
    ),
    of_rules.sharing_now(1_800_003_600.0, ["in_use", "on_battery"], 1_800_000_000.0),
    of_network.no_public_address("No public address: localhost is this machine alone.", "Set PUBLIC_HOST=name."),
    of_network.coordinator_away(NO_ANSWER, endpoint="127.0.0.1:57051"),
    of_network.registration_refused(REFUSED),
)


def hints_in_core() -> Iterator[str]:
    """Every literal that the core hands on as a hint or a remedy, with X in the place of what is filled in."""
    folder = Path(core.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        if "cli" in path.relative_to(folder).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_argument = isinstance(node, ast.keyword) and (node.arg or "").endswith(("hint", "remedy"))
            is_name = isinstance(node, ast.Assign) and "hint" in ast.unparse(node.targets[0]).lower()
            if is_argument or is_name:
                assert isinstance(node, ast.keyword | ast.Assign)
                yield from texts_in(node.value)


def texts_in(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from texts_in(child)


def all_errors() -> list[type[AgentError]]:
    found: list[type[AgentError]] = [CommandError]
    waiting: list[type[AgentError]] = [AgentError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting.extend(child for child in kind.__subclasses__() if child.__module__ == errors.__name__)
    return found


def made(kind: type[AgentError], detail: str, hint: str) -> AgentError:
    if issubclass(kind, ConfigError):
        return kind([detail], hint=hint)
    return kind("paused", detail) if issubclass(kind, SessionEnded) else kind(detail, hint=hint)


def texts_of(snapshot: AgentSnapshot) -> list[str]:
    """All that pages, tray and messages say of a snapshot, as far as it comes from the core."""
    headline, view = headline_of(snapshot), tray_view_of(snapshot)
    rules = NotificationRules()
    rules.look(snapshot, 0.0)
    messages = rules.look(snapshot, 3600.0)
    return [
        headline.sentence,
        headline.remedy,
        *(action.title for action in headline.actions),
        view.status,
        view.tooltip,
        *(text for message in messages for text in (message.title, message.text)),
        *(
            text
            for rule in reason_views(snapshot.reasons)
            for text in (rule.title, rule.meaning, rule.effect, rule.now)
        ),
        *(text for tile in tiles_of(snapshot) for text in (tile.value, tile.detail)),
        engine_text(snapshot),
        *map(pull_text, snapshot.pulls),
    ]


def test_every_kind_of_reason_is_tried_here() -> None:
    assert {kind.code for kind in CATALOGUE} <= {reason.code for reason in HELD} | reasons_without_a_command()


def reasons_without_a_command() -> set[str]:
    """Kinds whose remedy is no literal of this list: looked at through `hints_in_core`."""
    return {kind.code for kind in CATALOGUE if kind.code not in FOR_REASONS}


@pytest.mark.parametrize("reason", HELD, ids=lambda reason: reason.code)
def test_no_reason_shows_a_command_or_grpc_words(reason: Reason) -> None:
    link = CoordinatorView(link="away", endpoint="127.0.0.1:57051", detail=NO_ANSWER)
    for view in (link, replace(link, link="not-registered", detail=REFUSED), replace(link, link="connecting")):
        snapshot = AgentSnapshot(state=AgentState.READY, reasons=(reason,), coordinator=view)
        for text in texts_of(snapshot):
            assert not FOREIGN.search(text), text


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_no_error_shows_a_command_or_grpc_words(kind: type[AgentError]) -> None:
    for detail in (NO_ANSWER, REFUSED, "it's `gone`"):
        for hint in ("", TERMINAL, "AGENT_PORT=50060 titan run"):
            error = made(kind, detail, hint)
            failed = failed_snapshot(AgentSnapshot(), error)
            for text in (error_text(error), remedy_of_error(error).sentence, *texts_of(failed)):
                assert not FOREIGN.search(text), text


@pytest.mark.parametrize("hint", sorted(set(hints_in_core())))
def test_no_hint_of_the_core_shows_a_command(hint: str) -> None:
    said = plain(hint)
    assert not FOREIGN.search(said)
    assert said == "" or said.endswith((".", "!", "?", "…")) or not FOREIGN.search(hint)


def test_the_core_still_has_commands_for_the_command_line() -> None:
    assert sum(bool(FOREIGN.search(hint)) for hint in hints_in_core()) >= 10


def test_an_engine_or_a_download_in_trouble_shows_no_command() -> None:
    status = replace(EngineView().status, state="fault", detail="it is gone", hint=TERMINAL)
    pull = PullView(model="m", phase="failed", problem="Ollama does not answer", hint="ollama pull m")
    snapshot = AgentSnapshot(engine=EngineView(name="ollama", status=status), pulls=(pull,))
    assert [text for text in texts_of(snapshot) if FOREIGN.search(text)] == []
    assert engine_text(snapshot) == "Ollama: it is gone. Start the engine again."
    assert pull_text(pull) == "Not downloaded: Ollama does not answer."


@pytest.mark.parametrize("name", sorted(DECLARATIONS))
def test_the_settings_page_explains_without_commands(name: str) -> None:
    declaration = DECLARATIONS[name]
    assert not FOREIGN.search(f"{declaration.help} {declaration.expectation} {declaration.default_text}")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Start Ollama.", "Start Ollama."),
        ("Start Ollama: ollama serve", "Start Ollama."),
        ("titan resume", ""),
        ("First: titan pause --now, or titan finish.", ""),
        ("Put a file into the folder (titan config path) and tick it, or: titan config set x Y", "Put a file into the"
         " folder and tick it."),
        (NO_ANSWER, "No answer from the coordinator at 127.0.0.1:57051."),
        ("Check OLLAMA_HOST.", "Check “Ollama's address”."),
        ("Fewer sessions (max_concurrent_jobs) do.", "Fewer sessions (“Sessions at once”) do."),
        ("coordinator_endpoint (COORDINATOR_ENDPOINT) is wrong", "“Coordinator's address” is wrong"),
        ("It is set by environment SUPPORTED_MODELS.", "It is set by environment SUPPORTED_MODELS."),
        ("/srv/models_dir/agent_id is no file", "/srv/models_dir/agent_id is no file"),
        ("Make /x writable for this user, or set TITAN_HOME to a folder that is.", "Make /x writable for this user."),
        ("One line.\nOr `two`.", "One line."),
    ],
)  # fmt: skip
def test_what_is_left_of_a_text(said: str, shown: str) -> None:
    assert plain(said) == shown


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("It isn't this machine's", "Choose another port"), "It isn't this machine's. Choose another port."),
        (("Paused by you.", "", "Ends at 10:00."), "Paused by you. Ends at 10:00."),
        (("Is it on?", "Look…"), "Is it on? Look…"),
        (("", " "), ""),
    ],
)
def test_sentences_are_joined_by_full_stops(parts: tuple[str, ...], said: str) -> None:
    assert sentences(*parts) == said


def test_a_taken_port_leads_to_its_setting_and_to_a_new_start() -> None:
    error = PortTakenError("cannot listen on 0.0.0.0:50052", hint="Choose another port: AGENT_PORT=50060 titan run")
    headline = headline_of(failed_snapshot(AgentSnapshot(), error))
    assert headline.sentence == "Port not available: cannot listen on 0.0.0.0:50052."
    assert headline.remedy == "Choose another port, and start it again."
    assert headline.actions == (Action(Does.START), Action(Does.SETTING, "agent_port"), Action(Does.LOG))


def test_bad_settings_lead_to_the_first_that_is_bad() -> None:
    error = ConfigError(["agent_port = 70000 (/x/settings.toml): must be a whole number"])
    assert remedy_of_error(error).actions == (Action(Does.SETTING, "agent_port"),)
    assert remedy_of_error(StorageError("disk full")).actions == ()


def test_a_rule_of_later_versions_leads_to_its_setting_and_an_unknown_setting_nowhere() -> None:
    rule = Reason(code="too_late", sentence="x", setting="share", remedy="Wait.")
    assert remedy_of(rule).actions == (Action(Does.SETTING, "share"),)
    assert remedy_of(rule).sentence == "Wait."
    assert remedy_of(replace(rule, setting="gone")).actions == ()
