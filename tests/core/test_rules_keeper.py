"""What follows from a rule: refusing, ending sessions in time, memory given back, and all of it taken up again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.config import Settings
from core.errors import EngineUnreachable, NotServing, SessionEnded
from core.reasons import ReasonBook
from core.rules import Own
from core.rules.settings import rule_settings
from core.rules_keeper import CALM_STEP_S, END_LIMIT_S, RETRY_UNLOAD_S, RulesKeeper
from core.sessions import END_SENTENCES, Admission, EndReason, absorb_cancel, ended_error
from core.signals import FullScreen, GpuUse, Power, ProcessorHeat, Signals, Unknown
from core.snapshot import RuleView
from tests.fakes.calm_signals import CALM
from tests.fakes.manual_clock import ManualClock

STEAM = replace(CALM, listed_apps=("Steam",))
UNPLUGGED = replace(CALM, power=Power(on_mains=False, battery_percent=80.0))
BUSY = replace(CALM, cpu_percent_others=90.0)


class Kept:
    """A keeper on a clock of the test's, with real admission and a real book of reasons."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.reasons = ReasonBook(self._on_reasons)
        self.admission = Admission(
            max_jobs=4,
            closed_because=self.reasons.closed_because,
            on_change=lambda: self.keeper.sessions_changed(),
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
        )
        self.own = Own(kwh_today=0.0)
        self.steps = 0
        self.given_back: list[set[str]] = []
        self.trouble: Exception | None = None
        self.paced = 0
        self.was_open = True
        self.wanted: frozenset[str] = frozenset()
        self.keeper = RulesKeeper(
            self.settings(**settings),
            reasons=self.reasons,
            admission=self.admission,
            own=self._own,
            give_back=self._give_back,
            want=self._want,
            on_pace=self._on_pace,
            wall=self.clock.wall,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )
        self.keeper.take_signals(CALM)
        self.running = asyncio.create_task(self.keeper.run())

    @staticmethod
    def settings(**values: Any) -> Any:
        return rule_settings(Settings(**{"listed_apps": ("steam",), **values}))

    def view(self, code: str) -> RuleView:
        return next(view for view in self.keeper.views if view.code == code)

    def codes(self) -> list[str]:
        return [reason.code for reason in self.reasons.all]

    async def see(self, signals: Signals, seconds: float = 0.0) -> None:
        self.keeper.take_signals(signals)
        await self.clock.advance(seconds)
        await settle()

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])
        await self.keeper.close()

    def _own(self) -> Own:
        self.steps += 1
        return self.own

    async def _give_back(self, models: Collection[str]) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.given_back.append(set(models))

    def _want(self, names: frozenset[str]) -> None:
        self.wanted = names

    def _on_pace(self) -> None:
        self.paced += 1

    def _on_reasons(self) -> None:
        if not self.reasons.is_blocked:
            self.was_open = True


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    made = Kept()
    yield made
    await made.close()


class Client:
    """One session that streams until it is let go or ended."""

    def __init__(self, kept: Kept, model: str = "tiny") -> None:
        self._kept = kept
        self._model = model
        self.is_admitted = asyncio.Event()
        self.let_go = asyncio.Event()
        self.holds_on = asyncio.Event()  # set: the engine lets go of an ended session
        self.holds_on.set()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> str:
        async with self._kept.admission.slot(model=self._model, client="c", job_id="j", spend=lambda: None) as session:
            self.is_admitted.set()
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                if session.end_reason is None:
                    raise
                absorb_cancel()
                await self.holds_on.wait()
                raise ended_error(session.end_reason) from None
        return "completed"


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def admitted(kept: Kept, model: str = "tiny") -> Client:
    client = Client(kept, model)
    await asyncio.wait_for(client.is_admitted.wait(), 5)
    return client


async def ended_by_rule(client: Client) -> None:
    with pytest.raises(SessionEnded, match="the owner of this machine took it back") as caught:
        await asyncio.wait_for(client.task, 5)
    assert caught.value.reason is EndReason.RULE


# Refusing


async def test_a_rule_refuses_new_sessions_in_the_same_step(kept: Kept) -> None:
    kept.keeper.take_signals(STEAM)
    assert kept.codes() == ["listed_app"]
    with pytest.raises(NotServing, match="this agent is not serving now"):
        await Client(kept).task
    view = kept.view("listed_app")
    assert (view.holds, view.sentence, view.effect) == (True, "Paused while Steam runs.", "stop after 5 s, unload")


