"""docs/settings.md says what core/config.py says."""

from __future__ import annotations

from pathlib import Path

from core.config import DECLARATIONS, SECRET_ENVIRONMENT
from core.config_docs import settings_document

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_document_is_the_one_that_the_declarations_make() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == settings_document(), "run scripts/generate-settings-doc"


def test_document_names_every_setting_and_every_environment_name() -> None:
    text = settings_document()
    names = [name for item in DECLARATIONS.values() for name in (item.name, *item.environment_names)]
    for name in (*names, *SECRET_ENVIRONMENT, *SECRET_ENVIRONMENT.values()):
        assert f"`{name}`" in text
