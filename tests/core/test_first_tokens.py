"""Times to the first token: cold and warm told apart in real sessions, kept in a file, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.delayed_writer import WRITE_AFTER_S
from core.engines import LoadedModel, TokenChunk
from core.first_tokens import KEPT, MOST_MODELS, FirstToken, FirstTokens, find_first_token, first_token_words
from core.model_manager import ModelManager
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.manual_clock import ManualClock
from tests.fakes.polling import until

DONE = TokenChunk(done=True, finish_reason="stop", prompt_tokens=1, completion_tokens=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "first-tokens.json"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def kept_in(path: Path) -> dict[str, dict[str, list[float]]]:
    """What the file has, nothing without one."""
    return dict(json.loads(path.read_text())["first_tokens"]) if path.exists() else {}


async def test_medians_of_the_last_sessions_survive_a_restart(path: Path) -> None:
    book = FirstTokens(path)
    for milliseconds in (9000.0, 200.0, 250.0, 210.0):
        book.take("a", milliseconds, is_cold=milliseconds > 1000)
    book.take("b", 5000.0, is_cold=True)
    await book.close()
    again = FirstTokens(path)
    await again.load()
    assert again.views == book.views
    assert find_first_token(again.views, "a:latest") == FirstToken(
        model="a", warm_ms=210.0, warm_sessions=3, cold_ms=9000.0, cold_sessions=1
    )
    await again.close()


async def test_only_the_last_sessions_and_the_last_models_are_kept(path: Path) -> None:
    book = FirstTokens(path)
    for _ in range(KEPT):
        book.take("m0", 100.0, is_cold=False)
    for _ in range(KEPT):
        book.take("m0", 900.0, is_cold=False)
    assert book.views[0] == FirstToken(model="m0", warm_ms=900.0, warm_sessions=KEPT)
    for number in range(1, MOST_MODELS + 1):
        book.take(f"m{number}", 1.0, is_cold=True)
    assert len(book.views) == MOST_MODELS
    assert find_first_token(book.views, "m0") is None
    await book.close()


async def test_it_is_written_a_while_after_a_session_and_once_for_many(path: Path) -> None:
    clock = ManualClock()
    book = FirstTokens(path, sleep=clock.sleep)
    book.take("a", 100.0, is_cold=False)
    book.take("a", 200.0, is_cold=False)
    await clock.wait_for_sleep(WRITE_AFTER_S)
    assert kept_in(path) == {}
    await clock.advance(31)
    await until(lambda: kept_in(path) != {})
    assert kept_in(path)["a"]["warm_ms"] == [100.0, 200.0]
    await book.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"first_tokens": 3}',
        b'{"first_tokens": {"a": {"cold_ms": ["x"], "warm_ms": []}}}',
        b'{"first_tokens": {"a": {"cold_ms": [NaN], "warm_ms": []}}}',
        b'{"first_tokens": {"a": {"cold_ms": [-1], "warm_ms": []}}}',
        b'{"first_tokens": {"a": {"cold_ms": [1]}}}',
        b"\xff",
    ],
)
async def test_a_damaged_file_is_begun_anew(path: Path, content: bytes) -> None:
    book = FirstTokens(written(path, content))
    await book.load()
    assert book.views == ()
    book.take("a", 100.0, is_cold=True)
    await book.close()
    assert kept_in(path)["a"]["cold_ms"] == [100.0]


def test_words() -> None:
    assert first_token_words(None) == first_token_words(FirstToken(model="a")) == ""
    assert first_token_words(FirstToken(model="a", warm_ms=213.0)) == "First token after 0.21 s"
    assert first_token_words(FirstToken(model="a", cold_ms=4123.0)) == "First token after 4.1 s when it is loaded first"
    both = FirstToken(model="a", warm_ms=1234.0, cold_ms=12_345.0)
    assert first_token_words(both) == "First token after 1.2 s, 12.3 s when it is loaded first"


async def test_a_model_is_warm_once_it_is_listed_or_has_answered_since() -> None:
    engine = FakeEngine(name="ollama", models=("a",))
    models = ModelManager(engine=engine, supported=("a",))
    await models.refresh()
    assert not models.is_warm("a")
    models.note_answered("a")
    assert models.is_warm("a")
    await models.refresh()  # the engine says that it isn't there any more
    assert not models.is_warm("a")
    engine.loaded = [LoadedModel(name="a:latest")]
    await models.refresh()
    assert models.is_warm("a")


async def test_the_embedded_engine_knows_by_itself() -> None:
    engine = FakeEngine(name="embedded", models=("a",))
    engine.holds = lambda name: name == "a"  # type: ignore[attr-defined]
    models = ModelManager(engine=engine, supported=("a", "b"))
    assert models.is_warm("a")
    models.note_answered("b")
    assert not models.is_warm("b")
