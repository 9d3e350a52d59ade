"""The owner's own use of a shared Ollama, told from ours: look by look, and through a real engine and keeper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engine_keeper import WATCH_INTERVAL_S, EngineKeeper
from core.engines import Prompt
from core.engines.ollama import OllamaEngine
from core.engines.ollama_ownership import LoadedEntry, SharedLook
from core.errors import EngineUnreachable
from core.gpu import GpuProcess, GpuSample
from core.model_manager import ModelManager
from core.owner_engine_use import GPU_FOR_S, LATE_S, OwnerEngineUse, OwnerUse, gpu_percent_of
from core.reasons import ReasonBook
from core.sessions import Admission
from core.stats_collector import SystemStats
from tests.core.engine_fixtures import collect
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.fake_ollama import FakeOllama, tag
from tests.fakes.manual_clock import ManualClock

OURS = LoadedEntry(name="tiny:latest", expires_at="t0", is_ours=True)
MOVED = LoadedEntry(name="tiny:latest", expires_at="t1", is_ours=True)
OWNERS = LoadedEntry(name="other:latest", expires_at="t0", is_ours=False)


def looks(*steps: tuple[Sequence[LoadedEntry], int, bool], gpu: Sequence[float | None] = ()) -> list[OwnerUse]:
    """What each look says; steps are (entries, our requests so far, one of ours runs), 5 s apart."""
    use = OwnerEngineUse()
    percents = [*gpu, *[None] * len(steps)]
    return [
        use.take(
            SharedLook(entries=tuple(entries), requests=requests, is_busy=is_busy),
            at=number * WATCH_INTERVAL_S,
            engine_gpu_percent=percents[number],
        )
        for number, (entries, requests, is_busy) in enumerate(steps)
    ]


def test_model_that_we_did_not_load_is_the_owners_use_while_it_is_there() -> None:
    found = looks(([OWNERS], 0, False), ([OWNERS, OURS], 1, True), ([OURS], 2, False))
    assert [use.model for use in found] == ["other:latest", "other:latest", ""]
    assert all(use.taken == () for use in found)


def test_end_that_moves_long_after_our_last_session_is_the_owners_use() -> None:
    quiet = ([OURS], 2, False)
    found = looks(*[quiet] * 14, ([MOVED], 2, False))
    assert [use.model for use in found[-2:]] == ["", "tiny:latest"]
    assert found[-1].taken == ("tiny:latest",)


def test_end_that_moves_once_within_a_minute_of_our_session_may_still_be_ours_and_twice_is_not() -> None:
    quiet = ([OURS], 2, False)
    found = looks(
        quiet, quiet, quiet, ([MOVED], 2, False), ([MOVED], 2, False), ([replace(MOVED, expires_at="t2")], 2, False)
    )
    assert [use.model for use in found] == ["", "", "", "", "", "tiny:latest"]
    assert LATE_S == 60


def test_our_own_sessions_move_it_too() -> None:
    steps = (([OURS], 2, False), ([OURS], 2, False), ([OURS], 3, True), ([MOVED], 4, False))
    assert [use.model for use in looks(*steps)] == [""] * 4


def test_end_that_our_last_session_moves_late_is_ours() -> None:
    """Ollama sets the time a moment after our request was closed: after the look that first saw it closed."""
    found = looks(([OURS], 3, True), ([OURS], 4, False), ([MOVED], 4, False), ([MOVED], 4, False))
    assert [use.model for use in found] == [""] * 4


def test_session_between_two_looks_leaves_its_trace_in_the_count() -> None:
    found = looks(([OURS], 2, False), ([OURS], 2, False), ([MOVED], 4, False))
    assert found[-1] == OwnerUse()


def test_engine_that_computes_for_ten_seconds_without_us_works_for_the_owner() -> None:
    idle = ([OURS], 2, False)
    found = looks(idle, idle, idle, idle, idle, idle, gpu=[0.0, 60.0, 60.0, 60.0, 60.0, 5.0])
    assert [use.model for use in found] == ["", "", "", "tiny:latest", "tiny:latest", ""]
    assert GPU_FOR_S == 2 * WATCH_INTERVAL_S


def test_computing_for_us_is_not_the_owners() -> None:
    idle, busy = ([OURS], 2, False), ([OURS], 3, True)
    assert all(use.model == "" for use in looks(idle, busy, busy, busy, busy, gpu=[90.0] * 5))


def test_engine_that_computes_with_nothing_listed_has_no_name() -> None:
    nothing: tuple[list[LoadedEntry], int, bool] = ([], 0, False)
    assert looks(nothing, nothing, nothing, gpu=[90.0] * 3)[-1] == OwnerUse("another model")


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_our_own_work_alone_is_never_taken_for_the_owners(steps: list[tuple[bool, int, bool]]) -> None:
    """Any pattern of our sessions: the end moves only in the interval of one, or in the one right after it."""
    requests, stamp, found = 0, 0, []
    worked = False
    for moves_late, new_requests, is_busy in steps:
        requests += new_requests
        stamp += bool(new_requests or is_busy or (worked and moves_late))
        worked = bool(new_requests or is_busy)
        entry = LoadedEntry(name="tiny:latest", expires_at=f"t{stamp}", is_ours=True)
        found.append(([entry], requests, is_busy))
    assert [use.model for use in looks(*found)] == [""] * len(found)


def test_computing_of_the_engines_processes_is_summed_per_card() -> None:
    def card(*processes: GpuProcess) -> GpuSample:
        return GpuSample(uuid="u", name="card", processes=processes)

    stats = SystemStats(
        gpus=(
            card(GpuProcess(pid=1, utilisation_percent=30.0), GpuProcess(pid=9, utilisation_percent=70.0)),
            card(GpuProcess(pid=1, utilisation_percent=20.0), GpuProcess(pid=2, utilisation_percent=25.0)),
        )
    )
    assert gpu_percent_of(stats, (1, 2)) == 45.0
    assert gpu_percent_of(stats, ()) is None
    assert gpu_percent_of(SystemStats(gpus=(card(GpuProcess(pid=1)),)), (1,)) is None
    assert gpu_percent_of(None, (1,)) is None


# Through the keeper


class Watched:
    def __init__(self, engine: OllamaEngine | FakeEngine) -> None:
        self.clock = ManualClock()
        self.engine = engine
        self.models = ModelManager(engine=engine, supported=("tiny",), monotonic=self.clock.monotonic)
        self.idle = 0
        self.gpu: float | None = None
        self.keeper = EngineKeeper(
            requested=engine.name,
            factories={engine.name: lambda: engine},
            models=self.models,
            admission=Admission(max_jobs=2),
            reasons=ReasonBook(),
            on_unload=self._on_idle,
            unload_after_idle_s=60,
            engine_gpu_percent=lambda: self.gpu,
            sleep=self.clock.sleep,
            monotonic=self.clock.monotonic,
        )

    def _on_idle(self) -> None:
        self.idle += 1

    async def look(self, times: int = 1) -> None:
        """So many turns of `watch`."""
        watching = asyncio.create_task(self.keeper.watch())
        async with asyncio.timeout(10):
            for _ in range(times):
                await self.clock.wait_for_sleep(WATCH_INTERVAL_S)
                await self.clock.advance(WATCH_INTERVAL_S)
            await self.clock.wait_for_sleep(WATCH_INTERVAL_S)
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled(), watching.exception()


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as server:
        server.tags.append(tag("other:latest"))
        yield server


@pytest.fixture
async def watched(fake: FakeOllama) -> AsyncIterator[Watched]:
    engine = OllamaEngine(fake.url)
    made = Watched(engine)
    await made.keeper.start()
    yield made
    await engine.close()


async def test_owners_model_in_ollama_is_noticed_and_forgotten(fake: FakeOllama, watched: Watched) -> None:
    await watched.look()
    assert watched.keeper.owner_use == ""
    fake.owner_uses("other:latest")
    await watched.look()
    assert watched.keeper.owner_use == "other:latest"
    fake.loaded.clear()
    await watched.look()
    assert watched.keeper.owner_use == ""


async def test_owner_who_uses_our_model_gets_it(fake: FakeOllama, watched: Watched) -> None:
    await collect(watched.engine, Prompt(model="tiny", text="hi", max_tokens=3))
    await watched.look(3)
    assert watched.keeper.owner_use == ""
    fake.owner_uses("tiny:latest")
    await watched.look()
    assert watched.keeper.owner_use == ""  # it may be the late end of our own session
    fake.owner_uses("tiny:latest")
    await watched.look()
    assert watched.keeper.owner_use == "tiny:latest"
    await watched.models.unload_all()
    assert "tiny:latest" in fake.loaded
    await watched.look(3)
    assert watched.keeper.owner_use == "tiny:latest"  # until it leaves memory


async def test_each_look_is_one_small_request(fake: FakeOllama, watched: Watched) -> None:
    before = len(fake.asked)
    await watched.look(4)
    assert [asked.path for asked in fake.asked[before:]] == ["/api/ps"] * 4


async def test_ollama_that_went_away_is_no_use_by_anybody() -> None:
    engine = FakeEngine(name="ollama", models=("tiny",))

    async def look_at_use() -> SharedLook:
        raise EngineUnreachable("nothing answers")

    engine.look_at_use = look_at_use  # type: ignore[attr-defined]
    watched = Watched(engine)
    await watched.keeper.start()
    await watched.look(2)
    assert watched.keeper.owner_use == ""


async def test_embedded_model_that_serves_nobody_is_reported_for_unloading() -> None:
    engine = FakeEngine(name="embedded", models=("tiny",))
    watched = Watched(engine)
    await watched.keeper.start()
    await watched.look(15)
    assert watched.idle == 0  # nothing is loaded
    await watched.models.load("tiny")
    async with watched.models.serving("tiny"):
        await watched.look(15)
    await watched.look(11)
    assert watched.idle == 0
    await watched.look()
    assert watched.idle == 1
    watched.keeper.unload_after_idle(600)
    await watched.look(5)
    assert watched.idle == 1


async def test_ollama_unloads_ours_by_itself_after_the_owners_time(fake: FakeOllama, watched: Watched) -> None:
    await watched.models.load("tiny")
    await watched.look(15)
    watched.keeper.unload_after_idle(90)
    await collect(watched.engine, Prompt(model="tiny", text="hi", max_tokens=3))
    assert watched.idle == 0
    assert fake.bodies("/api/generate")[0]["keep_alive"] == "60s"
    assert fake.bodies("/api/chat")[0]["keep_alive"] == "90s"
