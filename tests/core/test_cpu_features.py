import platform
import sys

import pytest

from core.engines.cpu_features import REQUIRED_X86_64, missing_cpu_features, parse_cpuinfo, read_cpu_features

NEHALEM = "processor\t: 0\nflags\t\t: fpu sse sse2 ssse3 sse4_1 sse4_2 popcnt\n"
HASWELL = "processor\t: 0\nflags\t\t: fpu sse4_2 avx avx2 fma f16c bmi1 bmi2\n"


def test_processor_without_avx2_misses_everything_that_is_needed() -> None:
    missing = missing_cpu_features(lambda: parse_cpuinfo(NEHALEM), lambda: "x86_64")
    assert missing == ("AVX2", "FMA", "F16C", "BMI2")


def test_processor_of_the_right_age_misses_nothing() -> None:
    assert missing_cpu_features(lambda: parse_cpuinfo(HASWELL), lambda: "AMD64") == ()


@pytest.mark.parametrize("feature", REQUIRED_X86_64)
def test_each_needed_feature_is_missed_by_its_name(feature: str) -> None:
    have = frozenset(REQUIRED_X86_64) - {feature}
    assert missing_cpu_features(lambda: have, lambda: "x86_64") == (feature.upper(),)


def test_features_of_the_weakest_core_count() -> None:
    assert "avx2" not in (parse_cpuinfo(HASWELL + "\n" + NEHALEM) or ())


def test_features_that_only_contain_a_name_do_not_count() -> None:
    assert missing_cpu_features(lambda: parse_cpuinfo("flags: avx2x fma4 f16c_ bmi21"), lambda: "x86_64")


def test_unknown_processor_is_tried() -> None:
    assert missing_cpu_features(lambda: None, lambda: "x86_64") == ()
    assert parse_cpuinfo("Processor: something without flags") is None


def test_arm_needs_nothing_special() -> None:
    assert missing_cpu_features(lambda: frozenset(), lambda: "aarch64") == ()


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="reads /proc/cpuinfo on x86-64")
def test_this_machine_says_what_it_has() -> None:
    features = read_cpu_features()
    assert features is not None
    assert "sse2" in features  # every x86-64 processor has it
