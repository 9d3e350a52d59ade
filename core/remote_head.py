"""The head of a GGUF file on the web, by ranges: at most three requests and 5 MB (core/gguf_reader.py). Blocks.

Only when the owner asks about that very address; https only, plain http on this machine.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from core import __version__
from core.errors import ModelError
from core.gguf_reader import REMOTE_STEPS, DamagedGguf, RemoteBytes, read_metadata
from core.network import is_loopback_host

LIMIT_S = 15.0  # for each connect and read
_TOTAL = re.compile(r"bytes \d{1,20}-\d{1,20}/(\d{1,20})")


def is_web_address(text: str) -> bool:
    return text.startswith(("https://", "http://"))


def read_remote_metadata(url: str) -> tuple[Mapping[str, object], int]:
    """(metadata, the file's size in bytes). Raises ModelError with the reason and a remedy."""
    _check(url)
    try:
        first, total = _fetch(url, 0, REMOTE_STEPS[0])
        source = RemoteBytes(lambda start, count: first[:count] if not start else _fetch(url, start, count)[0], total)
        return read_metadata(source), total
    except urllib.error.HTTPError as error:
        error.close()
        raise ModelError(f"the file could not be read: HTTP {error.code}", hint="Check the address.") from None
    except DamagedGguf as error:
        raise ModelError(
            f"that is no model's file: {error}", hint="The address of the .gguf file itself is needed."
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ModelError(f"the file could not be read: {reason}", hint="Check the address and the network.") from None


def _fetch(url: str, start: int, count: int) -> tuple[bytes, int]:
    """(bytes from `start`, the whole file's size). The server must know ranges."""
    request = urllib.request.Request(  # noqa: S310 - checked by the caller
        url,
        headers={
            "User-Agent": f"TitanCompute/{__version__}",
            "Range": f"bytes={start}-{start + count - 1}",
            "Accept-Encoding": "identity",
        },
    )
    opener = urllib.request.build_opener(_SafeRedirects())
    with opener.open(request, timeout=LIMIT_S) as answer:
        total = _TOTAL.match(answer.headers.get("Content-Range") or "")
        if answer.status != 206 or total is None:
            raise ModelError(
                "the server gives no parts of files", hint="Download the file, and name it: titan quant --file FILE"
            )
        return answer.read(count), int(total[1])


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_fine = bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and is_loopback_host(parts.hostname or ""))
        )
    except ValueError:
        is_fine = False
    if not is_fine:
        raise ModelError(f"{url[:100]!r} is no https address", hint="It begins with https://")
