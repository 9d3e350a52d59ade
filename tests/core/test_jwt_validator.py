"""Session tokens: the genuine pass, each other is refused for its own reason, and the key refresh is bounded."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import (
    AtCapacity,
    BadSignature,
    CoordinatorError,
    CoordinatorUnreachable,
    NoKeyError,
    OtherAgent,
    OtherModel,
    TokenError,
    TokenExpired,
)
from core.jwt_validator import JwtValidator, TokenClaims, check_request_model
from core.key_keeper import KeyKeeper
from tests.fakes.fake_clock import FakeClock
from tests.fakes.token_factory import DEFAULT_MODEL, TokenFactory, new_key, public_pem, shared_key

NOW = 1_800_000_000
CLAIM_NAMES = ("agent_id", "client_id", "model", "jti", "iat", "nbf", "exp", "iss")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def factory(clock: FakeClock) -> TokenFactory:
    return TokenFactory(clock=clock)


@pytest.fixture
def validator(clock: FakeClock, factory: TokenFactory) -> JwtValidator:
    validator = JwtValidator("agent-1", clock=clock)
    validator.set_key(factory.public_key_pem)
    return validator


def without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in claims.items() if other != name}


def refusal(validator: JwtValidator, token: str) -> TokenError:
    with pytest.raises(TokenError) as caught:
        validator.verify(token)
    return caught.value


# --- genuine tokens


def test_genuine_token_gives_all_eight_claims(validator: JwtValidator, factory: TokenFactory) -> None:
    claims = validator.verify(factory.token(jti="j-1", client_id="client-9"))
    assert claims == TokenClaims(
        agent_id="agent-1",
        client_id="client-9",
        model=DEFAULT_MODEL,
        jti="j-1",
        iat=NOW,
        nbf=NOW,
        exp=NOW + 60,
        issuer="titancompute-coordinator",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"kid": "another"},
        {"jku": "https://evil.example/keys", "x5u": "https://evil.example/cert"},
        {"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "x5c": ["MIIB"]},
        {"typ": "at+jwt"},
    ],
)
def test_headers_that_name_a_key_are_ignored(
    validator: JwtValidator, factory: TokenFactory, headers: dict[str, Any]
) -> None:
    assert validator.verify(factory.token(headers=headers)).agent_id == "agent-1"


def test_key_in_the_header_is_not_used(validator: JwtValidator, clock: FakeClock) -> None:
    forger = shared_key("forger")
    numbers = forger.public_key().public_numbers()
    jwk = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(numbers.n.to_bytes(256, "big")).decode()}
    token = TokenFactory(forger, clock=clock).token(headers={"jwk": jwk, "kid": "forger"})
    assert isinstance(refusal(validator, token), BadSignature)


# --- algorithms, signatures, shapes


def test_forged_signature_is_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    assert isinstance(refusal(validator, factory.forged_token()), BadSignature)


def test_changed_claims_are_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    header, _, signature = factory.token().split(".")
    payload = factory.token(model="another").split(".")[1]
    assert isinstance(refusal(validator, f"{header}.{payload}.{signature}"), BadSignature)


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "RS384", "ES256", "", "rs256"])
def test_other_algorithm_in_the_header_is_refused(validator: JwtValidator, factory: TokenFactory, alg: str) -> None:
    error = refusal(validator, factory.token(headers={"alg": alg}))
    assert not isinstance(error, BadSignature | TokenExpired)
    assert "RS256" in error.detail


@pytest.mark.parametrize("alg", [None, 1, ["RS256"], {"RS256": 1}, True])
def test_algorithm_that_is_no_text_is_refused(validator: JwtValidator, factory: TokenFactory, alg: object) -> None:
    refusal(validator, factory.token(headers={"alg": alg}))


def test_algorithm_confusion_is_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    for token in (factory.hmac_token(), factory.pss_token(), factory.unsigned_token() + "AAAA"):
        assert not isinstance(refusal(validator, token), BadSignature)
    refusal(validator, factory.unsigned_token())


@pytest.mark.parametrize(
    "headers",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": "exp"},
        {"crit": ["b64"], "b64": True},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"crit": None},
    ],
)
def test_critical_extensions_are_refused(
    validator: JwtValidator, factory: TokenFactory, headers: dict[str, Any]
) -> None:
    assert not isinstance(refusal(validator, factory.token(headers=headers)), BadSignature)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b", "a.b.c.d", "a b.c.d", "€.€.€", "a.b.c\n", "\ud800.a.a", "x" * 40, "a" * 8190 + ".b"]
)
def test_text_that_is_no_token_is_refused(validator: JwtValidator, text: str) -> None:
    assert not isinstance(refusal(validator, text), BadSignature)


def test_spellings_of_a_genuine_token_are_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    token = factory.token()
    for changed in (f"{token}==", f" {token}", f"{token}\n", token.replace(".", "..", 1), f"Bearer {token}"):
        refusal(validator, changed)


def test_other_spellings_of_the_same_bytes_are_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    """One token, one text: unused bits of the last character, or a lone last character, decode to the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = factory.token()  # 256 bytes of signature: 342 characters, the last one with 4 unused bits
    same_bytes = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    claims_alone, _, signature = token.rpartition(".")
    for changed in (same_bytes, token + "AAA", f"{claims_alone}A.{signature}", f"{claims_alone}AA.{signature}"):
        assert validator.verify(token)
        refused = refusal(validator, changed)
        assert isinstance(refused, TokenError)
    assert not isinstance(refusal(validator, same_bytes), BadSignature)


