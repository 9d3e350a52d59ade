"""`titan quant` as an owner calls it: the share, a file here and on the web, the measurement."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.assets_path import selftest_model_path
from core.cli.app import run_cli
from core.engines.embedded import EmbeddedEngine
from core.engines.model_files import parts_of
from core.errors import ModelError
from core.remote_head import read_remote_metadata
from core.speed_book import SpeedBook
from core.speed_test import measure_outcome
from tests.fakes.gguf_models import TinyModel, write_model
from tests.fakes.small_agent import small_agent

SMALL = TinyModel(name="small", blocks=2, width=256, heads=4, feed_forward=512, vocabulary=2000)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small-Q8_0.gguf"
    write_model(path, SMALL)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_cli(["quant", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def facts(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    return told


@pytest.mark.parametrize(
    ("share", "tier"), [("0", "Emergency"), ("3.99", "Emergency"), ("4", "Good"), ("6", "High"), ("8", "Premium")]
)
def test_tier_of_a_share(capsys: pytest.CaptureFixture[str], share: str, tier: str) -> None:
    told = facts(capsys, "--share", share)
    assert told["tier"] == tier
    assert told["reason"].startswith(f"If you lend {share} GB of ")


def test_share_tells_quantisation_sessions_and_context_as_a_table_and_as_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = {row["model"]: row for row in facts(capsys, "--share", "6")["models"]}
    assert rows["Llama 3.1 8B"]["quant"] == "Q5_K_M"
    assert (rows["Llama 3.1 8B"]["sessions"], rows["Llama 3.1 8B"]["context_tokens"]) == (1, 4096)
    assert rows["Llama 3.1 70B"]["quant"] == ""
    code, out, _ = run(capsys, "--share", "6")
    assert code == 0
    assert "Llama 3.1 8B" in out
    assert "Q5_K_M" in out
    assert "examples" in out


def test_share_beyond_the_machine_says_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert "This machine has" in facts(capsys, "--share", "90000")["reason"]


def test_verdict_on_a_file_here(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    told = facts(capsys, "--share", "2", "--file", str(small))["file"]
    assert told["fit"] == "fits"
    assert told["size_bytes"] == small.stat().st_size
    assert "for 4 sessions of 4,096 tokens" in told["sentence"]
    assert facts(capsys, "--share", "0.05", "--file", str(small))["file"]["fit"] == "too big"


def test_file_that_is_none_is_one_line_with_a_remedy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_bytes(b"<html>" * 10)
    for path in (tmp_path / "page.gguf", tmp_path / "gone.gguf"):
        code, _, err = run(capsys, "--file", str(path))
        assert code == 1
        assert str(path) in err.replace("\n", "")
        assert "Traceback" not in err


def test_any_part_of_a_split_file_stands_for_all(tmp_path: Path) -> None:
    paths = parts_of(tmp_path / "big-00002-of-00003.gguf")
    assert [path.name for path in paths] == [f"big-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    assert parts_of(tmp_path / "whole.gguf") == (tmp_path / "whole.gguf",)


class Web(BaseHTTPRequestHandler):
    """A server of one file that knows ranges, or doesn't."""

    content = b""
    knows_ranges = True
    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://192.0.2.1/model.gguf")
            self.end_headers()
            return
        if self.path != "/model.gguf" and "-of-00003.gguf" not in self.path:
            self.send_error(404)
            return
        first, last = (int(part) for part in self.headers["Range"].removeprefix("bytes=").split("-"))
        piece = self.content[first : last + 1] if self.knows_ranges else self.content
        self.send_response(206 if self.knows_ranges else 200)
        if self.knows_ranges:
            self.send_header("Content-Range", f"bytes {first}-{first + len(piece) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(small: Path) -> Iterator[str]:
    Web.content, Web.knows_ranges, Web.requests = small.read_bytes(), True, 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_verdict_on_a_file_on_the_web_takes_one_request(
    capsys: pytest.CaptureFixture[str], web: str, small: Path
) -> None:
    there = facts(capsys, "--share", "2", "--file", f"{web}/model.gguf")["file"]
    assert Web.requests == 1
    here = facts(capsys, "--share", "2", "--file", str(small))["file"]
    assert {**there, "file": ""} == {**here, "file": ""}


def test_model_in_three_files_on_the_web_counts_with_all_of_them(web: str, small: Path) -> None:
    _, size = read_remote_metadata(f"{web}/big-00001-of-00003.gguf?download=true")
    assert size == 3 * small.stat().st_size
    assert Web.requests == 3
    with pytest.raises(ModelError, match="in 99,999 files"):
        read_remote_metadata(f"{web}/x-00001-of-00003.gguf-00001-of-99999.gguf")


@pytest.mark.parametrize(
    ("path", "said"),
    [("/gone.gguf", "HTTP 404"), ("/elsewhere", "no https address")],
)
def test_web_that_has_no_such_file_is_told(web: str, path: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        read_remote_metadata(f"{web}{path}")


def test_server_without_ranges_is_not_asked_for_the_whole_file(web: str) -> None:
    Web.knows_ranges = False
    with pytest.raises(ModelError, match="gives no parts"):
        read_remote_metadata(f"{web}/model.gguf")


@pytest.mark.parametrize("url", ["http://example.com/x.gguf", "https:///x", "ftp://x/y", "https://[bad"])
def test_only_https_is_read_beyond_this_machine(url: str) -> None:
    with pytest.raises(ModelError, match="no https address"):
        read_remote_metadata(url)


def test_measuring_goes_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--measure", "--share", "4")
    assert code == 2
    assert "goes alone" in err


async def test_real_model_is_measured_through_the_whole_path_and_kept() -> None:
    """The shipped model in a real llama.cpp child, for a second instead of twenty."""
    engine = EmbeddedEngine(None, extra_model_files=[selftest_model_path()], context_tokens=2048, threads=1)
    async with small_agent(engine, {"supported_models": ("titan-selftest-random",)}) as agent:
        outcome = await measure_outcome(agent, "", seconds=1.0)
        assert outcome.message.startswith("titan-selftest-random: ")
        (speed,) = SpeedBook(agent.paths.speeds_file).read()
        assert speed.model == "titan-selftest-random"
        assert speed.device.startswith("CPU")
        assert speed.seconds >= 1.0
        assert speed.tokens_per_second > 0
