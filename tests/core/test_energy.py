"""Hours and energy of serving by local days: added up, kept over a kill, and priced."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.delayed_writer import WRITE_AFTER_S
from core.energy import MOST_DAYS, UNMEASURED, DayEnergy, EnergyMeter, PowerReading
from core.energy_log import EnergyLog, energy_file
from core.rapl import Rapl
from core.rules import Now
from core.signals import Unknown
from tests.core.rules_fixtures import BERLIN, NOON
from tests.fakes.manual_clock import ManualClock
from tests.fakes.written import written

TODAY = date(2026, 11, 25)


def now(seconds: float = 0.0, wall: float = NOON) -> Now:
    return Now(wall=wall + seconds, monotonic=1000.0 + seconds)


def meter(**values: float) -> EnergyMeter:
    return EnergyMeter({}, now(), zone=BERLIN, **values)


def test_energy_is_power_over_the_time_in_which_sessions_ran() -> None:
    energy = meter()
    energy.take_power(PowerReading(gpu_w=300.0), now())
    energy.take_power(PowerReading(gpu_w=300.0), now(10))  # nobody is served
    energy.serve(True, now(10))
    for second in range(12, 32, 2):
        energy.take_power(PowerReading(gpu_w=300.0), now(second))
    energy.serve(False, now(30))
    energy.take_power(PowerReading(gpu_w=300.0), now(32))
    day = energy.today(now(40))
    assert day.served_s == pytest.approx(20.0)
    assert day.measured_s == pytest.approx(20.0)
    assert day.wh == pytest.approx(300 * 20 / 3600)


def test_between_two_samples_the_mean_of_both_counts() -> None:
    energy = meter()
    energy.take_power(PowerReading(gpu_w=100.0), now())
    energy.serve(True, now())
    energy.take_power(PowerReading(gpu_w=300.0), now(2))
    assert energy.today(now(2)).wh == pytest.approx(200 * 2 / 3600)


@pytest.mark.parametrize(
    ("power", "figure_w", "watts", "words"),
    [
        (PowerReading(gpu_w=200.0, cpu_w=50.0), 400.0, 250.0, "Measured at the graphics card and the processor."),
        (PowerReading(gpu_w=200.0), 0.0, 200.0, "Measured at the graphics card; the rest of the machine comes on top."),
        (PowerReading(cpu_w=50.0), 0.0, 50.0, "Measured at the processor; the rest of the machine comes on top."),
        (PowerReading(), 150.0, 150.0, "By your own figure of 150 W."),
        (PowerReading(), 0.0, None, UNMEASURED),
    ],
)
def test_measured_wins_over_the_owners_figure_and_each_says_what_it_is(
    power: PowerReading, figure_w: float, watts: float | None, words: str
) -> None:
    assert power.total_w(figure_w) == watts
    assert power.source(figure_w) == words


def test_a_sleep_counts_for_nothing_and_midnight_begins_a_new_day() -> None:
    energy = meter()
    energy.take_power(PowerReading(gpu_w=100.0), now())
    energy.serve(True, now())
    energy.take_power(PowerReading(gpu_w=100.0), now(8 * 3600))
    assert energy.today(now(8 * 3600)).served_s == 0.0
    late = datetime(2026, 11, 25, 23, 59, 55, tzinfo=BERLIN).timestamp() - NOON
    energy.take_power(PowerReading(gpu_w=100.0), now(late))
    energy.take_power(PowerReading(gpu_w=100.0), now(late + 4))
    energy.take_power(PowerReading(gpu_w=100.0), now(late + 14))
    assert energy.days[TODAY].served_s == pytest.approx(4.0)
    assert energy.days[date(2026, 11, 26)].served_s == pytest.approx(10.0)


def test_view_prices_the_day_and_a_thousand_tokens() -> None:
    day = DayEnergy(served_s=7200.0, measured_s=3600.0, wh=500.0, tokens=20_000)
    energy = EnergyMeter({TODAY: day}, now(), zone=BERLIN)
    energy.take_power(PowerReading(gpu_w=100.0), now())
    view = energy.view(now(), 0.30)
    assert (view.served_s, view.kwh, view.cost) == (7200, 0.5, 0.15)
    assert view.wh_per_1000_tokens == 50.0  # half of the time was measured: 500 Wh for 10,000 tokens
    assert view.cost_per_1000_tokens == pytest.approx(0.015)
    assert energy.view(now(), 0.0).cost is None


def test_unmeasured_energy_is_unknown_and_never_nothing() -> None:
    energy = meter()
    energy.serve(True, now())
    energy.take_power(PowerReading(), now(2))
    assert energy.kwh_today(now(2)) == Unknown(UNMEASURED)
    assert energy.measured_kwh_today(now(2)) == 0.0
    view = energy.view(now(2), 0.30)
    assert (view.served_s, view.kwh, view.cost, view.wh_per_1000_tokens, view.source) == (
        2,
        None,
        None,
        None,
        UNMEASURED,
    )
    energy.owners_figure_w = 180.0
    energy.take_power(PowerReading(), now(4))
    assert energy.kwh_today(now(4)) == pytest.approx(180 * 2 / 3600 / 1000)


def test_only_the_last_days_are_kept() -> None:
    days = {date.fromordinal(TODAY.toordinal() - back): DayEnergy() for back in range(1, MOST_DAYS + 5)}
    energy = EnergyMeter(days, now(), zone=BERLIN)
    energy.count_tokens(7)
    energy.today(now())
    assert len(energy.days) == MOST_DAYS
    assert energy.days[TODAY].tokens == 7


steps = st.tuples(st.floats(-10, 50), st.booleans(), st.none() | st.floats(0, 1000))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(steps, max_size=40))
def test_no_more_time_than_passed_and_no_more_energy_than_the_strongest_sample(
    moments: list[tuple[float, bool, float | None]],
) -> None:
    energy, at, wall = meter(), 0.0, 0.0
    for passed_s, is_serving, watts in moments:
        at += abs(passed_s)
        wall += passed_s  # a wall clock may be set back
        instant = Now(wall=NOON + wall, monotonic=1000.0 + at)
        energy.take_power(PowerReading(gpu_w=watts), instant)
        energy.serve(is_serving, instant)
    days = energy.days.values()
    assert sum(day.served_s for day in days) <= at + 1e-6
    assert sum(day.measured_s for day in days) <= sum(day.served_s for day in days) + 1e-6
    most_w = max((watts for _, _, watts in moments if watts is not None), default=0.0)
    assert sum(day.wh for day in days) <= most_w * at / 3600 + 1e-6


# The processor's counters


def package(root: Path, number: int, microjoules: int, name: str = "package-0") -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text("999999999\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


async def test_processor_power_is_the_difference_of_its_counters(tmp_path: Path) -> None:
    clock = ManualClock()
    first, second = package(tmp_path, 0, 999_999_000), package(tmp_path, 1, 5_000_000, "package-1")
    package(tmp_path, 2, 777, "psys")
    rapl = Rapl(tmp_path, clock=clock.monotonic)
    assert rapl.read() is None
    first.write_text("19999000")  # began anew at 1,000 J
    second.write_text("45000000")
    await clock.advance(2.0)
    assert rapl.read() == pytest.approx((20.0 + 40.0) / 2)
    first.unlink()
    assert rapl.read() is None


def test_counters_that_only_root_may_read_are_none(tmp_path: Path) -> None:
    assert Rapl(tmp_path / "nothing").read() is None
    package(tmp_path, 0, 1).unlink()
    assert Rapl(tmp_path).read() is None


# On disk


class Log:
    """An energy log in `folder` on a clock of the test's."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(wall_s=NOON)
        self.notices: list[str] = []
        self.path = folder / "energy.json"
        self.log = EnergyLog(
            self.path,
            tariff_per_kwh=0.3,
            rapl=Rapl(folder / "no-counters"),
            on_notice=lambda old, new: self.notices.append(new),
            wall=self.clock.wall,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )

    def kept(self) -> list[DayEnergy]:
        return list((energy_file(self.path).read() or {}).values())

    async def serve_for(self, seconds: int) -> None:
        self.log.serve(True)
        self.log.take_gpu_power(100.0)
        for _ in range(seconds // 2):
            await self.clock.advance(2.0)
            self.log.take_gpu_power(100.0)
            await written(self.log._writer)


async def test_a_day_goes_on_in_the_next_run(tmp_path: Path) -> None:
    first = Log(tmp_path)
    await first.log.open()
    await first.serve_for(20)
    first.log.count_tokens(1000)
    await first.log.close()
    again = Log(tmp_path)
    await again.log.open()
    assert again.log.served_s_today == pytest.approx(20.0)
    assert again.log.measured_kwh_today == pytest.approx(100 * 20 / 3600 / 1000)  # before the first sample
    again.log.take_gpu_power(100.0)
    assert again.log.kwh_today == pytest.approx(100 * 20 / 3600 / 1000)
    assert again.log.view().wh_per_1000_tokens == pytest.approx(100 * 20 / 3600, abs=0.001)
    assert again.notices == []


async def test_a_kill_loses_less_than_a_minute(tmp_path: Path) -> None:
    killed = Log(tmp_path)
    await killed.log.open()
    await killed.serve_for(200)
    (day,) = killed.kept()
    assert 200 - day.served_s <= WRITE_AFTER_S + 2
    await killed.log.close()


async def test_nothing_is_written_while_nobody_is_served(tmp_path: Path) -> None:
    idle = Log(tmp_path)
    await idle.log.open()
    for _ in range(100):
        await idle.clock.advance(2.0)
        idle.log.take_gpu_power(100.0)
    await idle.log.close()
    assert not idle.path.exists()


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"days": 3}',
        '{"days": {"2026-13-01": {}}}',
        '{"days": {"2026-11-25": {"served_s": 1}}}',
        '{"days": {"2026-11-25": {"served_s": -1, "measured_s": 0, "wh": 0, "tokens": 0}}}',
    ],
)
async def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, damage: str) -> None:
    damaged = Log(tmp_path)
    damaged.path.write_text(damage)
    await damaged.log.open()
    assert damaged.log.served_s_today == 0.0
    (notice,) = damaged.notices
    assert "set aside as energy.json.damaged-1" in notice
    assert (tmp_path / "energy.json.damaged-1").read_text() == damage


async def test_a_disk_that_takes_nothing_is_said_once_and_made_up_for(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("a file where the folder should be")
    broken = Log(folder)
    broken.notices.clear()
    await broken.log.open()
    broken.notices.clear()
    await broken.serve_for(100)
    assert len(broken.notices) == 1
    assert "not kept" in broken.notices[0]
    folder.unlink()
    await broken.log.close()
    assert broken.notices[1:] == [""]
    (day,) = broken.kept()
    assert day.served_s == pytest.approx(100.0)


async def test_the_processors_counters_are_read_off_the_loop(tmp_path: Path) -> None:
    counter = package(tmp_path, 0, 0)
    clock = ManualClock(wall_s=NOON)
    energy = EnergyLog(
        tmp_path / "energy.json",
        rapl=Rapl(tmp_path, clock=clock.monotonic),
        wall=clock.wall,
        monotonic=clock.monotonic,
    )
    await energy.open()
    for watts in (0, 60):
        counter.write_text(str(watts * 2 * 1_000_000))
        energy.take_gpu_power(100.0)
        assert energy._reading is not None
        await energy._reading
        await clock.advance(2.0)
    assert energy.view().source == "Measured at the graphics card and the processor."
    await energy.close()
