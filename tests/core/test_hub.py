"""Downloads from a model hub, against a stand-in on this machine, through the real `huggingface_hub` package."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.commands import CommandError
from core.engines import PullProgress
from core.errors import AgentError, StorageError
from core.hub import download as download_module
from core.hub.download import ATTEMPTS, Download, DownloadStopped, HubError, RateLimit
from core.hub.hub import KEEP_FREE_BYTES, KEEP_PART_S, HubLimits, ModelHub
from core.hub.manifest import MANIFEST_NAME
from core.hub.names import HubFile, ModelReference, choose_files, model_name, parse_reference
from core.hub.source import HuggingFaceSource
from tests.fakes.fake_hub import FakeHub

REPO = "maker/Small-GGUF"
CONTENT = bytes(range(256)) * 300  # 76,800 bytes
FILES = {
    "Small-Q4_K_M.gguf": CONTENT,
    "Small-Q8_0.gguf": CONTENT * 2,
    "BF16/Small-BF16-00001-of-00002.gguf": b"GGUF first",
    "BF16/Small-BF16-00002-of-00002.gguf": b"GGUF second",
    "mmproj-Small-F16.gguf": b"GGUF eyes",
}


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    with FakeHub({REPO: dict(FILES)}) as hub:
        yield hub


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "PAUSE_S", (0.0,))


def a_hub(fake_hub: FakeHub, folder: Path, limits: HubLimits | None = None, *, free: int = 10**12) -> ModelHub:
    return ModelHub(
        folder,
        open_source=lambda reference: HuggingFaceSource(reference, fake_hub.url),
        limits=lambda: limits or HubLimits(),
        free_bytes=lambda _: free,
    )


def names_in(folder: Path, *suffixes: str) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in suffixes)


def written_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def pulled(hub: ModelHub, name: str) -> list[PullProgress]:
    return [step async for step in hub.pull(name)]


# Names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("maker/Small-GGUF", ModelReference("maker", "Small-GGUF")),
        ("hf.co/maker/Small-GGUF:Q4_K_M", ModelReference("maker", "Small-GGUF", "Q4_K_M")),
        ("https://huggingface.co/maker/Small-GGUF", ModelReference("maker", "Small-GGUF")),
        (" maker/Small-GGUF:Small-Q8_0.gguf ", ModelReference("maker", "Small-GGUF", "Small-Q8_0.gguf")),
    ],
)
def test_names_are_read_as_people_write_them(text: str, expected: ModelReference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text", ["", "llama3.2:3b", "a/b/c", "../etc/passwd", "maker/Small GGUF", "http://evil/x/y", "a/.."]
)
def test_what_names_no_repository_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="names no model on the hub"):
        parse_reference(text)


def listed(*paths: str, size: int = 1000) -> list[HubFile]:
    return [HubFile(path=path, size_bytes=size, sha256="0" * 64) for path in paths]


def test_a_quantisation_is_found_in_any_case_and_never_within_another() -> None:
    files = listed("X-Q4_K_M.gguf", "X-IQ4_XS.gguf", "X-Q4_K_S.gguf", "sub/X.Q4_0.gguf")
    assert [file.name for file in choose_files(files, "q4_k_m")] == ["X-Q4_K_M.gguf"]
    assert [file.name for file in choose_files(files, "Q4_0")] == ["X.Q4_0.gguf"]
    assert [file.name for file in choose_files(files, "X-IQ4_XS.gguf")] == ["X-IQ4_XS.gguf"]
    with pytest.raises(CommandError, match="no XS") as caught:
        choose_files(files, "XS")
    assert "IQ4_XS, Q4_0, Q4_K_M, Q4_K_S" in caught.value.hint


def test_all_parts_of_a_split_model_are_taken_or_none() -> None:
    parts = listed("X-Q8_0-00002-of-00002.gguf", "X-Q8_0-00001-of-00002.gguf")
    chosen = choose_files(parts, "Q8_0")
    assert [file.name for file in chosen] == ["X-Q8_0-00001-of-00002.gguf", "X-Q8_0-00002-of-00002.gguf"]
    assert model_name(chosen) == "X-Q8_0"
    with pytest.raises(CommandError, match="1 of 2 parts"):
        choose_files(parts[:1], "Q8_0")


def test_without_a_quantisation_the_best_that_fits_is_taken() -> None:
    files = [
        HubFile(path=f"X-{quant}.gguf", size_bytes=size, sha256="0" * 64)
        for quant, size in (("BF16", 16_000), ("Q8_0", 8_000), ("Q4_K_M", 5_000), ("Q2_K", 3_000))
    ]
    chosen = {room: choose_files(files, "", room_bytes=room)[0].name for room in (100_000, 9_600, 9_599, 1)}
    assert chosen == {100_000: "X-Q8_0.gguf", 9_600: "X-Q8_0.gguf", 9_599: "X-Q4_K_M.gguf", 1: "X-Q2_K.gguf"}
    assert choose_files(files, "")[0].name == "X-Q4_K_M.gguf"


def test_a_repository_without_models_says_so() -> None:
    with pytest.raises(CommandError, match="no GGUF"):
        choose_files(listed("model.safetensors", "mmproj-X.gguf", "../../evil\n.gguf"), "")


# Through the package


async def test_a_model_comes_whole_with_progress(fake_hub: FakeHub, tmp_path: Path) -> None:
    steps = await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert (tmp_path / "Small-Q4_K_M.gguf").read_bytes() == CONTENT
    assert steps[0] == PullProgress("asking the hub")
    assert steps[-1] == PullProgress("downloading", len(CONTENT), len(CONTENT))
    assert names_in(tmp_path, ".gguf", ".json", ".part", ".tmp") == [MANIFEST_NAME, "Small-Q4_K_M.gguf"]


async def test_a_split_model_comes_with_all_parts(fake_hub: FakeHub, tmp_path: Path) -> None:
    steps = await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:BF16")
    assert [(tmp_path / f"Small-BF16-0000{n}-of-00002.gguf").read_bytes() for n in (1, 2)] == [
        b"GGUF first",
        b"GGUF second",
    ]
    assert steps[-1] == PullProgress("downloading", 21, 21)


async def test_neither_token_nor_machine_is_told(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert len(fake_hub.headers) == 3  # the list, the address, the bytes
    assert not [name for headers in fake_hub.headers for name in headers if name.lower() == "authorization"]
    assert "hf_secret" not in repr(fake_hub.headers)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(CONTENT) - 1), min_size=1, max_size=3))
def test_a_connection_may_break_at_any_byte(
    fake_hub: FakeHub, tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("models")
    fake_hub.faults.cut_after = list(cuts)
    asyncio.run(_pull_all(a_hub(fake_hub, folder)))
    assert (folder / "Small-Q4_K_M.gguf").read_bytes() == CONTENT
    fake_hub.faults.cut_after.clear()


async def _pull_all(hub: ModelHub) -> None:
    await pulled(hub, f"{REPO}:Q4_K_M")


@pytest.mark.parametrize("there", [1, 40_000, len(CONTENT) - 1, len(CONTENT)])
async def test_a_later_download_goes_on_where_the_first_broke_off(
    fake_hub: FakeHub, tmp_path: Path, there: int
) -> None:
    part = tmp_path / f".{hashlib.sha256(CONTENT).hexdigest()[:32]}.part"
    part.write_bytes(CONTENT[:there])
    await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert (tmp_path / "Small-Q4_K_M.gguf").read_bytes() == CONTENT
    assert fake_hub.sent_ranges == ([f"bytes={there}-"] if there < len(CONTENT) else [])


async def test_what_came_wrong_is_thrown_away(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.lie_about("Small-Q4_K_M.gguf")
    with pytest.raises(HubError, match="wrong checksum"):
        await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert names_in(tmp_path, ".gguf", ".part") == []


async def test_a_checksum_that_is_a_path_is_never_made_one(fake_hub: FakeHub, tmp_path: Path) -> None:
    """What has come of a file is named after its checksum: that must not lead out of the models folder."""
    folder = tmp_path / "data" / "models"
    fake_hub.lie_about("Small-Q4_K_M.gguf", "/../../evil".ljust(64, "x"))
    with pytest.raises(AgentError, match="has no Q4_K_M"):
        await pulled(a_hub(fake_hub, folder), f"{REPO}:Q4_K_M")
    assert written_below(tmp_path) == []
    assert fake_hub.sent_ranges == []


@pytest.mark.parametrize("address", ["http://localhost:{port}/cdn/x", "file:///etc/hostname", "ftp://127.0.0.1/x"])
async def test_a_hub_may_not_lead_to_plain_addresses_elsewhere(fake_hub: FakeHub, tmp_path: Path, address: str) -> None:
    fake_hub.faults.leads_to = address.format(port=fake_hub.url.rpartition(":")[2])
    with pytest.raises(HubError, match="leads to an address that isn't https"):
        await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert fake_hub.sent_ranges == []


async def test_a_hub_may_not_lead_in_circles(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults.leads_to = f"{fake_hub.url}/{REPO}/resolve/0123456789abcdef0123456789abcdef01234567/again"
    with pytest.raises(HubError, match="in circles"):
        await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")


@pytest.mark.parametrize(
    "listing",
    [
        b"[]",
        b"[" * 100_000,
        b"\x00\xff",
        b'{"siblings": 3}',
        b'{"siblings": [1, {"rfilename": 2, "lfs": {"sha256": 3, "size": "4"}}, {"lfs": []}]}',
        b'{"siblings": [{"rfilename": "a.gguf", "lfs": {"sha256": "' + b"a" * 64 + b'", "size": 1e400}}]}',
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 500])
async def test_a_list_that_is_none_is_one_clear_error(
    fake_hub: FakeHub, tmp_path: Path, listing: bytes, status: int
) -> None:
    fake_hub.faults.listing, fake_hub.faults.listing_status = listing, status
    with pytest.raises(AgentError, match=r"has no GGUF file|does not answer"):
        await pulled(a_hub(fake_hub, tmp_path), REPO)


async def test_a_list_without_end_is_given_up(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.hub.source.MAX_LISTING_BYTES", 100)
    with pytest.raises(HubError, match="list of files is longer"):
        await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as unix has them")
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
async def test_what_others_put_in_the_place_of_a_part_is_not_written_to(
    fake_hub: FakeHub, tmp_path: Path, kind: str
) -> None:
    folder, victim = tmp_path / "models", tmp_path / "diary"
    folder.mkdir()
    victim.write_bytes(b"dear diary")
    part = folder / f".{hashlib.sha256(CONTENT).hexdigest()[:32]}.part"
    if kind == "link":
        part.symlink_to(victim)
    elif kind == "hard link":
        part.hardlink_to(victim)
    else:
        os.mkfifo(part)
    with pytest.raises(StorageError, match="Cannot write"):
        await pulled(a_hub(fake_hub, folder), f"{REPO}:Q4_K_M")
    assert victim.read_bytes() == b"dear diary"


async def test_a_hub_that_never_sends_is_given_up_and_what_came_is_kept(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults.statuses = [503] * 20
    with pytest.raises(HubError, match="busy") as caught:
        await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert "What has come is kept" in caught.value.hint
    assert len(fake_hub.sent_ranges) == ATTEMPTS
    fake_hub.faults.statuses.clear()
    await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert (tmp_path / "Small-Q4_K_M.gguf").read_bytes() == CONTENT


async def test_a_hub_that_starts_anew_in_the_middle_is_refused(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults.cut_after = [1000]
    fake_hub.faults.ignores_range = True
    with pytest.raises(HubError, match="can't go on in the middle"):
        await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")


async def test_cancelling_keeps_what_has_come(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults.gate = threading.Event()
    hub = a_hub(fake_hub, tmp_path)
    begun = asyncio.Event()

    async def pull() -> None:
        async for step in hub.pull(f"{REPO}:Q4_K_M"):
            if step.completed_bytes:
                begun.set()

    task = asyncio.create_task(pull())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(names_in(tmp_path, ".part")) == 1
    assert names_in(tmp_path, ".gguf") == []


async def test_repositories_that_cannot_be_had_say_why(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.files["maker/Gated-GGUF"] = {}
    fake_hub.gated.add("maker/Gated-GGUF")
    for name, words in (("maker/Nothing-GGUF", "the hub has no maker"), ("maker/Gated-GGUF", "terms")):
        with pytest.raises(HubError, match=words):
            await pulled(a_hub(fake_hub, tmp_path), name)


async def test_a_hub_that_is_not_there_says_what_to_check(tmp_path: Path) -> None:
    hub = ModelHub(tmp_path, open_source=lambda reference: HuggingFaceSource(reference, "http://127.0.0.1:1"))
    with pytest.raises(HubError, match="does not answer") as caught:
        await pulled(hub, REPO)
    assert "hub_endpoint" in caught.value.hint


# The owner's limits


@pytest.mark.parametrize("endpoint", ["http://hub.example", "ftp://hub.example", "hub.example", "file:///etc"])
async def test_a_hub_whose_answers_anybody_could_change_is_not_asked(tmp_path: Path, endpoint: str) -> None:
    hub = ModelHub(tmp_path, open_source=lambda reference: HuggingFaceSource(reference, endpoint))
    with pytest.raises(HubError, match="no https address of a hub"):
        await pulled(hub, REPO)


async def test_a_disk_that_would_be_full_is_not_begun(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.files[REPO]["Small-Q6_K.gguf"] = b"\0" * 60_000_000
    with pytest.raises(StorageError, match=r"60\.0 MB are to come, and the disk") as caught:
        await pulled(a_hub(fake_hub, tmp_path, free=KEEP_FREE_BYTES + 1000), f"{REPO}:Q6_K")
    assert "stay free for you" in caught.value.hint
    assert fake_hub.sent_ranges == []


async def test_the_disk_budget_holds_over_all_downloads(fake_hub: FakeHub, tmp_path: Path) -> None:
    hub = a_hub(fake_hub, tmp_path, HubLimits(disk_budget_bytes=3 * len(CONTENT) - 1))
    await pulled(hub, f"{REPO}:Q4_K_M")
    with pytest.raises(StorageError, match="downloaded models may take"):
        await pulled(hub, f"{REPO}:Q8_0")
    hub.delete("Small-Q4_K_M")
    await pulled(hub, f"{REPO}:Q8_0")


def test_the_rate_is_what_the_owner_allows() -> None:
    now = 100.0
    limit = RateLimit(lambda: 1000.0, monotonic=lambda: now)
    assert limit.pause_after(500) == pytest.approx(0.5)
    assert limit.pause_after(500) == pytest.approx(1.0)  # another download, or none waited
    now = 200.0
    assert limit.pause_after(500) == pytest.approx(0.5)  # idle time isn't saved up
    assert RateLimit(lambda: 0.0).pause_after(10**9) == 0.0


def test_a_stopped_download_waits_no_longer(tmp_path: Path) -> None:
    stop = threading.Event()

    class Endless:
        def open(self, file: HubFile, start: int) -> object:
            raise AssertionError("not asked after a stop")

    stop.set()
    file = HubFile(path="X.gguf", size_bytes=10, sha256="0" * 64)
    run = Download(Endless(), tmp_path, stop=stop, limit=RateLimit(lambda: 0.0), on_bytes=lambda *_: None)  # type: ignore[arg-type]
    with pytest.raises(DownloadStopped):
        run.fetch(file)


# Only what was downloaded here is deleted


async def test_only_downloaded_files_are_deleted(fake_hub: FakeHub, tmp_path: Path) -> None:
    own = tmp_path / "Mine-Q4_0.gguf"
    own.write_bytes(b"GGUF mine")
    hub = a_hub(fake_hub, tmp_path)
    await pulled(hub, f"{REPO}:BF16")
    with pytest.raises(HubError, match="not downloaded by this program"):
        hub.delete("Mine-Q4_0")
    hub.delete("Small-BF16")
    assert names_in(tmp_path, ".gguf") == ["Mine-Q4_0.gguf"]


async def test_a_file_of_the_owners_is_never_overwritten(fake_hub: FakeHub, tmp_path: Path) -> None:
    own = tmp_path / "Small-Q4_K_M.gguf"
    own.write_bytes(b"GGUF mine")
    with pytest.raises(HubError, match="there is a file"):
        await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert own.read_bytes() == b"GGUF mine"


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b'{"X": ["../../../etc/passwd"]}', b'{"X": ["C:evil"]}', b'{"X": 1}']
)
def test_a_list_that_was_tampered_with_deletes_nothing(fake_hub: FakeHub, tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(AgentError):
        a_hub(fake_hub, tmp_path).delete("X")
    assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name]


async def test_what_nobody_goes_on_with_is_cleared_away(fake_hub: FakeHub, tmp_path: Path) -> None:
    old, new, other = tmp_path / f".{'a' * 32}.part", tmp_path / f".{'b' * 32}.part", tmp_path / ".mine.part"
    for part in (old, new, other):
        part.write_bytes(b"x")
    written = old.stat().st_mtime
    os.utime(old, (written - KEEP_PART_S - 10, written - KEEP_PART_S - 10))
    os.utime(other, (0, 0))
    await pulled(a_hub(fake_hub, tmp_path), f"{REPO}:Q4_K_M")
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)
