"""GETs of small things from addresses that an owner gave: https only (plain http on this machine), redirects too.

urllib, not httpx: both are asked for once in a while, and the process is to stay small. Import it on use.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

from core.network import is_loopback_host


def is_safe_address(url: str) -> bool:
    """Whether it is an https address, or an http one of this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback_host(host)))


def safe_opener(check: Callable[[str], None], *, most_redirects: int) -> urllib.request.OpenerDirector:
    """An opener whose redirects go through `check` first, which raises for an address that isn't to be followed."""

    class Redirects(urllib.request.HTTPRedirectHandler):
        max_redirections = most_redirects

        def redirect_request(
            self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
        ) -> urllib.request.Request | None:
            check(newurl)
            if (
                urlsplit(req.full_url).scheme == "https" != urlsplit(newurl).scheme
            ):  # never from the web to this machine
                raise urllib.error.HTTPError(req.full_url, code, "a redirect from https to http", headers, fp)
            return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]

    return urllib.request.build_opener(Redirects(), urllib.request.HTTPSHandler(context=_tls_context()))


def _tls_context() -> ssl.SSLContext:
    """The system's authorities; where Python holds no list of them (a packaged app on macOS), certifi's too."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        with suppress(ImportError):  # comes with httpx
            import certifi

            context.load_verify_locations(certifi.where())
    return context
