"""After a pause or a sleep the agent is ready only once the model gave a real token; and says what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from core.engines import EngineModel, LoadedModel, TokenChunk
from core.errors import EngineFailed, EngineUnreachable, NotEnoughMemory, NotServing
from core.model_manager import ModelManager
from core.model_starter import RETRY_S, ModelStarter
from core.reasons import ReasonBook
from core.snapshot import AgentSnapshot, CapacityView
from core.state import AgentState
from core.unloadable import RETRY_WITH_ROOM_S
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.manual_clock import ManualClock
from tests.fakes.small_agent import small_agent

DONE = TokenChunk(done=True, finish_reason="length", prompt_tokens=1, completion_tokens=1)


class Starting:
    def __init__(self, *, engine: str = "ollama") -> None:
        self.clock = ManualClock()
        self.engine = FakeEngine([TokenChunk("x", 1), DONE], name=engine, models=("a", "b"))
        self.models = ModelManager(engine=self.engine, supported=("a", "b"), monotonic=self.clock.monotonic)
        self.reasons = ReasonBook()
        self.last_used: tuple[str, ...] = ()
        self.is_enabled = True
        self.failed = 0
        self.limit_s = 60.0
        self.starter = ModelStarter(
            models=self.models,
            reasons=self.reasons,
            last_used=lambda: self.last_used,
            is_enabled=lambda: self.is_enabled,
            limit_s=lambda: self.limit_s,
            on_failed=self._on_failed,
            sleep=self.clock.sleep,
        )

    def _on_failed(self) -> None:
        self.failed += 1
        assert "model_loading" in self.reasons  # no instant without a reason

    @property
    def sentence(self) -> str:
        return self.reasons.all[0].sentence if self.reasons.all else ""

    async def over(self) -> None:
        await soon(lambda: "model_loading" not in self.reasons)


async def soon(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.fixture
async def starting() -> Starting:
    made = Starting()
    await made.models.refresh()
    return made


async def test_nothing_is_loaded_unless_memory_was_given_back(starting: Starting) -> None:
    assert not starting.starter.begin()
    assert starting.engine.calls.count("load") == 0


async def test_it_waits_for_a_real_token_of_the_model_from_before(starting: Starting) -> None:
    gate = asyncio.Event()
    starting.engine.script = [gate, TokenChunk("x", 1), DONE]
    starting.last_used = ("b",)
    starting.starter.want()
    assert starting.starter.begin()
    assert starting.sentence == "Loading b."
    await starting.engine.wait_open(1)
    assert starting.starter.begin()  # still the same
    gate.set()
    await starting.over()
    assert starting.engine.prompts[0].max_tokens == 1
    assert [model.name for model in starting.models.loaded] == ["b"]
    assert not starting.starter.begin()


async def test_model_from_before_that_is_not_offered_any_more_is_not_loaded(starting: Starting) -> None:
    starting.last_used, starting.models.supported = ("b",), ("a",)
    starting.starter.want()
    assert starting.starter.begin()
    assert starting.sentence == "Loading a."
    await starting.over()


async def test_model_that_a_session_from_before_still_uses_needs_no_trial(starting: Starting) -> None:
    async with starting.models.serving("a"):
        starting.starter.want()
        assert not starting.starter.begin()
    assert not starting.starter.begin()
    starting.starter.want_check()  # a sleep is another matter
    async with starting.models.serving("a"):
        assert starting.starter.begin()
    await starting.over()


@pytest.mark.parametrize("engine", ["openai", "ollama"])
async def test_it_can_be_switched_off_and_never_asks_a_server_that_may_cost(engine: str) -> None:
    starting = Starting(engine=engine)
    await starting.models.refresh()
    starting.is_enabled = engine == "openai"
    starting.starter.want()
    assert not starting.starter.begin()
    assert starting.reasons.all == ()


@pytest.mark.parametrize("error", [NotEnoughMemory("it needs 9 GB", hint="Take a smaller one."), EngineFailed("crash")])
async def test_model_that_fails_makes_way_for_the_next(starting: Starting, error: NotEnoughMemory) -> None:
    starting.engine.load_fault = error
    starting.starter.want()
    assert starting.starter.begin()
    await starting.over()
    assert (starting.failed, starting.models.offered) == (1, ("b",))
    starting.engine.load_fault = None
    assert starting.starter.begin()
    await starting.over()
    assert [model.name for model in starting.models.loaded] == ["b"]


async def test_last_model_that_fails_is_told_with_a_remedy(starting: Starting) -> None:
    starting.models.supported = ("a",)
    starting.engine.load_fault = NotEnoughMemory("it needs 9 GB", hint="Take a smaller one.")
    starting.starter.want()
    starting.starter.begin()
    await starting.over()
    assert starting.models.problem == "a cannot be served: it needs 9 GB; it is tried again as soon as there is room"
    assert starting.models.problem_hint == "Take a smaller one."
    assert not starting.starter.begin()  # nothing is offered; once something is, it is tried
    starting.engine.load_fault = None
    starting.models.forget_failures()
    assert starting.starter.begin()
    await starting.over()


@pytest.mark.parametrize("is_at_its_first_token", [False, True])
async def test_model_that_found_too_little_memory_comes_back_within_seconds(
    starting: Starting, is_at_its_first_token: bool
) -> None:
    """A rule's end may come while another program still grows: ten minutes later all memory has long been free."""
    starting.models.supported = ("a",)
    short = NotEnoughMemory("it needs 9 GB")
    if is_at_its_first_token:
        starting.engine.script = [short]
    else:
        starting.engine.load_fault = short
    starting.starter.want()
    for wait_s in (RETRY_WITH_ROOM_S, 2 * RETRY_WITH_ROOM_S):
        assert starting.starter.begin()
        await starting.over()
        await starting.clock.advance(wait_s - 1)
        assert not await starting.models.refresh() or not starting.models.offered
        await starting.clock.advance(1)
        assert await starting.models.refresh()
    starting.engine.script, starting.engine.load_fault = [TokenChunk("x", 1), DONE], None
    assert starting.starter.begin()
    await starting.over()
    assert [model.name for model in starting.models.loaded] == ["a"]


