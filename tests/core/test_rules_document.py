"""docs/rules.md says what the rules are."""

from __future__ import annotations

from pathlib import Path

from core.config import DECLARATIONS
from core.reasons.catalogue import CATALOGUE
from core.rules.document import rules_document
from core.rules.table import RULES

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"


def test_document_is_the_one_that_the_rules_make() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == rules_document(), "run scripts/generate-settings-doc"


def test_document_names_every_rule_and_every_reason_once() -> None:
    text = rules_document()
    assert [text.count(f"| {kind.title} |") for kind in CATALOGUE] == [1] * len(CATALOGUE)


def test_every_rule_names_a_setting_that_there_is() -> None:
    assert all(f"{rule.code}_effect" in DECLARATIONS for rule in RULES)
