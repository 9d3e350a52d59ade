"""A container's memory limit, from a made-up /proc and /sys/fs/cgroup."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.cgroup_memory import RESCAN_S, CgroupMemory, MemoryAllowance

MIB = 1024**2


class FakeClock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def cgroup(tmp_path: Path, membership: str, clock: FakeClock) -> CgroupMemory:
    (tmp_path / "self_cgroup").write_text(membership)
    return CgroupMemory(membership=tmp_path / "self_cgroup", mount=tmp_path / "cgroup", clock=clock)


def limit_v2(folder: Path, limit: str, used_mb: int, cache_mb: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(limit + "\n")
    (folder / "memory.current").write_text(f"{used_mb * MIB}\n")
    half = cache_mb * MIB // 2
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {half}\nactive_file {half}\nfile_dirty 99\n")


def test_version_2_container_sees_its_own_limit_at_the_mount(tmp_path: Path, clock: FakeClock) -> None:
    limit_v2(tmp_path / "cgroup", str(4096 * MIB), used_mb=1000)
    assert cgroup(tmp_path, "0::/\n", clock).read() == MemoryAllowance(total_mb=4096, free_mb=3096)


def test_file_cache_counts_as_free(tmp_path: Path, clock: FakeClock) -> None:
    limit_v2(tmp_path / "cgroup", str(4096 * MIB), used_mb=4000, cache_mb=3000)
    assert cgroup(tmp_path, "0::/\n", clock).read() == MemoryAllowance(total_mb=4096, free_mb=3096)


def test_tightest_level_of_the_tree_decides(tmp_path: Path, clock: FakeClock) -> None:
    root = tmp_path / "cgroup"
    limit_v2(root / "user.slice/app.scope", "max", used_mb=100)
    limit_v2(root / "user.slice", str(2048 * MIB), used_mb=2000)
    limit_v2(root, str(8192 * MIB), used_mb=3000)
    assert cgroup(tmp_path, "0::/user.slice/app.scope\n", clock).read() == MemoryAllowance(total_mb=2048, free_mb=48)


@pytest.mark.parametrize("path", ["/docker/0123abcd", "/../../elsewhere"])
def test_path_of_the_host_falls_back_to_the_mount(tmp_path: Path, clock: FakeClock, path: str) -> None:
    limit_v2(tmp_path / "cgroup", str(512 * MIB), used_mb=12)
    (tmp_path / "elsewhere").mkdir()
    assert cgroup(tmp_path, f"0::{path}\n", clock).read() == MemoryAllowance(total_mb=512, free_mb=500)


def test_version_1_limit_is_read(tmp_path: Path, clock: FakeClock) -> None:
    folder = tmp_path / "cgroup/memory/docker/abc"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(f"{2048 * MIB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{1500 * MIB}\n")
    (folder / "memory.stat").write_text(f"cache 5\ntotal_inactive_file {400 * MIB}\ntotal_active_file {100 * MIB}\n")
    membership = "9:cpuset:/docker/abc\n4:memory:/docker/abc\n0::/\n"
    assert cgroup(tmp_path, membership, clock).read() == MemoryAllowance(total_mb=2048, free_mb=1048)


def test_version_1_number_for_no_limit_is_none(tmp_path: Path, clock: FakeClock) -> None:
    folder = tmp_path / "cgroup/memory"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert cgroup(tmp_path, "4:memory:/\n", clock).read() is None


@pytest.mark.parametrize("membership", ["", "0::/\n", "nonsense\n", "4:cpu,cpuacct:/x\n"])
def test_without_a_limit_there_is_none(tmp_path: Path, clock: FakeClock, membership: str) -> None:
    assert cgroup(tmp_path, membership, clock).read() is None


def test_other_system_has_no_limit(tmp_path: Path) -> None:
    assert CgroupMemory(membership=tmp_path / "absent", mount=tmp_path).read() is None


def test_use_beyond_the_limit_leaves_nothing(tmp_path: Path, clock: FakeClock) -> None:
    limit_v2(tmp_path / "cgroup", str(100 * MIB), used_mb=120)
    assert cgroup(tmp_path, "0::/\n", clock).read() == MemoryAllowance(total_mb=100, free_mb=0)


def test_use_is_read_at_every_call_and_limits_are_looked_for_seldom(tmp_path: Path, clock: FakeClock) -> None:
    root = tmp_path / "cgroup"
    limit_v2(root, "max", used_mb=100)
    reader = cgroup(tmp_path, "0::/\n", clock)
    assert reader.read() is None
    limit_v2(root, str(1000 * MIB), used_mb=100)
    assert reader.read() is None
    clock.now_s = RESCAN_S
    assert reader.read() == MemoryAllowance(total_mb=1000, free_mb=900)
    limit_v2(root, str(1000 * MIB), used_mb=300)
    assert reader.read() == MemoryAllowance(total_mb=1000, free_mb=700)
