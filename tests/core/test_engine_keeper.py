"""Which engine is chosen, when again, and which reasons come and go with its troubles."""

from __future__ import annotations

import asyncio

import pytest

from core.circuit_breaker import CircuitBreaker
from core.engine_keeper import OUTGROWN_INTERVAL_S, READY_INTERVAL_S, TROUBLE_INTERVAL_S, EngineKeeper
from core.engines import EngineModel, EngineStatus
from core.errors import EngineFailed, EngineNeedsAttention, EngineUnreachable
from core.model_manager import ModelManager
from core.reasons import ReasonBook
from core.sessions import Admission
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.manual_clock import ManualClock

AWAY = EngineUnreachable("nothing answers", hint="ollama serve")


class Kept:
    """A keeper with one FakeEngine per name, so that a test can let each fail and come back."""

    def __init__(self, requested: str = "auto") -> None:
        self.clock = ManualClock()
        self.ollama = FakeEngine(name="ollama", models=("tiny:latest",))
        self.embedded = FakeEngine(name="embedded", models=("tiny",))
        self.openai = FakeEngine(name="openai", models=("tiny",))
        engines = {"ollama": self.ollama, "embedded": self.embedded, "openai": self.openai}
        self.models = ModelManager(
            engine=engines.get(requested, self.ollama),
            supported=("tiny",),
            breaker=CircuitBreaker(self.clock.wall, self.clock.monotonic),
            monotonic=self.clock.monotonic,
        )
        self.reasons = ReasonBook()
        self.admission = Admission(max_jobs=2)
        self.offers: list[tuple[str, ...]] = []
        self.keeper = EngineKeeper(
            requested=requested,
            factories={name: lambda engine=engine: engine for name, engine in engines.items()},  # type: ignore[misc]
            models=self.models,
            admission=self.admission,
            reasons=self.reasons,
            on_offer_changed=lambda: self.offers.append(self.models.offered),
            sleep=self.clock.sleep,
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
        )

    @property
    def codes(self) -> list[str]:
        return [reason.code for reason in self.reasons.all]

    @property
    def engine(self) -> str:
        return self.models.engine.name

    async def look_again(self, seconds: float = TROUBLE_INTERVAL_S) -> None:
        """One turn of `run`, after its wait."""
        running = asyncio.create_task(self.keeper.run())
        await self.clock.wait_for_sleep(seconds)
        await self.clock.advance(seconds)
        async with asyncio.timeout(10):
            await self.clock.wait_for_sleep(self.interval)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled(), running.exception()

    @property
    def interval(self) -> float:
        return TROUBLE_INTERVAL_S if self.keeper._is_in_trouble() else READY_INTERVAL_S


async def test_auto_takes_ollama_where_it_answers() -> None:
    kept = Kept()
    await kept.keeper.start()
    assert (kept.engine, kept.keeper.chosen_because, kept.codes) == ("ollama", "Ollama answers", [])
    assert kept.offers == [("tiny",)]
    assert kept.ollama.calls.count("start") == 1


async def test_auto_takes_embedded_where_ollama_is_away_and_closes_the_probe() -> None:
    kept = Kept()
    kept.ollama.fault = AWAY
    await kept.keeper.start()
    assert (kept.engine, kept.keeper.chosen_because, kept.codes) == ("embedded", "Ollama does not answer", [])
    assert kept.ollama.calls[-1] == "close"


async def test_hanging_ollama_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.engine_keeper.PROBE_LIMIT_S", 0.01)
    kept = Kept()
    kept.ollama.start_gate = asyncio.Event()
    await kept.keeper.start()
    assert kept.engine == "embedded"


async def test_ollama_that_comes_later_is_taken_only_while_nothing_runs() -> None:
    kept = Kept()
    kept.ollama.fault = AWAY
    await kept.keeper.start()
    kept.ollama.fault = None
    async with kept.admission.slot(model="m", client="c", job_id="j", spend=lambda: None):
        await kept.look_again(READY_INTERVAL_S)
        assert kept.engine == "embedded"
    await kept.look_again(READY_INTERVAL_S)
    assert (kept.engine, kept.keeper.chosen_because) == ("ollama", "Ollama answers now")
    assert kept.embedded.calls[-1] == "close"


