"""TLS material: made on request for the right names, loaded with every problem named, and good for a real handshake."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from core.errors import ConfigError, StorageError
from core.tls import TlsMaterial, ensure_self_signed, load_authority, load_pair

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "tls" / "agent.crt", tmp_path / "tls" / "agent.key"


def make(paths: tuple[Path, Path], host: str = "gpu.example", now: datetime = NOW) -> TlsMaterial:
    return ensure_self_signed(host, *paths, now=now)


def names_in(material: TlsMaterial) -> set[str]:
    certificate = x509.load_pem_x509_certificate(material.certificate_chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def problems_of(paths: tuple[Path, Path], now: datetime = NOW) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_pair(*paths, now=now)
    assert caught.value.hint
    return caught.value.problems


# --- making


def test_made_pair_is_for_the_public_host_and_this_machine(paths: tuple[Path, Path]) -> None:
    assert names_in(make(paths)) == {"gpu.example", "localhost", "127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("host", "name"),
    [("192.0.2.7", "192.0.2.7"), ("[2001:db8::7]", "2001:db8::7"), ("bücher.example", "xn--bcher-kva.example")],
)
def test_public_host_may_be_an_address_or_an_international_name(paths: tuple[Path, Path], host: str, name: str) -> None:
    assert name in names_in(make(paths, host))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_loopback_host_is_named_once(paths: tuple[Path, Path], host: str) -> None:
    assert names_in(make(paths, host)) == {"localhost", "127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "", "two words", "host:50052", "https://host"])
def test_host_that_no_certificate_can_hold_is_named(paths: tuple[Path, Path], host: str) -> None:
    with pytest.raises(ConfigError, match="public_host"):
        make(paths, host)


def test_key_is_elliptic_and_only_its_owner_reads_it(paths: tuple[Path, Path]) -> None:
    material = make(paths)
    key = load_pem_private_key(paths[1].read_bytes(), password=None)
    assert type(key).__name__ == "ECPrivateKey"
    assert material.notice == ""
    if os.name == "posix":
        assert stat.S_IMODE(paths[1].stat().st_mode) == 0o600
    assert sorted(path.name for path in paths[1].parent.iterdir()) == ["agent.crt", "agent.key"]


def test_key_is_in_no_repr(paths: tuple[Path, Path]) -> None:
    assert "PRIVATE" not in repr(make(paths))


def test_fingerprint_is_the_one_that_openssl_prints(paths: tuple[Path, Path]) -> None:
    material = make(paths)
    der = ssl.PEM_cert_to_DER_cert(material.certificate_chain.decode())
    assert material.fingerprint.replace(":", "").lower() == hashlib.sha256(der).hexdigest()
    assert material.fingerprint.count(":") == 31


def test_second_start_keeps_the_pair(paths: tuple[Path, Path]) -> None:
    assert make(paths) == make(paths, now=NOW + timedelta(days=700))


def test_pair_is_renewed_before_it_ends_and_keeps_its_key(paths: tuple[Path, Path]) -> None:
    first = make(paths)
    renewed = make(paths, now=NOW + timedelta(days=800))
    assert renewed.fingerprint != first.fingerprint
    assert renewed.private_key == first.private_key
    assert renewed.expires_at > first.expires_at


def test_another_public_host_makes_another_certificate(paths: tuple[Path, Path]) -> None:
    make(paths)
    assert "other.example" in names_in(make(paths, "other.example"))


def test_certificate_is_made_again_when_only_the_key_is_there(paths: tuple[Path, Path]) -> None:
    key = make(paths).private_key
    paths[0].unlink()
    assert make(paths).private_key == key


def test_certificate_is_made_again_when_the_key_was_replaced(paths: tuple[Path, Path]) -> None:
    make(paths)
    paths[1].unlink()
    make(paths)
    load_pair(*paths, now=NOW)


def test_foreign_certificate_is_never_overwritten(paths: tuple[Path, Path]) -> None:
    write_pair(paths, not_after=NOW + timedelta(days=1))
    before = paths[0].read_bytes()
    assert make(paths, "another.example").certificate_chain == before
    with pytest.raises(ConfigError, match="expired"):
        make(paths, now=NOW + timedelta(days=2))
    assert paths[0].read_bytes() == before


def test_key_that_cannot_be_used_is_never_overwritten(paths: tuple[Path, Path]) -> None:
    paths[1].parent.mkdir()
    paths[1].write_text("mine")
    with pytest.raises(ConfigError, match="no private key"):
        make(paths)
    assert paths[1].read_text() == "mine"


def test_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    blocker = tmp_path / "a file"
    blocker.write_text("")
    with pytest.raises(StorageError, match="a file") as caught:
        ensure_self_signed("gpu.example", blocker / "agent.crt", blocker / "agent.key", now=NOW)
    assert caught.value.hint


# --- loading


def write_pair(paths: tuple[Path, Path], *, not_after: datetime = NOW + timedelta(days=90)) -> None:
    """A pair as an authority's customer has it: RSA, a name, no extensions."""
    key = generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gpu.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(not_after)
        .sign(key, SHA256())
    )
    paths[0].parent.mkdir(exist_ok=True)
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    paths[1].chmod(0o600)


