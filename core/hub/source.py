"""The hub itself, through the `huggingface_hub` package: which files a repository has, and their bytes.

The package is imported on use (23 MB, 0.2 s). It lists and addresses; the bytes are read here, for it can't be told
to stop, to slow down, or to say how far it is. No token of the owner's is ever sent, and nothing about this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.hub.download import ConnectionBroke, HubError
from core.hub.names import HubFile, ModelReference

TIMEOUT_S = 30.0  # of each connect and read


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
        api = hub.HfApi(endpoint=self._endpoint, token=False)
        where = self._reference.repo_id
        try:
            info = api.model_info(where, files_metadata=True, timeout=TIMEOUT_S, token=False)
        except hub.errors.GatedRepoError:
            raise HubError(
                f"{where} wants its terms accepted first, which this program doesn't do for you",
                hint="Download the file by yourself and put it into the models folder.",
            ) from None
        except hub.errors.RepositoryNotFoundError:
            raise HubError(f"the hub has no {where}", hint="Check the spelling: owner/repository.") from None
        except (hub.errors.HfHubHTTPError, transport.HTTPError, OSError, ValueError) as error:
            raise _unreachable(error) from error
        self._commit = info.sha or "main"
        listed = ((sibling.rfilename, sibling.lfs) for sibling in info.siblings or ())
        return tuple(
            HubFile(path=path, size_bytes=lfs.size, sha256=lfs.sha256.lower())
            for path, lfs in listed
            if lfs is not None and lfs.size > 0 and len(lfs.sha256) == 64
        )

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
        headers["Accept-Encoding"] = "identity"  # the checksum is of the file, and so is the range
        try:
            session = hub.utils.get_session()
            with session.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as answer:
                _check_answer(answer.status_code, file, start, is_part=bool(wanted))
                yield answer.iter_raw()  # as it comes: a break loses nothing that was received
        except (transport.TransportError, transport.StreamError) as error:
            raise ConnectionBroke(f"the connection to the hub broke ({type(error).__name__})", hint=_AGAIN) from error
        except (transport.HTTPError, transport.InvalidURL) as error:
            raise _unreachable(error) from error


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
