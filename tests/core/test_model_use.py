"""The most used models: asked of the ledger, kept for whoever can't wait, and preloaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.config_values import Value
from core.contribution import ALWAYS
from core.engines import EngineModel, LoadedModel, TokenChunk
from core.errors import StorageError
from core.fit import Room
from core.ledger import Ledger
from core.ledger_store import LedgerStore
from core.ledger_writer import LedgerWriter
from core.model_manager import ModelManager
from core.model_starter import ModelStarter
from core.model_use import ModelUse
from core.reasons import ReasonBook
from core.sessions import EndReason
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.manual_clock import ManualClock
from tests.fakes.session_records import STARTED_AT, ended, ledger_row
from tests.fakes.small_agent import small_agent

DAY_S = 86_400.0
DONE = TokenChunk(done=True, finish_reason="length", prompt_tokens=1, completion_tokens=1)


async def soon(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_the_ledger_counts_the_sessions_of_the_last_seven_days_written_or_not(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    store = LedgerStore.open(path)
    old = [ledger_row(model="old", started_at=STARTED_AT - 8 * DAY_S)] * 9
    store.add([*old, *[ledger_row(model="b", started_at=STARTED_AT - 2 * DAY_S)] * 2, ledger_row(model="c")])
    store.close()
    clock = ManualClock(wall_s=STARTED_AT)
    ledger = Ledger(path, clock=clock.wall, sleep=clock.sleep)
    ledger.start()
    try:
        assert await ledger.most_used() == ("b", "c")
        for _ in range(3):
            ledger.record(replace(ended(), model="c", started_at=STARTED_AT))
        assert await ledger.most_used() == ("c", "b")
    finally:
        await ledger.close()


def no_disk(path: Path) -> LedgerStore:
    raise StorageError("The disk is full", hint="Make room.")


@pytest.mark.parametrize("open_store", [LedgerStore.open, no_disk], ids=["written", "waiting"])
def test_a_model_that_answered_nobody_was_not_used(tmp_path: Path, open_store: Callable[[Path], LedgerStore]) -> None:
    writer = LedgerWriter(tmp_path / "ledger.sqlite", open_store=open_store, on_notice=lambda old, new: None)
    refused = ended(model="refuses", end_reason=EndReason.REFUSED, completion_tokens=0)
    writer.inbox.extend([(refused, ""), (refused, ""), (ended(model="answers"), "")])
    writer.write()
    assert writer.most_used(ALWAYS) == ("answers",)
    assert writer.all_sums().sessions == 1
    assert [row.model for row in writer.recent(9)] == ["answers", "refuses", "refuses"]
    writer.close()


async def test_what_cannot_be_read_leaves_the_last_answer() -> None:
    answers: list[tuple[str, ...] | StorageError] = [("a", "b"), StorageError("the disk is gone"), ("b",)]

    async def ask() -> tuple[str, ...]:
        answer = answers.pop(0)
        if isinstance(answer, StorageError):
            raise answer
        return answer

    use = ModelUse(ask)
    await use.refresh()
    first = use.names
    assert first == ("a", "b")
    await use.refresh()
    assert use.names is first
    use.refresh_soon()
    use.refresh_soon()  # one question at a time
    await use.refreshed(10)
    assert list(use.names) == ["b"]
    await use.close()


async def test_a_disk_that_hangs_is_not_waited_for_longer_than_the_limit() -> None:
    never = asyncio.Event()

    async def ask() -> tuple[str, ...]:
        await never.wait()
        return ("a",)

    use = ModelUse(ask)
    use.refresh_soon()
    await use.refreshed(0.0)
    assert use.names == ()
    never.set()
    await use.close()


class Starting:
    """Two offered models, of which a test says what fits and what was used."""

    def __init__(self) -> None:
        self.engine = FakeEngine([TokenChunk("x", 1), DONE], name="ollama", models=("a", "b"))
        self.engine.models = [EngineModel(name="a", size_bytes=1 << 30), EngineModel(name="b", size_bytes=2 << 30)]
        self.room = Room(free_mb=30_000, budget_mb=30_000)
        self.models = ModelManager(engine=self.engine, supported=("a", "b"), room=lambda: self.room)
        self.reasons = ReasonBook()
        self.last_used: tuple[str, ...] = ()
        self.most_used: tuple[str, ...] = ()
        self.how_many = 1
        self.gate = asyncio.Event()
        self.starter = ModelStarter(
            models=self.models,
            reasons=self.reasons,
            last_used=lambda: self.last_used,
            most_used=lambda: self.most_used,
            how_many=lambda: self.how_many,
            is_enabled=lambda: False,
            limit_s=lambda: 60.0,
            on_failed=lambda: None,
            sleep=self._settle,
        )

    async def _settle(self, _: float) -> None:
        """The next sample: what is loaded counts as ours, and so as free (core/fit.py)."""
        await self.gate.wait()

    async def loads_at_start(self) -> list[str]:
        await self.models.refresh()
        self.starter.want_at_start()
        if self.starter.begin():
            await soon(lambda: "model_loading" not in self.reasons)
        return [model.name for model in self.engine.loaded]


@pytest.mark.parametrize(
    ("last_used", "most_used", "loaded"),
    [((), (), "a"), ((), ("gone", "b", "a"), "b"), (("a",), ("b",), "a")],
)
async def test_the_model_from_before_comes_first_then_the_most_used_then_the_first_offered(
    last_used: tuple[str, ...], most_used: tuple[str, ...], loaded: str
) -> None:
    starting = Starting()
    starting.last_used, starting.most_used = last_used, most_used
    assert await starting.loads_at_start() == [loaded]


async def test_at_the_start_the_most_used_that_fits_is_loaded_and_none_where_none_does() -> None:
    starting = Starting()
    starting.most_used = ("b", "a")
    starting.room = Room(free_mb=1_500, budget_mb=30_000)  # b, of 2 GB and a fifth, isn't for now
    assert await starting.loads_at_start() == ["a"]
    starting = Starting()
    starting.room = Room(free_mb=500, budget_mb=30_000)
    assert await starting.loads_at_start() == []
    assert starting.models.offered == ("a", "b")  # a session may find more room


@pytest.mark.parametrize(
    ("how_many", "room_mb", "loaded"),
    [
        (1, 30_000, ["b"]),
        (2, 30_000, ["b", "a"]),
        (3, 30_000, ["b", "a"]),
        (2, 2_600, ["b", "a"]),
        (2, 1_300, ["a"]),
    ],
)
async def test_further_models_come_once_it_serves(how_many: int, room_mb: int, loaded: list[str]) -> None:
    starting = Starting()
    starting.how_many = how_many
    starting.most_used = ("b", "gone", "a")
    starting.room = Room(free_mb=room_mb, budget_mb=30_000)
    assert await starting.loads_at_start() == loaded[:1]
    starting.gate.set()
    if starting.starter._more is not None:
        await starting.starter._more
    assert [model.name for model in starting.engine.loaded] == loaded
    await starting.starter.close()


@pytest.mark.parametrize(("room_mb", "fits"), [(1_328, False), (1_329, True)])
async def test_a_further_model_must_fit_beside_what_is_in_memory(room_mb: int, fits: bool) -> None:
    """a takes 1 GB and a fifth, 1,229 MB; b, which is there, holds 100 MB of what counts as free."""
    starting = Starting()
    await starting.models.refresh()
    starting.room = Room(free_mb=30_000, budget_mb=room_mb)
    assert not starting.models.is_loaded("b")
    starting.engine.loaded = [LoadedModel(name="b", total_mb=100, vram_mb=0)]
    await starting.models.refresh()
    assert starting.models.is_loaded("b")
    assert starting.models.fits_beside("a") is fits


async def test_a_pause_stops_further_models_and_names_the_one_that_may_still_come() -> None:
    starting = Starting()
    starting.how_many, starting.most_used = 2, ("b", "a")
    assert await starting.loads_at_start() == ["b"]
    starting.gate.set()
    never = asyncio.Event()

    async def load(model: str) -> LoadedModel:
        await never.wait()
        raise AssertionError(model)

    starting.engine.load = load  # type: ignore[method-assign]
    await soon(lambda: starting.starter._more_name == "a")
    assert starting.starter.stop() == ("a",)
    await starting.starter.close()


async def test_the_embedded_engine_holds_one() -> None:
    starting = Starting()
    starting.engine.serves_one_model = True
    starting.how_many, starting.most_used = 2, ("b", "a")
    assert await starting.loads_at_start() == ["b"]
    starting.gate.set()
    assert starting.starter._more is not None
    await starting.starter._more
    assert [model.name for model in starting.engine.loaded] == ["b"]


async def test_an_agent_is_ready_with_the_most_used_model_in_memory() -> None:
    engine = FakeEngine([TokenChunk("x", 1), DONE], name="ollama", models=("a", "b"))
    settings: dict[str, Value] = {"supported_models": ("a", "b"), "preload_at_start": True}
    async with small_agent(engine, settings) as agent:
        await soon(lambda: not agent.reasons.is_blocked)
        assert [model.name for model in engine.loaded] == ["a"]  # nothing was used yet
        for _ in range(2):
            agent.ledger.record(replace(ended(), model="b", started_at=agent.memory._clock()))
    engine = FakeEngine([TokenChunk("x", 1), DONE], name="ollama", models=("a", "b"))
    gate = asyncio.Event()
    engine.script = [gate, TokenChunk("x", 1), DONE]
    async with small_agent(engine, settings) as agent:
        assert [reason.sentence for reason in agent.reasons.all if reason.blocks] == ["Loading b."]
        gate.set()
        await soon(lambda: not agent.reasons.is_blocked)
        assert [model.name for model in engine.loaded] == ["b"]


async def test_an_agent_loads_nothing_at_its_start_unless_it_is_told_to() -> None:
    engine = FakeEngine(name="ollama", models=("a",))
    async with small_agent(engine, {"supported_models": ("a",)}) as agent:
        assert not agent.reasons.is_blocked
        assert engine.loaded == []


async def test_a_preloaded_model_that_nobody_uses_leaves_memory_and_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.engine_keeper.WATCH_INTERVAL_S", 0.001)
    for pace in ("SAMPLE_INTERVAL_S", "CALM_INTERVAL_S"):
        monkeypatch.setattr(f"core.parts.sampling.{pace}", 0.001)
    engine = FakeEngine([TokenChunk("x", 1), DONE], name="embedded", models=("a",))
    settings: dict[str, Value] = {"supported_models": ("a",), "preload_at_start": True}
    async with small_agent(engine, settings) as agent:
        await soon(lambda: not agent.reasons.is_blocked)
        assert [model.name for model in engine.loaded] == ["a"]
        agent.keeper.unload_after_idle_s = 0.0  # as if it had been idle for so long
        await soon(lambda: engine.loaded == [])
        loads = engine.calls.count("load")
        looks = engine.calls.count("loaded_models") + 20
        await soon(lambda: engine.calls.count("loaded_models") >= looks)
        assert engine.calls.count("load") == loads == 1
        assert not agent.reasons.is_blocked
