"""Which cards the owner lends, and what counts: through the real pynvml against the double, and by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.capacity import kept_cards_in_use, own_memory
from core.engines import LoadedModel
from core.gpu import GpuProcess, GpuSample
from core.gpu.advice import used_kept_card
from core.gpu.amd_sysfs import AmdSysfsProbe
from core.gpu.lending import DRIVES_DISPLAY, NOT_LISTED, CardLending
from core.signals.gpu_use import serving_cards
from core.stats_collector import SystemStats
from tests.core.test_gpu_amd import add_card
from tests.fakes.nvml_double import NvmlDouble, build, find_compiler

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler to build the NVML double")
BIG = GpuSample(uuid="GPU-a", name="RTX 4090", total_mb=24564, free_mb=20000, has_monitor=False)
SHOWN = GpuSample(uuid="GPU-b", name="RTX 3060", total_mb=12288, free_mb=9000, has_monitor=True)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml-lending"))


@pytest.fixture
def double(library: Path, tmp_path: Path) -> NvmlDouble:
    return NvmlDouble(library, tmp_path)


def kept(lending: CardLending, *cards: GpuSample) -> list[str]:
    return [card.kept_because for card in lending.mark(cards)]


# Through the driver's library


@needs_compiler
def test_the_displays_card_is_kept_and_all_sums_are_of_the_others(double: NvmlDouble) -> None:
    shown, sleeping, both, named, untold = double.run("display_cards")
    assert shown == {
        "total_mb": 24564,
        "temperature": 51.0,
        "use": 7.0,
        "power_w": 80.5,
        "kept": {"GPU-a": "", "GPU-b": DRIVES_DISPLAY},
    }
    assert sleeping == shown  # a monitor that sleeps may look unplugged
    assert both == shown  # nor does a second monitor take the first card's place
    assert named["kept"] == {"GPU-a": NOT_LISTED, "GPU-b": ""}
    assert (named["total_mb"], named["temperature"], named["power_w"]) == (12288, 77.0, 170.0)
    assert untold["kept"] == {"GPU-a": "", "GPU-b": ""}
    assert (untold["total_mb"], untold["temperature"], untold["use"]) == (24564 + 12288, 77.0, 93.0)


@needs_compiler
def test_only_a_lent_card_that_is_gone_is_a_reason_and_it_counts_again_when_back(double: NvmlDouble) -> None:
    whole, without_display, again, without_lent, back = double.run("lent_card_lost")
    assert [seen["is_gpu_lost"] for seen in (whole, without_display, again, without_lent, back)] == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert without_display["total_mb"] == whole["total_mb"] == back["total_mb"] == 24564
    assert without_lent["total_mb"] is None  # the kept card doesn't take its place
    assert not without_lent["free_is_told"]
    assert without_lent["kept"] == whole["kept"]


# By hand


def test_all_cards_of_a_machine_with_one_are_lent() -> None:
    assert kept(CardLending(), SHOWN) == [""]


def test_a_card_too_small_for_models_leaves_the_displays_card_the_only_one_to_lend() -> None:
    old = GpuSample(uuid="GPU-c", name="GT 710", total_mb=1024, free_mb=900)
    inside = GpuSample(uuid="AMD-1", name="Ryzen", total_mb=8192, is_unified=True, has_monitor=False)
    assert kept(CardLending(), SHOWN, old, inside) == ["", "", ""]


def test_a_monitor_on_the_processors_own_graphics_keeps_no_card() -> None:
    inside = GpuSample(uuid="AMD-1", name="Ryzen", total_mb=512, is_unified=True, has_monitor=True)
    assert kept(CardLending(), inside, BIG, replace(SHOWN, has_monitor=False)) == ["", "", ""]


def test_a_desktop_without_a_monitor_tells_the_card_where_nothing_else_does() -> None:
    drawn = replace(BIG, is_display_active=True)
    assert kept(CardLending(), replace(SHOWN, has_monitor=False), drawn) == ["", DRIVES_DISPLAY]
    assert kept(CardLending(), SHOWN, drawn) == [DRIVES_DISPLAY, ""]


def test_the_display_that_moves_to_another_card_is_followed() -> None:
    lending = CardLending()
    assert kept(lending, BIG, SHOWN) == ["", DRIVES_DISPLAY]
    assert kept(lending, replace(BIG, has_monitor=True), replace(SHOWN, has_monitor=False)) == [DRIVES_DISPLAY, ""]


def test_cards_are_named_in_any_case_and_one_name_may_be_of_two() -> None:
    lending = CardLending(lambda: ("rtx 4090",))
    twin = replace(BIG, uuid="GPU-d", has_monitor=True)
    assert kept(lending, BIG, SHOWN, twin) == ["", NOT_LISTED, ""]
    assert lending.problem == ""


def test_a_list_that_names_no_card_here_is_said() -> None:
    lending = CardLending(lambda: ("RTX 9999",))
    assert kept(lending, BIG) == [NOT_LISTED]
    assert lending.problem == "None of the graphics cards that you lend is here: RTX 9999."
    assert kept(lending) == []
    assert lending.problem == ""  # no card at all is another matter


def test_our_engines_memory_on_a_kept_card_is_not_counted_on_the_lent_ones() -> None:
    ours, others = GpuProcess(pid=7, used_mb=5000), GpuProcess(pid=1, used_mb=300)
    cards = CardLending().mark(
        (replace(BIG, processes=(replace(ours, used_mb=2000), others)), replace(SHOWN, processes=(ours,)))
    )
    stats = SystemStats(gpus=cards)
    loaded = [LoadedModel(name="m", total_mb=7000, vram_mb=7000)]
    assert own_memory(stats, loaded, {7}).vram_mb == 2000
    assert [card.name for card in kept_cards_in_use(stats, {7})] == ["RTX 3060"]
    assert kept_cards_in_use(stats, {8}) == ()
    assert [card.name for card in serving_cards(cards, {7})] == ["RTX 4090"]
    lent_alone = SystemStats(gpus=(cards[0],))
    assert own_memory(lent_alone, loaded, {7}).vram_mb == 7000  # the engine's word where it is the greater


def test_an_engine_on_a_kept_card_is_told_with_what_would_change_it() -> None:
    assert used_kept_card("ollama", []) == ""
    said = used_kept_card("ollama", ["RTX 3060"])
    assert said.startswith("Ollama uses a graphics card that you keep: RTX 3060.")
    assert "CUDA_VISIBLE_DEVICES" in said


def test_amd_outputs_tell_the_display(tmp_path: Path) -> None:
    add_card(tmp_path, "card0", unique_id="a")
    add_card(tmp_path, "card1", unique_id="b")
    for output, status, enabled in (("card1-DP-1", "disconnected", "disabled"), ("card1-DP-2", "connected", "enabled")):
        folder = tmp_path / "card1" / output
        folder.mkdir()
        (folder / "status").write_text(f"{status}\n")
        (folder / "enabled").write_text(f"{enabled}\n")
    first, second = AmdSysfsProbe(root=tmp_path).sample()
    assert (first.has_monitor, first.is_display_active) == (None, None)
    assert (second.has_monitor, second.is_display_active) == (True, True)
