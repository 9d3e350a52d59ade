from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.names import find_model, normalize_model, same_model


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("tiny", "tiny:latest"),
        ("tiny:latest", "tiny"),
        ("Llama3.1:8B-Instruct-Q4_K_M", "llama3.1:8b-instruct-q4_k_m"),
        ("library/tiny", "tiny"),
        ("registry.ollama.ai/library/tiny", "tiny:latest"),
        (
            "hf.co/bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M",
            "hf.co/bartowski/meta-llama-3.1-8b-instruct-gguf:q4_k_m",
        ),
        ("hf.co/org/repo", "hf.co/org/repo:latest"),
        ("https://hf.co/org/repo", "hf.co/org/repo"),
        ("localhost:5000/org/model", "localhost:5000/org/model:latest"),
        (" tiny ", "tiny"),
    ],
)
def test_two_spellings_of_one_model_are_the_same(a: str, b: str) -> None:
    assert same_model(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("tiny", "tiny2"),
        ("tiny:latest", "tiny:q4"),
        ("org/tiny", "tiny"),
        ("hf.co/org/repo", "huggingface.co/org/repo"),  # two names for Ollama too
        ("localhost:5000/org/model", "localhost/org/model:5000"),
        ("", ""),
        ("", ":latest"),
    ],
)
def test_different_models_are_not_the_same(a: str, b: str) -> None:
    assert not same_model(a, b)


def test_the_engines_own_spelling_is_found() -> None:
    assert find_model("TINY", ["other:latest", "tiny:latest"]) == "tiny:latest"


def test_an_exact_name_wins_over_one_that_only_normalises_to_it() -> None:
    assert find_model("Tiny", ["tiny:latest", "Tiny"]) == "Tiny"


def test_a_model_that_is_not_there_is_not_found() -> None:
    assert find_model("tiny:q8", ["tiny:latest"]) is None
    assert find_model("", ["", "tiny"]) is None


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing_more(name: str) -> None:
    once = normalize_model(name)
    if not once.startswith(("library/", "registry.ollama.ai/library/", "http://", "https://")):
        assert normalize_model(once) == once


@given(st.text(max_size=60))
def test_every_name_equals_itself(name: str) -> None:
    assert same_model(name, name) == bool(normalize_model(name))
