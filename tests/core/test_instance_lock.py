"""One agent per profile, however the last one died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import AlreadyRunningError, StorageError
from core.instance_lock import InstanceLock, read_holder

HOLD = """
import sys, time
from pathlib import Path
from core.instance_lock import InstanceLock
InstanceLock(Path(sys.argv[1]), "work").acquire()
print("held", flush=True)
sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its stdin is closed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_second_process_is_refused_with_profile_pid_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    with start_holder(path) as holder:
        with pytest.raises(AlreadyRunningError) as caught:
            InstanceLock(path, "work").acquire()
        holder.communicate("")

    assert "'work'" in caught.value.detail
    assert f"process {holder.pid} since 20" in caught.value.detail
    assert "titan status" in caught.value.hint
    assert "--profile" in caught.value.hint


def test_second_lock_in_one_process_is_refused_too(tmp_path: Path) -> None:
    with InstanceLock(tmp_path / "lock", "default"), pytest.raises(AlreadyRunningError):
        InstanceLock(tmp_path / "lock", "default").acquire()


def test_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    with start_holder(tmp_path / "lock") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()

        with InstanceLock(tmp_path / "lock", "default", clock=lambda: 5.0) as lock:
            assert lock.is_held
            found = read_holder(tmp_path / "lock")

    assert found is not None
    assert (found.pid, found.started_at) == (os.getpid(), 5.0)


def test_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path / "lock", "default")
    lock.acquire()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        with InstanceLock(tmp_path / "lock", "default") as again:
            assert again.is_held
        child.communicate(b"")


def test_refused_attempt_does_not_end_the_holders_lock(tmp_path: Path) -> None:
    with InstanceLock(tmp_path / "lock", "default"):
        for _ in range(2):
            with pytest.raises(AlreadyRunningError):
                InstanceLock(tmp_path / "lock", "default").acquire()


def test_release_frees_the_profile_and_may_be_repeated(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path / "lock", "default")
    with lock:
        lock.acquire()
    lock.release()

    assert not lock.is_held
    assert read_holder(tmp_path / "lock") is None
    with InstanceLock(tmp_path / "lock", "default") as other:
        assert other.is_held


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"pid": "x"}', "\x00\xff"])
def test_leftover_content_does_not_matter(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content, encoding="latin-1")

    assert read_holder(tmp_path / "lock") is None
    with InstanceLock(tmp_path / "lock", "default") as lock:
        assert lock.is_held


def test_unusable_folder_is_a_storage_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="file"):
        InstanceLock(tmp_path / "file" / "lock", "default").acquire()


def test_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "lock").symlink_to(target)

    with pytest.raises(StorageError):
        InstanceLock(tmp_path / "lock", "default").acquire()

    assert target.read_text() == "precious"
