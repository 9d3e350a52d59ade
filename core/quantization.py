"""Memory → tier → quantisations: pure functions over one table, and the names that the first agent's users know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from core.sizes import memory_text

if TYPE_CHECKING:
    from core.host_meter import Host
    from core.stats_collector import SystemStats


class Tier(StrEnum):
    """How good a quantisation this much memory allows. Its text is its name."""

    PREMIUM = "Premium"
    HIGH = "High"
    GOOD = "Good"
    EMERGENCY = "Emergency"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRow:
    """One row of the table: holds from `from_mb` (MiB, inclusive) up to the next row's."""

    tier: Tier
    from_mb: int
    quantizations: tuple[str, ...]  # best first
    quality: str

    @property
    def memory(self) -> str:
        """The row's range as people read it: "8GB+", "6-8GB", "<4GB"."""
        above = [row.from_mb for row in TIERS if row.from_mb > self.from_mb]
        if not above:
            return f"{self.from_mb // 1024}GB+"
        return f"{self.from_mb // 1024}-{min(above) // 1024}GB" if self.from_mb else f"<{min(above) // 1024}GB"


TIERS: tuple[TierRow, ...] = (
    TierRow(tier=Tier.PREMIUM, from_mb=8192, quantizations=("Q8_0", "Q6_K_L", "Q6_K"), quality="Near-original"),
    TierRow(tier=Tier.HIGH, from_mb=6144, quantizations=("Q5_K_M", "Q4_K_M", "Q4_K_S"), quality="Balanced"),
    TierRow(tier=Tier.GOOD, from_mb=4096, quantizations=("IQ4_XS", "Q3_K_L", "IQ3_M"), quality="Efficient"),
    TierRow(tier=Tier.EMERGENCY, from_mb=0, quantizations=("Q2_K", "IQ2_M"), quality="Minimal"),
)

# Bits per weight of a whole model: from llama.cpp's tools/quantize/README.md, measured on Llama 3.1 8B; Q3_K_M, Q4_0
# and Q6_K_L from the sizes of published files of that model. Other models differ by a few per cent: small ones need
# more, for their embeddings weigh more.
BITS_PER_WEIGHT = {
    "F32": 32.0, "BF16": 16.0005, "F16": 16.0005, "Q8_0": 8.5008, "Q6_K_L": 6.824, "Q6_K": 6.5633, "Q5_K_M": 5.7036,
    "Q5_K_S": 5.5704, "Q4_K_M": 4.8944, "IQ4_NL": 4.6818, "Q4_K_S": 4.6672, "Q4_0": 4.632, "IQ4_XS": 4.4597,
    "Q3_K_L": 4.2979, "Q3_K_M": 4.0038, "IQ3_M": 3.7628, "IQ3_S": 3.6606, "Q3_K_S": 3.6429, "IQ3_XS": 3.4977,
    "IQ3_XXS": 3.2548, "Q2_K": 3.1593, "Q2_K_S": 2.9697, "IQ2_M": 2.9294, "IQ2_S": 2.7403, "IQ2_XS": 2.5882,
    "IQ2_XXS": 2.3824, "IQ1_M": 2.1460, "IQ1_S": 2.0042,
}  # fmt: skip

# Names of files for ARM processors of 2024 (llama.cpp's pull request 9921 took them out).
ARM_NAMES = ("Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8")


@dataclass(frozen=True, slots=True, kw_only=True)
class TierChoice:
    """A tier and why. `memory_mb` is None, and the tier the lowest, where the memory isn't measured."""

    tier: Tier
    memory_mb: int | None
    reason: str

    @property
    def row(self) -> TierRow:
        return next(row for row in TIERS if row.tier is self.tier)


def size_at(parameters: int, quant: str) -> int:
    """Bytes of a model of so many weights at a quantisation of BITS_PER_WEIGHT. Raises KeyError for another name."""
    return int(parameters * BITS_PER_WEIGHT[quant] / 8)


def size_as(size_bytes: int, have: str, wanted: str) -> int | None:
    """What a file of the quantisation `have` would weigh as `wanted`, bytes; None where either isn't known."""
    if have not in BITS_PER_WEIGHT or wanted not in BITS_PER_WEIGHT:
        return None
    return int(size_bytes * BITS_PER_WEIGHT[wanted] / BITS_PER_WEIGHT[have])


def all_quantizations() -> tuple[str, ...]:
    """The names of the table, best first."""
    return tuple(name for row in TIERS for name in row.quantizations)


def arm_note(machine: str) -> str:
    """What holds for the ARM variants on this processor (`platform.machine()`), one or two sentences."""
    if machine.lower() in ("arm64", "aarch64") or machine.lower().startswith("armv"):
        return (
            "ARM processor: take Q4_0, which today's llama.cpp and Ollama rearrange for it as they load. "
            f"Files named {', '.join(ARM_NAMES)} are from before that, and are refused."
        )
    return f"Files named {', '.join(ARM_NAMES)} were made for ARM processors; today's engines refuse them: take Q4_0."


def row_for(memory_mb: float) -> TierRow:
    """The row for `memory_mb` MiB. Raises ValueError for a negative amount."""
    if memory_mb < 0:
        raise ValueError(f"memory can't be negative: {memory_mb} MiB")
    return next(row for row in TIERS if memory_mb >= row.from_mb)


def tier_for(stats: SystemStats, engine_uses_gpu: bool, *, own_mb: int = 0) -> TierChoice:
    """The tier of the memory that the model will live in: VRAM for an engine on the card, RAM otherwise.

    `own_mb` is what our own engine holds there now: it would be given back to load another model, so it counts as free.
    """
    where = "VRAM" if engine_uses_gpu else "RAM"
    free_mb = stats.free_vram_mb if engine_uses_gpu else stats.free_ram_mb
    total_mb = stats.total_vram_mb if engine_uses_gpu else stats.total_ram_mb
    if free_mb is None:
        why = f" {stats.gpu_problem}" if engine_uses_gpu and stats.gpu_problem else ""
        return TierChoice(
            tier=Tier.EMERGENCY,
            memory_mb=None,
            reason=f"Models live in {where}, and its free part can't be measured: the smallest is safe.{why}",
        )
    memory_mb = free_mb + max(0, own_mb)
    if total_mb is not None:
        memory_mb = min(memory_mb, total_mb)
    engine = "the engine uses the graphics card" if engine_uses_gpu else "the engine uses the processor"
    return TierChoice(
        tier=row_for(memory_mb).tier,
        memory_mb=memory_mb,
        reason=f"{memory_text(memory_mb)} of {where} for models: {engine}.",
    )


class GGUFQuantizationManager:
    """The calls that the first agent's README prints, over the same table."""

    def __init__(self, host: Host | None = None) -> None:
        self._host = host

    def get_system_memory_info(self) -> tuple[int, int]:
        """(total, available) RAM in MiB, of the machine or of its container's limit; (0, 0) where unmeasured."""
        if self._host is None:
            from core.host_meter import PsutilHost  # psutil is off the import path

            self._host = PsutilHost()
        ram = self._host.ram()
        return (ram.total_mb, ram.available_mb) if ram else (0, 0)

    def determine_optimal_tier(self, available_mb: float) -> Tier:
        """The tier for so many MiB; in an f-string it is its name."""
        return row_for(available_mb).tier
