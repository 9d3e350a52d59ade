"""`titan ledger`, from a running agent and from the file alone."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.cli.app import run_cli
from core.cli.render_ledger import BAR_WIDTH, bar_of
from core.ledger_store import LedgerStore
from core.paths import profile_paths
from tests.fakes.commands import FakeCommands
from tests.fakes.running_door import running_door
from tests.fakes.session_records import ledger_row
from tests.fakes.snapshots import busy_snapshot


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def kept() -> Iterator[LedgerStore]:
    """A ledger with three sessions of now, left by an agent that has ended."""
    with closing(LedgerStore.open(profile_paths().ledger_file)) as store:
        store.add([ledger_row(started_at=time.time() - 1, completion_tokens=1_000)] * 3)
    with closing(LedgerStore.open_for_reading(profile_paths().ledger_file)) as store:
        yield store


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_cli(("ledger", *arguments))
    out, err = capsys.readouterr()
    return code, out, err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = run(capsys, "--json", *arguments)
    assert (code, err) == (0, "")
    value: dict[str, Any] = json.loads(out)
    return value


def test_without_any_ledger_everything_is_nought(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys)

    assert result["summary"]["all"]["sessions"] == 0
    assert len(result["days"]) == 7
    assert run(capsys)[0] == 0


def test_without_an_agent_the_file_is_read(capsys: pytest.CaptureFixture[str], kept: LedgerStore) -> None:
    code, out, err = run(capsys)

    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["all", "3", "0", "21", "3,000", "4", "s"] in lines
    assert "█" * BAR_WIDTH in out
    assert run_json(capsys, "--days", "3")["summary"]["all"]["completion_tokens"] == 3_000


def test_days_as_csv(capsys: pytest.CaptureFixture[str], kept: LedgerStore) -> None:
    code, out, _ = run(capsys, "--csv", "--days", "400")

    lines = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(lines)) == (0, 400)
    assert sum(int(line["completion_tokens"]) for line in lines) == 3_000


@pytest.mark.parametrize(
    ("arguments", "is_json"),
    [(("out.csv",), False), (("out.JSON",), True), (("out", "--json"), True), (("out.json", "--csv"), False)],
)
def test_export_without_an_agent(
    capsys: pytest.CaptureFixture[str], kept: LedgerStore, tmp_path: Path, arguments: tuple[str, ...], is_json: bool
) -> None:
    code, out, _ = run(capsys, "--export", *arguments)

    text = (tmp_path / arguments[0]).read_text()
    entries = json.loads(text)["sessions"] if is_json else list(csv.DictReader(io.StringIO(text)))
    assert (code, len(entries)) == (0, 3)
    assert "Wrote 3 sessions" in out


def test_export_without_a_ledger_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--export", "out.csv")

    assert (code, out) == (1, "")
    assert "There is no ledger yet" in err


def test_ledger_itself_is_not_exported_over(capsys: pytest.CaptureFixture[str], kept: LedgerStore) -> None:
    code, _, err = run(capsys, "--export", str(profile_paths().ledger_file))

    assert code == 1
    assert "is the ledger itself" in err
    assert kept.all_sums().sessions == 3


def test_running_agent_is_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with running_door(busy_snapshot()) as commands:
        run_json(capsys, "--days", "3")
        run_json(capsys, "--export", "out.csv")

    assert isinstance(commands, FakeCommands)
    assert commands.calls == [
        ("contribution", {"days": "3", "recent": "0"}),
        ("export_ledger", {"path": str(tmp_path / "out.csv"), "format": "json"}),
    ]


def test_damaged_file_is_said_and_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    paths = profile_paths()
    paths.ensure()
    paths.ledger_file.write_bytes(b"no database " * 500)

    code, out, err = run(capsys)

    assert (code, out) == (1, "")
    assert "not a database" in err
    assert [file.name for file in paths.data_dir.iterdir()] == ["ledger.sqlite"]


@pytest.mark.parametrize("arguments", [("--json", "--csv"), ("--days", "0"), ("--days", "x")])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert run(capsys, *arguments)[0] == 2


@pytest.mark.parametrize(("value", "length"), [(0, 0), (1, 1), (50, BAR_WIDTH // 2), (100, BAR_WIDTH)])
def test_bar_is_as_long_as_its_share(value: int, length: int) -> None:
    assert bar_of(value, 100) == "█" * length
