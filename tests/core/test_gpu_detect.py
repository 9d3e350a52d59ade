"""Which probes a machine gets, what they say together, and the guard around each."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from core.gpu import GpuProbe, GpuSample
from core.gpu.apple import AppleProbe
from core.gpu.detect import CombinedProbe, find_nvidia_card, open_probes
from core.gpu.guard import Answer, GuardedProbe
from core.gpu.none import NO_CARD, NoProbe

CARD = GpuSample(uuid="GPU-a", name="Fake card", total_mb=8192, used_mb=1024, free_mb=7168, temperature_c=50.0)
BLANK = GpuSample(uuid="GPU-a", name="Fake card")


class FakeProbe:
    """Answers with `cards`, raises `error`, or stays in `sample` until `released` when it is told to hang."""

    def __init__(self, cards: tuple[GpuSample, ...] = (CARD,), problem: str = "") -> None:
        self.name = "fake"
        self.problem = problem
        self.cards = cards
        self.error: Exception | None = None
        self.hangs = False
        self.released = threading.Event()
        self.calls = 0
        self.is_closed = False

    def sample(self) -> tuple[GpuSample, ...]:
        self.calls += 1
        if self.hangs:
            self.released.wait(30)
        if self.error is not None:
            raise self.error
        return self.cards

    def close(self) -> None:
        self.is_closed = True


def test_hang_gives_the_cards_without_figures_and_starts_no_second_call() -> None:
    fake = FakeProbe()
    asked: list[Answer] = []
    limits: list[float] = []

    def wait_unless_hung(answers: list[Answer], limit_s: float) -> None:
        asked.extend(answers)
        limits.append(limit_s)
        if not fake.hangs:
            answers[0].result(30)

    guarded = GuardedProbe(fake, limit_s=1.5, first_limit_s=6, wait=wait_unless_hung)
    assert guarded.sample() == (CARD,)
    fake.hangs = True
    assert [guarded.sample() for _ in range(20)] == [(BLANK,)] * 20
    assert "not answered within 1.5 s" in guarded.problem
    assert len(asked) == 2
    fake.hangs = False
    fake.released.set()
    asked[-1].result(30)  # the driver comes back
    assert guarded.sample() == (CARD,)
    assert guarded.problem == ""
    guarded.close()
    assert fake.is_closed
    assert fake.calls == 3
    assert limits == [6, 1.5, 1.5]


def test_probe_that_raises_is_told_once_in_the_log_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeProbe()
    guarded = GuardedProbe(fake, limit_s=5)
    guarded.sample()
    fake.error = ValueError("a driver's surprise")
    assert guarded.sample() == guarded.sample() == (BLANK,)
    assert "failed" in guarded.problem
    assert len(caplog.records) == 1
    fake.error = None
    assert guarded.sample() == (CARD,)
    assert guarded.problem == ""
    guarded.close()


def test_guard_starts_no_thread_before_its_first_sample() -> None:
    before = threading.active_count()
    guarded = GuardedProbe(FakeProbe())
    assert threading.active_count() == before
    guarded.close()


def test_guard_passes_the_probes_own_problem_on() -> None:
    guarded = GuardedProbe(FakeProbe((), "no driver"), limit_s=5)
    guarded.sample()
    assert guarded.problem == "no driver"
    guarded.close()


def test_combined_probe_gives_every_vendors_cards_and_problems() -> None:
    other = GpuSample(uuid="AMD-b", name="Other")
    combined = CombinedProbe([FakeProbe(), FakeProbe((other,), "lost it"), FakeProbe(())])
    assert combined.sample() == (CARD, other)
    assert combined.problem == "lost it"


def test_combined_probe_without_cards_says_that_there_is_none() -> None:
    combined = CombinedProbe([FakeProbe(()), FakeProbe(())])
    combined.sample()
    assert combined.problem == NO_CARD


def test_no_probe_says_why() -> None:
    assert NoProbe().sample() == ()
    assert NoProbe().problem == NO_CARD


def add_pci(root: Path, slot: str, vendor: str, pci_class: str) -> None:
    device = root / "bus/pci/devices" / slot
    device.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(pci_class + "\n")


@pytest.mark.parametrize(
    ("vendor", "pci_class", "expected"),
    [
        ("0x10de", "0x030000", True),
        ("0x10de", "0x030200", True),  # a card without outputs
        ("0x10de", "0x040300", False),  # the sound device of one
        ("0x1002", "0x030000", False),
        ("0x1414", "0x030200", None),  # WSL
    ],
)
def test_nvidia_hardware_is_found_on_the_bus(
    tmp_path: Path, vendor: str, pci_class: str, expected: bool | None
) -> None:
    add_pci(tmp_path, "0000:01:00.0", vendor, pci_class)
    assert find_nvidia_card(tmp_path) is expected


def test_bus_that_cannot_be_seen_is_unknown(tmp_path: Path) -> None:
    assert find_nvidia_card(tmp_path) is None


def test_linux_gets_nvidia_and_amd(tmp_path: Path) -> None:
    device = tmp_path / "class/drm/card0/device"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x1002\n")
    probe = open_probes(system="linux", sys_root=tmp_path, has_nvidia=lambda: False)
    assert [card.name for card in probe.sample()] == ["AMD graphics card"]
    assert probe.problem == ""
    probe.close()


def test_apple_silicon_gets_its_own_probe_and_intel_macs_none() -> None:
    assert isinstance(open_probes(system="darwin", machine="arm64"), AppleProbe)
    intel: GpuProbe = open_probes(system="darwin", machine="x86_64")
    assert intel.sample() == ()
    assert "Intel" in intel.problem


def test_windows_gets_nvidia() -> None:
    probe = open_probes(system="win32", has_nvidia=lambda: True)
    assert isinstance(probe, CombinedProbe)
