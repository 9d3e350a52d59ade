"""Addresses as text: host:port parsing, the loopback rule, where to listen, and whether strangers can reach us.

Everything here works on the text alone: no name is looked up, so the answer is the same on and off the network.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Protocol

from core.errors import ConfigError

DEFAULT_COORDINATOR_PORT = 50051
MAX_PORT = 65535

# One label of a host name (RFC 1123), with "_" allowed because container networks use it.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_MAX_HOST_CHARACTERS = 253


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (name, IPv4, or IPv6 without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_endpoint(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A reason not to serve, found in the settings alone; the composer makes a core.snapshot.Reason of it."""

    code: str
    sentence: str
    setting: str
    remedy: str


class AddressSettings(Protocol):
    """The four settings that decide who can reach the agent (core.config.Settings has them)."""

    @property
    def coordinator_endpoint(self) -> str: ...
    @property
    def public_host(self) -> str: ...
    @property
    def listen_address(self) -> str: ...
    @property
    def agent_port(self) -> int: ...


def format_endpoint(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_endpoint(text: str, *, default_port: int | None = None) -> Endpoint:
    """Read "host", "host:port", "[ipv6]:port" or a bare IPv6 address.

    A missing port is `default_port`; without one it is an error. Raises ConfigError with the remedy.
    """
    if "://" in text:
        raise ConfigError([f"{text!r} is a URL, not host:port"], hint=_hint_for_url(text, default_port))
    host, port_text = _split(text)
    if port_text is None:
        if default_port is None:
            raise ConfigError([f"{text!r} names no port"], hint="Write it as host:port, for example localhost:50051.")
        return Endpoint(parse_host(host), default_port)
    return Endpoint(parse_host(host), parse_port(port_text))


def parse_host(text: str) -> str:
    """Check a host name or an address alone (brackets around IPv6 are taken off). Raises ConfigError."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in host or host != text:
        if _ip_address(host) is None or ":" not in host:
            raise ConfigError(
                [f"{text!r} is not an IPv6 address"], hint="Write an IPv6 address in brackets: [::1]:50051."
            )
        return host
    labels = host.removesuffix(".").split(".")
    is_name = len(host) <= _MAX_HOST_CHARACTERS and all(_LABEL.fullmatch(label) for label in labels)
    # No top-level domain is a number, so 10.0.0.300 is a mistyped address.
    if not is_name or (labels[-1].isdigit() and _ip_address(host) is None):
        raise ConfigError([f"{text!r} is not a host name"], hint="Write a host name or an IP address.")
    return host


def _hint_for_url(url: str, default_port: int | None) -> str:
    """The address in the URL, where it is one; never one that would be refused too."""
    address = re.split(r"[/?#]", url.split("://", 1)[1], maxsplit=1)[0]
    try:
        parse_endpoint(address, default_port=default_port)
    except ConfigError:
        return "Write it as host:port, for example localhost:50051."
    return f"Write {address!r} without the scheme."


def parse_port(text: str) -> int:
    """A TCP port, 1 to 65535. Raises ConfigError."""
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= MAX_PORT:
        raise ConfigError([f"{text!r} is not a port"], hint=f"A port is a whole number from 1 to {MAX_PORT}.")
    return int(text)


def is_loopback_host(host: str) -> bool:
    """Whether the text itself says "this machine". A name that only DNS or a hosts file maps here is not loopback."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761
        return True
    address = _ip_address(name)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and address.is_loopback


def is_loopback_endpoint(text: str) -> bool:
    """`is_loopback_host` for "host" or "host:port". Text that is no endpoint is not loopback."""
    try:
        return is_loopback_host(parse_endpoint(text, default_port=DEFAULT_COORDINATOR_PORT).host)
    except ConfigError:
        return False


def is_unspecified_host(host: str) -> bool:
    """0.0.0.0 or ::, which one can listen on but never connect to."""
    address = _ip_address(host.strip("[]"))
    return address is not None and address.is_unspecified


def has_ipv6() -> bool:
    """Whether this machine can listen on ::1. It can't where IPv6 is switched off, as in many containers."""
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def effective_listen_addresses(settings: AddressSettings, *, ipv6: bool) -> tuple[str, ...]:
    """The addresses for grpc's add_port: every one of them must be bound, or the port counts as taken.

    The owner's `listen_address` wins. Otherwise loopback while the coordinator is on loopback, else everything.
    "[::]" alone stands for everything: grpc makes that socket dual-stack, so 0.0.0.0 beside it would be "in use".
    `ipv6` is the answer of `has_ipv6()`.
    """
    port = settings.agent_port
    if settings.listen_address:
        return (format_endpoint(parse_host(settings.listen_address), port),)
    if not is_loopback_endpoint(settings.coordinator_endpoint):
        return (format_endpoint("::" if ipv6 else "0.0.0.0", port),)  # noqa: S104 - the owner named a coordinator out there
    if ipv6 and port != 0:  # port 0 would give the two addresses different ports
        return (format_endpoint("127.0.0.1", port), format_endpoint("::1", port))
    return (format_endpoint("127.0.0.1", port),)


def public_address_problem(settings: AddressSettings) -> Problem | None:
    """ "No public address": a coordinator beyond loopback would send clients to an address that is only ours."""
    host = settings.public_host
    if is_loopback_endpoint(settings.coordinator_endpoint):
        return None
    if not (is_loopback_host(host) or is_unspecified_host(host)):
        return None
    return Problem(
        code="no_public_address",
        sentence=(
            f"No public address: the coordinator {settings.coordinator_endpoint} would send clients to {host}, "
            "which means their own machine."
        ),
        setting="public_host",
        remedy="Set PUBLIC_HOST to the name or address under which this machine is reached from outside.",
    )


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        bracketed, closing, rest = text.partition("]")
        if closing and rest.startswith(":"):
            return bracketed + closing, rest[1:]
        return text, None
    if text.count(":") > 1:  # a bare IPv6 address has no port
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:  # "127.1" and "0x7f000001" are addresses to the system's resolver, so they are to us
        return ipaddress.IPv4Address(socket.inet_aton(text)) if text.isascii() and text.isprintable() else None
    except OSError:
        return None
