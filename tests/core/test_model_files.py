import os
import runpy
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.assets_path import SELFTEST_MODEL_NAME, selftest_model_path
from core.engines.gguf_file import BLOCKS, read_gguf_head
from core.engines.model_files import ModelFolder
from core.gguf_reader import DamagedGguf

ROOT = Path(__file__).resolve().parents[2]
SELFTEST_BYTES = selftest_model_path().read_bytes()
HEAD_BYTES = len(SELFTEST_BYTES) - 435_968  # what isn't tensor data, padding included


def head_only_gguf(**values: str | int) -> bytes:
    """A GGUF without tensors."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, 0, len(values))]
    for key, value in values.items():
        name = key.replace("__", ".").encode()
        parts += [struct.pack("<Q", len(name)), name]
        if isinstance(value, str):
            parts += [struct.pack("<IQ", 8, len(value)), value.encode()]
        else:
            parts.append(struct.pack("<II", 4, value))
    return b"".join(parts)


def plain_model(**values: str | int) -> bytes:
    return head_only_gguf(general__architecture="llama", general__file_type=15, **values)


def test_models_are_named_by_their_file_stem(tmp_path: Path) -> None:
    (tmp_path / "Llama-3.1-8B.Q4_K_M.gguf").write_bytes(plain_model(llama__context_length=131072))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "other.GGUF").write_bytes(plain_model())
    (tmp_path / "notes.txt").write_text("not a model")

    inventory = ModelFolder(tmp_path).scan()

    assert [model.name for model in inventory.models] == ["Llama-3.1-8B.Q4_K_M", "other"]
    model = inventory.models[0]
    assert (model.quant, model.context_tokens, model.is_selftest) == ("Q4_K_M", 131072, False)
    assert inventory.damaged == ()


def test_quant_is_read_from_the_name_when_the_file_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "tiny-Q5_K_S.gguf").write_bytes(head_only_gguf(general__architecture="llama"))
    assert ModelFolder(tmp_path).scan().models[0].quant == "Q5_K_S"


def test_split_files_are_one_model(tmp_path: Path) -> None:
    """Only the first says what it is."""
    for part in (2, 1, 3):
        whole = plain_model if part == 1 else head_only_gguf
        content = whole(split__no=part - 1, split__count=3) + b"x" * part
        (tmp_path / f"big-{part:05}-of-00003.gguf").write_bytes(content)

    (model,) = ModelFolder(tmp_path).scan().models

    assert model.name == "big"
    assert model.path == tmp_path / "big-00001-of-00003.gguf"
    assert model.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_split_model_with_a_missing_file_is_reported_and_not_offered(tmp_path: Path) -> None:
    (tmp_path / "big-00001-of-00003.gguf").write_bytes(plain_model(split__count=3))
    inventory = ModelFolder(tmp_path).scan()
    assert inventory.models == ()
    assert [(bad.name, bad.problem) for bad in inventory.damaged] == [("big", "1 of its 3 files are here")]
    (tmp_path / "big-00001-of-00003.gguf").unlink()
    for part in (2, 3):
        (tmp_path / f"big-{part:05}-of-00003.gguf").write_bytes(head_only_gguf(split__no=part - 1, split__count=3))
    (bad,) = ModelFolder(tmp_path).scan().damaged
    assert (bad.name, bad.problem) == ("big", "2 of its 3 files are here")


def test_split_model_of_which_no_file_says_what_it_is_is_damaged(tmp_path: Path) -> None:
    for part in (1, 2):
        (tmp_path / f"odd-{part:05}-of-00002.gguf").write_bytes(head_only_gguf(split__no=part, split__count=2))
    (bad,) = ModelFolder(tmp_path).scan().damaged
    assert bad.problem == "it does not say which kind of model it is"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"GGUF", "the file is too short to be a model"),
        (b"<!DOCTYPE html><html>an error page", "it does not begin as a GGUF file does"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1 is not supported (2 and 3 are)"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "its head promises more than the file can hold"),
        (head_only_gguf(general__name="x"), "it does not say which kind of model it is"),
        (SELFTEST_BYTES[:-100_000], "the file is incomplete: at least 1 MB are missing"),
    ],
    ids=["empty", "short", "web page", "old version", "too much promised", "no kind", "broken off"],
)
def test_damaged_file_is_reported_and_not_offered(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    inventory = ModelFolder(tmp_path).scan()
    assert inventory.models == ()
    assert [(bad.name, bad.problem) for bad in inventory.damaged] == [("bad", problem)]


def test_whole_file_is_read_to_its_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(SELFTEST_BYTES)
    assert read_gguf_head(path).architecture == "llama"
    path.write_bytes(SELFTEST_BYTES[:-64])
    with pytest.raises(DamagedGguf):
        read_gguf_head(path)


@given(at=st.integers(4, HEAD_BYTES), patch=st.binary(min_size=1, max_size=9), cut=st.integers(0, len(SELFTEST_BYTES)))
@settings(max_examples=150, deadline=None)
def test_hostile_head_is_damaged_or_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, patch: bytes, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.gguf"
    content = SELFTEST_BYTES[:at] + patch + SELFTEST_BYTES[at + len(patch) :]
    path.write_bytes(content[: cut if cut % 2 else len(content)])
    try:
        head = read_gguf_head(path)
    except DamagedGguf:
        return
    assert head.architecture


def test_sizes_of_blocks_are_the_format_s() -> None:
    known = {kind.value: sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: known[kind] for kind in BLOCKS} == BLOCKS


def test_missing_folder_offers_nothing(tmp_path: Path) -> None:
    assert ModelFolder(tmp_path / "none").scan().models == ()
    assert ModelFolder(None).scan().models == ()


def test_extra_file_is_offered_beside_the_folder_and_a_missing_one_is_reported(tmp_path: Path) -> None:
    inventory = ModelFolder(tmp_path, [selftest_model_path(), tmp_path / "gone.gguf"]).scan()
    assert [model.name for model in inventory.models] == [SELFTEST_MODEL_NAME]
    assert [bad.name for bad in inventory.damaged] == ["gone"]


def test_second_model_of_one_name_is_reported(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.gguf").write_bytes(plain_model())
    inventory = ModelFolder(tmp_path).scan()
    assert [model.path.parent.name for model in inventory.models] == ["a"]
    assert [bad.path.parent.name for bad in inventory.damaged] == ["b"]


def test_picture_encoder_beside_a_model_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "mmproj-x.gguf").write_bytes(head_only_gguf(general__architecture="clip"))
    inventory = ModelFolder(tmp_path).scan()
    assert (inventory.models, inventory.damaged) == ((), ())


def test_selftest_model_is_known_under_any_file_name(tmp_path: Path) -> None:
    shutil.copy(selftest_model_path(), tmp_path / "my-great-model.gguf")
    (model,) = ModelFolder(tmp_path).scan().models
    assert model.is_selftest


def test_head_is_read_again_only_when_the_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def counting(path: Path, read: Callable[[Path], object] = read_gguf_head) -> object:
        reads.append(path)
        return read(path)

    monkeypatch.setattr("core.engines.model_files.read_gguf_head", counting)
    path = tmp_path / "m.gguf"
    path.write_bytes(plain_model())
    folder = ModelFolder(tmp_path)
    folder.scan()
    folder.scan()
    assert len(reads) == 1
    path.write_bytes(plain_model()[:-1])
    assert folder.scan().models == ()
    assert len(reads) == 2


def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    (bad,) = ModelFolder(tmp_path).scan().damaged
    assert bad.problem


def test_shape_of_the_selftest_model_is_read() -> None:
    (model,) = ModelFolder(None, [selftest_model_path()]).scan().models
    assert model.shape is not None
    # 2 blocks of 2 key-value heads, each 16 wide
    assert (model.shape.full_keys, model.shape.full_values, model.shape.vocabulary) == (64, 64, 273)


def test_shipped_selftest_model_is_what_the_script_makes(tmp_path: Path) -> None:
    made = tmp_path / "made.gguf"
    script = runpy.run_path(os.fspath(ROOT / "scripts" / "make-selftest-model"))
    script["write_model"](made)
    assert made.read_bytes() == SELFTEST_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
@pytest.mark.parametrize("name", [b"two\nlines.gguf", b"\x1b[2Jclear.gguf", b"no text \xff.gguf"])
def test_a_name_that_cannot_be_shown_is_reported_and_not_offered(tmp_path: Path, name: bytes) -> None:
    shutil.copy(selftest_model_path(), tmp_path / os.fsdecode(name))
    inventory = ModelFolder(tmp_path).scan()
    assert inventory.models == ()
    assert "can't be shown" in inventory.damaged[0].problem