@pytest.mark.parametrize("header", [b"\xff", b"[]", b'"RS256"', b"{", b'{"alg":"RS256","alg":"RS256"}', b"[" * 3000])
def test_header_that_is_no_json_object_is_refused(
    validator: JwtValidator, factory: TokenFactory, header: bytes
) -> None:
    _, payload, signature = factory.token().split(".")
    encoded = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    assert not isinstance(refusal(validator, f"{encoded}.{payload}.{signature}"), BadSignature)


def test_token_over_8_kb_is_refused_before_anything_is_decoded(
    validator: JwtValidator, factory: TokenFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = factory.token(filling="x" * 8000)
    assert len(token) > 8192
    decoded: list[bytes] = []
    monkeypatch.setattr("base64.urlsafe_b64decode", decoded.append)
    assert "8192" in refusal(validator, token).detail
    assert not decoded


def test_nothing_of_the_payload_is_parsed_before_the_signature_holds(
    validator: JwtValidator, monkeypatch: pytest.MonkeyPatch
) -> None:
    forger = TokenFactory(shared_key("forger"))
    assert isinstance(refusal(validator, forger.sign(b"\xff not json")), BadSignature)


# --- claims


@pytest.mark.parametrize("name", CLAIM_NAMES)
def test_missing_claim_is_refused(validator: JwtValidator, factory: TokenFactory, name: str) -> None:
    assert name in refusal(validator, factory.sign(without(factory.claims(), name))).detail


@pytest.mark.parametrize("name", ["agent_id", "client_id", "model", "jti", "iss"])
@pytest.mark.parametrize("value", ["", None, 5, 1.5, True, ["agent-1"], {}, "x" * 513, "two\nlines", "\ud800", "\x00"])
def test_text_claim_of_another_type_is_refused(
    validator: JwtValidator, factory: TokenFactory, name: str, value: object
) -> None:
    assert name in refusal(validator, factory.sign(factory.claims() | {name: value})).detail


@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
@pytest.mark.parametrize("value", [None, True, NOW + 0.0, str(NOW), [NOW], -1, 2**32, 10**400, "", {}])
def test_time_claim_of_another_type_is_refused(
    validator: JwtValidator, factory: TokenFactory, name: str, value: object
) -> None:
    assert name in refusal(validator, factory.sign(factory.claims() | {name: value})).detail


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b'"x"', b"null", b"{", b"\xff\xfe{\x00", b"NaN", b"[" * 5000])
def test_signed_payload_that_is_no_json_object_is_refused(
    validator: JwtValidator, factory: TokenFactory, payload: bytes
) -> None:
    refusal(validator, factory.sign(payload))


