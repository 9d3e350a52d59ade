"""`titan rules`, and what `titan status` says of rules and energy."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from core.cli.app import run_cli
from core.cli.render_rules import rules_table
from core.cli.render_status import render_status
from core.reasons.of_rules import rule_holds
from core.rules import Holding
from core.rules.effects import DEFAULT_EFFECTS, parse_effect
from core.snapshot import AgentSnapshot, EnergyView, RuleView
from tests.fakes.running_door import running_door
from tests.fakes.snapshots import NOW, busy_snapshot, in_use_snapshot, sharing_snapshot

RULES = (
    RuleView(code="in_use", effect="finish within 30 s, unload"),
    RuleView(
        code="listed_app",
        is_on=True,
        holds=True,
        sentence="Paused while Steam runs.",
        effect="stop after 5 s, unload",
        since=NOW,
        sessions_end_at=NOW + 4,
    ),
    RuleView(code="metered", is_on=True, unknown="NetworkManager doesn't run here.", effect="finish, keep"),
    RuleView(code="cpu_busy", is_on=True, effect="finish, keep"),
)


def shown(what: RenderableType, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def status_of(**changes: Any) -> str:
    snapshot: AgentSnapshot = replace(busy_snapshot(), rules=RULES, **changes)
    return shown(render_status(json.loads(snapshot.to_json()), NOW))


def test_table_tells_what_holds_what_is_off_and_what_cannot_be_told() -> None:
    lines = shown(rules_table([json.loads(json.dumps(_plain(view))) for view in RULES], NOW)).splitlines()
    in_use, listed, metered, busy = lines[1:5]
    assert "In use" in in_use
    assert " off " in in_use
    assert "✗" in listed
    assert " holds " in listed
    assert "✗ Paused while Steam runs. (running sessions end in 4 s)" in lines
    assert "stop after 5 s, unload" in listed
    assert "listed_apps" in listed
    assert "can't be told here" in metered
    assert "? Metered network: NetworkManager doesn't run here." in lines
    assert "doesn't hold" in busy


def test_table_stays_readable_in_a_terminal_of_eighty_columns_and_says_a_cause_once() -> None:
    cause = "No graphics card was found: models are served from RAM, by the processor."
    views = [_plain(RuleView(code=kind, is_on=True, unknown=cause, effect="stop, unload")) for kind in DEFAULT_EFFECTS]
    lines = shown(rules_table(views, NOW), width=80).splitlines()
    assert len(lines) <= 3 * len(views)
    assert " ".join(lines).count("by the processor") == 1


def test_sharing_now_is_seen_in_the_table_and_in_the_status_with_what_waits_and_the_way_back() -> None:
    snapshot = json.loads(sharing_snapshot().to_json())
    now = snapshot["share_until"] - 3600
    table = shown(rules_table(snapshot["rules"], now, snapshot["reasons"][0])).splitlines()
    status = shown(render_status(snapshot, now)).splitlines()
    sentence = f"{snapshot['reasons'][0]['sentence']} (another 1 h)"
    assert "Until then this rule waits: “In use”." in sentence
    assert " waits " in table[1]
    assert "· In use: it shares after 10 minutes without mouse and keyboard. (waits)" in table
    assert table[table.index(sentence) + 1] == "→ titan follow-rules"
    assert [line.rstrip() for line in status[1:3]] == [f"· {sentence}", "  → titan follow-rules"]


def test_status_names_the_way_to_share_anyway_where_there_is_one() -> None:
    held = in_use_snapshot()
    hot = replace(held, reasons=(replace(held.reasons[0], code="gpu_hot"),))
    assert "share anyway for a while: titan share-now" in shown(render_status(json.loads(held.to_json()), NOW))
    assert "share anyway" not in shown(render_status(json.loads(hot.to_json()), NOW))


def test_before_the_setup_there_is_nothing_to_list() -> None:
    assert "before the setup is done" in shown(rules_table([], NOW))


def test_status_shows_strongest_first_with_its_countdown_and_setting() -> None:
    effect = parse_effect("stop after 5 s, unload")
    assert effect is not None
    strong = Holding(code="listed_app", sentence="Paused while Steam runs.", effect=effect, since=NOW)
    weak = Holding(code="metered", sentence="The network costs by its traffic.", effect=effect, since=NOW)
    text = status_of(reasons=(rule_holds(strong, sessions_end_at=NOW + 4), rule_holds(weak)))
    assert text.index("Paused while Steam runs. (running sessions end in 4 s)") < text.index("The network costs")
    assert "→ the setting listed_apps" in text
    assert "3 on, of which 1 can't be told here (titan rules)" in text


@pytest.mark.parametrize(
    ("energy", "words"),
    [
        (
            EnergyView(
                served_s=3600,
                kwh=0.25,
                cost=0.08,
                wh_per_1000_tokens=12.5,
                cost_per_1000_tokens=0.004,
                source="Measured at the graphics card; the rest of the machine comes on top.",
            ),
            "0.250 kWh today, cost 0.08; 12.50 Wh per 1,000 tokens (0.0040); served 1 h today",
        ),
        (EnergyView(served_s=60, source="Nothing here measures it."), "served 1 min today; Nothing here measures it."),
    ],
)
def test_status_tells_the_days_energy(energy: EnergyView, words: str) -> None:
    assert words in " ".join(status_of(energy=energy).split())


def test_status_says_nothing_of_energy_that_nobody_used() -> None:
    assert "Energy" not in status_of(energy=EnergyView(source="Nothing here measures it."))


def test_the_command_asks_the_running_agent(capsys: pytest.CaptureFixture[str]) -> None:
    with running_door(replace(busy_snapshot(), rules=RULES)):
        assert run_cli(["rules", "--json"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert [rule["code"] for rule in json.loads(out)["rules"]] == [view.code for view in RULES]
        assert run_cli(["rules"]) == 0
        assert "Paused while Steam runs." in capsys.readouterr().out


def _plain(view: RuleView) -> dict[str, Any]:
    return {name: getattr(view, name) for name in RuleView.__dataclass_fields__}
