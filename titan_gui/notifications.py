"""Which change deserves a message, and the showing of it. At most one of a kind in 6 hours; none when they are off."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QObject, QSettings, QTimer, Signal

from core.snapshot import AgentSnapshot
from core.state import AgentState
from titan_gui.plain_text import sentences
from titan_gui.view_model import Mood, headline_of, mood_of

QUIET_S = 6 * 3600.0  # between two messages of one kind
SETTLE_S = 15.0  # trouble that goes by itself within this is none: an engine that starts, a link that comes back
UPDATE_QUIET_S = 7 * 24 * 3600.0  # a newer version is told once a week until it is installed or skipped
AWAY_S = 600.0  # a restarted coordinator or router is back before this; later the owner may want to look
_EARLY_S = 1.0  # a timed pause may end this much before the second that the snapshot names


class Kind(StrEnum):
    """A later message takes the place of the last one of its kind, where the desktop can do that."""

    ANSWER = "answer"  # to a click, so never held back
    TROUBLE = "trouble"
    AWAY = "away"
    RESUMED = "resumed"
    FIRST_SESSION = "first_session"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Message:
    kind: Kind
    title: str
    text: str


class NotificationRules:
    """Fed with every snapshot, says which messages are due. Pure: times are given, seconds since the epoch."""

    def __init__(self, shown_at: Mapping[Kind, float] | None = None) -> None:
        """`shown_at`: when each kind was shown last, also by an earlier run of the program."""
        self.shown_at = dict(shown_at or {})
        self._last: AgentSnapshot | None = None
        self._trouble_since: float | None = None
        self._away_since: float | None = None
        self._is_away_told = False  # one absence, one message, be it a night long

    def look(self, snapshot: AgentSnapshot, now: float, *, is_on: bool = True) -> tuple[Message, ...]:
        """The messages that this snapshot makes due. While off nothing is shown, and nothing is saved up."""
        before, self._last = self._last, snapshot
        is_trouble = mood_of(snapshot) is Mood.ATTENTION
        self._trouble_since = (self._trouble_since or now) if is_trouble else None
        self._away_since = (self._away_since or now) if _is_away(snapshot) else None
        self._is_away_told = self._is_away_told and self._away_since is not None
        found = [self._trouble(snapshot, now), self._away(now), _update(snapshot)]
        if before is not None:
            found += [_resumed(before, snapshot, now), self._first_session(before, snapshot, now)]
        due = tuple(message for message in found if message is not None and is_on and self._is_quiet(message.kind, now))
        for message in due:
            self.shown_at[message.kind] = now
            self._is_away_told = self._is_away_told or message.kind is Kind.AWAY
        return due

    def look_again_in(self, now: float) -> float | None:
        """Seconds until the last snapshot should be looked at once more; None: not before the next one."""
        waits = []
        if self._trouble_since is not None and self._is_quiet(Kind.TROUBLE, now):
            waits.append(self._trouble_since + SETTLE_S - now)
        if self._away_since is not None and not self._is_away_told and self._is_quiet(Kind.AWAY, now):
            waits.append(self._away_since + AWAY_S - now)
        return max(0.0, min(waits)) if waits else None

    def _is_quiet(self, kind: Kind, now: float) -> bool:
        last = self.shown_at.get(kind)
        quiet_s = UPDATE_QUIET_S if kind is Kind.UPDATE else QUIET_S
        return last is None or not 0 <= now - last < quiet_s  # a time in the future: the clock was set back

    def _trouble(self, snapshot: AgentSnapshot, now: float) -> Message | None:
        if self._trouble_since is None:
            return None
        if snapshot.state is not AgentState.FAILED and now - self._trouble_since < SETTLE_S:
            return None
        headline = headline_of(snapshot)
        return Message(Kind.TROUBLE, headline.state, sentences(headline.sentence, headline.remedy))

    def _away(self, now: float) -> Message | None:
        if self._away_since is None or self._is_away_told or now - self._away_since < AWAY_S:
            return None
        text = (
            "The coordinator has not answered for 10 minutes, so nobody new is sent here. It is tried again by itself."
        )
        return Message(Kind.AWAY, "Offline", text)

    def _first_session(self, before: AgentSnapshot, after: AgentSnapshot, now: float) -> Message | None:
        if before.is_busy or not after.is_busy:
            return None
        last = self.shown_at.get(Kind.FIRST_SESSION)
        if last is not None and _day(last) == _day(now):
            return None
        return Message(Kind.FIRST_SESSION, "Serving", "The first session of today has begun.")


class Notifier(QObject):
    """Looks at snapshots and hands what is due to `show`; remembers across starts through `save`."""

    message_due = Signal(object)  # Message

    def __init__(
        self,
        rules: NotificationRules,
        *,
        save: Callable[[Mapping[Kind, float]], None] = lambda shown_at: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.is_on = True  # the setting `notifications`; may change at any time
        self._rules = rules
        self._save = save
        self._clock = clock
        self._snapshot: AgentSnapshot | None = None
        self._again = QTimer(self, singleShot=True)
        self._again.timeout.connect(self._on_again_timeout)

    def render(self, snapshot: AgentSnapshot) -> None:
        self._snapshot = snapshot
        now = self._clock()
        due = self._rules.look(snapshot, now, is_on=self.is_on)
        for message in due:
            self.message_due.emit(message)
        if due:
            self._save(self._rules.shown_at)
        wait_s = self._rules.look_again_in(now) if self.is_on else None
        if wait_s is None:
            self._again.stop()
        else:  # anew each time: what came last may be due first
            self._again.start(round(wait_s * 1000) + 1)

    def _on_again_timeout(self) -> None:
        if self._snapshot is not None:
            self.render(self._snapshot)


def read_shown(memory: QSettings) -> dict[Kind, float]:
    """When each kind was shown last, seconds since the epoch; what can't be read was never shown."""
    shown_at = {}
    for kind in Kind:
        try:
            shown_at[kind] = float(str(memory.value(f"shown/{kind}")))
        except ValueError:
            continue
    return shown_at