async def test_answer_without_a_token_is_no_success(starting: Starting) -> None:
    starting.engine.script = [TokenChunk(done=True, finish_reason="stop", prompt_tokens=1, completion_tokens=0)]
    starting.starter.want()
    starting.starter.begin()
    await starting.over()
    assert starting.models.offered == ("b",)


async def test_model_that_gives_no_token_in_time_is_no_success(starting: Starting) -> None:
    starting.limit_s = 0.01
    starting.engine.script = [asyncio.Event()]
    starting.starter.want()
    starting.starter.begin()
    await starting.over()
    assert starting.models.offered == ("b",)
    assert starting.engine.open_streams == 0


async def test_engine_that_is_away_is_waited_for(starting: Starting) -> None:
    starting.engine.load_fault = EngineUnreachable("nothing answers")
    starting.starter.want()
    starting.starter.begin()
    await starting.clock.wait_for_sleep(RETRY_S)
    assert starting.models.offered == ("a", "b")
    starting.engine.load_fault = None
    await starting.clock.advance(RETRY_S)
    await starting.over()
    assert starting.failed == 0
    assert starting.models.loaded


async def test_stopped_while_it_loads_says_which_model_may_still_come(starting: Starting) -> None:
    starting.engine.script = [asyncio.Event()]
    starting.starter.want()
    starting.starter.begin()
    await starting.engine.wait_open(1)
    assert starting.starter.stop() == ("a",)
    assert starting.reasons.all == ()
    await starting.engine.wait_closed(1)
    assert starting.failed == 0
    assert starting.starter.stop() == ()
    await starting.starter.close()


async def test_after_a_sleep_the_loaded_model_is_tried_whatever_the_setting(starting: Starting) -> None:
    starting.is_enabled = False
    starting.last_used = ("a",)
    starting.starter.want_check()
    assert starting.starter.begin()
    assert starting.sentence == "Trying a after the machine slept."
    await starting.over()
    starting.starter.want()
    starting.starter.want_check()  # a load is wanted already: it says the same, and more
    assert not starting.starter.begin()


# In the real agent


def states(seen: list[AgentSnapshot]) -> list[tuple[AgentState, str]]:
    """The state and the strongest reason, each change once."""
    found: list[tuple[AgentState, str]] = []
    for snapshot in seen:
        now = (snapshot.state, snapshot.reasons[0].code if snapshot.reasons else "")
        if not found or found[-1] != now:
            found.append(now)
    return found