async def test_it_serves_again_once_the_rule_has_ended(kept: Kept) -> None:
    await kept.see(STEAM)
    await kept.see(CALM, 14)
    assert kept.codes() == ["listed_app"]
    await kept.clock.advance(2)
    assert kept.codes() == []
    client = await admitted(kept)
    client.let_go.set()
    assert await client.task == "completed"


async def test_between_two_rules_there_is_no_instant_that_is_open(kept: Kept) -> None:
    await kept.see(STEAM)
    kept.was_open = False
    await kept.see(replace(CALM, full_screen=FullScreen(is_on=True)), 14)
    await kept.see(replace(CALM, full_screen=FullScreen(is_on=True)), 4)
    assert kept.codes() == ["full_screen"]
    assert not kept.was_open


async def test_what_is_only_told_refuses_nobody() -> None:
    kept = Kept(listed_app_effect="only tell")
    await kept.see(STEAM, 60)
    (reason,) = kept.reasons.all
    assert (reason.blocks, reason.sentence) == (False, "Steam runs, and you are only told.")
    client = await admitted(kept)
    await kept.clock.advance(30)
    client.let_go.set()
    assert await client.task == "completed"
    assert kept.given_back == []
    await kept.close()


# When it looks


async def test_a_calm_machine_is_looked_at_each_five_seconds_and_a_serving_one_each_second(kept: Kept) -> None:
    await kept.clock.advance(10)  # what the first look changed is over
    before = kept.steps
    await kept.clock.advance(60)
    assert kept.steps - before == 60 / CALM_STEP_S
    client = await admitted(kept)
    before = kept.steps
    await kept.clock.advance(60)
    assert kept.steps - before >= 59
    client.let_go.set()
    assert await client.task == "completed"


async def test_a_rule_whose_time_is_over_in_seven_seconds_is_stepped_then() -> None:
    kept = Kept(cpu_others_for_s=7.0)
    await kept.clock.advance(2.5)
    await kept.see(BUSY, 6.9)
    assert kept.codes() == []
    await kept.see(BUSY)  # the same again: nothing begins anew
    await kept.clock.advance(0.2)
    assert kept.codes() == ["cpu_busy"]
    await kept.close()


async def test_an_hour_that_ends_is_noticed_at_once(kept: Kept) -> None:
    await kept.clock.advance(2.5)
    here = datetime.fromtimestamp(kept.clock.wall(), UTC).astimezone()
    begins = here.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    kept.keeper.use_settings(kept.settings(schedule=f"daily {(begins.hour - 1) % 24:02}-{begins.hour or 24:02}"))
    kept.keeper.step()
    await kept.clock.advance(begins.timestamp() - kept.clock.wall() - 0.5)
    assert kept.codes() == []
    await kept.clock.advance(1.0)
    assert kept.codes() == ["schedule"]


async def test_a_budget_that_the_last_session_spent_is_noticed_within_a_second() -> None:
    kept = Kept(hours_per_day=1.0)
    client = await admitted(kept)
    await kept.clock.advance(20.5)
    client.let_go.set()
    assert await client.task == "completed"
    kept.own = replace(kept.own, served_s_today=3600.0)
    await kept.clock.advance(1.0)
    assert kept.codes() == ["budget_spent"]
    await kept.close()


# Running sessions


async def test_stop_after_five_seconds_ends_them_then_and_gives_the_memory_back(kept: Kept) -> None:
    client = await admitted(kept)
    began = kept.clock.wall()
    await kept.see(STEAM, 4.5)
    (reason,) = kept.reasons.all
    assert reason.sessions_end_at == began + 5
    assert not client.task.done()
    assert kept.given_back == []
    await kept.clock.advance(0.6)
    await ended_by_rule(client)
    await settle()
    assert kept.given_back == [{"tiny"}]
    (reason,) = kept.reasons.all
    assert reason.sessions_end_at is None


async def test_memory_that_is_all_but_gone_ends_them_at_once_and_then_nobody_gets_in(kept: Kept) -> None:
    client = await admitted(kept)
    kept.own = Own(ram_mb=8_000, kwh_today=0.0)
    await kept.see(replace(CALM, free_ram_mb=100))
    await ended_by_rule(client)
    await settle()
    assert kept.given_back == [{"tiny"}]
    assert kept.codes() == ["ram_short"]
    with pytest.raises(NotServing):
        await Client(kept).task


