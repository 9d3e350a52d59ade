"""What the setup looks up: is there a coordinator, which addresses has this machine, is a port free.

Nothing is sent but to the coordinator that the owner named.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.config import Settings
from core.errors import AgentError, ConfigError
from core.network import DEFAULT_COORDINATOR_PORT, MAX_PORT, is_unspecified_host, parse_endpoint

PROBE_LIMIT_S = 8.0
DEFAULT_AGENT_PORT = Settings().agent_port
_PORTS_TRIED = 100
# Documentation addresses (RFC 5737, RFC 3849): connecting a datagram socket there sends nothing, and tells which of
# our addresses the system would use towards the world.
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_MADE_UP = ("docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "lxc", "cni", "flannel", "podman")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorAnswer:
    """What was found at a coordinator's address."""

    is_reached: bool  # something listens there
    has_key: bool  # and hands out a key, as a coordinator does
    sentence: str
    hint: str = ""

    @property
    def is_good(self) -> bool:
        return self.is_reached and self.has_key


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAddress:
    """An address of this machine under which others may reach it. Nobody has tried it from outside."""

    host: str
    interface: str = ""
    kind: str = "home"  # "public" (worth trying from anywhere), "home" (this network only), "virtual"


async def probe_coordinator(settings: Settings, endpoint: str, *, tls: bool) -> CoordinatorAnswer:
    """Look whether a coordinator answers at `endpoint`. Takes at most PROBE_LIMIT_S; raises nothing foreseen."""
    from core.doctor_checks import CoordinatorLook  # what `titan doctor` does, word for word

    try:
        address = parse_endpoint(endpoint.strip(), default_port=DEFAULT_COORDINATOR_PORT)
        if is_unspecified_host(address.host):
            raise ConfigError([f"{address.host} can be listened on, not connected to"], hint="Use localhost.")
    except ConfigError as error:
        return CoordinatorAnswer(is_reached=False, has_key=False, sentence=f"{error.detail}.", hint=error.hint)
    look = CoordinatorLook(replace(settings, coordinator_endpoint=str(address), coordinator_tls=tls))
    is_reached = False
    try:
        async with asyncio.timeout(PROBE_LIMIT_S):
            await look.reach()
            is_reached = True
            await look.key()
    except TimeoutError:
        sentence = f"{address} did not answer within {PROBE_LIMIT_S:g} seconds."
        return CoordinatorAnswer(is_reached=is_reached, has_key=False, sentence=sentence, hint=_HINT)
    except AgentError as error:
        if is_reached:
            sentence = f"Something answers at {address}, but not as a coordinator does."
            return CoordinatorAnswer(is_reached=True, has_key=False, sentence=sentence, hint=_TLS_HINT)
        return CoordinatorAnswer(is_reached=False, has_key=False, sentence=f"{error.detail}.", hint=_HINT)
    return CoordinatorAnswer(is_reached=True, has_key=True, sentence=f"A coordinator answers at {address}.")


_HINT = "Is the address right? You can go on: the agent tries again until it answers."
_TLS_HINT = "Is it the right port? Does that coordinator want an encrypted line?"


def local_addresses(interfaces: Mapping[str, list[str]], preferred: tuple[str, ...] = ()) -> tuple[LocalAddress, ...]:
    """This machine's addresses, the likeliest first. `interfaces` maps a name to addresses as text."""
    found: dict[str, LocalAddress] = {}
    for name, texts in interfaces.items():
        for text in texts:
            try:
                address = ipaddress.ip_address(text.partition("%")[0])
            except ValueError:  # a hardware address
                continue
            if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
                continue
            is_virtual = name.lower().startswith(_MADE_UP)
            kind = "virtual" if is_virtual else "public" if address.is_global else "home"
            found.setdefault(str(address), LocalAddress(host=str(address), interface=name, kind=kind))

    def rank(item: LocalAddress) -> tuple[bool, bool, int, bool]:
        order = ("public", "home", "virtual").index(item.kind)
        return item.kind == "virtual", item.host not in preferred, order, ":" in item.host

    return tuple(sorted(found.values(), key=rank))


def read_interfaces() -> dict[str, list[str]]:
    """The addresses of every interface that is up. Blocks for some milliseconds."""
    import psutil

    states = psutil.net_if_stats()
    return {
        name: [entry.address for entry in entries if entry.family in (socket.AF_INET, socket.AF_INET6)]
        for name, entries in psutil.net_if_addrs().items()
        if name not in states or states[name].isup
    }


def outgoing_addresses() -> tuple[str, ...]:
    """The addresses that the system would use towards the world; empty without a network. Sends nothing."""
    found = []
    for family, far in _FAR_AWAY:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:  # no route, or no such family here
            continue
    return tuple(found)


def port_problem(port: int) -> str:
    """Why this port can't be listened on, in one sentence; "" when it can."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: a listener still refuses
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(("", port))
            probe.listen(1)
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else "it cannot be used"
        return f"Port {port} is not free on this machine: {why}."
    return ""


def free_port_near(port: int) -> int | None:
    """The next port above that can be listened on, so that it looks like the usual one; None where there is none."""
    nearby = range(port + 1, min(port + 1 + _PORTS_TRIED, MAX_PORT + 1))
    return next((candidate for candidate in nearby if not port_problem(candidate)), None)
