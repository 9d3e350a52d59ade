from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.options import (
    MAX_STOP_CHARS,
    MAX_STOPS,
    SamplingOptions,
    effective_temperature,
    parse_options,
)
from core.errors import RequestError

LIMIT = 4096


def parse(
    options: Mapping[str, str] | None = None, *, max_tokens: int = 0, temperature: float = 0.0
) -> tuple[int, SamplingOptions]:
    return parse_options(
        options or {}, max_tokens=max_tokens, temperature=temperature, max_output_tokens=LIMIT, context_tokens=2048
    )


def test_nothing_sent_means_the_owners_limit_and_the_engines_defaults() -> None:
    assert parse() == (LIMIT, SamplingOptions())


def test_every_allowed_option_arrives_with_its_type() -> None:
    options = {
        "num_predict": "17",
        "temperature": "0.5",
        "top_p": "0.9",
        "top_k": "40",
        "min_p": ".05",
        "seed": "7",
        "stop": '["END", "STOP"]',
        "repeat_penalty": "1.1",
        "presence_penalty": "-0.5",
        "frequency_penalty": "1e-1",
        "num_ctx": "2048",
    }
    assert parse(options) == (
        17,
        SamplingOptions(
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            min_p=0.05,
            seed=7,
            stop=("END", "STOP"),
            repeat_penalty=1.1,
            presence_penalty=-0.5,
            frequency_penalty=0.1,
        ),
    )


@pytest.mark.parametrize(
    "name",
    ["num_gpu", "num_thread", "keep_alive", "model", "num_batch", "main_gpu", "use_mmap", "frobnicate", "", "TOP_P"],
)
def test_an_option_that_is_not_allowed_is_refused_by_name(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse({name: "1"})
    assert repr(name) in caught.value.detail
    assert "top_p" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("top_k", "1e3"),
        ("top_k", "40.0"),
        ("top_k", ""),
        ("top_k", " 40"),
        ("top_k", "4_0"),
        ("top_k", "٤"),
        ("top_k", "0x10"),
        ("top_k", "-1"),
        ("top_k", "1001"),
        ("top_k", "9" * 400),
        ("seed", "-1"),
        ("seed", str(2**31)),
        ("seed", "true"),
        ("top_p", "nan"),
        ("top_p", "inf"),
        ("top_p", "-inf"),
        ("top_p", "1.01"),
        ("top_p", "1e999"),
        ("top_p", "0.5,"),
        ("top_p", "half"),
        ("min_p", "-0.1"),
        ("repeat_penalty", "0"),
        ("repeat_penalty", "2.1"),
        ("presence_penalty", "-2.5"),
        ("frequency_penalty", "3"),
        ("temperature", "2.01"),
        ("temperature", "NaN"),
        ("num_predict", "1e3"),
        ("num_predict", "-1"),
        ("num_predict", "-2"),
        ("num_predict", "9" * 30),
        ("num_ctx", "2049"),
        ("num_ctx", "0"),
        ("num_ctx", "-5"),
        ("num_ctx", "many"),
    ],
)
def test_a_value_of_another_type_or_range_is_refused_with_the_options_name(name: str, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse({name: text})
    assert name in caught.value.detail
    assert caught.value.hint


@pytest.mark.parametrize(
    ("num_predict", "max_tokens", "expected"),
    [
        (None, 0, LIMIT),
        (None, 5, 5),
        (None, LIMIT + 1, LIMIT),
        (None, 2**31 - 1, LIMIT),
        ("5", 0, 5),
        ("5", 5, 5),
        ("0", 7, 7),
        ("0", 0, LIMIT),
        ("999999", 0, LIMIT),
    ],
)
def test_max_tokens_and_num_predict_give_one_limit(num_predict: str | None, max_tokens: int, expected: int) -> None:
    options = {} if num_predict is None else {"num_predict": num_predict}
    assert parse(options, max_tokens=max_tokens)[0] == expected


def test_max_tokens_and_num_predict_that_differ_are_refused() -> None:
    with pytest.raises(RequestError, match="num_predict"):
        parse({"num_predict": "5"}, max_tokens=6)


def test_negative_max_tokens_are_refused() -> None:
    with pytest.raises(RequestError, match="max_tokens"):
        parse(max_tokens=-1)


@pytest.mark.parametrize("temperature", [-0.1, 2.1, math.nan, math.inf])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(RequestError, match="temperature"):
        parse(temperature=temperature)


def test_the_option_temperature_holds_when_the_field_was_not_sent() -> None:
    options = parse({"temperature": "0.7"})[1]
    assert effective_temperature(0.0, options) == 0.7


def test_the_field_temperature_loses_its_32_bit_rounding() -> None:
    options = parse(temperature=0.699999988079071)[1]
    assert effective_temperature(0.699999988079071, options) == 0.7


def test_the_same_temperature_twice_is_no_conflict() -> None:
    assert parse({"temperature": "0.7"}, temperature=0.699999988079071)[1].temperature == 0.7


def test_two_temperatures_that_differ_are_refused() -> None:
    with pytest.raises(RequestError, match="temperature"):
        parse({"temperature": "0.7"}, temperature=0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("END", ("END",)),
        ("\n\n", ("\n\n",)),
        ('["a"]', ("a",)),
        ("[]", ()),
        ("[INST]", ("[INST]",)),
        ('"quoted"', ('"quoted"',)),
        ("[" * 4000, None),  # deep JSON: refused as a stop text that is too long, not a crash
        ('["a", 1]', None),
        ('["a", ["b"]]', None),
        ('[""]', None),
        ("", None),
        ("x" * (MAX_STOP_CHARS + 1), None),
        (json.dumps(["x"] * (MAX_STOPS + 1)), None),
        ('["\\ud800"]', None),
    ],
)
def test_stop_is_one_text_or_a_json_list(text: str, expected: tuple[str, ...] | None) -> None:
    if expected is None:
        with pytest.raises(RequestError, match="stop"):
            parse({"stop": text})
    else:
        assert parse({"stop": text})[1].stop == expected