def test_owners_pair_is_loaded(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    material = load_pair(*paths, now=NOW)
    assert material.certificate_chain == paths[0].read_bytes()
    assert material.private_key == paths[1].read_bytes()
    assert material.expires_at == NOW + timedelta(days=90)


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_key_that_others_can_read_is_said(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    paths[1].chmod(0o644)
    assert "chmod 600" in load_pair(*paths, now=NOW).notice


def test_missing_files_are_both_named(paths: tuple[Path, Path]) -> None:
    problems = problems_of(paths)
    assert len(problems) == 2
    assert "tls_cert" in problems[0]
    assert "does not exist" in problems[0]
    assert "tls_key" in problems[1]


def test_missing_certificate_does_not_hide_a_bad_key(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    paths[0].unlink()
    paths[1].write_bytes(b"")
    assert ["does not exist" in problem for problem in problems_of(paths)] == [True, False]


def test_unreadable_file_is_named(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    paths[0].unlink()
    paths[0].mkdir()
    assert "cannot be read" in problems_of(paths)[0]


def test_mismatch_is_named(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    key = paths[1].read_bytes()
    write_pair(paths)
    paths[1].write_bytes(key)
    (problem,) = problems_of(paths)
    assert "does not belong" in problem


def test_expired_certificate_is_named_with_its_date(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    (problem,) = problems_of(paths, now=NOW + timedelta(days=90))
    assert "expired on 2030-04-01" in problem


def test_certificate_of_the_future_is_named(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    assert "valid only from" in problems_of(paths, now=NOW - timedelta(days=2))[0]


def test_swapped_files_are_both_named(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    problems = problems_of((paths[1], paths[0]))
    assert "no certificate" in problems[0]
    assert "no private key" in problems[1]


def test_key_with_a_passphrase_is_named(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    key = load_pem_private_key(paths[1].read_bytes(), password=None)
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    assert "passphrase" in problems_of(paths)[0]


def test_key_of_a_kind_that_grpc_cannot_use_is_named(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    key = Ed25519PrivateKey.generate()
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "neither an EC nor an RSA key" in problems_of(paths)[0]


def test_problem_never_quotes_the_key(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    paths[1].write_bytes(b"-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n")
    assert "Y2FuYXJ5" not in "".join(problems_of(paths))


def test_authority_is_loaded_or_named(paths: tuple[Path, Path]) -> None:
    write_pair(paths)
    assert load_authority(paths[0]) == paths[0].read_bytes()
    with pytest.raises(ConfigError, match=r"coordinator_ca .* holds no certificate"):
        load_authority(paths[1])
    with pytest.raises(ConfigError, match=r"coordinator_ca .* does not exist"):
        load_authority(paths[0].with_name("none"))


# --- real handshakes


def test_client_that_trusts_the_certificate_connects(paths: tuple[Path, Path]) -> None:
    """The standard library's OpenSSL as the client, with the name checked."""
    ensure_self_signed("gpu.example", *paths)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*paths)
    client = ssl.create_default_context(cafile=paths[0])
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as stream:
            stream.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(ours, server_hostname="gpu.example") as stream:
        assert stream.recv(5) == b"hello"
    thread.join()


async def test_grpc_client_that_trusts_the_certificate_connects(paths: tuple[Path, Path]) -> None:
    import grpc.aio
    from grpc_health.v1 import _async, health_pb2, health_pb2_grpc

    material = ensure_self_signed("gpu.example", *paths)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(_async.HealthServicer(), server)
    credentials = grpc.ssl_server_credentials([(material.private_key, material.certificate_chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        trusted = grpc.ssl_channel_credentials(root_certificates=material.certificate_chain)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        await server.stop(None)
