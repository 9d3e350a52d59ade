"""What a share of memory is good for, and how fast models were measured to be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.commands import CommandError
from core.engines import EngineModel
from core.inference_client import AnswerEnd
from core.load_ladder import guided
from core.memory_need import embedded_plan, memory_need
from core.quantization import BITS_PER_WEIGHT, all_quantizations, arm_note, size_at
from core.speed_book import Speed, SpeedBook, find_speed
from core.speed_test import measure_speed
from core.what_if import EXAMPLES, KnownModel, known_models, what_if
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B

PLAN = embedded_plan(sessions=4, context_tokens=4096, batch_tokens=32)
NAME = "Llama-3.1-8B-Instruct"


def model(quant: str) -> EngineModel:
    size = size_at(PARAMETERS_8B, quant)
    return EngineModel(name=f"{NAME}-{quant}", quant=quant, size_bytes=size, shape=LLAMA_8B)


def test_files_of_one_model_are_one_line_and_the_self_test_is_none() -> None:
    noise = EngineModel(name="noise", size_bytes=1, shape=LLAMA_8B, is_selftest=True)
    shapeless = EngineModel(name="odd", size_bytes=1)
    (known,) = known_models([model("Q4_K_M"), model("Q2_K"), noise, shapeless])
    assert known.name == NAME.lower()
    assert [here.quant for here in known.here] == ["Q4_K_M", "Q2_K"]


def test_without_models_of_its_own_well_known_ones_are_the_examples() -> None:
    assert known_models([EngineModel(name="odd", size_bytes=1)]) is EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_shapes_of_the_examples_have_about_the_weights_that_their_size_says(example: KnownModel) -> None:
    shape = example.shape
    attention = (
        2 * shape.embedding * shape.embedding + shape.embedding * (shape.full_keys + shape.full_values) // shape.layers
    )
    weights = shape.layers * (attention + 3 * shape.embedding * shape.feed_forward)
    embeddings = shape.vocabulary * shape.embedding * (1 if shape.embedding <= 3072 else 2)  # the small ones share them
    parameters = example.size_bytes * 8 / BITS_PER_WEIGHT["Q8_0"]
    assert weights + embeddings == pytest.approx(parameters, rel=0.01)


@pytest.mark.parametrize(
    ("memory_gb", "quant", "sessions", "most"),
    [(24, "Q8_0", 4, 31), (12, "Q8_0", 4, 7), (6, "Q5_K_M", 1, 1), (4.5, "IQ3_M", 1, 1), (3.5, "IQ2_M", 1, 1)],
)
def test_llama_8b_at_typical_shares(memory_gb: float, quant: str, sessions: int, most: int) -> None:
    (line,) = what_if(int(memory_gb * 1024), known_models([model("Q4_K_M")]), PLAN)
    assert (line.quant, line.sessions, line.most_sessions) == (quant, sessions, most)
    assert line.is_here is False
    assert line.needed_mb <= memory_gb * 1024


def test_file_that_is_here_counts_with_its_own_size_and_speed() -> None:
    here = replace(model("Q4_K_M"), size_bytes=5_000_000_000)
    (line,) = what_if(5700, known_models([here]), PLAN, {f"{NAME}-Q4_K_M": 12.5}.get)
    assert (line.quant, line.is_here, line.size_bytes, line.tokens_per_second) == ("Q4_K_M", True, 5_000_000_000, 12.5)


def test_where_nothing_fits_the_least_need_is_told() -> None:
    (line,) = what_if(2000, known_models([model("Q4_K_M")]), PLAN)
    assert (line.quant, line.sessions) == ("", 0)
    assert line.reasons == ("Even IQ2_M needs 3,428 MB for one session.",)


@given(st.integers(0, 200_000), st.integers(0, 50_000))
@settings(deadline=None)
def test_more_memory_never_means_less_context_nor_worse_weights_with_as_much(memory_mb: int, more: int) -> None:
    known = known_models([model("Q8_0")])
    (small,), (large,) = what_if(memory_mb, known, PLAN), what_if(memory_mb + more, known, PLAN)
    if small.quant and guided(PLAN, memory_mb) == guided(PLAN, memory_mb + more):
        assert (large.context_tokens, BITS_PER_WEIGHT[large.quant]) >= (
            small.context_tokens,
            BITS_PER_WEIGHT[small.quant],
        )


@given(st.integers(0, 200_000))
@settings(deadline=None)
def test_what_is_promised_fits(memory_mb: int) -> None:
    for line in what_if(memory_mb, EXAMPLES, PLAN):
        if line.quant:
            known = next(example for example in EXAMPLES if example.name == line.model)
            plan = PLAN.smaller(sessions=line.most_sessions, context_tokens=line.context_tokens)
            assert memory_need(known.shape, line.size_bytes, plan).total_mb <= memory_mb
            assert line.quant in all_quantizations()


def test_arm_note_says_which_names_are_of_old_files() -> None:
    for machine in ("aarch64", "arm64", "armv7l"):
        assert arm_note(machine).startswith("ARM processor: take Q4_0")
    assert "take Q4_0" in arm_note("x86_64")
    assert "Q4_0_8_8" in arm_note("x86_64")


# Speeds

SPEED = Speed(
    model="tiny:latest", device="CPU", tokens_per_second=10.0, first_token_ms=50.0, seconds=20.0, measured_at=1.0
)


def test_last_measurement_of_a_model_on_a_device_counts(tmp_path: Path) -> None:
    book = SpeedBook(tmp_path / "speeds.json")
    assert book.read() == ()
    book.add(SPEED)
    book.add(replace(SPEED, device="CUDA0", tokens_per_second=90.0))
    book.add(replace(SPEED, tokens_per_second=11.0))
    found = find_speed(SpeedBook(tmp_path / "speeds.json").read(), "tiny", "CPU")
    assert found is not None
    assert found.tokens_per_second == 11.0
    assert len(book.read()) == 2
    assert find_speed(book.read(), "tiny", "Metal") is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"speeds": 3}', b'{"speeds": [{"model": "x"}]}', b'{"speeds": ["x"]}', b"\xff"]
)
def test_damaged_book_is_empty_and_written_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "speeds.json"
    path.write_bytes(content)
    assert SpeedBook(path).read() == ()
    SpeedBook(path).add(SPEED)
    assert SpeedBook(path).read() == (SPEED,)
    assert json.loads(path.read_text())["speeds"][0]["device"] == "CPU"


def ended(tokens: int, rate: float, seconds: float = 8.0, first_ms: float | None = 40.0) -> AnswerEnd:
    metadata = {"completion_tokens": str(tokens), "tokens_per_second": str(rate)}
    return AnswerEnd(metadata=metadata, time_to_first_token_ms=first_ms, seconds=seconds)


async def test_speed_is_all_tokens_by_all_generating_seconds_without_the_warm_up() -> None:
    asked: list[int] = []
    answers = iter([ended(8, 1.0), ended(100, 10.0, first_ms=30.0), ended(100, 20.0, first_ms=50.0), ended(50, 10.0)])

    async def ask(model: str, prompt: str, max_tokens: int) -> AnswerEnd:
        asked.append(max_tokens)
        return next(answers)

    speed = await measure_speed(ask, "tiny", lambda: "CPU", seconds=20.0, now=lambda: 5.0)
    assert asked == [8, 16, 100, 80]  # by the speed of the one before, and the seconds that are left
    assert speed.tokens_per_second == 12.5  # 250 tokens in 10 + 5 + 5 seconds
    assert (speed.first_token_ms, speed.seconds, speed.device, speed.measured_at) == (40.0, 24.0, "CPU", 5.0)


async def test_model_without_tokens_is_not_measured_for_ever() -> None:
    async def ask(model: str, prompt: str, max_tokens: int) -> AnswerEnd:
        return ended(0, 0.0)

    with pytest.raises(CommandError, match="gave no tokens"):
        await measure_speed(ask, "tiny", lambda: "CPU")