def write_shown(memory: QSettings, shown_at: Mapping[Kind, float]) -> None:
    for kind, when in shown_at.items():
        memory.setValue(f"shown/{kind}", when)


def _update(snapshot: AgentSnapshot) -> Message | None:
    """Not while serving: core/updates tells of nothing then."""
    if snapshot.update is None:
        return None
    told = f"Version {snapshot.update.version} is out. The dashboard says what is new, and skips it if you like."
    return Message(Kind.UPDATE, "A newer TitanCompute", told)


def _resumed(before: AgentSnapshot, after: AgentSnapshot, now: float) -> Message | None:
    """A timed pause that ended by itself: at its time, not before it by hand."""
    until = before.pause_until
    if until is None or now < until - _EARLY_S or not _is_paused(before) or _is_paused(after):
        return None
    if after.state in (AgentState.STOPPING, AgentState.STOPPED, AgentState.FAILED):
        return None
    return Message(Kind.RESUMED, "Sharing again", "The pause is over.")


def _is_away(snapshot: AgentSnapshot) -> bool:
    """The coordinator is away, and that is what keeps work from coming: no pause, no trouble that is told itself."""
    if not any(reason.code == "coordinator_away" for reason in snapshot.reasons):
        return False
    if snapshot.state in (AgentState.STOPPING, AgentState.STOPPED):
        return False
    return mood_of(snapshot) in (Mood.OFFLINE, Mood.READY, Mood.SERVING)


def _is_paused(snapshot: AgentSnapshot) -> bool:
    return any(reason.code == "paused_by_owner" for reason in snapshot.reasons)


def _day(epoch: float) -> tuple[int, int]:
    local = time.localtime(epoch)
    return local.tm_year, local.tm_yday
