"""`titan rules`: every rule of the owner's, what it does, and which ones hold or can't be told here."""

from __future__ import annotations

import time

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption


def rules(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Your rules: what each does, which hold now, and what can't be told on this machine."""
    snapshot = door.fetch_snapshot(profile)
    if as_json:
        output.print_json({"rules": snapshot["rules"], "share_until": snapshot["share_until"]})
        return
    from core.cli.render_rules import rules_table

    sharing = next((reason for reason in snapshot["reasons"] if reason["code"] == "sharing_now"), None)
    output.print_text(rules_table(snapshot["rules"], time.time(), sharing))
