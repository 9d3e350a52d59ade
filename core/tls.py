"""Certificates and keys for TLS, as bytes: made on request, or loaded with every problem named. No gRPC in here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from core.atomic_file import write_atomically
from core.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate, GeneralName

    ServerKey = EllipticCurvePrivateKey | RSAPrivateKey

SELF_SIGNED_DAYS = 825  # what browsers and Apple's platforms accept at most from a private authority
RENEW_BEFORE_DAYS = 30
_COMMON_NAME = "TitanCompute agent"  # also tells our own certificates from the owner's
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_BACKDATED = timedelta(hours=1)  # a client's clock may be behind ours


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """A server's certificate chain and private key in PEM, as gRPC takes them. The key is never shown."""

    certificate_chain: bytes
    private_key: bytes
    fingerprint: str  # SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it
    expires_at: datetime
    notice: str = ""  # what the owner should mend, "" when nothing

    def __repr__(self) -> str:
        return f"TlsMaterial(fingerprint={self.fingerprint!r}, expires_at={self.expires_at:%Y-%m-%d})"


def load_pair(certificate_path: Path, key_path: Path, *, now: datetime | None = None) -> TlsMaterial:
    """Read a server's certificate (the leaf first, then its chain) and its private key, both PEM.

    Raises ConfigError that names every file that is missing, unreadable, of another kind, expired or no match.
    """
    problems: list[str] = []
    chain = _read(certificate_path, "tls_cert", problems)
    key_pem = _read(key_path, "tls_key", problems)
    certificate = _parse_certificate(certificate_path, chain, problems)
    key = _parse_key(key_path, key_pem, problems)
    if certificate is not None:
        problems += _date_problems(certificate_path, certificate, now or datetime.now(UTC))
    if certificate is not None and key is not None and certificate.public_key() != key.public_key():
        problems.append(f"tls_key {key_path} does not belong to the certificate tls_cert {certificate_path}")
    if problems or certificate is None:
        raise ConfigError(
            problems,
            hint="Name a certificate and its key in PEM, or let the agent make them: tls_self_signed = true",
        )
    return TlsMaterial(
        certificate_chain=chain,
        private_key=key_pem,
        fingerprint=_fingerprint(certificate),
        expires_at=certificate.not_valid_after_utc,
        notice=_permission_notice(key_path),
    )


def load_authority(path: Path) -> bytes:
    """Read the certificates that the coordinator's is checked against (PEM). Raises ConfigError."""
    problems: list[str] = []
    pem = _read(path, "coordinator_ca", problems)
    _parse_certificate(path, pem, problems, setting="coordinator_ca")
    if problems:
        raise ConfigError(problems, hint="Name the certificate of the authority that signed the coordinator's, in PEM.")
    return pem


def ensure_self_signed(
    public_host: str, certificate_path: Path, key_path: Path, *, now: datetime | None = None
) -> TlsMaterial:
    """The self-signed pair for `public_host` at these paths; made when it is missing, for another host, or ends soon.

    An existing key is kept, and a certificate that somebody else made is never overwritten. Raises ConfigError for
    files that can't be used, StorageError when new ones can't be written.
    """
    now = now or datetime.now(UTC)
    existing = _own_certificate(certificate_path)
    if existing is None and certificate_path.exists():
        return load_pair(certificate_path, key_path, now=now)
    key = _load_or_make_key(key_path)
    if existing is None or not _is_good_for(existing, key, public_host, now):
        from cryptography.hazmat.primitives.serialization import Encoding

        write_atomically(certificate_path, _sign_own(key, public_host, now).public_bytes(Encoding.PEM), mode=0o600)
    return load_pair(certificate_path, key_path, now=now)


def _load_or_make_key(path: Path) -> ServerKey:
    """The key at `path`; a new EC P-256 key (0600) when there is no file. Raises ConfigError, StorageError."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if not path.exists():
        fresh = generate_private_key(SECP256R1())
        write_atomically(path, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
        return fresh
    problems: list[str] = []
    key = _parse_key(path, _read(path, "tls_key", problems), problems)
    if key is None:
        raise ConfigError(problems, hint=f"Move {path} away, and a new key is made.")
    return key


def _sign_own(key: ServerKey, public_host: str, now: datetime) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _COMMON_NAME)])
    names = dict.fromkeys(_general_name(host) for host in (public_host, *_LOCAL_NAMES))
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, SHA256())
    )


def _general_name(host: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if _HOST_NAME.fullmatch(name) is None:
        raise ConfigError(
            [f"public_host {host!r} is no host name or address that a certificate can hold"],
            hint="Set public_host to the name or address under which clients reach this machine, without a port.",
        )
    return x509.DNSName(name)


def _own_certificate(path: Path) -> Certificate | None:
    """The certificate at `path` when `make_self_signed` made it; None for anybody else's, or none that can be read."""
    from cryptography.x509.oid import NameOID

    certificate = _parse_certificate(path, _read(path, "tls_cert", []), [])
    if certificate is None or certificate.issuer != certificate.subject:
        return None
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return certificate if [name.value for name in names] == [_COMMON_NAME] else None


def _is_good_for(certificate: Certificate, key: ServerKey, public_host: str, now: datetime) -> bool:
    from cryptography import x509

    ends_soon = certificate.not_valid_after_utc - now < timedelta(days=RENEW_BEFORE_DAYS)
    if ends_soon or now < certificate.not_valid_before_utc or certificate.public_key() != key.public_key():
        return False
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return _general_name(public_host) in list(names)


def _read(path: Path, setting: str, problems: list[str]) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        problems.append(f"{setting} {path} does not exist")
    except OSError as error:
        problems.append(f"{setting} {path} cannot be read: {error.strerror}")
    return b""


def _parse_certificate(path: Path, pem: bytes, problems: list[str], setting: str = "tls_cert") -> Certificate | None:
    from cryptography.x509 import load_pem_x509_certificates

    if not pem and problems:
        return None  # already said
    try:
        return load_pem_x509_certificates(pem)[0]
    except ValueError:
        problems.append(f"{setting} {path} holds no certificate in PEM")
        return None


def _parse_key(path: Path, pem: bytes, problems: list[str]) -> ServerKey | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if not pem and any(problem.startswith("tls_key ") for problem in problems):
        return None
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        problems.append(f"tls_key {path} is protected by a passphrase; the agent cannot ask for it")
        return None
    except (ValueError, UnsupportedAlgorithm):
        problems.append(f"tls_key {path} holds no private key in PEM")
        return None
    if not isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
        problems.append(f"tls_key {path} is neither an EC nor an RSA key, which gRPC needs")
        return None
    return key


def _date_problems(path: Path, certificate: Certificate, now: datetime) -> list[str]:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if last <= now:
        return [f"the certificate tls_cert {path} expired on {last:%Y-%m-%d}"]
    if now < first:
        return [f"the certificate tls_cert {path} is valid only from {first:%Y-%m-%d %H:%M} UTC"]
    return []


def _fingerprint(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.hashes import SHA256

    return certificate.fingerprint(SHA256()).hex(":").upper()


def _permission_notice(key_path: Path) -> str:
    if os.name == "posix" and key_path.stat().st_mode & 0o077:
        return f"Other users of this machine can read the TLS key {key_path}. Run: chmod 600 {key_path}"
    return ""
