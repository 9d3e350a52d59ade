"""What 10,000 agents do to a coordinator that comes back, in simulated time.

    python -m benchmarks.reconnect_spread [--agents 10000] [--outage-s 60] [--seed 1]

All agents lose the coordinator at t = 0 (each notices within --noise-ms), try again as the policy says, are refused at
once while it is away, and succeed at the first try after it is back. "full jitter" is the product's own core.backoff.
The queue column lets a coordinator take --capacity registrations a second, first come, first served: whoever waits
longer than the client's 5 s limit would have given up and come again.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.backoff import Backoff

CALL_LIMIT_S = 5.0
BAR_CHARACTERS = 50

Waits = Callable[[random.Random], Iterator[float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One policy's run. Times in seconds after the coordinator came back."""

    policy: str
    reconnects_s: list[float]  # sorted
    tries_while_away: int

    def per_second(self) -> Counter[int]:
        return Counter(math.floor(moment) for moment in self.reconnects_s)

    def peak(self, window_s: float) -> int:
        """The most reconnects in any aligned window of that length."""
        return max(Counter(math.floor(moment / window_s) for moment in self.reconnects_s).values())

    def percentile(self, percent: float) -> float:
        return self.reconnects_s[max(0, math.ceil(len(self.reconnects_s) * percent / 100) - 1)]

    def longest_queue_s(self, capacity_per_s: float) -> float:
        """The longest wait for an answer when one registration takes 1/capacity seconds."""
        free_at_s, longest_s = 0.0, 0.0
        for arrival_s in self.reconnects_s:
            free_at_s = max(free_at_s, arrival_s) + 1 / capacity_per_s
            longest_s = max(longest_s, free_at_s - arrival_s)
        return longest_s


def full_jitter(rng: random.Random) -> Iterator[float]:
    backoff = Backoff(rng=rng)
    while True:
        yield backoff.next_wait_s()


def exponential(rng: random.Random) -> Iterator[float]:
    """The same ceilings, always waited for in full."""
    wait_s = 0.5
    while True:
        yield wait_s
        wait_s = min(15.0, wait_s * 2)


def fixed(rng: random.Random) -> Iterator[float]:
    while True:
        yield 5.0


POLICIES: dict[str, Waits] = {
    "full jitter, 0.5 to 15 s": full_jitter,
    "exponential, no jitter": exponential,
    "fixed, each 5 s": fixed,
}


def simulate(policy: str, *, agents: int, outage_s: float, noise_s: float, seed: int) -> Outcome:
    rng = random.Random(seed)
    reconnects_s: list[float] = []
    tries_while_away = 0
    for _ in range(agents):
        now_s = rng.uniform(0.0, noise_s)
        for wait_s in POLICIES[policy](rng):
            now_s += wait_s
            if now_s >= outage_s:
                break
            tries_while_away += 1
        reconnects_s.append(now_s - outage_s)
    return Outcome(policy=policy, reconnects_s=sorted(reconnects_s), tries_while_away=tries_while_away)


def print_table(outcomes: list[Outcome], *, outage_s: float, capacity: float) -> None:
    print(f"\noutage of {outage_s:g} s, {len(outcomes[0].reconnects_s):,} agents\n")
    print(
        f"| policy | peak in 1 s | peak in 0.1 s | p50, s | p99, s | last, s | longest queue at {capacity:g}/s, s |",
        end="",
    )
    print(" tries while away, each |\n|---|---|---|---|---|---|---|---|")
    for outcome in outcomes:
        queue_s = outcome.longest_queue_s(capacity)
        print(
            f"| {outcome.policy} | {outcome.peak(1.0):,} | {outcome.peak(0.1):,} | {outcome.percentile(50):.1f} "
            f"| {outcome.percentile(99):.1f} | {outcome.reconnects_s[-1]:.1f} "
            f"| {queue_s:.1f}{' (over the limit)' if queue_s > CALL_LIMIT_S else ''} "
            f"| {outcome.tries_while_away / len(outcome.reconnects_s):.1f} |"
        )


def print_histogram(outcome: Outcome, widest: int) -> None:
    print(f"\nreconnects per second after the coordinator is back: {outcome.policy}")
    counts = outcome.per_second()
    for second in range(max(counts) + 1):
        bar = "#" * round(BAR_CHARACTERS * counts[second] / widest)
        print(f"{second:3d} s {counts[second]:7,d} {bar}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description="What many agents do to a coordinator that comes back.")
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--outage-s", type=float, nargs="+", default=[60.0, 10.0, 1.0])
    parser.add_argument("--noise-ms", type=float, default=100.0, help="within how long all agents notice the loss")
    parser.add_argument(
        "--capacity", type=float, default=1_000.0, help="registrations a second that the coordinator takes"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for number, outage_s in enumerate(options.outage_s):
        outcomes = [
            simulate(
                policy, agents=options.agents, outage_s=outage_s, noise_s=options.noise_ms / 1000, seed=options.seed
            )
            for policy in POLICIES
        ]
        print_table(outcomes, outage_s=outage_s, capacity=options.capacity)
        if number == 0:
            for outcome in outcomes:
                print_histogram(outcome, widest=max(outcome.peak(1.0) for outcome in outcomes))


if __name__ == "__main__":
    main()