async def test_memory_that_gets_short_refuses_and_lets_running_sessions_go_on(kept: Kept) -> None:
    client = await admitted(kept)
    tight = replace(CALM, free_ram_mb=440)
    await kept.see(tight, 2)
    assert kept.codes() == ["memory_tight"]
    with pytest.raises(NotServing):
        await Client(kept).task
    await kept.see(tight, 60)
    client.let_go.set()
    assert await client.task == "completed"
    assert kept.given_back == []
    await kept.see(CALM, 11)
    assert kept.codes() == []


async def test_too_hot_stops_at_once(kept: Kept) -> None:
    client = await admitted(kept)
    await kept.see(replace(CALM, gpu_temperature_c=80.0))
    await ended_by_rule(client)
    await settle()
    assert kept.given_back == [{"tiny"}]


async def test_unplugged_lets_them_finish_for_thirty_seconds(kept: Kept) -> None:
    quick, slow = await admitted(kept), await admitted(kept, "other")
    await kept.see(UNPLUGGED, 10)
    quick.let_go.set()
    assert await quick.task == "completed"
    await kept.clock.advance(19.5)
    assert not slow.task.done()
    assert kept.given_back == []
    await kept.clock.advance(0.6)
    await ended_by_rule(slow)
    await settle()
    assert kept.given_back == [{"other"}]


async def test_memory_goes_back_at_once_when_the_last_session_finishes_in_time(kept: Kept) -> None:
    client = await admitted(kept)
    await kept.see(UNPLUGGED, 3)
    client.let_go.set()
    assert await client.task == "completed"
    await settle()
    assert kept.given_back == [set()]


async def test_finish_without_a_limit_ends_nobody_and_keeps_the_model(kept: Kept) -> None:
    client = await admitted(kept)
    await kept.see(BUSY, 100)
    assert kept.codes() == ["cpu_busy"]
    assert kept.reasons.all[0].sessions_end_at is None
    assert not client.task.done()
    client.let_go.set()
    assert await client.task == "completed"
    await kept.clock.advance(60)
    assert kept.given_back == []


async def test_a_rule_that_ends_takes_its_threat_back(kept: Kept) -> None:
    client = await admitted(kept)
    await kept.see(UNPLUGGED, 15)
    await kept.see(CALM, 11)
    assert kept.codes() == []
    await kept.clock.advance(60)
    assert not client.task.done()
    assert kept.given_back == []
    client.let_go.set()
    assert await client.task == "completed"


async def test_the_sooner_of_two_limits_counts(kept: Kept) -> None:
    client = await admitted(kept)
    await kept.see(UNPLUGGED, 10)
    await kept.see(replace(UNPLUGGED, listed_apps=("Steam",)), 5.2)
    await ended_by_rule(client)


# Memory


async def test_an_idle_model_goes_back_when_the_rule_begins_and_only_once(kept: Kept) -> None:
    await kept.see(STEAM)
    await kept.clock.advance(600)
    assert kept.given_back == [set()]


async def test_what_the_owners_own_test_loaded_meanwhile_goes_back_after_it(kept: Kept) -> None:
    kept.admission._closed_to_owner = lambda: ""
    await kept.see(STEAM, 60)

    async def own_test() -> None:
        slot = kept.admission.slot(model="tiny", client="o", job_id="o", spend=lambda: None, is_owner=True)
        async with slot:
            await kept.clock.advance(30)  # is neither ended nor unloaded under
            assert len(kept.given_back) == 1

    await own_test()
    await settle()
    assert kept.given_back == [set(), set()]


async def test_an_engine_that_does_not_let_go_is_unloaded_all_the_same(kept: Kept) -> None:
    client = await admitted(kept)
    client.holds_on.clear()
    await kept.see(STEAM, 5.1)
    assert kept.given_back == []
    await kept.clock.advance(END_LIMIT_S + 1)
    assert kept.given_back == [{"tiny"}]
    client.holds_on.set()
    await ended_by_rule(client)


async def test_unloading_that_fails_is_tried_again_later(kept: Kept) -> None:
    kept.trouble = EngineUnreachable("nothing answers")
    await kept.see(STEAM, 5)
    kept.trouble = None
    await kept.clock.advance(RETRY_UNLOAD_S - 6)
    assert kept.given_back == []
    await kept.clock.advance(3)
    await settle()
    assert kept.given_back == [set()]


