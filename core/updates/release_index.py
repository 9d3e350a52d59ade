"""The release index: what it says and whether it may be believed. Pure: no network, no files, no clock.

An index is one JSON object {"payload": BASE64, "signature": BASE64}. The signature is Ed25519 (RFC 8032) over
`DOMAIN` followed by the payload's bytes, so that a signature made for anything else is none here. The payload:

    {"format": 1, "issued": 1790000000,
     "releases": [{"version": "0.2.0", "date": "2026-12-01", "summary": "...", "url": "https://..."}]}

`issued` (seconds since the epoch) only grows: an index older than one that was seen is refused, so nobody can play back
an old one to hide a release. scripts/release-index makes keys and indexes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.errors import UpdateError

DOMAIN = b"titancompute release index v1\n"
MAX_INDEX_BYTES = 256 * 1024
MAX_RELEASES = 500
MAX_SUMMARY_CHARACTERS = 500
KEY_BYTES = 32

_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_URL = re.compile(r"https://[a-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/%+@:#?=&-]*)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version that can be had. `url` is a page for people: what is new, and the files."""

    version: str
    date: str = ""
    summary: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseIndex:
    issued: int  # seconds since the epoch
    releases: tuple[Release, ...]

    def newer_than(self, version: str) -> Release | None:
        """The newest release above `version`, or None."""
        ours = version_key(version)
        newer = [release for release in self.releases if version_key(release.version) > ours]
        return max(newer, key=lambda release: version_key(release.version), default=None)


def version_key(version: str) -> tuple[int, int, int]:
    """Major, minor, patch. Raises UpdateError for anything else: releases have plain versions."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise UpdateError(f"{version[:40]!r} is no version of the form 1.2.3")
    major, minor, patch = (int(part) for part in match.groups())
    return major, minor, patch


def read_keys(text: str) -> tuple[bytes, ...]:
    """Public keys, one per line in base64, 32 bytes each; lines that start with # are comments. Raises UpdateError."""
    lines = (line.strip() for line in text.splitlines())
    keys = tuple(_decoded(line, "a release key") for line in lines if line and not line.startswith("#"))
    if any(len(key) != KEY_BYTES for key in keys):
        raise UpdateError("a release key has not 32 bytes")
    return keys


def open_index(data: bytes, keys: Iterable[bytes]) -> ReleaseIndex:
    """The index, once one of `keys` has signed it. Raises UpdateError; nothing of the payload is read before that."""
    if len(data) > MAX_INDEX_BYTES:
        raise UpdateError(f"the release index is larger than {MAX_INDEX_BYTES // 1024} KB")
    envelope = _json_object(data, "the release index")
    payload = _decoded(envelope.get("payload"), "the release index's payload")
    signature = _decoded(envelope.get("signature"), "the release index's signature")
    if not any(_is_signed_by(key, signature, payload) for key in keys):
        raise UpdateError(
            "the release index is not signed by a key that this program knows",
            hint="Check the address of the release index. If it is right, somebody changed the index on its way.",
        )
    return _index_of(_json_object(payload, "the release index's payload"))


def _is_signed_by(key: bytes, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, DOMAIN + payload)
    except InvalidSignature:
        return False
    return True


def _index_of(payload: dict[str, Any]) -> ReleaseIndex:
    if payload.get("format") != 1:
        raise UpdateError(
            "the release index has a form that this version doesn't know",
            hint="Look for a new version by hand.",
        )
    issued, releases = payload.get("issued"), payload.get("releases")
    if not isinstance(issued, int) or isinstance(issued, bool) or not 0 < issued < 1 << 40:
        raise UpdateError("the release index doesn't say when it was issued")
    if not isinstance(releases, list) or len(releases) > MAX_RELEASES:
        raise UpdateError("the release index has no list of releases")
    return ReleaseIndex(issued=issued, releases=tuple(release_of(release) for release in releases))


def release_of(value: object) -> Release:
    """A release from plain values, every field checked. Raises UpdateError."""
    if not isinstance(value, dict):
        raise UpdateError("a release in the index is no object")
    fields = {name: value.get(name, "") for name in ("version", "date", "summary", "url")}
    if not all(isinstance(field, str) for field in fields.values()):
        raise UpdateError("a release in the index has a field that is no text")
    version_key(fields["version"])
    if fields["date"] and not _DATE.fullmatch(fields["date"]):
        raise UpdateError("a release in the index has no proper date")
    if fields["url"] and not _URL.fullmatch(fields["url"]):
        raise UpdateError("a release in the index has an address that is no https page")
    summary = fields["summary"]
    if len(summary) > MAX_SUMMARY_CHARACTERS or not summary.isprintable():
        raise UpdateError("a release in the index has a summary that can't be shown")
    return Release(**fields)


def _json_object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise UpdateError(f"{what} is no JSON") from None
    if not isinstance(value, dict):
        raise UpdateError(f"{what} is no JSON object")
    return value


def _decoded(text: object, what: str) -> bytes:
    try:
        if not isinstance(text, str):
            raise TypeError
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise UpdateError(f"{what} is no base64") from None