async def test_agent_unloads_on_pause_and_is_ready_after_the_first_token() -> None:
    engine = FakeEngine([TokenChunk("x", 1), DONE], name="ollama", models=("tiny",))
    async with small_agent(engine, {"supported_models": ("tiny",)}) as agent:
        await agent.models.load("tiny")
        agent.owner.pause()
        await soon(lambda: engine.loaded == [] and agent.memory.unloaded == ("tiny",))
        seen: list[AgentSnapshot] = []
        agent.store.subscribe(seen.append)
        gate = asyncio.Event()
        engine.script = [gate, TokenChunk("x", 1), DONE]
        agent.owner.resume()
        await engine.wait_open(1)
        assert [reason.sentence for reason in agent.reasons.all if reason.blocks] == ["Loading tiny."]
        assert agent.reasons.closed_because() == "this agent is loading its model"
        gate.set()
        await soon(lambda: not agent.reasons.is_blocked)
        codes = [code for _, code in states(seen) if code in ("", "model_loading", "paused_by_owner")]
        assert "paused_by_owner" not in codes
        assert codes[0] == "model_loading"  # no instant at which it seemed to serve
        assert (AgentState.READY, "model_loading") not in states(seen)
        assert [model.name for model in engine.loaded] == ["tiny"]


class SlowToUnload(FakeEngine):
    def __init__(self) -> None:
        super().__init__([TokenChunk("x", 1), DONE], name="ollama", models=("tiny",))
        self.unloading, self.gate = asyncio.Event(), asyncio.Event()

    async def unload(self, model: str) -> None:
        self.unloading.set()
        await self.gate.wait()
        await super().unload(model)


@pytest.mark.parametrize("preload", [True, False])
async def test_resumed_while_the_memory_still_goes_back_nobody_is_let_in_before(preload: bool) -> None:
    """Else what is loaded, by the agent or for a session, is unloaded under its first token."""
    engine = SlowToUnload()
    async with small_agent(engine, {"supported_models": ("tiny",), "preload_on_resume": preload}) as agent:
        await agent.models.load("tiny")
        agent.owner.pause()
        await asyncio.wait_for(engine.unloading.wait(), 10)
        agent.owner.resume()
        for _ in range(50):
            await asyncio.sleep(0)
        assert engine.calls.count("load") == 1
        assert [reason.code for reason in agent.reasons.all if reason.blocks] == ["memory_going_back"]
        with pytest.raises(NotServing, match="unloading its model"):
            async with agent.admission.slot(model="tiny", client="c", job_id="j", spend=lambda: None):
                raise AssertionError("it was let in")
        engine.gate.set()
        await soon(lambda: not agent.reasons.is_blocked)
        assert [model.name for model in engine.loaded] == (["tiny"] if preload else [])


async def test_unloaded_by_hand_the_door_is_closed_until_the_model_has_left() -> None:
    engine = SlowToUnload()
    async with small_agent(engine, {"supported_models": ("tiny",)}) as agent:
        await agent.models.load("tiny")
        giving = asyncio.ensure_future(agent.memory.give_back())
        await asyncio.wait_for(engine.unloading.wait(), 10)
        again = asyncio.ensure_future(agent.memory.give_back())
        await asyncio.sleep(0)
        with pytest.raises(NotServing):
            async with agent.admission.slot(model="tiny", client="c", job_id="j", spend=lambda: None):
                raise AssertionError("it was let in")
        engine.gate.set()
        await giving
        assert agent.reasons.is_blocked  # for the one that comes next
        await again
        assert not agent.reasons.is_blocked


async def test_paused_again_while_it_loads_leaves_nothing_in_memory() -> None:
    engine = FakeEngine([asyncio.Event()], name="ollama", models=("tiny",))
    async with small_agent(engine, {"supported_models": ("tiny",)}) as agent:
        agent.owner.pause()
        agent.owner.resume()
        await engine.wait_open(1)
        agent.owner.pause()
        await soon(lambda: engine.loaded == [] and engine.open_streams == 0)
        assert [reason.code for reason in agent.reasons.all if reason.blocks] == ["paused_by_owner"]


async def test_failure_on_resume_is_model_not_ready_with_its_remedy() -> None:
    engine = FakeEngine(name="ollama", models=("tiny",))
    async with small_agent(engine, {"supported_models": ("tiny",)}) as agent:
        agent.owner.pause()
        engine.load_fault = NotEnoughMemory("it needs 9 GB", hint="Take a smaller one.")
        agent.owner.resume()
        await soon(lambda: "model_not_ready" in agent.reasons and "model_loading" not in agent.reasons)
        reason = next(reason for reason in agent.reasons.all if reason.code == "model_not_ready")
        assert (reason.sentence, reason.remedy) == (
            "Model not ready: tiny cannot be served: it needs 9 GB; it is tried again as soon as there is room.",
            "Take a smaller one.",
        )
        engine.load_fault = None
        await agent.keeper.restart_engine()
        await soon(lambda: not agent.reasons.is_blocked)
        assert engine.loaded


