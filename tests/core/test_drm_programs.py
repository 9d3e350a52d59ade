"""Who uses an AMD or Intel card, from a made-up /proc: each client once, nobody left out without a word."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.gpu.drm_fdinfo import Engine, caught_up, percent_between, read_client
from core.gpu.drm_programs import (
    CONTAINER,
    DEVICES_S,
    HIDDEN,
    LATER_S,
    NOT_YET,
    OTHER_USERS,
    SOON_S,
    YOUNG_S,
    CardPrograms,
    DrmPrograms,
)
from tests.fakes.fake_clock import FakeClock
from tests.fakes.proc_tree import AMD, ARC, INTEL, ProcTree, amdgpu, i915, xe

SECOND = 1_000_000_000
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links")


class Machine:
    def __init__(self, folder: Path, *, uid: int = 1000) -> None:
        self.tree = ProcTree(folder)
        self.clock = FakeClock(1_000.0)
        self.stopwatch = FakeClock(0.0)
        self.programs = DrmPrograms(
            proc=self.tree.proc,
            sys_root=self.tree.sys,
            clock=self.clock,
            stopwatch=self.stopwatch,
            owner_of=self.tree.owner_of,
            own_uid=uid,
            own_pid=9,
        )

    def read(self, after_s: float = 0.0) -> Mapping[str, CardPrograms]:
        self.clock.now += after_s
        return self.programs.read()

    def use(self, slot: str = AMD, *, after_s: float = 2.0) -> dict[str, float | None]:
        return {program.name: program.utilisation_percent for program in self.read(after_s)[slot].programs}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.tree.add_card(1, "amdgpu", AMD)
    return made


def test_a_program_is_told_with_its_part_of_the_time(machine: Machine) -> None:
    machine.tree.add_program(70, "game")
    machine.tree.open_card(70, 5, amdgpu(11, 4 * SECOND))
    assert machine.use() == {"game": 0.0}
    machine.tree.show(70, 5, amdgpu(11, 4 * SECOND + SECOND))
    assert machine.use(after_s=2.0) == {"game": 50.0}
    assert machine.use(after_s=2.0) == {"game": 0.0}
    assert machine.read()[AMD].incomplete == ""


def test_our_own_window_is_nobody_else(machine: Machine) -> None:
    machine.tree.add_program(9, "titan-desktop")
    machine.tree.open_card(9, 5, amdgpu(11, 0))
    assert machine.use() == {}
    assert machine.read()[AMD].incomplete == ""


def test_the_busiest_kind_of_engine_counts_and_films_do_not(machine: Machine) -> None:
    machine.tree.add_program(70, "game")
    machine.tree.open_card(70, 5, amdgpu(11, 0, 0))
    machine.use()
    machine.tree.show(70, 5, amdgpu(11, SECOND // 2, SECOND).replace("dec:\t9", "dec:\t99"))
    assert machine.use(after_s=2.0) == {"game": 50.0}


def test_each_opened_card_counts_once_whoever_holds_it(machine: Machine) -> None:
    """A browser's processes hand their files around; a program has several, and may open the card twice."""
    for pid, name in ((70, "browser"), (71, "helper")):
        machine.tree.add_program(pid, name)
    for pid, number in ((70, 5), (70, 6), (71, 9)):
        machine.tree.open_card(pid, number, amdgpu(11, 0))
    machine.tree.open_card(70, 7, amdgpu(12, 0))
    machine.use()
    for pid, number in ((70, 5), (70, 6), (71, 9)):
        machine.tree.show(pid, number, amdgpu(11, SECOND))
    machine.tree.show(70, 7, amdgpu(12, SECOND // 5))
    assert machine.use(after_s=2.0) == {"browser": 60.0}


def test_intels_two_drivers_are_told_as_well(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.tree.add_card(0, "i915", INTEL)
    machine.tree.add_card(1, "xe", ARC)
    machine.tree.add_program(70, "game")
    machine.tree.open_card(70, 5, i915(3, 0))
    machine.tree.open_card(70, 6, xe(3, 1_000, 500, 100_000))
    machine.read()
    machine.tree.show(70, 5, i915(3, SECOND))
    machine.tree.show(70, 6, xe(3, 11_000, 120_500, 200_000))  # four compute engines, so 30 % of all
    seen = machine.read(4.0)
    assert [(program.name, program.utilisation_percent) for program in seen[INTEL].programs] == [("game", 25.0)]
    assert [(program.name, program.utilisation_percent) for program in seen[ARC].programs] == [("game", 30.0)]
    assert (seen[INTEL].driver, seen[ARC].driver) == ("i915", "xe")


def test_a_machine_without_such_a_card_looks_at_no_program(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.tree.add_card(0, "nvidia", "0000:01:00.0")
    machine.tree.add_program(70, "game")
    machine.tree.open_card(70, 5, amdgpu(11, 0))
    assert machine.read() == {}
    machine.tree.add_card(1, "amdgpu", AMD)  # an external one, plugged in
    assert machine.read(DEVICES_S - 1) == {}
    assert [program.name for program in machine.read(1)[AMD].programs] == ["game"]


def test_a_counter_that_steps_back_stands_still_until_it_has_caught_up(machine: Machine) -> None:
    machine.tree.add_program(70, "game")
    seen = []
    for gfx_ns in (4 * SECOND, 5 * SECOND, 3 * SECOND, 5 * SECOND, 6 * SECOND):
        machine.tree.open_card(70, 5, amdgpu(11, gfx_ns))
        seen.append(machine.use(after_s=2.0)["game"])
    assert seen == [0.0, 50.0, 0.0, 0.0, 50.0]


def test_a_card_is_found_soon_after_a_program_began_and_later_once_a_minute(machine: Machine) -> None:
    machine.tree.add_program(70, "launcher")
    assert machine.use() == {}
    machine.tree.open_card(70, 5, amdgpu(11, 0))
    assert machine.use(after_s=SOON_S - 0.1) == {}
    assert machine.use(after_s=0.1) == {"launcher": 0.0}
    machine.tree.close_file(70, 5)
    assert machine.use() == {}

    machine.use(after_s=YOUNG_S)
    machine.tree.open_card(70, 5, amdgpu(12, 0))
    assert machine.use(after_s=LATER_S - 1) == {}
    assert machine.use(after_s=1) == {"launcher": 0.0}


def test_a_file_that_became_another_one_counts_no_more(machine: Machine) -> None:
    machine.tree.add_program(70, "game")
    machine.tree.open_card(70, 5, amdgpu(11, 0))
    machine.use()
    machine.tree.open_card(70, 5, amdgpu(12, 9 * SECOND))
    assert machine.use() == {}
    assert machine.use() == {"game": 0.0}  # looked at anew: 9 s were used before
    machine.tree.end(70)
    assert machine.use() == {}


def test_looking_for_files_ends_when_its_time_is_up_and_goes_on_the_next_time(machine: Machine) -> None:
    for pid in range(70, 80):
        machine.tree.add_program(pid, f"p{pid}")
        machine.tree.open_card(pid, 5, amdgpu(pid, 0))
    machine.stopwatch.now = 0.0
    slow = iter(range(1_000))
    machine.programs._stopwatch = lambda: next(slow) * 0.005  # 5 ms a program

    assert 0 < len(first := machine.use()) < 10
    assert machine.read()[AMD].incomplete in ("", NOT_YET)
    for _ in range(5):
        machine.use()
    assert len(first) < len(machine.use()) == 10
    assert machine.read()[AMD].incomplete == ""


@pytest.mark.parametrize(
    ("owner", "incomplete"),
    [(1001, OTHER_USERS), (60_000, OTHER_USERS), (1000, ""), (0, ""), (998, ""), (65_534, "")],
)
def test_another_persons_programs_make_the_picture_incomplete(machine: Machine, owner: int, incomplete: str) -> None:
    """A service's don't play; one of our own that can't be read is the desktop's, with rights of its own."""
    machine.tree.add_program(70, "game")
    machine.tree.open_card(70, 5, amdgpu(11, 0))
    machine.tree.add_program(80, "theirs")
    machine.tree.lock(80, owner)
    assert machine.use() == {"game": 0.0}
    assert machine.read()[AMD].incomplete == incomplete
    machine.tree.end(80)
    assert machine.read()[AMD].incomplete == ""


def test_what_is_hidden_is_said(machine: Machine) -> None:
    machine.tree.end(1)
    assert machine.read()[AMD].incomplete == HIDDEN
    machine.tree.use_namespace("pid:[4026532999]")
    assert machine.read()[AMD].incomplete == CONTAINER


def test_what_amds_compute_driver_works_is_not_told(machine: Machine) -> None:
    machine.tree.add_program(70, "python3")
    machine.tree.open_card(70, 5, amdgpu(11, 0))
    machine.tree.compute(70)
    machine.tree.compute(4711)  # not among the programs that we see
    seen = machine.read()[AMD].programs
    assert [(one.pid, one.name, one.utilisation_percent) for one in seen] == [(70, "python3", None), (4711, "", None)]


@pytest.mark.parametrize(
    ("comm", "command", "name"),
    [
        ("game", "/opt/game", "game"),
        ("Shadow of the T", "/games/Shadow of the Tomb Raider", "Shadow of the Tomb Raider"),
        ("Cyberpunk2077.e", "Z:\\games\\Cyberpunk2077.exe", "Cyberpunk2077.e"),
        ("evil\x1b[2J\tname", "evil", "evil[2Jname"),
    ],
)
def test_a_program_is_called_by_its_name(machine: Machine, comm: str, command: str, name: str) -> None:
    machine.tree.add_program(70, comm, command=command)
    machine.tree.open_card(70, 5, amdgpu(11, 0))
    assert list(machine.use()) == [name]


def test_two_looks_at_one_moment_count_nothing_twice(machine: Machine) -> None:
    machine.tree.add_program(70, "game")
    machine.tree.open_card(70, 5, amdgpu(11, 0))
    machine.use()
    machine.tree.show(70, 5, amdgpu(11, SECOND // 20))
    assert machine.use(after_s=0.1) == {"game": 0.0}
    machine.tree.show(70, 5, amdgpu(11, SECOND))
    assert machine.use(after_s=1.9) == {"game": 50.0}


def test_real_proc_is_read_without_a_word() -> None:
    programs = DrmPrograms(stopwatch=FakeClock(0.0))
    programs._devices, programs._devices_at = {AMD: "amdgpu"}, float("inf")
    assert programs.read()[AMD].driver == "amdgpu"


# Hostile contents


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pos:\t0\n",
        amdgpu(1, 0).replace("amdgpu", "nouveau"),
        amdgpu(1, 0).replace("drm-client-id:\t1", "drm-client-id:\t-1"),
        amdgpu(1, 0).replace("drm-client-id:\t1", "drm-client-id:\t" + "9" * 5_000),
        amdgpu(1, 0, slot="../../etc"),
        amdgpu(1, 0).replace("drm-client-id", "DRM-client-id"),
    ],
)
def test_text_that_is_no_client_is_none(text: str) -> None:
    assert read_client(text) is None


def test_engines_that_cannot_be_read_are_left_out() -> None:
    client = read_client(amdgpu(1, 5).replace("compute:\t0 ns", "compute:\t0 fortnights"))
    assert client is not None
    assert client.engines == {"gfx": Engine(busy=5)}
    zero = read_client(xe(1, 1, 1, 10).replace("capacity-ccs:\t4", "capacity-ccs:\t0"))
    assert zero is not None
    assert zero.engines["ccs"].capacity == 1


counts = st.integers(0, 2**64)
engines = st.builds(Engine, busy=counts, total=st.one_of(st.none(), counts), capacity=st.integers(1, 64))


@given(engines, engines, st.integers(-10, 2**40))
def test_use_is_a_percentage_whatever_the_counters_do(before: Engine, after: Engine, passed_ns: int) -> None:
    assert 0.0 <= percent_between(before, after, passed_ns) <= 100.0
    assert caught_up(before, after).busy == max(before.busy, after.busy)


keys = st.sampled_from(
    ["drm-driver", "drm-pdev", "drm-client-id", "drm-engine-gfx", "drm-engine-capacity-gfx", "drm-cycles-rcs", "x", ""]
)
values = st.one_of(
    st.sampled_from(["amdgpu", "xe", AMD, "7", "0", "-1", "5 ns", "9" * 30 + " ns", "5 KiB", "\x00", "٣ ns"]),
    st.text(max_size=20),
)
hostile = st.one_of(
    st.binary(max_size=300),
    st.lists(st.tuples(keys, values), max_size=12).map(
        lambda lines: "\n".join(f"{key}:\t{value}" for key, value in lines).encode("utf-8", "surrogateescape")
    ),
)


@given(st.lists(st.tuples(hostile, st.floats(0, 100)), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_hostile_files_never_raise_and_use_stays_a_percentage(
    tmp_path_factory: pytest.TempPathFactory, looks: list[tuple[bytes, float]]
) -> None:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.tree.add_card(1, "amdgpu", AMD)
    machine.tree.add_program(70, "game")
    machine.tree.open_card(70, 5, amdgpu(7, 0))
    for text, passed_s in looks:
        (machine.tree.proc / "70/fdinfo/5").write_bytes(text)
        (machine.tree.proc / "70/comm").write_bytes(text)
        for program in machine.read(passed_s)[AMD].programs:
            assert program.utilisation_percent is not None
            assert 0.0 <= program.utilisation_percent <= 100.0
            assert program.name.isprintable() or not program.name.isascii()
