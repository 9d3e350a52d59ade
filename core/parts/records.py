"""What is kept of sessions that have ended and of the agent's time, without any text: the ledger, and small files."""

from __future__ import annotations

from collections.abc import Callable

from core.first_tokens import FirstTokens
from core.inference import SessionRecord
from core.ledger import Ledger
from core.logs import get_logger
from core.model_use import ModelUse
from core.paths import ProfilePaths
from core.sessions import EndReason
from core.time_use_file import FILE_NAME as TIME_USE_NAME
from core.time_use_file import TimeUse

log = get_logger(__name__)


class Records:
    """Open before the first session, closed after the last one's end."""

    def __init__(self, paths: ProfilePaths, *, on_notice: Callable[[str, str], None]) -> None:
        """`on_notice(old, new)`: `old` no longer holds, `new` is for the owner; either may be ""."""
        self.ledger = Ledger(paths.ledger_file, on_notice=on_notice)
        self.model_use = ModelUse(self.ledger.most_used)
        self.first_tokens = FirstTokens(paths.first_tokens_file)
        self.time_use = TimeUse(paths.data_dir / TIME_USE_NAME, on_notice=on_notice)

    async def open(self) -> None:
        """Begin; the ledger and the day's stretches are read in the background."""
        self.ledger.start()
        self.model_use.refresh_soon()
        self.time_use.start()
        await self.first_tokens.load()

    def take(self, record: SessionRecord) -> None:
        """A session has ended, perhaps one of the owner's own: what is no contribution isn't for the ledger."""
        if record.first_token_after_ms is not None:
            self.first_tokens.take(record.engine_model, record.first_token_after_ms, is_cold=record.was_cold)
        # A line for each good session would be a tenth of a short one's cost.
        write = log.debug if record.end_reason is EndReason.COMPLETED else log.info
        write(
            "session ended",
            model=record.model,
            client=record.client,
            reason=record.end_reason,
            prompt_tokens=record.prompt_tokens,
            tokens=record.completion_tokens,
            seconds=round(record.seconds, 3),
        )

    async def close(self) -> None:
        await self.model_use.close()
        await self.first_tokens.close()
        await self.ledger.close()
        await self.time_use.close()
