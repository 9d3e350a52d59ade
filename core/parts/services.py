"""The service behind each door, the public one and the owner's own tests, and what follows from a session's end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from core.client_key import load_client_key
from core.config import Settings
from core.inference import InferenceService, SessionRecord, TokenDoor
from core.parts.records import Records
from core.parts.serving import Serving
from core.paths import ProfilePaths
from core.public_door import AgentDoor, request_limits
from core.reporting import Reporter


class Services:
    """Several doors share one engine and one admission; only what came through the public one is a contribution."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        serving: Serving,
        records: Records,
        report: Reporter,
        *,
        count_tokens: Callable[[int], None],
    ) -> None:
        """`settings` as they are now; `count_tokens` hears of the tokens of each answer."""
        self._settings = settings
        self._serving = serving
        self._records = records
        self._report = report
        self._count_tokens = count_tokens
        self._client_key = secrets.token_bytes(16)  # until the installation's own is read

    async def load(self, paths: ProfilePaths) -> None:
        """Read the key that hides clients' names, before the ledger is begun."""
        has_ledger = paths.ledger_file.exists()
        self._client_key, notice = await asyncio.to_thread(
            load_client_key, paths.client_key_file, is_expected=has_ledger
        )
        self._report.add_notice(notice)

    def make(self, door: TokenDoor, *, is_owner: bool = False) -> InferenceService:
        """A way in to the same engine and admission behind another door (the self-test has its own key)."""
        return InferenceService(
            door=door,
            models=self._serving.models,
            admission=self._serving.admission,
            limits=request_limits(self._settings()),
            on_ended=self.take_given if isinstance(door, AgentDoor) else self.take_own,
            on_refused=lambda error: self._report.take_refused(),
            client_key=self._client_key,
            is_owner=is_owner,
        )

    def take_given(self, record: SessionRecord) -> None:
        """A session of the network has ended."""
        self._records.ledger.record(record, quant=self._serving.quant_of(record.engine_model))
        self.take_own(record)

    def take_own(self, record: SessionRecord) -> None:
        """A session has ended; one of the owner's own tests is no contribution."""
        self._report.take_ended(record)
        self._records.take(record)
        self._count_tokens(record.completion_tokens)
        self._serving.note_end(record)