async def test_session_that_begins_during_the_probe_keeps_its_engine() -> None:
    kept = Kept()
    kept.ollama.fault = AWAY
    await kept.keeper.start()
    kept.ollama.fault, kept.ollama.start_gate = None, asyncio.Event()
    running = asyncio.create_task(kept.keeper.run())
    await kept.clock.wait_for_sleep(READY_INTERVAL_S)
    await kept.clock.advance(READY_INTERVAL_S)
    async with kept.admission.slot(model="m", client="c", job_id="j", spend=lambda: None), kept.models.serving("tiny"):
        kept.ollama.start_gate.set()
        await kept.clock.wait_for_sleep(READY_INTERVAL_S)
        assert kept.engine == "embedded"
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_session_that_begins_while_the_old_engine_closes_uses_the_new_one() -> None:
    kept = Kept()
    kept.ollama.fault = AWAY
    await kept.keeper.start()
    kept.ollama.fault = None
    seen: list[str] = []

    async def close() -> None:
        async with kept.models.serving("tiny:latest") as engine:
            seen.append(engine.name)
        raise EngineFailed("the child did not end")  # no reason to die either

    kept.embedded.close = close  # type: ignore[method-assign]
    await kept.look_again(READY_INTERVAL_S)
    assert (seen, kept.engine, kept.codes) == (["ollama"], "ollama", [])


async def test_ollama_that_dies_is_a_fault_and_not_replaced() -> None:
    kept = Kept()
    await kept.keeper.start()
    kept.ollama.fault = AWAY
    await kept.look_again(READY_INTERVAL_S)
    assert (kept.engine, kept.codes) == ("ollama", ["engine_unreachable"])
    assert kept.reasons.all[0].remedy == "ollama serve"
    assert kept.reasons.is_blocked
    kept.ollama.fault = None
    await kept.look_again(TROUBLE_INTERVAL_S)
    assert (kept.engine, kept.codes) == ("ollama", [])
    assert kept.embedded.calls == []


async def test_chosen_engine_is_never_replaced() -> None:
    kept = Kept("openai")
    kept.openai.fault = AWAY
    await kept.keeper.start()
    assert (kept.engine, kept.keeper.chosen_because, kept.codes) == ("openai", "you chose it", ["engine_unreachable"])
    await kept.look_again(TROUBLE_INTERVAL_S)
    assert (kept.engine, kept.ollama.calls, kept.embedded.calls) == ("openai", [], [])


async def test_attention_shows_its_remedy_and_goes_when_the_owner_acted() -> None:
    kept = Kept("embedded")
    await kept.keeper.start()
    kept.embedded.status = EngineStatus(state="attention", detail="it crashed three times", hint="titan logs")
    kept.keeper.show()
    assert kept.codes == ["engine_attention"]
    assert (kept.reasons.all[0].remedy, kept.reasons.is_blocked) == ("titan logs", True)
    kept.embedded.status = EngineStatus(state="ready")
    await kept.keeper.restart_engine()
    assert kept.codes == []
    assert kept.embedded.calls.count("start") == 2


async def test_every_look_asks_the_engine_itself_and_one_that_hangs_is_a_fault() -> None:
    """The list of the embedded engine comes from the disk: it says nothing of a child that is stuck."""
    kept = Kept("embedded")
    await kept.keeper.start()
    hung = EngineFailed("it no longer answered and was ended", hint="It is started again by itself.")
    kept.embedded.check_fault = hung
    await kept.look_again(READY_INTERVAL_S)
    assert (kept.codes, kept.reasons.is_blocked) == (["engine_unreachable"], True)
    assert hung.detail in kept.reasons.all[0].sentence
    kept.keeper.show()  # another session ended meanwhile
    assert kept.codes == ["engine_unreachable"]
    kept.embedded.check_fault = None
    await kept.look_again(TROUBLE_INTERVAL_S)
    assert kept.codes == []
    assert kept.embedded.calls.count("start") == 1  # starting would clear what it has failed before


