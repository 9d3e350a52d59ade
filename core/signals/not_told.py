"""The probe of a system that doesn't tell a signal at all."""

from __future__ import annotations

from typing import Any

from core.signals import Unknown


class NotTold:
    """Stands in for any probe, and says why there is no answer."""

    def __init__(self, name: str, cause: str) -> None:
        self.name = name
        self._answer = Unknown(cause)

    def read(self) -> Any:
        """Unknown, always; typed so that it stands in for every signal's probe."""
        return self._answer

    def close(self) -> None:
        """Nothing is held."""