async def test_failure_for_want_of_memory_mends_itself_once_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody's doing: the keeper looks every few seconds while no model is ready."""
    engine = FakeEngine([TokenChunk("x", 1), DONE], name="ollama", models=())
    engine.models = [EngineModel(name="tiny", size_bytes=2_000_000_000)]
    async with small_agent(engine, {"supported_models": ("tiny",)}) as agent:
        agent.owner.pause()
        engine.load_fault = NotEnoughMemory("it needs 9 GB")
        agent.owner.resume()
        await soon(lambda: "model_not_ready" in agent.reasons and "model_loading" not in agent.reasons)
        engine.load_fault = None
        await agent.keeper.refresh()
        assert "model_not_ready" in agent.reasons  # too soon
        monkeypatch.setattr("core.unloadable.RETRY_WITH_ROOM_S", 0.0)
        agent.store.publish(capacity=CapacityView(kind="ram", total_mb=1_000))
        await agent.keeper.refresh()
        assert "model_not_ready" in agent.reasons  # no room
        agent.publish_now()
        await agent.keeper.refresh()
        await soon(lambda: not agent.reasons.is_blocked)
        assert engine.loaded


async def test_agent_that_woke_up_tries_what_is_loaded_before_it_serves() -> None:
    engine = FakeEngine([TokenChunk("x", 1), DONE], name="ollama", models=("tiny",))
    async with small_agent(engine, {"supported_models": ("tiny",)}, vram_mb=24_000) as agent:
        agent.coordinator.woke_up(600)
        assert not agent.reasons.is_blocked  # nothing was loaded: nothing to lose
        engine.loaded = [LoadedModel(name="tiny", total_mb=4_000, vram_mb=4_000)]
        await agent.models.refresh()
        gate = asyncio.Event()
        engine.script = [gate, TokenChunk("x", 1), DONE]

        async def load(model: str) -> LoadedModel:
            engine.loaded = [LoadedModel(name=model, total_mb=4_000, vram_mb=0)]  # the card lost it
            return engine.loaded[0]

        engine.load = load  # type: ignore[method-assign]
        agent.coordinator.woke_up(600)
        assert agent.reasons.is_blocked
        await soon(lambda: "model_not_ready" in agent.reasons and "model_loading" not in agent.reasons)
        sentence = next(reason.sentence for reason in agent.reasons.all if reason.code == "model_not_ready")
        assert "0% of it is on the graphics card, where all of it was to be" in sentence


class AnyQuant(Starting):
    """`big` is offered in whatever quantisation fits; `a` before it."""

    def __init__(self) -> None:
        super().__init__()
        self.engine.models = [
            EngineModel(name="a"),
            EngineModel(name="big-Q8_0", quant="Q8_0", size_bytes=2 << 30),
            EngineModel(name="big-Q4_K_M", quant="Q4_K_M", size_bytes=1 << 30),
        ]
        self.models.supported = ("a", "big")


async def test_model_that_is_offered_in_any_quantisation_comes_back_after_a_pause() -> None:
    """It leaves memory under the engine's name; by that it was "not offered here", and out for ten minutes."""
    starting = AnyQuant()
    await starting.models.refresh()
    starting.last_used = ("big-Q4_K_M",)
    starting.starter.want()
    assert starting.starter.begin()
    assert starting.sentence == "Loading big-Q8_0."
    await starting.over()
    assert starting.failed == 0
    assert starting.models.is_loaded("big-Q8_0")
    assert starting.models.offered == ("a", "big")


async def test_step_down_while_it_loads_goes_on_with_the_smaller_file(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = AnyQuant()
    await starting.models.refresh()
    gate = asyncio.Event()
    whole = starting.engine.load

    async def load(name: str) -> LoadedModel:
        if name == "big-Q8_0":
            raise NotEnoughMemory("no memory")
        await gate.wait()
        return await whole(name)

    monkeypatch.setattr(starting.engine, "load", load)
    starting.last_used = ("big-Q8_0",)
    starting.starter.want()
    assert starting.starter.begin()
    await soon(lambda: starting.models.loading == ("big-Q4_K_M",))
    assert starting.starter.stop() == ("big-Q8_0", "big-Q4_K_M")  # both may be on their way: a pause ends both
    starting.starter.want()
    gate.set()
    assert starting.starter.begin()
    await starting.over()
    assert starting.failed == 0
    assert starting.models.is_loaded("big-Q4_K_M")
