"""The hub itself, through the `huggingface_hub` package: which files a repository has, and their bytes.

The package is imported on use (23 MB, 0.2 s). It makes addresses and reads errors; lists and bytes are read here, for
it can't be told to stop, to slow down, to say how far it is, or when enough is enough. No token of the owner's is ever
sent, and nothing about this machine. Nothing that a hub says is believed before it is checked.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from core.hub.download import ConnectionBroke, HubError
from core.hub.names import HubFile, ModelReference

TIMEOUT_S = 30.0  # of each connect and read
MAX_LISTING_BYTES = 32 << 20  # a hundred thousand files
MAX_REDIRECTS = 5
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{7,64}", re.ASCII)
_LARGEST_FILE = 1 << 50


class HuggingFaceSource:
    """One repository at one commit. Blocking: call it on a worker thread."""

    def __init__(self, reference: ModelReference, endpoint: str = "") -> None:
        """`endpoint` "" is the package's own default."""
        self._reference = reference
        self._endpoint = endpoint.rstrip("/") or None
        self._commit = ""

    def files(self) -> tuple[HubFile, ...]:
        """Every file that has a checksum. Raises HubError."""
        hub, transport = _package()
        where = self._reference.repo_id
        endpoint = self._endpoint or hub.constants.ENDPOINT
        _check_endpoint(endpoint)
        try:
            with self._get(f"{endpoint}/api/models/{where}?blobs=true", {}) as answer:
                said = _read_listing(answer)
                hub.utils.hf_raise_for_status(answer)
            commit, found = _commit_and_files(said)
        except hub.errors.GatedRepoError:
            raise HubError(
                f"{where} wants its terms accepted first, which this program doesn't do for you",
                hint="Download the file by yourself and put it into the models folder.",
            ) from None
        except hub.errors.RepositoryNotFoundError:
            raise HubError(f"the hub has no {where}", hint="Check the spelling: owner/repository.") from None
        except _troubles(hub, transport) as error:
            raise _unreachable(error) from error
        self._commit = commit
        return found

    @contextmanager
    def open(self, file: HubFile, start: int) -> Iterator[Iterator[bytes]]:
        """`RangeSource.open`."""
        with self._answer(file, start, f"bytes={start}-" if start else "") as pieces:
            yield pieces

    def read(self, file: HubFile, start: int, count: int) -> bytes:
        """Those bytes, or fewer at the file's end. Raises HubError."""
        data = bytearray()
        with self._answer(file, start, f"bytes={start}-{start + count - 1}") as pieces:
            for piece in pieces:
                data += piece
                if len(data) >= count:  # a server that knows no ranges sends all of it
                    break
        return bytes(data[:count])

    @contextmanager
    def _answer(self, file: HubFile, start: int, wanted: str) -> Iterator[Iterator[bytes]]:
        hub, transport = _package()
        url = hub.hf_hub_url(
            self._reference.repo_id, file.path, revision=self._commit or "main", endpoint=self._endpoint
        )
        headers = {"Range": wanted} if wanted else {}
        try:
            with self._get(url, headers) as answer:
                _check_answer(answer.status_code, file, start, is_part=bool(wanted))
                yield answer.iter_raw()  # as it comes: a break loses nothing that was received
        except (transport.TransportError, transport.StreamError) as error:
            raise ConnectionBroke(f"the connection to the hub broke ({type(error).__name__})", hint=_AGAIN) from error
        except (transport.HTTPError, transport.InvalidURL) as error:
            raise _unreachable(error) from error

    @contextmanager
    def _get(self, url: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """The opened answer at `url`, or where it leads: to https, or within a hub that has only http."""
        hub, _ = _package()
        session = hub.utils.get_session()
        # identity: the checksum is of the file, and so is the range; and a list can't unfold into gigabytes
        headers = {**headers, "Accept-Encoding": "identity"}
        for _ in range(MAX_REDIRECTS + 1):
            with session.stream("GET", url, headers=headers, follow_redirects=False, timeout=TIMEOUT_S) as answer:
                if not answer.has_redirect_location:
                    yield answer
                    return
                to = str(answer.next_request.url)
                if not _may_lead(url, to):
                    raise HubError(
                        f"the hub leads to an address that isn't https ({urlsplit(to).hostname})",
                        hint="Nothing was asked there. Check the setting hub_endpoint.",
                    )
                url = to
        raise HubError("the hub leads in circles", hint="Try again later. Check the setting hub_endpoint.")


def _troubles(hub: Any, transport: Any) -> tuple[type[Exception], ...]:
    """What may be raised for a list that doesn't come, or is none. StreamError: an error whose words weren't kept."""
    return (
        hub.errors.HfHubHTTPError,
        transport.HTTPError,
        transport.StreamError,
        transport.InvalidURL,
        OSError,
        ValueError,
    )


def _check_endpoint(endpoint: str) -> None:
    """Over plain http anybody on the way could name another file, with a checksum that fits. Raises HubError."""
    from core.safe_web import is_safe_address  # urllib and ssl's contexts: not at the start

    if not is_safe_address(endpoint):
        raise HubError(
            f"{endpoint[:100]!r} is no https address of a hub", hint="Check the setting hub_endpoint: https://…"
        )


def _may_lead(url: str, to: str) -> bool:
    """Whether an answer from `url` may send us to `to`: never from the web to a plain address, of this machine say."""
    here, there = urlsplit(url), urlsplit(to)
    return there.scheme == "https" or (here.scheme == "http" == there.scheme and here.hostname == there.hostname)


def _read_listing(answer: Any) -> bytes:
    data = bytearray()
    for piece in answer.iter_raw():
        data += piece
        if len(data) > MAX_LISTING_BYTES:
            raise HubError(f"the hub's list of files is longer than {MAX_LISTING_BYTES >> 20} MB", hint=_ANOTHER)
    return bytes(data)


def _commit_and_files(said: bytes) -> tuple[str, tuple[HubFile, ...]]:
    """What a list of files says, as far as it can be true. Raises ValueError for what is no such list."""
    try:
        listing = json.loads(said)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    match listing:
        case {"siblings": list() as siblings, "sha": str() as commit} if _COMMIT.fullmatch(commit):
            pass
        case {"siblings": list() as siblings}:
            commit = "main"
        case _:
            raise ValueError("no list of files")
    return commit, tuple(file for entry in siblings if (file := _hub_file(entry)) is not None)


def _hub_file(entry: object) -> HubFile | None:
    """None for a file without a checksum, and for what can't be one: the checksum names the unfinished file here."""
    lfs = entry.get("lfs") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(lfs, dict):
        return None
    path, size, sha256 = entry.get("rfilename"), lfs.get("size"), lfs.get("sha256")
    if not isinstance(path, str) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
        return None
    if type(size) is not int or not 0 < size < _LARGEST_FILE:
        return None
    return HubFile(path=path, size_bytes=size, sha256=sha256.lower())


_ANOTHER = "Choose another repository."
_AGAIN = "What has come is kept: download it again to go on."


def _check_answer(status: int, file: HubFile, start: int, *, is_part: bool) -> None:
    if (status == 206 and is_part) or (status == 200 and not start):
        return
    if start and status == 200:
        raise HubError(f"the hub can't go on in the middle of {file.name}", hint="Try again later.")
    if status in (429, 500, 502, 503, 504):
        raise ConnectionBroke(f"the hub is busy (HTTP {status})", hint=_AGAIN)
    raise HubError(f"the hub doesn't give {file.name} (HTTP {status})", hint="Try again later, or another model.")


def _unreachable(error: Exception) -> HubError:
    return HubError(
        f"the hub does not answer ({type(error).__name__})", hint="Check the network and the setting hub_endpoint."
    )


def _package() -> tuple[Any, Any]:
    """The package and the HTTP library under it."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when it is imported
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise HubError(
            "downloading from a hub needs the package huggingface_hub, which isn't installed",
            hint="Put a GGUF file into the models folder, or install TitanCompute again.",
        ) from None
    import httpx2

    return huggingface_hub, httpx2
