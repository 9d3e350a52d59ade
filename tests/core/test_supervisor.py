"""A child that can't be kept alive: what its owner is told, once it is no longer started by itself."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from core.engines.supervisor import FAILURES_BEFORE_ATTENTION, EngineSupervisor
from core.errors import EngineError, EngineFailed, EngineNeedsAttention


async def test_attention_names_the_last_failure_its_remedy_and_what_starts_the_engine_again() -> None:
    async def fail(_: object) -> Any:
        raise EngineFailed("the file is cut", hint="Download the file again.")

    supervisor = EngineSupervisor(fail, load_limit_s=1, sleep=lambda _: asyncio.sleep(0), draw=lambda: 0.5)
    for _ in range(FAILURES_BEFORE_ATTENTION):
        with pytest.raises(EngineError):
            async with supervisor.use(cast(Any, None)):
                raise AssertionError("there is no child")
    with pytest.raises(EngineNeedsAttention) as told:
        supervisor.raise_if_attention()
    assert told.value.detail == "the engine failed 3 times in a row; the last time: the file is cut"
    assert told.value.hint == "Download the file again. Then start the engine again: titan retry"
