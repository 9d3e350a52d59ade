"""Apple silicon's unified memory, with told RAM and sysctl values."""

from __future__ import annotations

from core.gpu import GpuSample
from core.gpu.apple import AppleProbe


def probe(available_mb: int, **sysctls: bytes) -> AppleProbe:
    named = {name.replace("__", "."): value for name, value in sysctls.items()}
    return AppleProbe(memory_mb=lambda: (24576, available_mb), sysctl=named.get)


def test_share_of_the_ram_is_the_cards_memory() -> None:
    (card,) = probe(8000, machdep__cpu__brand_string=b"Apple M3 Pro\0").sample()
    assert card == GpuSample(
        uuid="apple-gpu", name="Apple M3 Pro", total_mb=16384, used_mb=8384, free_mb=8000, is_unified=True
    )


def test_free_memory_never_exceeds_what_the_graphics_may_use() -> None:
    (card,) = probe(23000).sample()
    assert card.free_mb == card.total_mb == 16384


def test_owners_own_limit_holds() -> None:
    (card,) = probe(23000, iogpu__wired_limit_mb=(20000).to_bytes(4, "little")).sample()
    assert card.total_mb == 20000


def test_limit_of_zero_means_the_systems_own() -> None:
    (card,) = probe(23000, iogpu__wired_limit_mb=bytes(4)).sample()
    assert card.total_mb == 16384


def test_limit_beyond_the_ram_is_held_to_it() -> None:
    (card,) = probe(23000, iogpu__wired_limit_mb=(99999).to_bytes(4, "little")).sample()
    assert card.total_mb == 24576
