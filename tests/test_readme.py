"""The README is the front door: what it names is there, and what the first agent's users look for stands in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

# The commands and headings of the first agent's README, as its users remember them.
SEED_WORDS = (
    "python main.py",
    "AGENT_ID=dev-agent AGENT_PORT=50055",
    "grpcurl -plaintext localhost:50052 titancompute.v1.AgentService/GetStatus",
    "StreamInference",
    "ollama serve",
    "ollama list",
    "| jq .",
    "src.quantization",
    "src.stats_collector",
    "src.model_manager",
    "telnet localhost 50051",
    "/api/v1/public-key",
    "docker build",
    "Coordinator connection failed",
    "Ollama connection failed",
    "Model not found",
    "JWT validation failed",
)


@pytest.mark.parametrize("words", SEED_WORDS)
def test_what_the_first_agents_users_look_for_stands_in_the_readme(words: str) -> None:
    assert words in README.replace("\\|", "|")


def test_every_linked_file_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_titan_command_in_the_readme_exists() -> None:
    from core.cli.app import run_cli

    named = set(re.findall(r"(?:`|^)titan ([a-z][a-z-]*)", README, re.MULTILINE))
    assert {"run", "status", "pause", "ask", "doctor"} <= named
    assert {name: run_cli([name, "--help"]) for name in sorted(named)} == dict.fromkeys(sorted(named), 0)


def test_the_python_block_runs_as_printed() -> None:
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert block is not None
    ran = subprocess.run([sys.executable, "-c", block[1]], capture_output=True, text=True, cwd="/", check=True)
    assert re.search(r"Available memory: [0-9.]+ GB\nRecommended tier: (Premium|High|Good|Emergency)\n", ran.stdout)


def test_the_three_agents_are_printed_as_the_first_readme_has_them() -> None:
    for number in (1, 2, 3):
        assert f"AGENT_ID=agent-{number} AGENT_PORT={50051 + number} titan run &" in README


# Each line of the README's shell blocks, and what runs it: a test, or a stage of .ci/run.
RUN_BY = {
    "./scripts/run": ".ci/run",
    "./scripts/run desktop": "tests/test_scripts.py",
    "./scripts/test": ".ci/run",
    "titan doctor": "tests/core/test_doctor.py",
    "titan run": "tests/integration/test_running_agent.py",
    "titan ask": "tests/integration/test_running_agent.py",
    "titan --profile agent-2 status": "tests/core/test_cli_shape.py",
}


def commands_of(text: str) -> list[str]:
    """The lines of all shell blocks, without comments, settings before a command, and `&`."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [re.sub(r"\s+#.*$", "", line).strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line).removesuffix(" &") for line in lines if line]


def test_every_command_of_the_readme_is_run_somewhere() -> None:
    unknown = [line for line in commands_of(README) if not any(line.startswith(known) for known in RUN_BY)]
    assert unknown == []
    assert [path for path in RUN_BY.values() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "heading", ["Coordinator connection failed", "Ollama connection failed", "Model not found", "JWT validation failed"]
)
def test_troubleshooting_has_the_first_readmes_headings(heading: str) -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert f'## "{heading}"' in text


@pytest.mark.parametrize(
    "document",
    sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "packaging").rglob("*.md")),
    ids=lambda path: path.name,
)
def test_links_in_the_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []
