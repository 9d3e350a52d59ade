"""Environments for `titan run` in tests: an engine, a free port, fast beats."""

from __future__ import annotations

from core.assets_path import SELFTEST_MODEL_NAME
from tests.fakes.calm_signals import NO_RULES

MODEL = SELFTEST_MODEL_NAME
BASE = {"AGENT_PORT": "0", "PUBLIC_HOST": "127.0.0.1", "HEARTBEAT_INTERVAL": "1", **NO_RULES}
EMBEDDED = {**BASE, "TITAN_ENGINE": "embedded", "SUPPORTED_MODELS": MODEL, "MAX_CONCURRENT_JOBS": "2"}
TINY = "tiny"  # fake Ollama's model


def ollama(url: str, **more: str) -> dict[str, str]:
    return {**BASE, "TITAN_ENGINE": "ollama", "OLLAMA_HOST": url, "SUPPORTED_MODELS": TINY, **more}


def openai(url: str, **more: str) -> dict[str, str]:
    return {**BASE, "TITAN_ENGINE": "openai", "TITAN_OPENAI_BASE_URL": url, "SUPPORTED_MODELS": TINY, **more}


# For tests of what follows, not of when: a sample each half second, and an engine in trouble is looked at each second.
OFTEN = {
    "HASTY": "core.parts.sampling:SAMPLE_INTERVAL_S=0.5 core.parts.sampling:CALM_INTERVAL_S=0.5 "
    "core.engine_keeper:TROUBLE_INTERVAL_S=1"
}
