"""Nothing that a client said or got may be written anywhere: send a canary through, then look for it everywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

SNIPPET_CHARACTERS = 12  # a cut canary counts: logs shorten what they write


def assert_no_canary(places: Iterable[Path | str | bytes], canary: str) -> None:
    """Fail if `canary`, or its start or end, stands in a file below a path, in a file's name, or in captured text.

    `places` are folders, files, and captured output. Plain text, JSON escapes, base64 and hex are recognised. The
    canary must be at least 12 characters and unlike anything that is written anyway. Fails too when there was nothing
    to look at: a wrong folder would pass for ever.
    """
    if len(canary) < SNIPPET_CHARACTERS:
        raise ValueError(f"a canary needs at least {SNIPPET_CHARACTERS} characters")
    needles = set(_needles(canary))
    looked_at = 0
    for name, content in _contents(places):
        looked_at += 1
        found = next((needle for needle in needles if needle in content), None)
        assert found is None, f"{name} holds the canary as {found!r}"
    assert looked_at, "nothing was there to look at"


def _needles(canary: str) -> Iterator[bytes]:
    pieces = {canary[:SNIPPET_CHARACTERS], canary[-SNIPPET_CHARACTERS:]}
    for piece in pieces:
        yield piece.encode()
        yield json.dumps(piece)[1:-1].encode()
        yield piece.encode("utf-16-le")
        yield piece.encode().hex().encode()
    for shift in range(3):  # base64 depends on the place within three bytes
        encoded = base64.b64encode(b"x" * shift + canary.encode())
        yield encoded[4 : len(encoded) // 4 * 4 - 4]


def _contents(places: Iterable[Path | str | bytes]) -> Iterator[tuple[str, bytes]]:
    for number, place in enumerate(places):
        if isinstance(place, bytes | str):
            yield f"captured text {number}", place if isinstance(place, bytes) else place.encode()
            continue
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            yield f"the name of {path}", str(path.name).encode()
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()
