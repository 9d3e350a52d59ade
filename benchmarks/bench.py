"""Measure the agent beside a bare grpc.aio server and beside the engine itself, interleaved in one run.

Use scripts/bench, which builds the load. The machine's noise hits every route of a round alike, so the ratios hold
where absolute figures don't; each figure is the median over the rounds. See docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks import calls
from benchmarks.parties import Agent, Load, Server
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc

IDLE_S = 30.0
FLOOD_TOKENS = 1000
STATUS_EVERY_S = 0.05
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """`streams` at once, `tokens` each, at `rate` tokens/s (0 = unpaced), `sessions` in all."""

    streams: int
    tokens: int
    rate: float
    sessions: int

    def order(self, *, quick: bool) -> str:
        tokens = self.tokens // 4 if quick and self.rate else self.tokens
        return f"{self.streams} {tokens} {self.rate:g} {self.sessions}"


ROWS = {
    "paced4": Row(4, 600, 60, 4),
    "paced32": Row(32, 600, 60, 32),
    "unpaced16": Row(16, 4000, 0, 16),
    "short": Row(8, 4, 0, 200),
}
OTHER_ROWS = ("start", "idle", "status", "flood", "calls")


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach. `ratio_to` names the route that it is divided by ("" = absolute, "-direct" = difference)."""

    row: str
    figure: str
    ratio_to: str
    at_least: float | None = None
    at_most: float | None = None

    def value(self, results: dict[str, dict[str, Figures]]) -> float | None:
        routes = results.get(self.row)
        if routes is None:
            return None
        own = routes["agent"][self.figure]
        if not self.ratio_to:
            return own
        if self.ratio_to == "-direct":
            return own - routes["direct"][self.figure]
        beside = routes[self.ratio_to][self.figure]
        return own / beside if beside else None

    def is_met(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        what = f"{self.row}: {self.figure}"
        if self.ratio_to == "-direct":
            what += " over direct"
        elif self.ratio_to:
            what += f" / {self.ratio_to}"
        return what + (f" >= {self.at_least:g}" if self.at_least is not None else f" <= {self.at_most:g}")


GOALS = (
    *(Goal(row, "delay_p50_ms", "", at_most=0.7) for row in ("paced4", "paced32")),
    *(Goal(row, "delay_p99_ms", "", at_most=2.0) for row in ("paced4", "paced32")),
    *(Goal(row, "delay_p99_ms", "bare", at_most=3.0) for row in ("paced4", "paced32")),
    Goal("paced32", "first_token_p50_ms", "-direct", at_most=20.0),
    Goal("paced32", "cpu_ms_per_1000_tokens", "", at_most=150.0),
    Goal("paced32", "cpu_ms_per_1000_tokens", "bare", at_most=1.0),
    Goal("unpaced16", "tokens_per_s", "", at_least=150_000),
    Goal("unpaced16", "tokens_per_s", "bare", at_least=3.5),
    Goal("short", "sessions_per_s", "", at_least=800),
    Goal("short", "sessions_per_s", "bare", at_least=0.9),
    Goal("start", "registered_s", "", at_most=0.8),
    Goal("start", "resident_mb", "", at_most=80.0),
    Goal("idle", "cpu_percent", "", at_most=0.3),
    Goal("status", "answer_p99_ms", "", at_most=5.0),
    Goal("flood", "memory_growth_mb", "", at_most=20.0),
    Goal("flood", "key_calls_per_5_s", "", at_most=1.0),
    Goal("flood", "failed_good_sessions", "", at_most=0.0),
)
SHOWN = (
    "delay_p50_ms",
    "delay_p99_ms",
    "first_token_p50_ms",
    "tokens_per_s",
    "sessions_per_s",
    "cpu_ms_per_1000_tokens",
    "cpu_ms_per_session",
)


class Bench:
    def __init__(self, load: Load, rounds: int, *, quick: bool) -> None:
        self._load = load
        self._rounds = rounds
        self._quick = quick

    def measure(self, row: Row, servers: dict[str, Server]) -> dict[str, Figures]:
        """Every route in turn, round after round; medians. Raises RuntimeError when a session failed."""
        seen: dict[str, list[Figures]] = {name: [] for name in ("direct", *servers)}
        for number in range(self._rounds + 1):
            for name, all_figures in seen.items():
                figures = self._run(row, servers.get(name))
                if number:  # the first round warms up
                    all_figures.append(figures)
        return {name: _medians(all_figures) for name, all_figures in seen.items()}

    def start(self) -> Figures:
        starts = []
        for _ in range(3 if self._quick else 7):
            agent = Agent(self._load)
            time.sleep(1.0)  # what comes after registering: the first sample, the key
            starts.append({"registered_s": agent.start_s, "resident_mb": agent.resident_mb()})
            agent.close()
        return _medians(starts)

    def idle(self, agent: Server) -> Figures:
        seconds = IDLE_S / 3 if self._quick else IDLE_S
        before = agent.cpu_s()
        time.sleep(seconds)
        return {"cpu_percent": 100 * (agent.cpu_s() - before) / seconds}

    def status(self, agent: Server) -> Figures:
        """GetStatus by one client, answer after answer, while 32 paced streams run."""
        self._load.send(f"run grpc {agent.address} {agent.credential} {ROWS['paced32'].order(quick=self._quick)}")
        time.sleep(2.0)  # they stream
        answers_ms = []
        with grpc.insecure_channel(agent.address) as channel:
            stub: Any = pb_grpc.AgentServiceStub(channel)
            stub.GetStatus(pb.AgentStatusRequest(), timeout=5.0)  # connected
            busy = 0
            for _ in range(40 if self._quick else 120):
                began = time.perf_counter()
                answer = stub.GetStatus(pb.AgentStatusRequest(), timeout=5.0)
                answers_ms.append(1000 * (time.perf_counter() - began))
                busy += answer.active_sessions == ROWS["paced32"].streams
                time.sleep(STATUS_EVERY_S)
        load = self._load.take_answer()
        if load["failures"]:
            raise RuntimeError(f"{load['failures']} sessions failed: {load['first_failure']}")
        cuts = statistics.quantiles(answers_ms, n=100, method="inclusive")
        return {
            "answer_p50_ms": cuts[49],
            "answer_p99_ms": cuts[98],
            "answer_max_ms": max(answers_ms),
            "answers_beside_32": busy,
            "stream_delay_p99_ms": load["delay_p99_ms"],
        }

    def flood(self, agent: Server, strangers: Load) -> Figures:
        """Paced sessions alone, then beside 1,000 bad tokens at once, which another process sends."""
        command = f"run grpc {agent.address} {agent.credential} 4 {300 if self._quick else 600} 60 4"
        alone = self._load.ask(command)
        before_mb, key_calls = agent.resident_mb(), self._load.ask("keys")["key_calls"]
        self._load.send(command)
        time.sleep(1.0)
        began = time.monotonic()
        bad = strangers.ask(f"bad {agent.address} {agent.credential} {FLOOD_TOKENS}")
        took_s = time.monotonic() - began
        peak_mb = agent.resident_mb()
        beside = self._load.take_answer()
        calls = self._load.ask("keys")["key_calls"] - key_calls
        return {
            "memory_growth_mb": max(peak_mb, agent.resident_mb()) - before_mb,
            "key_calls_per_5_s": calls / max(1.0, took_s / 5.0),
            "failed_good_sessions": beside["failures"],
            "accepted_bad_tokens": bad["codes"].get("OK", 0),
            "refused_in_s": bad["seconds"],
            "delay_p50_ms_alone": alone["delay_p50_ms"],
            "delay_p50_ms_beside": beside["delay_p50_ms"],
            "delay_p99_ms_alone": alone["delay_p99_ms"],
            "delay_p99_ms_beside": beside["delay_p99_ms"],
        }

    def _run(self, row: Row, server: Server | None) -> Figures:
        route = "direct - -" if server is None else f"grpc {server.address} {server.credential}"
        before = server.cpu_s() if server else 0.0
        answer = self._load.ask(f"run {route} {row.order(quick=self._quick)}")
        cpu_ms = ((server.cpu_s() if server else 0.0) - before) * 1000
        if answer["failures"]:
            raise RuntimeError(f"{answer['failures']} sessions failed: {answer['first_failure']}")
        figures: Figures = {name: value for name, value in answer.items() if isinstance(value, int | float)}
        if server:
            figures["cpu_ms_per_1000_tokens"] = 1000 * cpu_ms / answer["tokens"]
            figures["cpu_ms_per_session"] = cpu_ms / row.sessions
        return figures


def _medians(all_figures: list[Figures]) -> Figures:
    return {name: statistics.median(figures[name] for figures in all_figures) for name in all_figures[0]}


def describe_machine() -> dict[str, Any]:
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def run_rows(arguments: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    wanted = arguments.rows or (*ROWS, *OTHER_ROWS)
    load = Load(arguments.load)
    bench = Bench(load, arguments.rounds, quick=arguments.quick)
    results: dict[str, dict[str, Figures]] = {}
    servers: dict[str, Server] = {}
    try:
        if "start" in wanted:
            results["start"] = {"agent": bench.start()}
        agent = Agent(load)
        servers = {"bare": Server.bare("yield"), "bare-write": Server.bare("write"), "agent": agent}
        if "idle" in wanted:
            time.sleep(5.0)
            results["idle"] = {"agent": bench.idle(agent)}
        for name in (name for name in ROWS if name in wanted):
            print(f"measuring {name} ...", file=sys.stderr)
            results[name] = bench.measure(ROWS[name], servers)
        if "status" in wanted:
            results["status"] = {"agent": bench.status(agent)}
        if "flood" in wanted:
            strangers = Load(arguments.load)
            try:
                results["flood"] = {"agent": bench.flood(agent, strangers)}
            finally:
                strangers.close()
        if "calls" in wanted:
            results["calls"] = {"agent": calls.measure(load)}
        results["after"] = {name: {"resident_mb": server.resident_mb()} for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.close()
        load.close()
    return results


def print_table(results: dict[str, dict[str, Figures]]) -> None:
    for row, routes in results.items():
        print(f"\n{row}")
        for route, figures in routes.items():
            names = [name for name in SHOWN if name in figures] if row in ROWS else list(figures)
            print(f"  {route:10} " + "  ".join(f"{name} {figures[name]:.4g}" for name in names))
    print("\nto reach")
    for goal in GOALS:
        value = goal.value(results)
        if value is not None:
            print(f"  {'ok    ' if goal.is_met(value) else 'MISSED'} {goal}: {value:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"any of: {', '.join((*ROWS, *OTHER_ROWS))} (all)")
    parser.add_argument("--load", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each row; medians are shown")
    parser.add_argument("--quick", action="store_true", help="shorter streams: for a look, not for the record")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and figures there, too")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - {*ROWS, *OTHER_ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    machine = describe_machine()
    print(json.dumps(machine))
    results = run_rows(arguments)
    machine["load_average_after"] = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
    print_table(results)
    text = json.dumps({"machine": machine, "figures": results}, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    else:
        print("\n" + text)


if __name__ == "__main__":
    main()