# Settings that change


async def test_a_rule_that_is_switched_off_lifts_its_reason_at_the_next_step(kept: Kept) -> None:
    await kept.see(STEAM)
    kept.keeper.use_settings(kept.settings(listed_apps=()))
    kept.keeper.step()
    assert kept.codes() == []
    assert "listed_apps" not in kept.wanted
    assert not kept.view("listed_app").is_on


async def test_another_effect_counts_for_a_rule_that_holds_already(kept: Kept) -> None:
    client = await admitted(kept)
    await kept.see(BUSY, 20)
    kept.keeper.use_settings(kept.settings(cpu_busy_effect="stop after 12 s, unload"))
    kept.keeper.step()
    assert not client.task.done()
    await kept.clock.advance(3)  # 12 s after it began
    await ended_by_rule(client)


@pytest.mark.parametrize(
    ("code", "signals", "limits"),
    [
        ("cpu_busy", {"cpu_percent_others": 60.0}, {"cpu_others_percent": 70.0}),
        (
            "gpu_in_use",
            {"gpu_use_by_others": GpuUse(percent=45, program="Blender")},
            {"gpu_others_percent": 60.0, "gpu_others_resume_percent": 40.0},
        ),
        ("gpu_hot", {"gpu_temperature_c": 81.0}, {"gpu_max_c": 85.0}),
        ("cpu_hot", {"processor_heat": ProcessorHeat(celsius=91.0, mean_c=91.0)}, {"cpu_max_c": 95.0}),
        (
            "battery_low",
            {"power": Power(on_mains=False, battery_percent=40.0)},
            {"battery_low_percent": 30.0},
        ),
        ("in_use", {"idle_s": 240.0}, {"idle_minutes": 3.0}),
    ],
)
async def test_rule_whose_reason_the_owner_takes_away_ends_at_once(
    code: str, signals: dict[str, Any], limits: dict[str, Any]
) -> None:
    """It would hold its resume time, and name a limit that is no longer the owner's."""
    strict = {
        "battery_low_percent": 50.0,
        "on_battery_effect": "off",
        "pause_while_in_use": True,
        "idle_minutes": 10.0,
    }
    kept = Kept(**strict)
    try:
        await kept.see(replace(CALM, **signals), 20)
        assert kept.codes() == [code]
        kept.keeper.use_settings(kept.settings(**{**strict, "max_concurrent_jobs": 2}))
        kept.keeper.step()
        assert kept.codes() == [code]  # another change ends nothing
        kept.keeper.use_settings(kept.settings(**{**strict, **limits}))
        kept.keeper.step()
        assert kept.codes() == []
    finally:
        await kept.close()


async def test_rule_that_still_holds_names_the_present_limit(kept: Kept) -> None:
    await kept.see(replace(CALM, cpu_percent_others=60.0, gpu_temperature_c=82.0), 20)
    await kept.see(replace(CALM, cpu_percent_others=10.0, gpu_temperature_c=77.0), 5)  # waits, and in between
    kept.keeper.use_settings(kept.settings(cpu_others_percent=45.0, gpu_max_c=78.0, gpu_resume_c=70.0))
    kept.keeper.step()
    assert [reason.sentence for reason in kept.reasons.all] == [
        "The graphics card is too hot (78 °C or more): it shares again at 70 °C.",
        "Other programs keep the processor busy (above 45 %).",
    ]


async def test_program_that_used_the_card_is_still_named_while_the_rule_waits(kept: Kept) -> None:
    await kept.see(replace(CALM, gpu_use_by_others=GpuUse(percent=45, program="Blender")), 20)
    await kept.see(replace(CALM, gpu_use_by_others=GpuUse(percent=0, program="")), 5)
    assert [reason.sentence for reason in kept.reasons.all] == ["Blender uses the graphics card (above 20 %)."]


async def test_less_kept_memory_does_not_end_a_shortage_before_its_time(kept: Kept) -> None:
    await kept.see(replace(CALM, free_ram_mb=300, total_ram_mb=16_000), 10)
    assert "ram_short" in kept.codes()
    kept.keeper.use_settings(kept.settings(ram_reserve_mb=100))
    kept.keeper.step()
    assert "ram_short" in kept.codes()


# What can't be told


