"""One GET of the release index: https, small, and within a time. Nothing about this machine is sent but its version."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from typing import IO
from urllib.parse import urlsplit

from core import __version__
from core.errors import UpdateError
from core.network import is_loopback_host
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
    opener = urllib.request.build_opener(_SafeRedirects(), urllib.request.HTTPSHandler(context=_tls_context()))
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


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 3

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme == "https" and bool(parts.hostname)
        is_here = parts.scheme == "http" and is_loopback_host(parts.hostname or "")
    except ValueError:
        is_fine = is_here = False
    if not is_fine and not is_here:
        raise UpdateError(
            f"{url[:100]!r} is no https address", hint="Set update_index_url to an address that begins with https://"
        )


def _tls_context() -> ssl.SSLContext:
    """The system's authorities; where Python holds no list of them (a packaged app on macOS), certifi's too."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        with suppress(ImportError):  # comes with httpx
            import certifi

            context.load_verify_locations(certifi.where())
    return context
