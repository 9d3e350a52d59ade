"""NVIDIA cards through the real pynvml, against a driver library of our own (tests/fakes/nvml_double)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.gpu import GpuSample
from core.gpu.nvml import NvmlProbe
from tests.fakes.nvml_double import NvmlDouble, build, find_compiler

pytestmark = pytest.mark.skipif(
    find_compiler() is None, reason="no C compiler (gcc, cc, clang) to build the NVML double"
)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def double(library: Path, tmp_path: Path) -> NvmlDouble:
    return NvmlDouble(library, tmp_path)


def cards_of(seen: dict[str, Any]) -> dict[str, GpuSample]:
    return {card["uuid"]: GpuSample(**{**card, "processes": tuple(card["processes"])}) for card in seen["cards"]}


def test_two_cards_are_read_whole_and_their_load_changes(double: NvmlDouble) -> None:
    before, after = double.run("two_cards")
    first = GpuSample(
        uuid="GPU-a",
        name="Double 4090",
        total_mb=24564,
        used_mb=1000,  # without the 400 MiB that the driver keeps for itself ...
        free_mb=23164,  # ... which aren't free either
        utilisation_percent=7.0,
        temperature_c=51.0,
        power_w=80.5,
        has_monitor=False,
        is_display_active=False,
    )
    assert list(cards_of(before)) == ["GPU-a", "GPU-b"]
    assert cards_of(before)["GPU-a"] == cards_of(after)["GPU-a"] == first
    assert before["problem"] == ""
    second = cards_of(after)["GPU-b"]
    assert (second.used_mb, second.free_mb, second.utilisation_percent) == (9000, 2988, 0.0)


def test_program_in_both_lists_is_one_entry_with_its_memory_once(double: NvmlDouble) -> None:
    told = double.run("processes")
    by_pid = {process["pid"]: process for process in told["seen"]["cards"][0]["processes"]}
    assert by_pid.keys() == {told["pid"], 1, 4000000}
    assert by_pid[told["pid"]]["used_mb"] == 700
    assert by_pid[told["pid"]]["name"].startswith("python")
    assert by_pid[4000000] == {"pid": 4000000, "used_mb": None, "name": "", "utilisation_percent": 0.0}


def test_use_of_the_card_is_told_by_program_and_ends_with_it(double: NvmlDouble) -> None:
    first, going_on, over, unsupported = double.run("use_by_program")
    # The older sample of 7 is from before the first look; a driver's 4,000 % is noise of a program that ended.
    assert first == {"1": 61.0, "7": 0.0, "4000000": 22.0}
    assert going_on == {"1": 0.0, "7": 35.0, "4000000": 0.0}  # only what came since then
    assert over == {"1": 0.0, "7": 0.0, "4000000": 0.0}
    assert unsupported == {"1": None, "7": None, "4000000": None}


def test_figure_that_is_not_supported_is_none_and_takes_no_other_with_it(double: NvmlDouble) -> None:
    told = double.run("unsupported")
    fields = {
        "memory": {"total_mb", "used_mb", "free_mb"},
        "utilisation": {"utilisation_percent"},
        "temperature": {"temperature_c"},
        "power": {"power_w"},
    }
    for figure, seen in told.items():
        first = seen["cards"][0 if figure != "uuid" else -1]
        missing = {key for key, value in first.items() if value is None}
        assert missing == fields.get(figure, set()), figure
        assert seen["cards"][1]["free_mb"] == 9988, figure
    pids = {figure: [each["pid"] for each in seen["cards"][0]["processes"]] for figure, seen in told.items()}
    assert (pids["compute"], pids["graphics"], pids["power"]) == ([2], [1], [1, 2])
    assert told["name"]["cards"][0]["name"] == "NVIDIA card"


def test_lost_card_is_kept_by_name_while_the_other_goes_on_and_is_seen_when_back(double: NvmlDouble) -> None:
    fine, *lost, back = double.run("lost_and_back")
    assert len(lost) == 4
    for seen in lost:
        assert cards_of(seen)["GPU-a"] == GpuSample(uuid="GPU-a", name="Double 4090", is_lost=True)
        assert cards_of(seen)["GPU-b"] == cards_of(fine)["GPU-b"]
        assert list(cards_of(seen)) == ["GPU-a", "GPU-b"]
        assert "lost Double 4090 (GPU-a)" in seen["problem"]
        assert "restart" in seen["problem"]
    assert back == fine


def test_lost_card_is_looked_for_again_right_after_a_sleep(double: NvmlDouble) -> None:
    seen = double.run("lost_in_a_sleep")
    assert [look["cards"][0]["is_lost"] for look in seen] == [False, True, True, False]


@pytest.mark.parametrize("scenario", ["late_driver", "late_library"])
def test_driver_that_comes_later_is_seen_at_the_slow_pace(double: NvmlDouble, scenario: str) -> None:
    missing, too_early, found = double.run(scenario, install=scenario != "late_library")
    assert missing["cards"] == too_early["cards"] == []
    assert ("not loaded" if scenario == "late_driver" else "not installed") in missing["problem"]
    assert too_early["problem"] == missing["problem"]
    assert list(cards_of(found)) == ["GPU-a"]
    assert found["problem"] == ""


def test_driver_unloaded_under_us_loses_the_card_and_gives_it_back(double: NvmlDouble) -> None:
    fine, gone, back = double.run("unloaded")
    assert [card["is_lost"] for card in gone["cards"]] == [True]
    assert "not loaded" in gone["problem"]
    assert back == fine


def test_each_failing_init_names_its_remedy(double: NvmlDouble) -> None:
    told = double.run("failing_init")
    for code, remedy in {"9": "modprobe", "12": "install", "18": "Restart", "4": "/dev/nvidia", "999": "999"}.items():
        assert remedy in told[code]


def test_missing_driver_is_no_problem_on_a_machine_without_an_nvidia_card(double: NvmlDouble) -> None:
    assert double.run("failing_init")["0"] == ""


def test_driver_without_cards_is_a_problem(double: NvmlDouble) -> None:
    seen = double.run("no_cards")
    assert seen["cards"] == []
    assert "no card" in seen["problem"]


def test_older_driver_gives_memory_and_processes_by_its_older_calls(tmp_path: Path) -> None:
    double = NvmlDouble(build(tmp_path, old_driver=True), tmp_path)
    told = double.run("processes", install=False)
    card = told["seen"]["cards"][0]
    assert (card["total_mb"], card["used_mb"], card["free_mb"]) == (24564, 1400, 23164)
    assert [process["pid"] for process in card["processes"]] == sorted([1, told["pid"], 4000000])


def test_hung_driver_costs_its_figures_and_one_thread_and_nothing_else(double: NvmlDouble) -> None:
    told = double.run("hang")
    hung = [index for index, problem in enumerate(told["problems"]) if problem]
    assert hung[:3] == [1, 2, 3]
    assert all("not answered within 0.5 s" in told["problems"][index] for index in hung)
    assert [told["free_vram_mb"][index] for index in hung] == [None] * len(hung)
    assert told["free_vram_mb"][0] == told["free_vram_mb"][-1] == 23164
    assert all(names == ["Double 4090"] for names in told["names"])
    assert all(told["ram"])
    assert set(told["threads"]) == {1}


def test_hung_driver_does_not_hold_up_the_end_of_the_program(double: NvmlDouble) -> None:
    seen = double.run("exit_while_hung", limit_s=20)
    assert "not answered" in seen["problem"]


class _FakeError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value


class _FakePynvml:
    """Only what a probe needs before its first card: NVML that always refuses to start."""

    NVMLError = _FakeError

    def __init__(self) -> None:
        self.inits = 0

    def nvmlInit(self) -> None:
        self.inits += 1
        raise _FakeError(9)


def test_missing_driver_is_not_looked_for_at_every_sample() -> None:
    pynvml = _FakePynvml()
    clock = FakeClock()
    probe = NvmlProbe(clock=clock, retry_s=60, load=lambda: pynvml)
    for seconds in (0.0, 2.0, 30.0, 59.9):
        clock.now_s = seconds
        assert probe.sample() == ()
    assert pynvml.inits == 1
    clock.now_s = 60.0
    probe.sample()
    assert pynvml.inits == 2


class FakeClock:
    """Seconds that pass only when told."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s
