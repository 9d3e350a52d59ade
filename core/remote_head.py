"""The head of a GGUF file on the web, by ranges: at most three requests and 5 MB (core/gguf_reader.py). Blocks.

Only when the owner asks about that very address; https only, plain http on this machine.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Mapping

from core import __version__
from core.errors import ModelError
from core.gguf_reader import REMOTE_STEPS, DamagedGguf, RemoteBytes, read_metadata
from core.safe_web import is_safe_address, safe_opener

LIMIT_S = 15.0  # for each connect and read
_MOST_PARTS = 100
_SPLIT = re.compile(r"^(?P<head>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf(?P<tail>(?:\?.*)?)$")
_TOTAL = re.compile(r"bytes \d{1,20}-\d{1,20}/(\d{1,20})")


def is_web_address(text: str) -> bool:
    return text.startswith(("https://", "http://"))


def read_remote_metadata(url: str) -> tuple[Mapping[str, object], int]:
    """(metadata, the size of all parts in bytes). Raises ModelError with the reason and a remedy.

    Of a model in several files the first is to be named: it has the metadata. Each other part costs one request more.
    """
    _check(url)
    try:
        first, total = _fetch(url, 0, REMOTE_STEPS[0])
        source = RemoteBytes(lambda start, count: first[:count] if not start else _fetch(url, start, count)[0], total)
        metadata = read_metadata(source)
        return metadata, total + sum(_fetch(other, 0, 1)[1] for other in _other_parts(url))
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


def _other_parts(url: str) -> tuple[str, ...]:
    found = _SPLIT.match(url)
    if found is None:
        return ()
    parts = int(found["parts"])
    if parts > _MOST_PARTS:
        raise ModelError(f"a model in {parts:,} files is none", hint="Check the address.")
    numbers = (number for number in range(1, parts + 1) if number != int(found["part"]))
    return tuple(f"{found['head']}-{number:05}-of-{parts:05}.gguf{found['tail']}" for number in numbers)


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
    opener = safe_opener(_check, most_redirects=5)
    with opener.open(request, timeout=LIMIT_S) as answer:
        total = _TOTAL.match(answer.headers.get("Content-Range") or "")
        if answer.status != 206 or total is None:
            raise ModelError(
                "the server gives no parts of files", hint="Download the file, and name it: titan quant --file FILE"
            )
        return answer.read(count), int(total[1])


def _check(url: str) -> None:
    if not is_safe_address(url):
        raise ModelError(f"{url[:100]!r} is no https address", hint="It begins with https://")