def test_claim_given_twice_is_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    payload = json.dumps(factory.claims()).replace("{", '{"agent_id": "agent-2", ', 1).encode()
    refusal(validator, factory.sign(payload))


def test_not_a_number_is_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    refusal(validator, factory.sign(json.dumps(factory.claims(other=float("nan"))).encode()))


def test_payload_in_another_encoding_is_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    refusal(validator, factory.sign(json.dumps(factory.claims()).encode("utf-16")))


def test_other_issuer_is_refused(validator: JwtValidator, factory: TokenFactory) -> None:
    assert "issuer" in refusal(validator, factory.token(iss="titancompute")).detail


def test_other_agent_is_forbidden(validator: JwtValidator, factory: TokenFactory) -> None:
    assert isinstance(refusal(validator, factory.token(agent_id="agent-2")), OtherAgent)
    assert isinstance(refusal(validator, factory.token(agent_id="AGENT-1")), OtherAgent)


def test_expired_token_is_refused_after_the_leeway(
    validator: JwtValidator, factory: TokenFactory, clock: FakeClock
) -> None:
    token = factory.token()
    clock.now = NOW + 60 + 9.9
    validator.verify(token)
    clock.now = NOW + 60 + 10
    assert isinstance(refusal(validator, token), TokenExpired)


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_token_from_the_future_is_refused_beyond_the_leeway(
    validator: JwtValidator, factory: TokenFactory, name: str
) -> None:
    validator.verify(factory.sign(factory.claims() | {name: NOW + 10}))
    assert "clock" in refusal(validator, factory.sign(factory.claims() | {name: NOW + 11})).hint


def test_lifetime_is_at_most_ten_minutes(validator: JwtValidator, factory: TokenFactory) -> None:
    validator.verify(factory.token(exp=NOW + 600))
    assert "600" in refusal(validator, factory.token(exp=NOW + 601)).detail
    refusal(validator, factory.token(iat=NOW - 541))
    refusal(validator, factory.token(exp=NOW, iat=NOW))


# --- the key


def test_without_a_key_everything_is_refused(factory: TokenFactory, clock: FakeClock) -> None:
    validator = JwtValidator("agent-1", clock=clock)
    assert not validator.has_key
    assert isinstance(refusal(validator, factory.token()), NoKeyError)


def test_exactly_one_key_is_trusted(validator: JwtValidator, factory: TokenFactory, clock: FakeClock) -> None:
    restarted = TokenFactory(shared_key("restarted"), clock=clock)
    assert validator.set_key(restarted.public_key_pem)
    validator.verify(restarted.token())
    assert isinstance(refusal(validator, factory.token()), BadSignature)


def test_same_key_again_changes_nothing(validator: JwtValidator, factory: TokenFactory) -> None:
    generation = validator.key_generation
    assert not validator.set_key(factory.public_key_pem + "\n")
    assert validator.key_generation == generation


def private_pem() -> str:
    key = shared_key()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def elliptic_pem() -> str:
    key = generate_private_key(SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    "make_pem",
    [
        lambda: "",
        lambda: "nonsense",
        lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        lambda: public_pem(new_key(1024)),
        lambda: public_pem(shared_key()) + public_pem(shared_key("restarted")),
        lambda: public_pem(shared_key()) + " " * 20_000,
        private_pem,
        elliptic_pem,
    ],
)
def test_unusable_key_is_refused_and_the_old_one_stays(
    validator: JwtValidator, factory: TokenFactory, make_pem: Callable[[], str]
) -> None:
    with pytest.raises(CoordinatorError, match="public key cannot be used") as caught:
        validator.set_key(make_pem())
    assert caught.value.hint
    validator.verify(factory.token())


def test_key_in_pkcs1_pem_is_accepted(factory: TokenFactory, clock: FakeClock) -> None:
    validator = JwtValidator("agent-1", clock=clock)
    validator.set_key(factory.key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode())
    validator.verify(factory.token())


# --- hostile input


HOSTILE = JwtValidator("agent-1", clock=lambda: NOW)
HOSTILE.set_key(public_pem(shared_key()))
SIGNER = TokenFactory(clock=lambda: NOW)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,60}\.[\w-]{0,60}\.[\w-]{0,60}"))
def test_any_text_is_a_token_error(text: str) -> None:
    with pytest.raises(TokenError):
        HOSTILE.verify(text)


