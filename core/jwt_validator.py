"""A session token's text in, its claims or a TokenError out. No key means refuse.

PyJWT verifies the RS256 signature. Splitting and claims are ours, because PyJWT reads floats, booleans and number
strings as dates, checks a claim only if it is present, accepts `b64` in `crit`, and looks at each base64 character in
Python: half of what a token would cost (docs/performance.md). Splitting is as strict as PyJWT's.
Nothing of the payload is parsed before the signature holds. Of the header only `alg` and `crit` are looked at: `kid`,
`jku`, `jwk` and `x5u` could only name another key, and exactly one key is trusted.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import BadSignature, CoordinatorError, NoKeyError, OtherAgent, OtherModel, TokenError, TokenExpired

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from jwt.algorithms import RSAAlgorithm

ISSUER = "titancompute-coordinator"
LEEWAY_S = 10  # how far the coordinator's clock and ours may differ
MAX_LIFETIME_S = 600  # exp − iat; the coordinator's default is 60
MAX_TOKEN_BYTES = 8192  # a genuine one has about 700
MAX_CLAIM_CHARS = 512
MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192  # verifying costs grow with the key; nobody signs short-lived tokens with more
MAX_PEM_CHARS = 16384

_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")
# What the last character may be where it holds bits that count for nothing: those in which these bits are zero.
_LAST_OF_2 = b"AQgw"
_LAST_OF_3 = b"AEIMQUYcgkosw048"
_CLOCK_HINT = "Compare the clocks of the coordinator and of this machine: titan doctor"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaims:
    """What a genuine token allows: one session of `client_id` on `agent_id` with `model`. Times are epoch seconds."""

    agent_id: str
    client_id: str
    model: str
    jti: str
    iat: int
    nbf: int
    exp: int
    issuer: str


class JwtValidator:
    """Verify session tokens for one agent with the one key that is trusted. `clock` gives seconds since the epoch.

    Sync and without I/O; about 40 µs a token, half of them RSA. Importing PyJWT waits for the first key.
    """

    def __init__(self, agent_id: str, issuer: str = ISSUER, clock: Callable[[], float] = time.time) -> None:
        self._agent_id = agent_id
        self._issuer = issuer
        self._clock = clock
        self._key: RSAPublicKey | None = None  # loaded once, not per token
        self._rs256: RSAAlgorithm | None = None  # with the first key
        self._key_fingerprint = ""
        self._key_generation = 0

    @property
    def has_key(self) -> bool:
        return self._key is not None

    @property
    def key_fingerprint(self) -> str:
        """SHA-256 of the trusted key (DER), hexadecimal, for logs and `titan doctor`; "" without a key."""
        return self._key_fingerprint

    @property
    def key_generation(self) -> int:
        """Grows when `set_key` really changed the key: what failed before may hold now."""
        return self._key_generation

    def set_key(self, pem: str) -> bool:
        """Trust this RSA public key and no other from now on; True when it differs from the one before.

        Raises CoordinatorError for anything but one RSA public key of 2048 to 8192 bits. The key before stays then:
        an answer that holds no key says nothing against it.
        """
        key = _load_public_key(pem)
        fingerprint = _fingerprint(key)
        if fingerprint == self._key_fingerprint:
            return False
        from jwt.algorithms import RSAAlgorithm

        self._rs256 = self._rs256 or RSAAlgorithm(RSAAlgorithm.SHA256)
        self._key, self._key_fingerprint = key, fingerprint
        self._key_generation += 1
        return True

    def verify(self, token: str) -> TokenClaims:
        """The token's claims, once every check has passed.

        Raises BadSignature (another key may help), NoKeyError, TokenExpired, OtherAgent, or TokenError for a token
        that is malformed, not RS256, not from our issuer or not valid yet.
        """
        _check_shape(token)
        claims = _read_claims(self._verified_payload(token))
        if claims.issuer != self._issuer:
            raise TokenError("the session token comes from another issuer")
        self._check_times(claims)
        if claims.agent_id != self._agent_id:
            raise OtherAgent(
                f"the session token is for the agent {claims.agent_id!r}, not for {self._agent_id!r}",
                hint="Send the request to the endpoint that the coordinator gave with the token.",
            )
        return claims

    def _verified_payload(self, token: str) -> bytes:
        """The decoded payload of a token whose header and signature hold; `token` has the shape of a compact JWS."""
        if self._key is None or self._rs256 is None:
            raise NoKeyError(
                "this agent holds no key of the coordinator yet, so it cannot check session tokens",
                hint="Wait until the agent is registered.",
            )
        payload = _signed_payload(token.encode("ascii"), self._key, self._rs256)
        if payload is None:  # raised here: a frame that holds the decoded parts would keep them while a key is fetched
            raise BadSignature(
                "the session token is not signed by this agent's coordinator", hint="Ask the coordinator for a new one."
            )
        return payload

    def _check_times(self, claims: TokenClaims) -> None:
        now = self._clock()
        if not 0 < claims.exp - claims.iat <= MAX_LIFETIME_S:
            raise TokenError(f"the session token's lifetime is not between 1 and {MAX_LIFETIME_S} s")
        if claims.exp + LEEWAY_S <= now:
            raise TokenExpired(
                f"the session token expired {now - claims.exp:.0f} s ago", hint=f"Ask for a new token. {_CLOCK_HINT}"
            )
        ahead_s = max(claims.iat, claims.nbf) - now
        if ahead_s > LEEWAY_S:
            raise TokenError(f"the session token is valid only in {ahead_s:.0f} s", hint=_CLOCK_HINT)


def check_request_model(claims: TokenClaims, request_model: str, same_model: Callable[[str, str], bool]) -> str:
    """The model that the request may use: the token's. An empty `request_model` means just that.

    Raises OtherModel when the request names another one; `same_model` decides what is another (`:latest` ...).
    """
    if request_model and not same_model(claims.model, request_model):
        raise OtherModel(
            f"the session token is for the model {claims.model!r}, the request names {request_model[:100]!r}",
            hint="Ask the coordinator for a token for that model.",
        )
    return claims.model


def _check_shape(token: str) -> None:
    """Refuse what cannot be a token before anything of it is decoded."""
    if not token:
        raise TokenError("the request holds no session token", hint="Ask the coordinator for one.")
    if len(token) > MAX_TOKEN_BYTES:  # characters: never more than bytes, and all ASCII below
        raise TokenError(f"the session token is longer than {MAX_TOKEN_BYTES} bytes")
    if not token.isascii() or _COMPACT_JWS.fullmatch(token) is None:
        raise TokenError("the session token is malformed")


def _signed_payload(token: bytes, key: RSAPublicKey, rs256: RSAAlgorithm) -> bytes | None:
    """The decoded payload; None when the signature doesn't hold. Raises TokenError when a part is malformed."""
    signed, _, signature = token.rpartition(b".")
    header, _, payload = signed.partition(b".")
    if header not in _USUAL_HEADERS:
        _check_header(_decode_segment(header))
    return _decode_segment(payload) if rs256.verify(signed, key, _decode_segment(signature)) else None


