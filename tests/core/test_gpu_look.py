"""A gap is made where sessions follow each other without one: bounded, without a refusal, and never for nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from core.config import Settings
from core.errors import AtCapacity
from core.gpu_look import QUIET_S, REST_SHARE, WAIT_S, GpuLook
from core.reasons import ReasonBook
from core.reasons.of_engine import model_loading
from core.reasons.of_owner import paused_by_owner
from core.sessions import Admission
from core.signals import GpuUse, Unknown
from core.signals.gpu_use import SETTLE_S
from core.snapshot import Reason
from tests.fakes.manual_clock import ManualClock

HIDDEN = Unknown("While a session runs nobody knows.", is_own_work=True)
AFTER_S = 60.0


class House:
    """A card that tells nothing while sessions run, and `others` otherwise; stepped each half second."""

    def __init__(self, *, max_jobs: int = 2) -> None:
        self.clock = ManualClock()
        self.settings = Settings(gpu_look_after_s=AFTER_S)
        self.reasons = ReasonBook()
        self.admission = Admission(
            max_jobs=max_jobs,
            closed_because=self.reasons.closed_because,
            on_change=self._changed,
            monotonic=self.clock.monotonic,
        )
        self.others: GpuUse | Unknown = GpuUse(percent=0.0)
        self.worked_at = self.clock.monotonic()
        self.samples = 0
        self.seen: GpuUse | Unknown = HIDDEN
        self.look = GpuLook(
            admission=self.admission,
            reasons=self.reasons,
            use=lambda: self.seen,
            settings=lambda: self.settings,
            sample=self._sample,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )
        self.leaving: dict[str, asyncio.Event] = {}

    @property
    def sentence(self) -> str:
        return next((reason.sentence for reason in self.reasons.all if reason.code == "gpu_look"), "")

    async def pass_s(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            await self.clock.advance(0.5)
            await self._sample()
            self.look.step()

    async def session(self, name: str) -> asyncio.Task[None]:
        """Begun, or waiting, or refused; ends by `leave`."""
        self.leaving[name] = asyncio.Event()
        task = asyncio.create_task(self._serve(name))
        for _ in range(5):
            await asyncio.sleep(0)
        return task

    async def leave(self, name: str) -> None:
        self.leaving[name].set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def _serve(self, name: str) -> None:
        async with self.admission.slot(model="m", client="c", job_id=name, spend=lambda: None):
            await self.leaving[name].wait()

    async def _sample(self) -> None:
        self.samples += 1
        if self.admission.running_jobs:
            self.worked_at = self.clock.monotonic()
        is_quiet = self.clock.monotonic() - self.worked_at >= SETTLE_S
        self.seen = self.others if is_quiet else HIDDEN

    def _changed(self) -> None:
        self.worked_at = self.clock.monotonic()
        self.look.step()

    async def close(self) -> None:
        for leaving in self.leaving.values():
            leaving.set()
        await self.look.close()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    yield made
    await made.close()


async def test_without_a_gap_new_sessions_wait_for_two_seconds_and_then_begin(house: House) -> None:
    await house.session("a")
    await house.session("b")
    await house.pass_s(AFTER_S + 1)
    assert house.look.is_holding
    assert house.sentence == ""  # no slot is free: nothing is withheld
    await house.leave("a")
    assert house.sentence.startswith("New sessions wait for the running ones")
    with pytest.raises(AtCapacity, match="begins no session for a moment"):  # RESOURCE_EXHAUSTED, as when it is full
        await (await house.session("c"))
    await house.leave("b")
    assert house.sentence.startswith("Looking whether somebody else")
    assert not house.reasons.is_blocked  # the coordinator hears of no pause
    waiting = await house.session("d")
    assert (house.admission.running_jobs, house.admission.queued_jobs) == (0, 1)
    before = house.clock.monotonic()
    while house.look.is_holding:
        await house.clock.advance(0.1)
    assert house.clock.monotonic() - before < QUIET_S
    assert house.seen == GpuUse(percent=0.0)
    assert house.sentence == ""
    assert (house.admission.running_jobs, waiting.done()) == (1, False)
    await house.pass_s(AFTER_S - 1)
    assert not house.look.is_holding
    await house.pass_s(2)
    assert house.look.is_holding  # a minute later again


async def test_where_a_gap_comes_by_itself_nothing_is_held_back(house: House) -> None:
    for number in range(20):
        await house.session(str(number))
        await house.pass_s(8)
        await house.leave(str(number))
        await house.pass_s(SETTLE_S + 0.5)
        assert not house.look.is_holding


@pytest.mark.parametrize("told", [GpuUse(percent=3.0), Unknown("No graphics card can be read.")])
async def test_what_is_told_or_cannot_be_told_by_a_gap_needs_none(house: House, told: GpuUse | Unknown) -> None:
    await house.session("a")
    for _ in range(200):
        await house.clock.advance(0.5)
        house.seen = told
        house.look.step()
    assert not house.look.is_holding


async def test_long_sessions_that_overlap_are_waited_for_and_then_it_gives_up_for_a_long_time(house: House) -> None:
    await house.session("long")
    await house.pass_s(AFTER_S + 1)
    assert house.sentence.startswith("New sessions wait for the running ones")  # the other slot is withheld
    await house.pass_s(WAIT_S - 2)
    assert house.look.is_holding
    await house.pass_s(2)
    assert not house.look.is_holding
    assert house.seen is HIDDEN  # nobody knows, and nobody says otherwise
    await house.session("other")
    assert house.admission.running_jobs == 2
    await house.pass_s(REST_SHARE * WAIT_S - 5)
    assert not house.look.is_holding
    await house.pass_s(6)
    assert house.look.is_holding


async def test_one_session_at_a_time_is_waited_for_as_long_as_it_takes() -> None:
    """With one slot nothing is withheld while it is taken, so there is nothing to give up."""
    house = House(max_jobs=1)
    await house.session("long")
    await house.pass_s(AFTER_S + 4 * WAIT_S)
    assert house.look.is_holding
    await house.leave("long")
    waiting = await house.session("next")
    await house.pass_s(QUIET_S)
    assert not house.look.is_holding
    assert house.admission.running_jobs == 1
    await house.leave("next")
    await waiting
    await house.close()


async def test_others_who_use_the_card_keep_it_closed_until_the_rule_holds(house: House) -> None:
    house.others = GpuUse(percent=80.0, program="game")
    await house.session("a")
    await house.pass_s(AFTER_S + 1)
    await house.leave("a")
    await house.pass_s(QUIET_S)
    assert house.sentence == "Another program seems to use the graphics card: looking for some seconds more."
    with pytest.raises(AtCapacity):
        await (await house.session("b"))
    await house.pass_s(5)
    assert house.look.is_holding
    house.reasons.put(Reason(code="gpu_in_use", sentence="game uses the graphics card."))
    await house.pass_s(1)
    assert not house.look.is_holding
    assert house.sentence == ""


async def test_use_that_was_a_moments_lets_sessions_in_again(house: House) -> None:
    house.others = GpuUse(percent=80.0, program="browser")
    await house.session("a")
    await house.pass_s(AFTER_S + 1)
    await house.leave("a")
    await house.pass_s(QUIET_S)
    house.others = GpuUse(percent=5.0)
    await house.pass_s(1)
    assert not house.look.is_holding


async def test_a_rule_that_only_tells_does_not_keep_it_closed_for_ever(house: House) -> None:
    house.others = GpuUse(percent=80.0, program="game")
    house.settings = replace(house.settings, gpu_others_for_s=600.0)
    await house.session("a")
    await house.pass_s(AFTER_S + 1)
    await house.leave("a")
    await house.pass_s(QUIET_S + 30 + 6)
    assert not house.look.is_holding


async def test_a_closed_door_and_a_setting_that_is_off_need_no_look(house: House) -> None:
    house.settings = replace(house.settings, gpu_look_after_s=0.0)
    await house.session("a")
    await house.pass_s(AFTER_S * 2)
    assert not house.look.is_holding
    house.settings = replace(house.settings, gpu_look_after_s=AFTER_S)
    house.reasons.put(model_loading("m"))
    await house.pass_s(2)
    assert not house.look.is_holding
    house.reasons.drop("model_loading")
    await house.pass_s(1)
    assert house.look.is_holding
    house.reasons.put(paused_by_owner(None))
    await house.pass_s(1)
    assert (house.look.is_holding, house.sentence) == (False, "")
    await house.pass_s(AFTER_S)
    assert not house.look.is_holding


async def test_a_card_that_stays_silent_in_the_gap_is_given_up_in_three_seconds(house: House) -> None:
    house.others = Unknown("The graphics driver doesn't tell how busy the card is.", is_own_work=True)
    await house.session("a")
    await house.pass_s(AFTER_S + 1)
    await house.leave("a")
    await house.pass_s(QUIET_S + 0.5)
    assert not house.look.is_holding
    await house.pass_s(REST_SHARE * QUIET_S - 8)
    assert not house.look.is_holding


async def test_closing_the_agent_ends_a_look(house: House) -> None:
    await house.session("a")
    await house.pass_s(AFTER_S + 1)
    await house.leave("a")
    assert house.look.is_holding
    await house.look.close()
    await house.look.close()


@pytest.mark.parametrize("longest_s", [4, 20, 90, 400])
async def test_half_an_hour_of_sessions_without_a_gap_loses_a_tenth_of_it_at_most(
    house: House, longest_s: float
) -> None:
    """Two clients who ask again at once, and a second later where they were refused."""
    chance = random.Random(longest_s)
    ends_at: dict[str, float] = {}
    withheld_s, looks = 0.0, 0
    began = house.clock.monotonic()
    tasks: dict[str, asyncio.Task[None]] = {}
    for step in range(2 * 1800):
        now = house.clock.monotonic()
        for name in ("a", "b"):
            if name not in tasks or tasks[name].done():
                if name in tasks and not tasks[name].cancelled() and tasks[name].exception() and step % 2:
                    continue
                tasks[name] = await house.session(name)
                ends_at[name] = now + chance.uniform(1, longest_s)
            elif now >= ends_at[name]:
                await house.leave(name)
        was_known = isinstance(house.seen, GpuUse)
        await house.pass_s(0.5)
        looks += not was_known and isinstance(house.seen, GpuUse)
        withheld_s += 0.5 * (house.look.is_holding and house.admission.running_jobs < 2)
    passed_s = house.clock.monotonic() - began
    print(f"sessions up to {longest_s} s: withheld {withheld_s / passed_s:.1%}, {looks} looks in half an hour")
    assert withheld_s <= 0.1 * passed_s + WAIT_S
    assert looks >= (10 if longest_s <= 20 else 1)
