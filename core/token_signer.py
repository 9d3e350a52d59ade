"""Session tokens as a coordinator signs them: RS256, the eight claims of contract.md, a key pair of its own."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "titancompute-coordinator"
ALGORITHM = "RS256"
TOKEN_LIFETIME_S = 60
_KEY_BITS = 2048


class TokenSigner:
    """One RSA key pair, and the tokens signed with it."""

    def __init__(self, private_key: rsa.RSAPrivateKey, *, wall: Callable[[], float] = time.time) -> None:
        self._private_key = private_key
        self._wall = wall
        public = private_key.public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public_key_pem = public.public_bytes(serialization.Encoding.PEM, form).decode("ascii")

    @classmethod
    async def generate(cls, *, wall: Callable[[], float] = time.time) -> TokenSigner:
        """Make a new key pair, off the loop: it takes 20 to 300 ms."""
        return cls(await asyncio.to_thread(rsa.generate_private_key, 65537, _KEY_BITS), wall=wall)

    def issue(
        self,
        *,
        agent_id: str,
        model: str,
        client_id: str = "local-client",
        lifetime_s: float = TOKEN_LIFETIME_S,
        claims: Mapping[str, object] | None = None,
    ) -> str:
        """Sign a token. `claims` replaces or adds single claims; one given as None is left out (for tests)."""
        issued_at = int(self._wall())
        payload: dict[str, object] = {
            "agent_id": agent_id,
            "client_id": client_id,
            "model": model,
            "jti": str(uuid.uuid4()),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + int(lifetime_s),
            "iss": ISSUER,
        }
        payload.update(claims or {})
        present = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(present, self._private_key, algorithm=ALGORITHM)
