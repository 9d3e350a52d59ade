"""Where the time went: what the agent was doing over the last 24 hours, as stretches and as shares. Pure.

Fed with snapshots; what they say holds until the next one. Nothing here reads a clock or a file (core/time_use_file.py
does both).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from core.reasons.catalogue import CATALOGUE
from core.snapshot import AgentSnapshot
from core.state import AgentState

DAY_S = 24 * 3600.0
LONGEST_GAP_S = 30.0  # between two looks, which come with each sample (2 or 4 s): beyond it nobody was awake to look
ANSWER_GAP_S = 30.0  # ready for less than this between two sessions counts as serving: no idle machine, a busy one
SHORTEST_S = 1.0  # what holds for less (connecting, at a start) counts to what came after it; sessions always count
MOST_STRETCHES = 6_000  # twice what a day of sessions with 30 s between them makes


class Doing(StrEnum):
    """What the agent did with a stretch of time."""

    SERVING = "serving"  # at least one session ran
    READY = "ready"  # it would have served, and nobody asked
    PREPARING = "preparing"  # on its way to serving: the model was loaded, or a look taken that needs a quiet card
    PAUSED = "paused"  # a reason of the owner's: by hand or a rule
    UNREACHABLE = "unreachable"  # it would have served, and the coordinator didn't send anybody
    BROKEN = "broken"  # engine, model, GPU or address
    ASLEEP = "asleep"  # it ran, and the machine slept (or the process was stopped)
    OFF = "off"  # it didn't run


BROKEN_CODES = frozenset(
    {"engine_attention", "engine_unreachable", "engine_resting", "model_not_ready", "no_public_address", "gpu_lost"}
)
PREPARING_CODES = frozenset({"model_loading", "memory_going_back"})
UNREACHABLE_CODES = frozenset({"coordinator_away", "registration_refused"})
_NOT_UP = (AgentState.STOPPED, AgentState.STARTING, AgentState.STOPPING, AgentState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """From `start` to `end`, seconds since the epoch. `reason_code` says why it didn't serve, "" when nothing did."""

    start: float
    end: float
    what: Doing
    reason_code: str = ""

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def does(self, what: Doing, reason_code: str) -> bool:
        return self.what is what and self.reason_code == reason_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """All stretches that say the same, added up; `percent` of the whole time looked at."""

    what: Doing
    reason_code: str
    seconds: float
    percent: float


def doing_of(snapshot: AgentSnapshot) -> tuple[Doing, str]:
    """What the agent does now, and the code of the reason why it doesn't serve ("" where it does, or could)."""
    if snapshot.is_busy:
        return Doing.SERVING, ""
    if snapshot.state in _NOT_UP:
        return Doing.OFF, ""
    blocking = next((reason.code for reason in snapshot.reasons if reason.blocks), "")
    if blocking:
        if blocking in PREPARING_CODES:
            return Doing.PREPARING, blocking
        return (Doing.BROKEN if blocking in BROKEN_CODES else Doing.PAUSED), blocking
    codes = [reason.code for reason in snapshot.reasons]
    for what, known in ((Doing.BROKEN, BROKEN_CODES), (Doing.UNREACHABLE, UNREACHABLE_CODES)):
        code = next((code for code in codes if code in known), "")
        if code:
            return what, code
    if snapshot.state is AgentState.CONNECTING:
        return Doing.UNREACHABLE, "coordinator_away"
    return Doing.READY, ""


