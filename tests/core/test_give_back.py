"""Memory that comes back: measured, kept, and with the holder's name when it didn't; ours only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from pathlib import Path

import psutil
import pytest

from core.assets_path import SELFTEST_MODEL_NAME, selftest_model_path
from core.engine_processes import EngineProcesses
from core.engines import Engine, LoadedModel
from core.engines.embedded import EmbeddedEngine
from core.engines.ollama import OllamaEngine
from core.errors import EngineFailed, EngineUnreachable
from core.give_back import ENOUGH, LIMIT_S, RETRY_S, MemoryKeeper, MemoryMeter, MemoryReading, held_before
from core.give_back_file import KEPT, GiveBackFile
from core.gpu import GpuSample
from core.memory_meter import SystemMemoryMeter, _vram_of
from core.model_manager import ModelManager
from core.sessions import Admission
from core.snapshot import GiveBack
from core.stats_collector import StatsCollector
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.fake_memory import FakeMemory
from tests.fakes.fake_ollama import FakeOllama, tag
from tests.fakes.manual_clock import ManualClock


class Kept:
    """A MemoryKeeper around an engine, on a clock that moves by itself while it sleeps."""

    def __init__(self, engine: Engine, meter: MemoryMeter, *, file: Path | None = None) -> None:
        self.clock = ManualClock()
        self.engine = engine
        self.models = ModelManager(engine=engine, supported=("tiny",))
        self.admission = Admission(max_jobs=2)
        self.file = GiveBackFile(file)
        self.changes = 0
        self.notices: list[str] = []
        self.memory = MemoryKeeper(
            models=self.models,
            admission=self.admission,
            meter=meter,
            file=self.file,
            on_change=self._changed,
            on_notice=self._noticed,
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
            sleep=self.clock.advance,
        )

    def _changed(self) -> None:
        self.changes += 1

    def _noticed(self, old: str, new: str) -> None:
        self.notices = [notice for notice in (*self.notices, new) if notice and notice != old]


def fake(*, model_mb: int = 4_000, on_gpu: bool = False) -> tuple[Kept, FakeEngine, FakeMemory]:
    engine = FakeEngine(name="ollama", models=("tiny",))
    memory = FakeMemory(lambda: len(engine.loaded), model_mb=model_mb, on_gpu=on_gpu)
    engine.loaded = [LoadedModel(name="tiny", total_mb=4_100, vram_mb=4_000 if on_gpu else 0)]
    return Kept(engine, memory), engine, memory


async def test_memory_that_came_back_is_measured_and_shown() -> None:
    kept, engine, _ = fake(on_gpu=True)
    result = await kept.memory.give_back()
    assert result is not None
    assert (result.held_mb, result.freed_mb, result.kind, result.ok, result.holder) == (4_000, 4_000, "vram", True, "")
    assert result.sentence == "3.9 GB back in 0.0 s"
    assert engine.loaded == []
    assert kept.models.loaded == ()
    assert kept.memory.unloaded == ("tiny",)
    assert kept.memory.view is not None
    assert (kept.memory.view.sentence, kept.memory.view.count) == (result.sentence, 1)
    assert kept.changes == 2


async def test_memory_that_comes_late_is_waited_for() -> None:
    kept, _, memory = fake(on_gpu=True)
    memory.stays_mb = 2_000

    async def sleep(seconds: float) -> None:
        await kept.clock.advance(seconds)
        if kept.clock.monotonic() >= start + 1.4:
            memory.stays_mb = 0

    start = kept.clock.monotonic()
    kept.memory._sleep = sleep
    result = await kept.memory.give_back()
    assert result is not None
    assert result.ok
    assert result.seconds == pytest.approx(1.4, abs=0.11)


async def test_memory_that_does_not_come_back_is_a_failure_with_its_holder() -> None:
    kept, _, memory = fake(on_gpu=True)
    memory.stays_mb = 3_000
    result = await kept.memory.give_back()
    assert result is not None
    assert (result.ok, result.holder, result.freed_mb) == (False, "Ollama", 1_000)
    assert LIMIT_S <= result.seconds < LIMIT_S + 0.2
    assert result.sentence == "Only 1.0 GB of 3.9 GB back after 5 s; Ollama still holds the rest"
    view = kept.memory.view
    assert view is not None
    assert (view.last.ok, view.median_s, view.count) == (False, None, 0)


@pytest.mark.parametrize("on_gpu", [True, False])
async def test_another_program_that_takes_it_at_once_makes_no_failure(on_gpu: bool) -> None:
    """A game starts, its rule unloads the model, and the game takes the memory in the same second."""
    kept, engine, memory = fake(on_gpu=on_gpu)
    unload = engine.unload

    async def unload_and_lose(model: str) -> None:
        await unload(model)
        memory.taken_mb = 6_000

    engine.unload = unload_and_lose  # type: ignore[method-assign]
    result = await kept.memory.give_back()
    assert result is not None
    assert (result.ok, result.freed_mb) == (True, 4_000)


async def test_where_processes_are_not_told_the_program_that_grew_is_named() -> None:
    kept, engine, memory = fake(on_gpu=True)
    memory.knows_processes = False
    memory.programs = {"Xorg": 300, "game.exe": 10}
    unload = engine.unload

    async def unload_and_lose(model: str) -> None:
        await unload(model)
        memory.taken_mb = 6_000
        memory.programs = {"Xorg": 310, "game.exe": 5_990}

    engine.unload = unload_and_lose  # type: ignore[method-assign]
    result = await kept.memory.give_back()
    assert result is not None
    assert (result.ok, result.holder) == (False, "game.exe")


async def test_nothing_loaded_or_nothing_to_measure_is_no_result() -> None:
    kept, engine, memory = fake(model_mb=3)
    assert await kept.memory.give_back() is None  # too little to tell
    assert engine.loaded == []
    assert await kept.memory.give_back() is None
    assert (kept.memory.view, memory.readings) == (None, 1)


async def test_model_that_is_still_loading_is_unloaded_too() -> None:
    kept, engine, _ = fake()
    engine.loaded = []
    await kept.memory.give_back(also={"tiny"})
    assert engine.calls.count("unload") == 1


async def test_trouble_of_the_engine_is_raised_and_nothing_is_kept() -> None:
    kept, engine, _ = fake()
    engine.fault = EngineFailed("it does not unload")
    with pytest.raises(EngineFailed):
        await kept.memory.give_back()
    assert kept.memory.view is None


async def test_it_waits_for_the_last_session(caplog: pytest.LogCaptureFixture) -> None:
    kept, engine, _ = fake()
    async with kept.admission.slot(model="tiny", client="c", job_id="j", spend=lambda: None):
        kept.memory.give_back_when_idle()
        kept.memory.give_back_when_idle()  # twice is once
        await asyncio.sleep(0)
        assert engine.loaded
    await _idle(kept)
    assert engine.loaded == []
    engine.fault = EngineFailed("it does not answer")
    kept.memory.give_back_when_idle()
    await _idle(kept)
    assert "not unloaded" in caplog.text
    await kept.memory.close()


async def test_resumed_before_the_last_session_ended_keeps_the_model() -> None:
    kept, engine, _ = fake()
    async with kept.admission.slot(model="tiny", client="c", job_id="j", spend=lambda: None):
        kept.memory.give_back_when_idle()
        await asyncio.sleep(0)
        kept.memory.keep()
    await _idle(kept)
    assert engine.loaded


async def test_an_engine_that_hangs_at_a_pause_is_asked_again_and_the_owner_hears_of_it() -> None:
    kept, engine, _ = fake()
    engine.fault = EngineFailed("Ollama did not answer within 5 s.")

    async def sleep(seconds: float) -> None:
        assert kept.notices == [
            "The memory is not back yet: Ollama did not answer within 5 s. It is tried again by itself."
        ]
        assert seconds == RETRY_S
        naps.append(seconds)
        if len(naps) == 3:
            engine.fault = None

    naps: list[float] = []
    kept.memory._sleep = sleep
    kept.memory.give_back_when_idle(until_done=True)
    await _idle(kept)
    assert (len(naps), engine.loaded, kept.notices) == (3, [], [])


async def test_a_resume_ends_the_asking_and_what_was_said() -> None:
    kept, engine, _ = fake()
    engine.fault = EngineFailed("Ollama did not answer within 5 s")
    asked_again = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asked_again.set()
        await asyncio.Event().wait()

    kept.memory._sleep = sleep
    kept.memory.give_back_when_idle(until_done=True)
    await asked_again.wait()
    assert kept.notices
    kept.memory.keep()
    await _idle(kept)
    assert (engine.loaded != [], kept.notices) == (True, [])


async def test_a_pause_in_the_step_of_a_resume_gives_the_memory_back() -> None:
    kept, engine, _ = fake()
    async with kept.admission.slot(model="tiny", client="c", job_id="j", spend=lambda: None):
        kept.memory.give_back_when_idle(until_done=True)
        await asyncio.sleep(0)
        kept.memory.keep()
        kept.memory.give_back_when_idle(until_done=True)
    await _idle(kept)
    assert engine.loaded == []


async def test_an_engine_that_is_gone_holds_nothing() -> None:
    kept, engine, _ = fake()
    engine.fault = EngineUnreachable("Ollama does not answer")
    kept.memory.give_back_when_idle(until_done=True)
    await _idle(kept)
    assert kept.notices == []


async def test_what_is_on_its_way_into_memory_for_nobody_leaves_too() -> None:
    kept, engine, _ = fake()
    engine.loaded = []
    vars(engine)["in_the_making"] = ("tiny",)
    await kept.memory.give_back()
    assert engine.calls.count("unload") == 1


async def _idle(kept: Kept) -> None:
    async with asyncio.timeout(10):
        while kept.memory._waiting is not None:  # noqa: ASYNC110 - no time passes here
            await asyncio.sleep(0)


# What counts as held


def test_owners_model_in_the_same_engine_leaves_only_the_engines_word() -> None:
    ours = LoadedModel(name="a", total_mb=5_000, vram_mb=4_000)
    owners = LoadedModel(name="b", total_mb=9_000, vram_mb=9_000, is_owners=True)
    before = MemoryReading(free_ram_mb=1, free_vram_mb=1, engine_ram_mb=700, engine_vram_mb=13_500)
    assert [(part.kind, part.held_mb) for part in held_before([ours, owners], before)] == [("vram", 4_000)]
    alone = held_before([ours], before)
    assert [(part.kind, part.held_mb) for part in alone] == [("vram", 13_500), ("ram", 700)]


def test_what_was_on_a_card_that_is_gone_is_not_said_to_be_held_by_another_program() -> None:
    lost = MemoryReading(free_ram_mb=10_000, engine_ram_mb=0)
    assert held_before([LoadedModel(name="a", total_mb=4_000, vram_mb=4_000)], lost) == ()
    card = GpuSample(uuid="GPU-a", name="RTX 4090", is_lost=True)
    assert _vram_of([card], {1}) is None


def test_mapped_weights_in_ram_are_nothing_to_give_back() -> None:
    assert held_before([LoadedModel(name="a", total_mb=5_000, vram_mb=0)], MemoryReading(free_ram_mb=1)) == ()


def test_enough_is_ninety_percent_of_each_kind() -> None:
    before = MemoryReading(free_ram_mb=1_000, free_vram_mb=1_000, engine_ram_mb=100)
    parts = held_before([LoadedModel(name="a", total_mb=1_000, vram_mb=1_000)], before)
    vram, ram = parts
    assert vram.is_back(MemoryReading(free_vram_mb=1_000 + int(ENOUGH * 1_000)))
    assert not vram.is_back(MemoryReading(free_vram_mb=1_000 + int(ENOUGH * 1_000) - 1))
    assert not ram.is_back(MemoryReading(free_ram_mb=1_000, engine_ram_mb=11))
    assert ram.is_back(MemoryReading(free_ram_mb=900, engine_ram_mb=10))


# A shared Ollama


async def test_owners_own_models_stay_in_ollama_and_ours_is_confirmed_gone() -> None:
    async with FakeOllama() as ollama:
        ollama.tags.append(tag("other:latest"))
        ollama.size_vram = ollama.size = 2 << 30
        ollama.owner_uses("other:latest")
        engine = OllamaEngine(ollama.url)
        kept = Kept(engine, FakeMemory(lambda: len(ollama.loaded), model_mb=2_048, on_gpu=True))
        await kept.models.refresh()
        await kept.models.load("tiny")
        result = await kept.memory.give_back()
        assert list(ollama.loaded) == ["other:latest"]
        assert result is not None
        assert (result.held_mb, result.ok) == (2_048, True)
        assert await kept.memory.give_back() is None
        assert [body["model"] for body in ollama.bodies("/api/generate") if body["keep_alive"] == 0] == ["tiny:latest"]
        await engine.close()


async def test_ollama_on_another_machine_is_unloaded_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OllamaEngine, "is_on_this_machine", False)
    async with FakeOllama() as ollama:
        ollama.size_vram = ollama.size = 2 << 30
        engine = OllamaEngine(ollama.url)
        kept = Kept(engine, FakeMemory(lambda: 1, model_mb=2_048, on_gpu=True))
        await kept.models.refresh()
        await kept.models.load("tiny")
        assert await kept.memory.give_back() is None
        assert ollama.loaded == {}
        await engine.close()


async def test_ollama_that_does_not_let_go_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.engines.ollama._UNLOAD_WAIT_S", 0.0)
    async with FakeOllama() as ollama:
        ollama.size_vram = ollama.size = 2 << 30
        engine = OllamaEngine(ollama.url)
        kept = Kept(engine, FakeMemory(lambda: len(ollama.loaded), model_mb=2_048, on_gpu=True))
        await kept.models.refresh()
        await kept.models.load("tiny")
        ollama.stays_loaded = True
        result = await kept.memory.give_back()
        assert result is not None
        assert (result.ok, result.holder, result.freed_mb) == (False, "Ollama", 0)
        await engine.close()


# The real thing


async def test_embedded_engines_memory_really_comes_back() -> None:
    engine = EmbeddedEngine(None, extra_model_files=[selftest_model_path()], context_tokens=2048, threads=1)
    await engine.start()
    stats = StatsCollector()
    meter = SystemMemoryMeter(stats.memory, EngineProcesses(lambda: engine), lambda: engine.name)
    models = ModelManager(engine=engine, supported=(SELFTEST_MODEL_NAME,), allow_selftest=True)
    memory = MemoryKeeper(models=models, admission=Admission(max_jobs=1), meter=meter, file=GiveBackFile(None))
    try:
        await models.refresh()
        await models.load(SELFTEST_MODEL_NAME)
        pid = engine.worker_pid
        assert pid is not None
        child = psutil.Process(pid)
        memory_info = child.memory_info()
        private_mb = (memory_info.rss - memory_info.shared) >> 20
        result = await memory.give_back()
        assert not child.is_running()
        assert result is not None
        assert result.ok
        assert result.kind == "ram"
        assert result.held_mb == pytest.approx(private_mb, abs=20)
        assert result.freed_mb >= ENOUGH * result.held_mb
        assert models.loaded == ()
    finally:
        await engine.close()
        stats.close()


def test_ollamas_own_server_is_not_what_holds_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = {10: 1, 11: 10, 12: 10}
    monkeypatch.setattr("core.memory_meter._parent", parents.get)

    class Processes:
        def refresh(self) -> None:
            """Nothing is kept."""

        def look(self) -> Collection[int]:
            return (10, 11, 12)

    name = "ollama"
    meter = SystemMemoryMeter(lambda: StatsCollector().memory(), Processes(), lambda: name)  # type: ignore[arg-type]
    assert meter.find() == {11, 12}
    name = "embedded"
    assert meter.find() == {10, 11, 12}


# On disk


def a_result(seconds: float, *, ok: bool = True) -> GiveBack:
    return GiveBack(held_mb=100, freed_mb=95, seconds=seconds, kind="ram", ok=ok, at=1.0)


def test_last_and_median_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "give-back.json"
    file = GiveBackFile(path)
    for seconds in (1.0, 3.0, 2.0):
        file.add(a_result(seconds))
    file.add(a_result(5.0, ok=False))
    again = GiveBackFile(path)
    again.read()
    assert again.view == file.view
    assert again.view is not None
    assert (again.view.median_s, again.view.count, again.view.last.ok) == (2.0, 3, False)


def test_file_stays_small(tmp_path: Path) -> None:
    file = GiveBackFile(tmp_path / "give-back.json")
    for _ in range(KEPT + 5):
        file.add(a_result(1.0))
    assert len(json.loads((tmp_path / "give-back.json").read_text())) == KEPT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        "[[]]",
        '[{"held_mb": 1}]',
        '[{"held_mb":1,"freed_mb":2,"seconds":1,"kind":"ram","ok":true,"holder":"","at":1}]',
        '[{"held_mb":2,"freed_mb":1,"seconds":NaN,"kind":"ram","ok":true,"holder":"","at":1}]',
        '[{"held_mb":2,"freed_mb":1,"seconds":1,"kind":"tape","ok":true,"holder":"","at":1}]',
        '[{"held_mb":2,"freed_mb":1,"seconds":1,"kind":"ram","ok":1,"holder":"","at":1}]',
        "[" * 20_000,
    ],
)
def test_damaged_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "give-back.json"
    path.write_text(text)
    file = GiveBackFile(path)
    file.read()
    assert file.view is None
    file.add(a_result(1.0))
    again = GiveBackFile(path)
    again.read()
    assert again.view is not None


def test_disk_that_takes_nothing_keeps_it_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "give-back.json"
    path.write_text("[]")
    path.chmod(0o400)
    file = GiveBackFile(path)
    file.add(a_result(1.5))
    assert file.view is not None
    assert file.view.sentence == "95 MB back in 1.5 s"