async def test_engine_that_needs_its_owner_is_not_started_by_looking_at_it() -> None:
    kept = Kept("embedded")
    await kept.keeper.start()
    kept.embedded.check_fault = EngineNeedsAttention("it failed three times", hint="titan retry")
    for interval in (READY_INTERVAL_S, TROUBLE_INTERVAL_S):
        await kept.look_again(interval)
        assert (kept.codes, kept.reasons.all[0].remedy) == (["engine_attention"], "titan retry")
    assert kept.embedded.calls.count("start") == 1
    kept.embedded.check_fault = None
    await kept.keeper.restart_engine()
    assert (kept.codes, kept.embedded.calls.count("start")) == ([], 2)


async def test_engine_that_refuses_to_start_waits_for_attention() -> None:
    kept = Kept("embedded")
    kept.embedded.fault = EngineNeedsAttention("it crashed three times")
    await kept.keeper.start()
    assert kept.codes == ["engine_attention"]
    assert kept.reasons.all[0].remedy == "Start the engine again: titan retry"


@pytest.mark.parametrize(
    ("requested", "remedy"),
    [("ollama", "titan pull tiny"), ("embedded", "models folder"), ("openai", "Load a model in that server")],
)
async def test_missing_model_has_the_remedy_of_its_engine(requested: str, remedy: str) -> None:
    kept = Kept(requested)
    for engine in (kept.ollama, kept.embedded, kept.openai):
        engine.models = []
    await kept.keeper.start()
    assert kept.codes == ["model_not_ready"]
    assert remedy in kept.reasons.all[0].remedy
    assert "tiny" in kept.reasons.all[0].sentence
    kept.ollama.models = kept.embedded.models = kept.openai.models = [EngineModel(name="tiny")]
    await kept.look_again(TROUBLE_INTERVAL_S)
    assert (kept.codes, kept.offers) == ([], [("tiny",)])


async def test_open_breaker_is_shown_and_blocks_nobody() -> None:
    kept = Kept("ollama")
    await kept.keeper.start()
    for _ in range(3):
        with pytest.raises(EngineFailed):
            async with kept.models.breaker.guard():
                raise EngineFailed("broken")
    kept.keeper.show()
    assert (kept.codes, kept.reasons.is_blocked) == (["engine_resting"], False)
    kept.models.breaker.reset()
    kept.keeper.show()
    assert kept.codes == []


async def test_look_now_does_not_wait_for_the_interval() -> None:
    kept = Kept("ollama")
    await kept.keeper.start()
    kept.ollama.models = [EngineModel(name="tiny"), EngineModel(name="new")]
    running = asyncio.create_task(kept.keeper.run())
    await kept.clock.wait_for_sleep(READY_INTERVAL_S)
    kept.keeper.look_now()
    async with asyncio.timeout(10):
        while len(kept.models.models) < 2:  # noqa: ASYNC110 - no time passes here
            await asyncio.sleep(0)
    running.cancel()


async def test_outgrown_quantisation_is_told_while_nobody_is_served_and_not_again_for_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Kept()
    told: list[float] = []
    kept.keeper.on_outgrown = lambda: told.append(kept.clock.monotonic())
    await kept.keeper.start()
    monkeypatch.setattr(ModelManager, "has_better", True)
    async with kept.admission.slot(model="m", client="c", job_id="j", spend=lambda: None):
        await kept.keeper.refresh()
    assert told == []
    await kept.keeper.refresh()
    await kept.keeper.refresh()
    assert len(told) == 1
    await kept.clock.advance(OUTGROWN_INTERVAL_S)
    await kept.keeper.refresh()
    assert len(told) == 2
