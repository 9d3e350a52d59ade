"""Make the key pair of the release index, and sign an index. Run by whoever releases; the product never signs.

    scripts/release-index new-key PRIVATE_KEY_FILE
        a new key: the private half there (0600), the public half printed
    scripts/release-index sign RELEASES.json PRIVATE_KEY_FILE INDEX_FILE
        RELEASES.json is the list "releases" of core/updates/release_index.py

The public half is a line of assets/release_keys.txt. To change keys, ship both for a while, then sign with the new one.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.updates.release_index import DOMAIN, open_index


def new_key(private_file: Path) -> str:
    """Write a new private key where no file is yet; returns the public key in base64."""
    key = Ed25519PrivateKey.generate()
    descriptor = os.open(private_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(key.private_bytes_raw()) + b"\n")
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def signed_index(releases: object, key: Ed25519PrivateKey, issued: int) -> bytes:
    """The index file's bytes, read back as a program would. Raises UpdateError for releases that none would take."""
    payload = json.dumps({"format": 1, "issued": issued, "releases": releases}).encode()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "signature": base64.b64encode(key.sign(DOMAIN + payload)).decode(),
    }
    index = (json.dumps(envelope) + "\n").encode()
    open_index(index, [key.public_key().public_bytes_raw()])
    return index


def main(arguments: list[str]) -> int:
    match arguments:
        case ["new-key", private_file]:
            print(new_key(Path(private_file)))
        case ["sign", releases_file, private_file, index_file]:
            key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(Path(private_file).read_bytes()))
            releases = json.loads(Path(releases_file).read_text(encoding="utf-8"))
            Path(index_file).write_bytes(signed_index(releases, key, int(time.time())))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