class TimeRecord:
    """The stretches of the last 24 hours, oldest first, in no other order than time's."""

    def __init__(self, stretches: Iterable[Stretch] = ()) -> None:
        self._stretches: list[Stretch] = []
        self._is_looking = False  # in this run: before the first look a gap means that nothing ran
        self.changed_from = float("inf")  # the earliest start among what has changed since somebody set it back
        for stretch in stretches:
            self.put(stretch)
        self.changed_from = float("inf")

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        return tuple(self._stretches)

    def put(self, stretch: Stretch) -> None:
        """Add a stretch; it takes the place of whatever was known from its start on."""
        while self._stretches and self._stretches[-1].start >= stretch.start:
            self._stretches.pop()
        if self._stretches and self._stretches[-1].end > stretch.start:
            self._stretches[-1] = replace(self._stretches[-1], end=stretch.start)
        self._stretches.append(stretch)
        self.changed_from = min(self.changed_from, stretch.start)

    def look(self, now: float, what: Doing, reason_code: str = "") -> None:
        """This is what it does at `now`, seconds since the epoch. A clock that was set back forgets the future."""
        self._forget(now)
        was_looking, self._is_looking = self._is_looking, True
        if not was_looking or not self._stretches:
            self.put(Stretch(start=now, end=now, what=what, reason_code=reason_code))
            return
        last = self._stretches[-1]
        if now - last.end > LONGEST_GAP_S:
            self.put(Stretch(start=last.end, end=now, what=Doing.ASLEEP))
            self.put(Stretch(start=now, end=now, what=what, reason_code=reason_code))
            return
        self.put(replace(last, end=now))
        if not last.does(what, reason_code):
            self._begin(now, what, reason_code)

    def go_on(self, now: float) -> None:
        """It still does what it did at the last look."""
        if self._is_looking and self._stretches:
            last = self._stretches[-1]
            self.look(now, last.what, last.reason_code)

    def end(self, now: float) -> None:
        """The run ends: what it does now held until here, and what comes after is no sleep."""
        self.go_on(now)
        self._is_looking = False

    def _begin(self, now: float, what: Doing, reason_code: str) -> None:
        """Something else begins, and what came just before may have been too short to count for itself."""
        start, last = now, self._stretches[-1]
        if what is Doing.SERVING:
            is_short = last.what is Doing.READY and last.seconds < ANSWER_GAP_S and self._follows(what, reason_code)
        else:
            is_short = last.what is not Doing.SERVING and last.seconds < SHORTEST_S
        if is_short:
            start = last.start
            if self._follows(what, reason_code):
                start = self._stretches[-2].start
        self.put(Stretch(start=start, end=now, what=what, reason_code=reason_code))

    def _follows(self, what: Doing, reason_code: str) -> bool:
        """Whether the stretch before the last one did this, up to the last one's start."""
        if len(self._stretches) < 2:
            return False
        before, last = self._stretches[-2:]
        return before.end == last.start and before.does(what, reason_code)

    def _forget(self, now: float) -> None:
        while self._stretches and self._stretches[-1].start > now:
            self._stretches.pop()
        if self._stretches and self._stretches[-1].end > now:
            self.put(replace(self._stretches[-1], end=now))
        old = 0
        while old < len(self._stretches) - 1 and self._stretches[old].end < now - DAY_S:
            old += 1  # the last one stays: a long sleep begins where it ends
        del self._stretches[: max(old, len(self._stretches) - MOST_STRETCHES)]


def day(stretches: Sequence[Stretch], now: float) -> tuple[Stretch, ...]:
    """The 24 hours up to `now` without a hole: what nobody recorded is OFF. Equal neighbours are one."""
    begin = now - DAY_S
    whole: list[Stretch] = []
    at = begin
    for stretch in stretches:
        start, end = max(stretch.start, at), min(stretch.end, now)
        if end <= start:
            continue
        if start > at:
            _append(whole, Stretch(start=at, end=start, what=Doing.OFF))
        is_whole = start == stretch.start and end == stretch.end
        _append(whole, stretch if is_whole else replace(stretch, start=start, end=end))
        at = end
    if at < now:
        _append(whole, Stretch(start=at, end=now, what=Doing.OFF))
    return tuple(whole)


def shares_of(stretches: Sequence[Stretch]) -> tuple[Share, ...]:
    """What each kind, and each reason, took of all of them: in the order of `Doing`, then the longest first."""
    sums: dict[tuple[Doing, str], float] = {}
    for stretch in stretches:
        key = (stretch.what, stretch.reason_code)
        sums[key] = sums.get(key, 0.0) + stretch.seconds
    total = sum(sums.values())
    order = list(Doing)
    shares = [
        Share(what=what, reason_code=code, seconds=seconds, percent=100 * seconds / total)
        for (what, code), seconds in sums.items()
        if seconds > 0
    ]
    return tuple(sorted(shares, key=lambda share: (order.index(share.what), -share.seconds)))


def time_use_json(stretches: tuple[Stretch, ...]) -> dict[str, object]:
    """`day()` and its shares as plain values, for the control door, the window and `titan time --json`."""
    shares = [{**asdict(share), "title": title_of(share.what, share.reason_code)} for share in shares_of(stretches)]
    return {
        "since": stretches[0].start if stretches else 0.0,
        "until": stretches[-1].end if stretches else 0.0,
        "stretches": [
            {"start": one.start, "end": one.end, "what": one.what.value, "reason_code": one.reason_code}
            for one in stretches  # written out: dataclasses.asdict takes twenty times as long
        ],
        "shares": shares,
    }


_TITLES = {
    Doing.SERVING: "Serving",
    Doing.READY: "Ready, nobody asked",
    Doing.PREPARING: "Getting ready",
    Doing.PAUSED: "Paused",
    Doing.UNREACHABLE: "No coordinator",
    Doing.BROKEN: "Not working",
    Doing.ASLEEP: "Asleep",
    Doing.OFF: "Not running",
}


def title_of(what: Doing, reason_code: str) -> str:
    """For people: "Serving", "Paused: a listed program runs", "Getting ready: the model is loading"."""
    if not reason_code or what is Doing.UNREACHABLE:
        return _TITLES[what]
    kind = next((kind for kind in CATALOGUE if kind.code == reason_code), None)
    named = kind.title if kind else reason_code.replace("_", " ").capitalize()
    return named if named.startswith(_TITLES[what]) else f"{_TITLES[what]}: {named[:1].lower()}{named[1:]}"


def _append(whole: list[Stretch], stretch: Stretch) -> None:
    if whole and whole[-1].does(stretch.what, stretch.reason_code):
        whole[-1] = replace(whole[-1], end=stretch.end)
    else:
        whole.append(stretch)
