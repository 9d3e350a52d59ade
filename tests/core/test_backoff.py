from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reconnect_spread import simulate
from core.backoff import Backoff


class FullJitter(random.Random):
    """The longest wait that jitter allows, each time."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0.0
        return b


def test_ceilings_double_from_half_a_second_to_fifteen() -> None:
    backoff = Backoff(rng=FullJitter())
    assert [backoff.next_wait_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_reset_starts_again_at_the_base() -> None:
    backoff = Backoff(rng=FullJitter())
    for _ in range(5):
        backoff.next_wait_s()
    backoff.reset()
    assert backoff.next_wait_s() == 0.5


@given(seed=st.integers(), tries=st.integers(1, 200))
def test_every_wait_lies_between_zero_and_the_cap(seed: int, tries: int) -> None:
    backoff = Backoff(rng=random.Random(seed))
    assert all(0.0 <= backoff.next_wait_s() <= 15.0 for _ in range(tries))


def test_waits_use_the_whole_range() -> None:
    backoff = Backoff(base_s=15.0, cap_s=15.0, rng=random.Random(1))
    waits = [backoff.next_wait_s() for _ in range(2_000)]
    assert min(waits) < 0.1
    assert max(waits) > 14.9
    assert 7.0 < sum(waits) / len(waits) < 8.0


def test_two_agents_do_not_share_a_sequence() -> None:
    first, second = Backoff(), Backoff()
    assert [first.next_wait_s() for _ in range(5)] != [second.next_wait_s() for _ in range(5)]


@pytest.mark.parametrize(("base_s", "cap_s"), [(0.0, 15.0), (-1.0, 15.0), (2.0, 1.0)])
def test_senseless_limits_are_refused(base_s: float, cap_s: float) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        Backoff(base_s=base_s, cap_s=cap_s)


def test_full_jitter_spreads_the_agents_of_a_coordinator_that_comes_back() -> None:
    spread = simulate("full jitter, 0.5 to 15 s", agents=2_000, outage_s=60.0, noise_s=0.1, seed=7)
    assert spread.peak(1.0) < 0.16 * 2_000
    assert spread.reconnects_s[-1] <= 15.0
    together = simulate("fixed, each 5 s", agents=2_000, outage_s=60.0, noise_s=0.1, seed=7)
    assert together.peak(1.0) == 2_000
