"""Addresses as text: parsing, the loopback rule, listening, and the public address."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.network import (
    Endpoint,
    effective_listen_addresses,
    format_endpoint,
    has_ipv6,
    is_loopback_endpoint,
    is_loopback_host,
    parse_endpoint,
    parse_host,
    public_address_problem,
)


@dataclass(frozen=True)
class Addresses:
    coordinator_endpoint: str = "localhost:50051"
    public_host: str = "localhost"
    listen_address: str = ""
    agent_port: int = 50052


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("localhost:50051", Endpoint("localhost", 50051)),
        ("10.1.2.3:1", Endpoint("10.1.2.3", 1)),
        ("[::1]:50051", Endpoint("::1", 50051)),
        ("[fe80::1]", Endpoint("fe80::1", 7)),
        ("::1", Endpoint("::1", 7)),
        ("coordinator", Endpoint("coordinator", 7)),
        ("my_service.internal:65535", Endpoint("my_service.internal", 65535)),
    ],
)
def test_endpoint_is_read(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text, default_port=7) == endpoint


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("http://localhost:50051", "localhost:50051"),
        ("localhost:", "65535"),
        ("localhost:0", "65535"),
        ("localhost:65536", "65535"),
        ("localhost:٣", "65535"),
        ("localhost:+80", "65535"),
        ("", "host name"),
        (":50051", "host name"),
        ("a b:1", "host name"),
        ("-a:1", "host name"),
        ("a..b:1", "host name"),
        ("a" * 64, "host name"),
        ("[localhost]:1", "brackets"),
        ("[::1:50051", "brackets"),
        ("[::1]50051", "brackets"),
        ("1:2:3", "brackets"),
        ("host\n:1", "host name"),
        ("10.0.0.300:1", "host name"),
    ],
)
def test_bad_endpoint_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text, default_port=7)
    assert remedy in caught.value.hint


def test_missing_port_without_a_default_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no port"):
        parse_endpoint("localhost")


@given(st.text())
def test_any_text_is_an_endpoint_or_a_config_error(text: str) -> None:
    try:
        endpoint = parse_endpoint(text, default_port=7)
    except ConfigError:
        pass
    else:
        assert parse_endpoint(str(endpoint)) == endpoint
    is_loopback_endpoint(text)
    is_loopback_host(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_addresses_survive_formatting_and_parsing(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    assert parse_endpoint(format_endpoint(str(address), port)) == Endpoint(str(address), port)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "127.0.0.1",
        "127.9.9.9",
        "127.1",
        "::1",
        "::ffff:127.0.0.1",
    ],
)
def test_loopback_in_every_spelling(host: str) -> None:
    assert is_loopback_host(host)
    assert is_loopback_endpoint(format_endpoint(host, 50051))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "128.0.0.1", "localhost.example.com", "mylocalhost", "10.0.0.1", "fe80::1", ""]
)
def test_everything_else_is_not_loopback(host: str) -> None:
    assert not is_loopback_host(host)
    assert not is_loopback_endpoint(host)


def test_bracketed_ipv6_host_loses_its_brackets() -> None:
    assert parse_host("[2001:db8::1]") == "2001:db8::1"


def test_listens_on_loopback_while_the_coordinator_is_on_loopback() -> None:
    assert effective_listen_addresses(Addresses(), ipv6=True) == ("127.0.0.1:50052", "[::1]:50052")
    assert effective_listen_addresses(Addresses(), ipv6=False) == ("127.0.0.1:50052",)
    assert effective_listen_addresses(Addresses(agent_port=0), ipv6=True) == ("127.0.0.1:0",)


def test_listens_everywhere_for_a_coordinator_out_there() -> None:
    away = Addresses(coordinator_endpoint="coordinator.example.com:50051")
    assert effective_listen_addresses(away, ipv6=True) == ("[::]:50052",)
    assert effective_listen_addresses(away, ipv6=False) == ("0.0.0.0:50052",)


def test_owners_listen_address_wins() -> None:
    own = Addresses(coordinator_endpoint="c.example.com:1", listen_address="192.0.2.7")
    assert effective_listen_addresses(own, ipv6=True) == ("192.0.2.7:50052",)
    assert effective_listen_addresses(Addresses(listen_address="::1"), ipv6=True) == ("[::1]:50052",)


@pytest.mark.parametrize("public_host", ["localhost", "127.0.0.1", "::1", "0.0.0.0", "::"])
def test_loopback_public_host_beyond_loopback_is_no_public_address(public_host: str) -> None:
    problem = public_address_problem(Addresses(coordinator_endpoint="c.example.com:1", public_host=public_host))
    assert problem is not None
    assert problem.code == "no_public_address"
    assert public_host in problem.sentence
    assert "PUBLIC_HOST" in problem.remedy


def test_public_address_is_fine_on_one_machine_or_with_a_real_name() -> None:
    assert public_address_problem(Addresses()) is None
    assert (
        public_address_problem(Addresses(coordinator_endpoint="c.example.com:1", public_host="me.example.com")) is None
    )


class NoIpv6Socket(socket.socket):
    """What a machine with IPv6 switched off does."""

    def __init__(self, *_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")


def test_machine_without_ipv6_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", NoIpv6Socket)
    assert not has_ipv6()


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://coordinator.example.com:50051", "Write 'coordinator.example.com:50051' without the scheme."),
        ("https://coordinator.example.com/path?x", "Write 'coordinator.example.com' without the scheme."),
        ("http://foo bar:99999", "Write it as host:port, for example localhost:50051."),
        ("://", "Write it as host:port, for example localhost:50051."),
        ("a://b://c", "Write it as host:port, for example localhost:50051."),
    ],
)
def test_the_hint_for_a_url_is_an_address_that_is_right(url: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(url, default_port=50051)
    assert caught.value.hint == hint
