"""The rare, slow calls to Ollama, through the `ollama` package.

The package is imported on use: it brings httpx and pydantic (19 MB, 0.2 s). The serving path does without it
(core/engines/ollama.py says why, call by call).
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from core.engines.engine_errors import error_of, one_line
from core.engines.http import CONNECT_TIMEOUT_S
from core.engines.ollama_wire import VOICE
from core.errors import AgentError, EngineFailed, EngineProtocolError, EngineUnreachable, ModelNotFound

if TYPE_CHECKING:
    from ollama import AsyncClient


async def pull_model(base_url: str, model: str) -> AsyncGenerator[tuple[str, int | None, int | None], None]:
    """Download `model`; yields (status, completed bytes, total bytes). Ends only when Ollama has said "success"."""
    last = ""
    async with _client(base_url, model, timeout_s=None) as client:
        async for progress in await client.pull(model, stream=True):
            last = progress.status or ""
            yield last, progress.completed, progress.total
    if last != "success":
        raise EngineFailed(f"Ollama ended the download of {model} early", hint=f"ollama pull {model}")


def _pull_error(status: int, said: str, model: str) -> AgentError:
    """Ollama answers 500 to whatever its library says; its words tell what that was."""
    low = said.lower()
    if "manifest" in low and "does not exist" in low:
        return ModelNotFound(
            f"there is no model {model} in Ollama's library", hint="Check the spelling: ollama.com/library lists them."
        )
    if "requires a newer version" in low:
        return EngineFailed(f"this Ollama is too old for {model}", hint="Update Ollama.")
    if any(phrase in low for phrase in ("no such host", "dial tcp", "i/o timeout", "tls handshake")):
        return EngineFailed(
            f"Ollama can't reach its library: {one_line(said)}", hint="Check this machine's network, and try again."
        )
    return error_of(VOICE, status, said, model=model)


@asynccontextmanager
async def _client(base_url: str, model: str, *, timeout_s: float | None) -> AsyncIterator[AsyncClient]:
    """A client for one download, with the package's, httpx's and pydantic's errors translated."""
    ollama = await asyncio.to_thread(importlib.import_module, "ollama")
    import httpx
    import pydantic

    timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
    client: AsyncClient = ollama.AsyncClient(host=base_url, timeout=timeout, trust_env=False)
    try:
        async with client:
            yield client
    except ollama.ResponseError as error:
        status = error.status_code if error.status_code > 0 else 500
        raise _pull_error(status, error.error, model) from error
    except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise EngineUnreachable(f"Ollama does not answer at {base_url}", hint="Start Ollama: ollama serve") from error
    except httpx.HTTPError as error:
        raise EngineFailed(f"the connection to Ollama broke ({type(error).__name__})") from error
    except (ValueError, TypeError, AttributeError, pydantic.ValidationError) as error:
        raise EngineProtocolError(f"Ollama's answer about {model} has another form than promised") from error