async def test_what_cannot_be_told_is_in_the_views_with_its_cause(kept: Kept) -> None:
    await kept.see(replace(CALM, is_metered=Unknown("NetworkManager doesn't run here.")), 60)
    view = kept.view("metered")
    assert (view.is_on, view.holds, view.unknown) == (True, False, "NetworkManager doesn't run here.")
    assert not kept.reasons.is_blocked


async def test_a_rule_that_lost_its_signal_is_told_where_the_owner_looks(kept: Kept) -> None:
    began = kept.clock.wall()
    silent = Unknown("The battery does not answer.")
    await kept.see(replace(CALM, power=silent), 20)
    assert kept.codes() == []  # a few readings that fail are no loss
    await kept.clock.advance(60)
    (reason,) = kept.reasons.all
    clock = time.strftime("%H:%M", time.localtime(began))
    assert reason.sentence == (
        f"Since {clock} it can't be told whether “On battery”, “Battery low” should hold: the battery does not answer."
    )
    assert (reason.code, reason.blocks, reason.setting) == ("rule_blind", False, "pause_on_battery")
    assert kept.view("on_battery").unknown == silent.cause
    await kept.see(CALM, 1)
    assert kept.codes() == []


async def test_a_rule_that_stays_in_doubt_says_so_in_its_own_sentence_alone(kept: Kept) -> None:
    await kept.see(replace(CALM, power=Power(on_mains=False, battery_percent=80.0)), 1)
    await kept.see(replace(CALM, power=Unknown("The battery does not answer.")), 60)
    assert kept.reasons.is_blocked
    assert "that can't be told: the battery does not answer." in kept.view("on_battery").sentence
    assert kept.codes() == ["on_battery"]  # the same cause isn't told a second time for “Battery low”


# The target temperature


async def test_a_warm_processor_slows_down_by_a_target_of_its_own_and_the_reason_names_it() -> None:
    kept = Kept(cpu_target_c=75.0)
    warm = ProcessorHeat(celsius=82.0, mean_c=80.0)
    await kept.see(replace(CALM, processor_heat=warm), 31)
    assert kept.admission.max_jobs == 2
    (reason,) = kept.reasons.all
    assert reason.sentence == "Serves 2 of 4 sessions, to keep the processor at your target of 75 °C."
    assert (reason.code, reason.setting, reason.blocks) == ("cpu_warm", "cpu_target_c", False)
    await kept.see(replace(CALM, processor_heat=Unknown("The processor's sensor does not answer.")), 31)
    assert kept.admission.max_jobs == 2
    assert kept.reasons.all[0].sentence.endswith("can't be told now: the processor's sensor does not answer.")
    await kept.see(replace(CALM, processor_heat=replace(warm, mean_c=70.0)), 61)
    assert (kept.admission.max_jobs, kept.codes()) == (4, [])
    await kept.close()


async def test_a_warm_card_serves_fewer_sessions_then_takes_a_break_and_says_so() -> None:
    kept = Kept(gpu_target_c=70.0)
    await kept.see(replace(CALM, gpu_temperature_c=72.0))
    assert (kept.admission.max_jobs, kept.paced) == (3, 1)
    (reason,) = kept.reasons.all
    assert reason.sentence == "Serves 3 of 4 sessions, to keep the graphics card at your target of 70 °C."
    assert not reason.blocks
    await kept.clock.advance(91)
    assert kept.reasons.is_blocked
    assert kept.reasons.all[0].sentence.startswith("A break to cool down")
    assert kept.admission.max_jobs == 1
    assert kept.given_back == []  # a break is no pause
    await kept.see(replace(CALM, gpu_temperature_c=60.0), 200)
    assert (kept.admission.max_jobs, kept.codes()) == (4, [])
    await kept.close()


async def test_the_owners_number_of_sessions_counts_within_the_pace() -> None:
    kept = Kept(gpu_target_c=70.0)
    await kept.see(replace(CALM, gpu_temperature_c=72.0), 31)
    assert kept.admission.max_jobs == 2
    kept.keeper.use_max_jobs(8)
    assert kept.admission.max_jobs == 2
    kept.keeper.use_max_jobs(1)
    assert kept.admission.max_jobs == 1
    assert kept.codes() == []
    kept.keeper.use_settings(kept.settings())
    kept.keeper.use_max_jobs(6)
    assert kept.admission.max_jobs == 6
    await kept.close()