@given(header=st.binary(max_size=60), payload=st.binary(max_size=60), signature=st.binary(max_size=300))
@example(header=b'{"alg":"RS256"}', payload=b"{}", signature=b"")
@example(header=b'{"alg":"RS256"}', payload=b"{}", signature=b"\xff" * 256)
@example(header=b"[" * 3000, payload=b"{}", signature=b"x")
def test_any_three_segments_are_a_token_error(header: bytes, payload: bytes, signature: bytes) -> None:
    segments = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, payload, signature))
    with pytest.raises(TokenError):
        HOSTILE.verify(".".join(segments))


@given(name=st.sampled_from(CLAIM_NAMES), value=JSON_VALUES)
def test_signed_token_with_any_claim_value_verifies_typed_or_is_refused(name: str, value: object) -> None:
    try:
        claims = HOSTILE.verify(SIGNER.sign(SIGNER.claims() | {name: value}))
    except TokenError:
        return
    assert all(type(getattr(claims, field)) is int for field in ("iat", "nbf", "exp"))
    assert all(type(getattr(claims, field)) is str for field in ("agent_id", "client_id", "model", "jti", "issuer"))
    assert claims.agent_id == "agent-1"
    assert claims.exp - claims.iat <= 600


@given(headers=st.dictionaries(st.sampled_from(["alg", "crit", "b64", "kid", "jwk", "typ", "x5u"]), JSON_VALUES))
def test_signed_token_with_any_header_verifies_or_is_refused(headers: dict[str, Any]) -> None:
    try:
        HOSTILE.verify(SIGNER.token(headers=headers))
    except TokenError:
        return
    assert not {"crit", "b64"} & headers.keys()


