"""The public way in: whose tokens it takes, and how the owner's settings bound what comes through it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.config import Settings
from core.errors import ConfigError
from core.inference import RequestLimits
from core.jwt_validator import TokenClaims
from core.key_keeper import KeyKeeper
from core.paths import ensure_private_folder
from core.replay_store import ReplayStore
from core.sessions import SessionLimits
from core.tls import TlsMaterial, ensure_self_signed, load_pair


@dataclass(frozen=True, slots=True)
class AgentDoor:
    """Tokens of the coordinator, checked with its key and spent in the replay store."""

    keys: KeyKeeper
    spent: ReplayStore

    async def verify(self, token: str) -> TokenClaims:
        claims = await self.keys.verify_refreshing(token)
        self.spent.check_not_before_start(claims)
        return claims

    def spend(self, claims: TokenClaims) -> None:
        self.spent.spend(claims.jti, claims.exp)


def session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        queue_wait_s=settings.queue_wait_s,
        max_session_s=settings.max_session_s,
        slow_client_s=settings.slow_client_s,
        first_token_timeout_s=settings.first_token_timeout_s,
        token_gap_timeout_s=settings.token_gap_timeout_s,
    )


def request_limits(settings: Settings) -> RequestLimits:
    return RequestLimits(
        max_prompt_bytes=settings.max_prompt_bytes,
        max_output_tokens=settings.max_output_tokens,
        context_tokens=settings.context_tokens,
    )


def tls_material(settings: Settings, tls_dir: Path) -> TlsMaterial | None:
    """The certificate and key to serve with, None for plaintext. Blocks; raises ConfigError and StorageError."""
    if settings.tls_cert is not None or settings.tls_key is not None:
        if settings.tls_cert is None or settings.tls_key is None:
            raise ConfigError(["tls_cert and tls_key belong together; one is missing"], hint="Set both, or none.")
        return load_pair(settings.tls_cert, settings.tls_key)
    if settings.tls_self_signed:
        ensure_private_folder(tls_dir)
        return ensure_self_signed(settings.public_host, tls_dir / "agent.crt", tls_dir / "agent.key")
    return None