def test_clients_hear_nothing_of_the_owners_habits() -> None:
    assert END_SENTENCES[EndReason.RULE] == END_SENTENCES[EndReason.PAUSED]


# While the owner shares now


def share(kept: Kept, until: float | None) -> None:
    """As core/owner_rules does it."""
    kept.keeper.share_until(until)
    kept.keeper.step()


async def test_while_the_owner_shares_now_rules_of_comfort_wait_and_are_named(kept: Kept) -> None:
    await kept.see(replace(STEAM, power=UNPLUGGED.power))
    assert kept.codes() == ["listed_app", "on_battery"]
    until = kept.clock.wall() + 3600
    share(kept, until)
    (reason,) = kept.reasons.all
    assert (reason.code, reason.blocks, reason.ends_at) == ("sharing_now", False, until)
    assert "these rules wait: “A program of your list runs”, “On battery”." in reason.sentence
    client = await admitted(kept)
    await kept.clock.advance(600)
    assert not client.task.done()
    view = kept.view("listed_app")
    assert (view.holds, view.waits_until, view.effect) == (True, until, "stop after 5 s, unload")
    assert kept.view("metered").waits_until is None
    client.let_go.set()
    assert await client.task == "completed"


async def test_a_rule_that_begins_while_the_owner_shares_now_waits_too(kept: Kept) -> None:
    share(kept, kept.clock.wall() + 3600)
    assert "Until then your rules about yourself don't hold it back." in kept.reasons.all[0].sentence
    client = await admitted(kept)
    await kept.see(replace(CALM, full_screen=FullScreen(is_on=True)), 60)
    assert kept.codes() == ["sharing_now"]
    assert "this rule waits: “Full screen”." in kept.reasons.all[0].sentence
    assert not client.task.done()
    client.let_go.set()
    await client.task


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        (replace(CALM, gpu_temperature_c=80.0), "gpu_hot"),
        (replace(CALM, processor_heat=ProcessorHeat(celsius=95.0, mean_c=95.0, sensor="")), "cpu_hot"),
        (replace(CALM, free_ram_mb=100), "ram_short"),
        (replace(CALM, free_ram_mb=440), "memory_tight"),
        (replace(CALM, free_vram_mb=100), "vram_short"),
        (replace(CALM, power=Power(on_mains=False, battery_percent=10.0)), "battery_low"),
        (replace(CALM, is_metered=True), "metered"),
        (replace(CALM, is_gpu_lost=True), "gpu_lost"),
    ],
)
async def test_what_protects_the_machine_holds_although_the_owner_shares_now(
    kept: Kept, signals: Signals, code: str
) -> None:
    share(kept, kept.clock.wall() + 3600)
    await kept.see(signals, 11)
    assert code in [reason.code for reason in kept.reasons.all if reason.blocks]
    with pytest.raises(NotServing):
        await Client(kept).task
    assert "sharing_now" in kept.reasons


async def test_what_has_waited_begins_anew_when_the_owner_shares_no_more(kept: Kept) -> None:
    share(kept, kept.clock.wall() + 3600)
    await kept.see(UNPLUGGED, 600)
    client = await admitted(kept)
    kept.was_open = False
    began = kept.clock.wall()
    share(kept, None)
    assert not kept.was_open
    (reason,) = kept.reasons.all
    assert (reason.code, reason.sessions_end_at) == ("on_battery", began + 30)
    await kept.clock.advance(29)
    assert not client.task.done()
    await kept.clock.advance(1.5)
    await ended_by_rule(client)
    await settle()
    assert kept.given_back == [{"tiny"}]


async def test_a_model_that_a_rule_sent_away_may_come_back_while_it_waits(kept: Kept) -> None:
    await kept.see(STEAM)
    assert kept.keeper.wants_unload
    share(kept, kept.clock.wall() + 3600)
    assert not kept.keeper.wants_unload
    given = len(kept.given_back)
    client = await admitted(kept)
    client.let_go.set()
    await client.task
    await kept.clock.advance(60)
    assert len(kept.given_back) == given


async def test_what_is_only_told_is_told_also_while_the_owner_shares_now() -> None:
    kept = Kept(listed_app_effect="only tell")
    share(kept, kept.clock.wall() + 3600)
    await kept.see(STEAM)
    assert kept.codes() == ["listed_app", "sharing_now"]
    assert kept.view("listed_app").waits_until is None
    await kept.close()