@given(index=st.integers(min_value=0), replacement=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij0123456789-_."))
def test_one_changed_character_is_refused(index: int, replacement: str) -> None:
    token = SIGNER.token(jti="fixed")
    at = index % len(token)
    if token[at] != replacement:
        with pytest.raises(TokenError):
            HOSTILE.verify(token[:at] + replacement + token[at + 1 :])


@pytest.mark.parametrize("claim", ["agent_id", "client_id", "jti", "model"])
def test_no_error_quotes_the_token(validator: JwtValidator, factory: TokenFactory, claim: str) -> None:
    canary = "canary-7f3a"
    for token in (
        factory.sign(without(factory.claims() | {claim: canary}, "exp")),
        factory.sign(factory.claims() | {claim: canary, "iss": "other"}),
        factory.token(headers={"alg": canary, "kid": canary}),
        factory.token(headers={"crit": [canary]}),
        factory.sign(f'{{"{canary}": '.encode()),
    ):
        error = refusal(validator, token)
        assert canary not in error.detail + error.hint
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None


# --- the request's model


def claims_for(model: str) -> TokenClaims:
    return TokenClaims(
        agent_id="a", client_id="c", model=model, jti="j", iat=NOW, nbf=NOW, exp=NOW + 60, issuer="i"
    )  # fmt: skip


def same_with_latest(one: str, other: str) -> bool:
    return one.removesuffix(":latest") == other.removesuffix(":latest")


def test_empty_request_model_means_the_tokens() -> None:
    assert check_request_model(claims_for("llama3"), "", same_with_latest) == "llama3"


def test_same_model_by_another_spelling_is_allowed() -> None:
    assert check_request_model(claims_for("llama3"), "llama3:latest", same_with_latest) == "llama3"


@pytest.mark.parametrize("wanted", ["llama3:70b", " ", "LLAMA3", "x" * 100_000])
def test_other_model_is_forbidden(wanted: str) -> None:
    with pytest.raises(OtherModel) as caught:
        check_request_model(claims_for("llama3"), wanted, same_with_latest)
    assert len(caught.value.detail) < 300


# --- key refresh


class FakeKeySource:
    """The coordinator's GetPublicKey: counts calls; `gate` holds an answer back; `error` is raised instead of one."""

    def __init__(self, pem: str) -> None:
        self.pem = pem
        self.error: Exception | None = None
        self.calls = 0
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> str:
        self.calls += 1
        self.called.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.pem


@pytest.fixture
def restarted(clock: FakeClock) -> TokenFactory:
    return TokenFactory(shared_key("restarted"), clock=clock)


@pytest.fixture
def source(restarted: TokenFactory) -> FakeKeySource:
    return FakeKeySource(restarted.public_key_pem)


@pytest.fixture
def monotonic() -> FakeClock:
    return FakeClock(100.0)


@pytest.fixture
def keeper(validator: JwtValidator, source: FakeKeySource, monotonic: FakeClock) -> KeyKeeper:
    return KeyKeeper(validator, source, monotonic=monotonic, max_waiting=2000)


async def test_token_of_a_restarted_coordinator_passes_after_one_fetch(
    keeper: KeyKeeper, source: FakeKeySource, restarted: TokenFactory, factory: TokenFactory
) -> None:
    assert (await keeper.verify_refreshing(restarted.token(jti="j"))).jti == "j"
    assert source.calls == 1
    with pytest.raises(BadSignature):
        await keeper.verify_refreshing(factory.token())  # the old key is refused from now on
    assert source.calls == 1


async def test_genuine_token_fetches_nothing(keeper: KeyKeeper, source: FakeKeySource, factory: TokenFactory) -> None:
    await keeper.verify_refreshing(factory.token())
    assert source.calls == 0


async def test_no_key_at_all_fetches_it(
    source: FakeKeySource, restarted: TokenFactory, clock: FakeClock, monotonic: FakeClock
) -> None:
    keeper = KeyKeeper(JwtValidator("agent-1", clock=clock), source, monotonic=monotonic)
    await keeper.verify_refreshing(restarted.token())
    assert source.calls == 1


async def test_bad_tokens_fetch_at_most_once_per_5_s(
    keeper: KeyKeeper, source: FakeKeySource, factory: TokenFactory, monotonic: FakeClock
) -> None:
    source.pem = factory.public_key_pem
    for elapsed in (0.0, 1.0, 4.99):
        monotonic.now = 100.0 + elapsed
        with pytest.raises(BadSignature):
            await keeper.verify_refreshing(factory.forged_token())
        assert source.calls == 1
    monotonic.now = 105.0
    with pytest.raises(BadSignature):
        await keeper.verify_refreshing(factory.forged_token())
    assert source.calls == 2


async def test_thousand_bad_tokens_share_one_fetch_and_little_memory(
    keeper: KeyKeeper, source: FakeKeySource, restarted: TokenFactory, factory: TokenFactory
) -> None:
    bad = factory.forged_token(filling="x" * 5000)
    with pytest.raises(BadSignature):
        keeper.validator.verify(bad)  # caches and imports are not growth
    source.gate.clear()
    tracemalloc.start()
    try:
        tasks = [asyncio.create_task(keeper.verify_refreshing(bad + "A" * (index % 2))) for index in range(1000)]
        good = asyncio.create_task(keeper.verify_refreshing(restarted.token()))
        await source.called.wait()
        await asyncio.sleep(0)
        waiting = sum(not task.done() for task in tasks)
        peak_mb = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    source.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, TokenError) for result in results)
    assert waiting >= 500  # the other half is malformed: refused at once
    assert (await good).agent_id == "agent-1"
    assert source.calls == 1
    assert peak_mb < 20


@pytest.mark.parametrize(
    "changes", [{"exp": NOW - 60, "iat": NOW - 100}, {"agent_id": "agent-2"}, {"iss": "x"}, {"jti": 5}]
)
async def test_token_that_fails_for_another_cause_fetches_nothing(
    keeper: KeyKeeper, source: FakeKeySource, factory: TokenFactory, changes: dict[str, Any]
) -> None:
    with pytest.raises(TokenError):
        await keeper.verify_refreshing(factory.token(**changes))
    for hostile in ("", "x.y.z", factory.unsigned_token() + "AA", factory.hmac_token(), factory.token() * 20):
        with pytest.raises(TokenError):
            await keeper.verify_refreshing(hostile)
    assert source.calls == 0


