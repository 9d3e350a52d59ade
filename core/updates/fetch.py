"""One GET of the release index: https, small, and within a time. Nothing about this machine is sent but its version."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import IO

from core import __version__
from core.errors import UpdateError
from core.safe_web import is_safe_address, safe_opener
from core.updates.release_index import MAX_INDEX_BYTES

LIMIT_S = 15.0  # each read and connect; the answer is small
_HINT = "It is tried again by itself. Check the setting update_index_url if this goes on."


def fetch_index(url: str) -> bytes:
    """The bytes at `url`. Blocks for LIMIT_S per step: call it on a worker thread. Raises UpdateError.

    https only (plain http on this machine, for whoever runs an index there); a redirect is followed to https only.
    """
    _check_scheme(url)
    request = urllib.request.Request(  # noqa: S310 - checked above
        url, headers={"User-Agent": f"TitanCompute/{__version__}", "Accept": "application/json"}
    )
    opener = safe_opener(_check_scheme, most_redirects=3)
    try:
        with opener.open(request, timeout=LIMIT_S) as answer:
            return _read(answer)
    except urllib.error.HTTPError as error:
        error.close()
        raise UpdateError(f"the release index could not be read: HTTP {error.code}", hint=_HINT) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UpdateError(f"the release index could not be read: {reason}", hint=_HINT) from None


def _read(answer: IO[bytes]) -> bytes:
    data = answer.read(MAX_INDEX_BYTES + 1)
    if len(data) > MAX_INDEX_BYTES:
        raise UpdateError(f"the release index is larger than {MAX_INDEX_BYTES // 1024} KB")
    return data


def _check_scheme(url: str) -> None:
    if not is_safe_address(url):
        raise UpdateError(
            f"{url[:100]!r} is no https address", hint="Set update_index_url to an address that begins with https://"
        )
