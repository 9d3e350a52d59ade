"""A model hub on this machine that answers as the public one does to `huggingface_hub`: lists, redirects, ranges."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubFaults:
    """What goes wrong next, each used up by one request for a file's bytes."""

    cut_after: list[int] = field(default_factory=list)  # bytes sent before the connection is dropped
    statuses: list[int] = field(default_factory=list)
    ignores_range: bool = False
    gate: threading.Event | None = None  # bytes after the first half wait for it
    leads_to: str = ""  # where a request for a file is sent instead
    listing_status: int = 200
    listing: bytes | None = None  # instead of the true one


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is what some tests are about."""


class FakeHub:
    """`files` by repository and path. `url` is the endpoint."""

    def __init__(self, files: dict[str, dict[str, bytes]]) -> None:
        self.files = files
        self.faults = HubFaults()
        self.sent_ranges: list[str] = []  # the Range header of every request for bytes, "" for none
        self.headers: list[dict[str, str]] = []  # of every request
        self.gated: set[str] = set()
        self._lying: dict[str, str] = {}  # path → checksum
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def lie_about(self, path: str, checksum: str = "f" * 64) -> None:
        """Give a checksum that isn't the file's."""
        self._lying[path] = checksum

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.faults.gate is not None:
            self.faults.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _listing(self, repo: str) -> dict[str, Any]:
        siblings = [{"rfilename": "README.md", "size": 12, "blobId": "0" * 40}]
        for path, content in self.files[repo].items():
            checksum = self._lying.get(path, hashlib.sha256(content).hexdigest())
            lfs = {"sha256": checksum, "size": len(content), "pointerSize": 134}
            siblings.append({"rfilename": path, "size": len(content), "blobId": "1" * 40, "lfs": lfs})
        return {
            "_id": "1",
            "id": repo,
            "modelId": repo,
            "sha": COMMIT,
            "private": False,
            "tags": [],
            "siblings": siblings,
        }

    def _handler(hub) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.headers.append(dict(self.headers.items()))
                path = unquote(self.path.split("?")[0]).strip("/")
                if path.startswith("api/models/"):
                    self._list(path.removeprefix("api/models/"))
                elif path.startswith("cdn/"):
                    self._send_file(*path.removeprefix("cdn/").split("//", 1))
                elif f"/resolve/{COMMIT}/" in path:
                    repo, file = path.split(f"/resolve/{COMMIT}/")
                    self._answer(302, b"", {"Location": hub.faults.leads_to or f"{hub.url}/cdn/{repo}//{file}"})
                else:
                    self._answer(404, b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

            def _list(self, repo: str) -> None:
                if repo in hub.gated:
                    self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
                elif repo not in hub.files:
                    self._answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
                else:
                    listing = json.dumps(hub._listing(repo)).encode()
                    listing = listing if hub.faults.listing is None else hub.faults.listing
                    self._answer(hub.faults.listing_status, listing, {"Content-Type": "application/json"})

            def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def _send_file(self, repo: str, file: str) -> None:
                wanted = self.headers.get("Range", "")
                hub.sent_ranges.append(wanted)
                if hub.faults.statuses:
                    self._answer(hub.faults.statuses.pop(0), b"")
                    return
                content = hub.files[repo][file]
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, end = int(first or 0), int(last or len(content)) + bool(last)
                if hub.faults.ignores_range:
                    start, end = 0, len(content)
                rest = content[start:end]
                self.send_response(206 if start or len(rest) < len(content) else 200)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                if hub.faults.cut_after:
                    self.wfile.write(rest[: hub.faults.cut_after.pop(0)])
                    self.close_connection = True
                    self.connection.close()
                    return
                half = len(rest) // 2
                self.wfile.write(rest[:half])
                if hub.faults.gate is not None and not last:  # a look at a file's head isn't its download
                    self.wfile.flush()
                    hub.faults.gate.wait(30)
                self.wfile.write(rest[half:])

        return Handler