@pytest.mark.parametrize(
    "error", [CoordinatorUnreachable("away"), TimeoutError(), RuntimeError("a defect"), CoordinatorError("no")]
)
async def test_failed_fetch_leaves_the_first_error_and_the_old_key(
    keeper: KeyKeeper, source: FakeKeySource, factory: TokenFactory, error: Exception
) -> None:
    source.error = error
    with pytest.raises(BadSignature):
        await keeper.verify_refreshing(factory.forged_token())
    await keeper.verify_refreshing(factory.token())


async def test_unusable_key_from_the_coordinator_leaves_the_old_one(
    keeper: KeyKeeper, source: FakeKeySource, factory: TokenFactory
) -> None:
    source.pem = "nonsense"
    with pytest.raises(BadSignature):
        await keeper.verify_refreshing(factory.forged_token())
    await keeper.verify_refreshing(factory.token())


async def test_fetch_that_hangs_is_given_up(
    validator: JwtValidator, source: FakeKeySource, factory: TokenFactory
) -> None:
    source.gate.clear()
    keeper = KeyKeeper(validator, source, fetch_limit_s=0.0)
    with pytest.raises(BadSignature):
        await keeper.verify_refreshing(factory.forged_token())


async def test_bad_token_is_verified_again_only_with_another_key(
    keeper: KeyKeeper, source: FakeKeySource, factory: TokenFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify, seen = keeper.validator.verify, []

    def count(token: str) -> TokenClaims:
        seen.append(token)
        return verify(token)

    monkeypatch.setattr(keeper.validator, "verify", count)
    source.pem = factory.public_key_pem  # the coordinator has the same key still
    with pytest.raises(BadSignature):
        await keeper.verify_refreshing(factory.forged_token())
    assert len(seen) == 1


async def test_cancelled_caller_does_not_end_the_fetch_for_others(
    keeper: KeyKeeper, source: FakeKeySource, restarted: TokenFactory
) -> None:
    source.gate.clear()
    first = asyncio.create_task(keeper.verify_refreshing(restarted.token()))
    second = asyncio.create_task(keeper.verify_refreshing(restarted.token()))
    await source.called.wait()
    first.cancel()
    await asyncio.wait([first])
    source.gate.set()
    assert (await second).agent_id == "agent-1"
    assert first.cancelled()
    assert source.calls == 1


async def test_key_from_a_registration_counts_as_a_fetch(
    keeper: KeyKeeper, source: FakeKeySource, restarted: TokenFactory, factory: TokenFactory, monotonic: FakeClock
) -> None:
    assert keeper.adopt(restarted.public_key_pem)
    await keeper.verify_refreshing(restarted.token())
    with pytest.raises(BadSignature):
        await keeper.verify_refreshing(factory.token())
    assert source.calls == 0


async def test_close_ends_the_fetch_and_every_waiting_token_gets_its_own_error(
    keeper: KeyKeeper, source: FakeKeySource, factory: TokenFactory
) -> None:
    source.gate.clear()
    waiting = asyncio.create_task(keeper.verify_refreshing(factory.forged_token()))
    await source.called.wait()
    await keeper.close()
    with pytest.raises(BadSignature):
        await waiting
    await keeper.close()


_: Callable[[], Awaitable[str]] = FakeKeySource("")  # the fake keeps the real contract


async def test_tokens_beyond_those_that_may_wait_are_turned_away_and_good_ones_pass(
    validator: JwtValidator, source: FakeKeySource, factory: TokenFactory
) -> None:
    keeper = KeyKeeper(validator, source, max_waiting=2)
    source.gate.clear()
    waiting = [asyncio.create_task(keeper.verify_refreshing(factory.forged_token())) for _ in range(2)]
    await source.called.wait()
    with pytest.raises(AtCapacity):
        await keeper.verify_refreshing(factory.forged_token())
    assert (await keeper.verify_refreshing(factory.token())).agent_id == factory.agent_id
    source.gate.set()
    assert all(isinstance(error, BadSignature) for error in await asyncio.gather(*waiting, return_exceptions=True))