def test_a_stop_text_is_never_in_an_error() -> None:
    with pytest.raises(RequestError) as caught:
        parse({"stop": "canary " * 1000})
    assert "canary" not in caught.value.detail + caught.value.hint


def test_too_many_options_are_refused() -> None:
    with pytest.raises(RequestError):
        parse({f"option{number}": "1" for number in range(1000)})


def test_a_hostile_option_name_is_shortened_and_escaped() -> None:
    with pytest.raises(RequestError) as caught:
        parse({"\x1b[31m" + "x" * 5000: "1"})
    assert len(caught.value.detail) < 120
    assert "\x1b" not in caught.value.detail


NAMES = st.sampled_from([*sorted(SamplingOptions.__dataclass_fields__), "num_predict", "num_ctx", "num_gpu", ""])
NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(-3, 3)).map(str)


@given(
    options=st.dictionaries(
        st.one_of(NAMES, st.text(max_size=20)), st.one_of(NUMBERS, st.text(max_size=50)), max_size=6
    ),
    max_tokens=st.integers(-(2**31), 2**31 - 1),
    temperature=st.floats(width=32),
)
def test_any_request_is_refused_or_within_every_limit(
    options: dict[str, str], max_tokens: int, temperature: float
) -> None:
    try:
        resolved, sampling = parse(options, max_tokens=max_tokens, temperature=temperature)
    except RequestError:
        return
    assert 1 <= resolved <= LIMIT
    assert 0.0 <= effective_temperature(temperature, sampling) <= 2.0
    assert sampling.top_p is None or 0.0 <= sampling.top_p <= 1.0
    assert sampling.min_p is None or 0.0 <= sampling.min_p <= 1.0
    assert sampling.top_k is None or 0 <= sampling.top_k <= 1000
    assert sampling.seed is None or 0 <= sampling.seed < 2**31
    assert sampling.repeat_penalty is None or 0.1 <= sampling.repeat_penalty <= 2.0
    assert sampling.presence_penalty is None or -2.0 <= sampling.presence_penalty <= 2.0
    assert sampling.frequency_penalty is None or -2.0 <= sampling.frequency_penalty <= 2.0
    assert len(sampling.stop) <= MAX_STOPS
    sent = {name for name in options if name not in ("num_predict", "num_ctx")}
    assert sent == {name for name in sent if getattr(sampling, name) not in (None, ())} | (sent & {"stop"})


@given(st.floats(0.0, 1.0))
def test_every_float_in_range_is_read_exactly(value: float) -> None:
    text = f"{value:.17f}"
    assert parse({"top_p": text})[1].top_p == float(text)
