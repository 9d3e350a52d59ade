"""Spent session tokens: each jti passes once, also after the agent was killed and started again."""

from __future__ import annotations

import hashlib
import heapq
import threading
import time
from collections.abc import Callable
from pathlib import Path

from core.boot import boot_id
from core.errors import ReplayStoreFull, StorageError, TokenExpired, TokenReplayed
from core.jwt_validator import LEEWAY_S, MAX_LIFETIME_S, TokenClaims
from core.replay_file import RECORD_BYTES, ReplayFile, pack_record

CAPACITY = 65536  # live tokens; about 15 MB when full
RETRY_WRITING_S = 30.0  # a file that couldn't be written is tried again this often
_DROPS_PER_SPEND = 64  # dead entries are dropped along with spending, so that no call takes long
_SLACK_RECORDS = 4096  # the file isn't rewritten for fewer dead records than this

_MEMORY_ONLY = "The agent goes on and remembers spent tokens in memory only"


class ReplayStore:
    """Remember the SHA-256 of every spent jti until its token is refused as expired (exp + leeway).

    `path` is the file that keeps them over a restart (SIGKILL included; without fsync, so not over a power cut), None
    means in memory only. `boot_id` names the system's present start. `clock` gives seconds since the epoch. `on_notice`
    gets the notice when it changes while running, "" when all is well again, in the thread that spends. `spend` is one
    atomic step, for threads too; it takes some 10 µs, and a few ms when the file is rewritten.

    A file that is missing, damaged, written before the system's present start (its last records may be lost), or can't
    be read or written when the store is opened, may have held tokens that are forgotten now, so
    `check_not_before_start` refuses tokens issued before this start. A first start has no file either: nothing was
    issued for it before, so the rule harms nobody. A file that fails later takes nothing from memory, so the rule
    doesn't begin then; the file is removed, if that is possible, so that the next start knows. The rule also begins
    when the clock turns out to have been far ahead, because live tokens were dropped then.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.time,
        on_notice: Callable[[str], None] = lambda notice: None,
        boot_id: Callable[[], str] = boot_id,
    ) -> None:
        self._capacity = capacity
        self._on_notice = on_notice
        self._clock = clock
        self._lock = threading.Lock()
        self._spent: set[bytes] = set()
        self._records_by_exp: dict[int, bytearray] = {}  # exp → its records as in the file: rewriting is one join
        self._exps: list[int] = []  # heap of the keys of _records_by_exp
        self._forgotten_exp = 0  # the latest exp that was ever dropped
        self._file = ReplayFile(path) if path is not None else None
        self._boot_digest = hashlib.sha256(boot_id().encode()).digest() if path is not None else b""
        self._notice = ""
        self._refuse_issued_before: int | None = None
        self._retry_at = 0.0  # seconds since the epoch; while the file can't be written
        self._rewrite_above = _SLACK_RECORDS
        if self._file is not None:
            self._open(self._file)

    def __len__(self) -> int:
        """How many tokens are remembered, a few dead ones included."""
        return len(self._spent)

    @property
    def notice(self) -> str:
        """What the owner should know about the file, with the remedy; "" when all is well."""
        return self._notice

    @property
    def refuse_issued_before(self) -> int | None:
        """Tokens with an earlier iat (epoch seconds) are refused; None when nothing can have been forgotten."""
        return self._refuse_issued_before

    def check_not_before_start(self, claims: TokenClaims) -> None:
        """Raise TokenReplayed for a token that may have been spent before this start and forgotten.

        iat has whole seconds: the second of the start itself passes, as does a coordinator's clock that is ahead.
        """
        if self._refuse_issued_before is not None and claims.iat < self._refuse_issued_before:
            raise TokenReplayed(
                "the session token was issued before this agent started, and its record of spent tokens was lost",
                hint="Ask the coordinator for a new token.",
            )

    def spend(self, jti: str, exp: int) -> None:
        """Spend the token, for good. `exp` is in whole seconds since the epoch, below 2**32.

        Raises TokenReplayed when it was spent before, ReplayStoreFull when too many live ones are remembered (none of
        them is ever forgotten for a newer one), TokenExpired when its record might be gone already (the clock was set
        back).
        """
        digest = hashlib.sha256(jti.encode()).digest()
        with self._lock:
            now = self._clock()
            self._drop_dead(now, _DROPS_PER_SPEND)
            if digest in self._spent:
                raise TokenReplayed("the session token was used before", hint="Ask the coordinator for a new token.")
            if exp <= self._forgotten_exp:
                self._distrust_future(now)
                raise TokenExpired("the session token has expired", hint="Ask the coordinator for a new token.")
            if len(self._spent) >= self._capacity:
                raise ReplayStoreFull(
                    f"{self._capacity} live session tokens are remembered as spent, and none may be forgotten",
                    hint="Try again in a minute.",
                )
            record = pack_record(digest, exp)
            self._remember(digest, exp, record)
            self._write(record, now)

    def close(self) -> None:
        """Close the file; what is spent afterwards is remembered in memory only."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, file: ReplayFile) -> None:
        now = self._clock()
        content = file.read()
        self._forgotten_exp = content.forgotten_exp
        for digest, exp in content.records:
            if exp + LEEWAY_S <= now:
                self._forgotten_exp = max(self._forgotten_exp, exp)
            elif digest not in self._spent:
                self._remember(digest, exp, pack_record(digest, exp))
        self._notice = content.problem
        if not content.is_complete or content.boot_digest != self._boot_digest:
            self._refuse_issued_before = int(now)
        self._distrust_future(now)
        try:
            self._rewrite(file)
        except StorageError as error:
            self._refuse_issued_before = int(now)
            self._go_on_without(error, now)

    def _remember(self, digest: bytes, exp: int, record: bytes) -> None:
        self._spent.add(digest)
        records = self._records_by_exp.get(exp)
        if records is None:
            records = self._records_by_exp[exp] = bytearray()
            heapq.heappush(self._exps, exp)
        records += record

    def _drop_dead(self, now: float, limit: int) -> None:
        while limit and self._exps and self._exps[0] + LEEWAY_S <= now:
            exp = self._exps[0]
            self._forgotten_exp = max(self._forgotten_exp, exp)
            records = self._records_by_exp[exp]
            while limit and records:
                self._spent.discard(bytes(records[-RECORD_BYTES : -RECORD_BYTES + 32]))
                del records[-RECORD_BYTES:]
                limit -= 1
            if not records:
                del self._records_by_exp[heapq.heappop(self._exps)]

    def _distrust_future(self, now: float) -> None:
        """Don't let a clock that was once years ahead refuse every token for years: only those issued before now."""
        if self._forgotten_exp > now + MAX_LIFETIME_S + 2 * LEEWAY_S:
            self._forgotten_exp = 0
            self._refuse_issued_before = int(now) + 1

    def _write(self, record: bytes, now: float) -> None:
        """Bring a new record to disk, or say that it isn't there. The token is spent either way."""
        file, before = self._file, self._notice
        if file is None:
            return
        try:
            if file.is_open:
                file.append(record)
                if file.records > max(self._rewrite_above, 2 * len(self._spent)):
                    self._rewrite(file)
            elif not 0 < self._retry_at - now <= RETRY_WRITING_S:  # also when the clock was set back
                self._rewrite(file)
                self._notice = ""
        except StorageError as error:
            self._go_on_without(error, now)
        if self._notice != before:
            self._on_notice(self._notice)

    def _rewrite(self, file: ReplayFile) -> None:
        file.rewrite(self._forgotten_exp, self._records_by_exp.values(), boot_digest=self._boot_digest)
        self._rewrite_above = 2 * len(self._spent) + _SLACK_RECORDS

    def _go_on_without(self, error: StorageError, now: float) -> None:
        self._notice = f"{error.detail}. {_MEMORY_ONLY}. {error.hint}"  # newer than whatever it said before
        self._retry_at = now + RETRY_WRITING_S
        if self._file is not None:
            self._file.discard()
