"""Make session tokens as the Go coordinator does, and hostile ones. Built on cryptography alone, so that PyJWT's own
refusal to encode something never decides what can be tested."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MISSING: Any = object()  # `token(jti=MISSING)` leaves the claim out
DEFAULT_MODEL = "llama3.1:8b-instruct-q4_k_m"


def new_key(bits: int = 2048) -> RSAPrivateKey:
    """A fresh RSA key (about 0.1 s)."""
    return generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def shared_key(name: str = "coordinator") -> RSAPrivateKey:
    """One key per name and test process: another name is another coordinator."""
    return new_key()


def public_pem(key: RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class TokenFactory:
    """A coordinator's signing side. All factories without a `key` share one; `TokenFactory(new_key())` is another one.

    `token()` is genuine unless a claim or a header is overridden. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        key: RSAPrivateKey | None = None,
        agent_id: str = "agent-1",
        issuer: str = "titancompute-coordinator",
        clock: Callable[[], float] = time.time,
        lifetime_s: int = 60,
    ) -> None:
        self.key = key or shared_key()
        self.agent_id = agent_id
        self.issuer = issuer
        self.clock = clock
        self.lifetime_s = lifetime_s

    @property
    def public_key_pem(self) -> str:
        return public_pem(self.key)

    def claims(self, model: str = DEFAULT_MODEL, **claim_overrides: Any) -> dict[str, Any]:
        """The eight claims of a genuine token, with what is overridden; MISSING leaves one out."""
        now = int(self.clock())
        genuine = {
            "agent_id": self.agent_id,
            "client_id": "client-1",
            "model": model,
            "iss": self.issuer,
            "exp": now + self.lifetime_s,
            "nbf": now,
            "iat": now,
            "jti": str(uuid.uuid4()),
        }
        return {name: value for name, value in (genuine | claim_overrides).items() if value is not MISSING}

    def token(
        self, model: str = DEFAULT_MODEL, *, headers: Mapping[str, Any] | None = None, **claim_overrides: Any
    ) -> str:
        """A token with a true RS256 signature. `headers` are added to (or replace) `alg` and `typ`."""
        return self.sign(self.claims(model, **claim_overrides), headers=headers)

    def sign(self, payload: Any, *, headers: Mapping[str, Any] | None = None) -> str:
        """Sign any payload: a value (to JSON), or bytes as they are."""
        signing_input = self._signing_input(payload, {"alg": "RS256", "typ": "JWT"} | dict(headers or {}))
        return f"{signing_input}.{_encode(self.key.sign(signing_input.encode(), PKCS1v15(), SHA256()))}"

    def unsigned_token(self, alg: str = "none", **claim_overrides: Any) -> str:
        """`alg: none` with an empty signature."""
        return self._signing_input(self.claims(**claim_overrides), {"alg": alg, "typ": "JWT"}) + "."

    def hmac_token(self, **claim_overrides: Any) -> str:
        """HS256 with the public key's PEM as the secret: the classic confusion of algorithms."""
        signing_input = self._signing_input(self.claims(**claim_overrides), {"alg": "HS256", "typ": "JWT"})
        signature = hmac.new(self.public_key_pem.encode(), signing_input.encode(), hashlib.sha256).digest()
        return f"{signing_input}.{_encode(signature)}"

    def pss_token(self, **claim_overrides: Any) -> str:
        """PS256 with the right key: another algorithm all the same."""
        signing_input = self._signing_input(self.claims(**claim_overrides), {"alg": "PS256", "typ": "JWT"})
        padding = PSS(mgf=MGF1(SHA256()), salt_length=32)
        return f"{signing_input}.{_encode(self.key.sign(signing_input.encode(), padding, SHA256()))}"

    def forged_token(self, **claim_overrides: Any) -> str:
        """Claims as they should be, signed by somebody else."""
        return TokenFactory(shared_key("forger"), self.agent_id, self.issuer, self.clock).token(**claim_overrides)

    def _signing_input(self, payload: Any, header: Mapping[str, Any]) -> str:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return f"{_encode(json.dumps(header).encode())}.{_encode(body)}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