def _decode_segment(segment: bytes) -> bytes:
    """Base64url without padding, of characters that `_COMPACT_JWS` has seen; only the one canonical form is taken.

    A token that could be written in several ways would pass for several tokens.
    """
    over = len(segment) % 4
    if over == 1 or (over == 2 and segment[-1] not in _LAST_OF_2) or (over == 3 and segment[-1] not in _LAST_OF_3):
        raise TokenError("the session token is malformed")
    return binascii.a2b_base64(segment.translate(_TO_BASE64) + b"=="[: -over % 4])


def _check_header(header: bytes) -> None:
    try:
        found = _STRICT_JSON.decode(header.decode("utf-8"))
    except (ValueError, RecursionError):
        raise TokenError("the session token is malformed") from None
    if not isinstance(found, dict):
        raise TokenError("the session token is malformed")
    if found.get("alg") != "RS256":
        raise TokenError("the session token is not signed with RS256")
    if "crit" in found or "b64" in found:
        raise TokenError("the session token asks for extensions that are not supported")


def _read_claims(payload: bytes) -> TokenClaims:
    try:
        found = _STRICT_JSON.decode(payload.decode("utf-8"))
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise TokenError("the session token's claims are not JSON") from None
    if not isinstance(found, dict):
        raise TokenError("the session token's claims are not a JSON object")
    return TokenClaims(
        agent_id=_text_claim(found, "agent_id"),
        client_id=_text_claim(found, "client_id"),
        model=_text_claim(found, "model"),
        jti=_text_claim(found, "jti"),
        iat=_time_claim(found, "iat"),
        nbf=_time_claim(found, "nbf"),
        exp=_time_claim(found, "exp"),
        issuer=_text_claim(found, "iss"),
    )


def _text_claim(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    # Not printable: line breaks and lone surrogates, which would spoil logs and cannot be encoded.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CLAIM_CHARS or not value.isprintable():
        raise TokenError(f"the session token's claim {name} is missing or no text of 1 to {MAX_CLAIM_CHARS} characters")
    return value


def _time_claim(found: dict[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not 0 <= value < 2**32:  # a bool is an int to isinstance
        raise TokenError(f"the session token's claim {name} is missing or not in whole seconds since 1970")
    return value


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice: readers disagree on which one counts")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# What most libraries write, already checked: {"alg":"RS256","typ":"JWT"} in both orders.
_USUAL_HEADERS = frozenset({b"eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9", b"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9"})
_STRICT_JSON = json.JSONDecoder(object_pairs_hook=_unique_names, parse_constant=_refuse_constant)


def _load_public_key(pem: str) -> RSAPublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if len(pem) > MAX_PEM_CHARS or pem.count("-----BEGIN ") != 1:
        raise _bad_key("it is not one PEM block")
    try:
        key = load_pem_public_key(pem.encode("utf-8", "replace"))
    except (ValueError, UnsupportedAlgorithm):
        raise _bad_key("it is not a public key in PEM") from None
    if not isinstance(key, RSAPublicKey):
        raise _bad_key("it is not an RSA key, and tokens are signed with RS256")
    if not MIN_KEY_BITS <= key.key_size <= MAX_KEY_BITS:
        raise _bad_key(f"it has {key.key_size} bits, and {MIN_KEY_BITS} to {MAX_KEY_BITS} are accepted")
    return key


def _bad_key(why: str) -> CoordinatorError:
    return CoordinatorError(
        f"the coordinator's public key cannot be used: {why}",
        hint="Check that coordinator_endpoint names a TitanCompute coordinator: titan doctor",
    )


def _fingerprint(key: RSAPublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
