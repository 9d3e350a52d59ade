"""What the setup asks the running (held) agent for: commands around the looks of core/setup_probe.py."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from core.agent import Agent
from core.commands import CommandError, CommandOutcome, CommandTable
from core.errors import ConfigError
from core.network import parse_port
from core.setup_probe import (
    DEFAULT_AGENT_PORT,
    free_port_near,
    local_addresses,
    outgoing_addresses,
    port_problem,
    probe_coordinator,
    read_interfaces,
)

Arguments = Mapping[str, str]


def add_setup_commands(table: CommandTable, agent: Agent) -> None:
    async def test_coordinator(arguments: Arguments) -> CommandOutcome:
        tls = arguments.get("tls", "false") == "true"
        answer = await probe_coordinator(agent.loaded.settings, arguments.get("endpoint", ""), tls=tls)
        return CommandOutcome(answer.sentence, asdict(answer))

    async def check_port(arguments: Arguments) -> CommandOutcome:
        return await _check_port(arguments, own_port=agent.report.port)

    table.add("check_idle", _check_idle)
    table.add("test_coordinator", test_coordinator, arguments=("endpoint", "tls"))
    table.add("find_addresses", _find_addresses)
    table.add("check_port", check_port, arguments=("port",))
    table.add("find_port", _find_port, arguments=("port",))


async def _find_addresses(_: Arguments) -> CommandOutcome:
    addresses = await asyncio.to_thread(lambda: local_addresses(read_interfaces(), preferred=outgoing_addresses()))
    hosts = [address.host for address in addresses]
    message = f"This machine has {', '.join(hosts)}." if hosts else "This machine has no address but its own."
    return CommandOutcome(message, {"addresses": [asdict(address) for address in addresses]})


async def _check_port(arguments: Arguments, *, own_port: int) -> CommandOutcome:
    """The port on which the agent listens is no problem."""
    try:
        port = parse_port(arguments.get("port", ""))
    except ConfigError as error:
        raise CommandError(error.detail, hint=error.hint) from None
    problem = "" if port == own_port else await asyncio.to_thread(port_problem, port)
    return CommandOutcome(problem or f"Port {port} is free.", {"port": port, "problem": problem})


async def _find_port(arguments: Arguments) -> CommandOutcome:
    try:
        wanted = parse_port(arguments.get("port", ""))
    except ConfigError:
        wanted = DEFAULT_AGENT_PORT - 1
    port = await asyncio.to_thread(free_port_near, wanted)
    if port is None:
        raise CommandError(f"no port above {wanted} is free", hint="Type another one.")
    return CommandOutcome(f"Port {port} is free.", {"port": port})


async def _check_idle(_: Arguments) -> CommandOutcome:
    from core.idle_check import idle_problem  # late: the desktop's bus, which nobody else may want

    problem = await idle_problem()
    return CommandOutcome(problem or "This machine tells when nobody uses it.", {"problem": problem})
