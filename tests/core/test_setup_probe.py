"""The setup's look-ups: a coordinator's address, this machine's addresses, a free port."""

from __future__ import annotations

import socket

import pytest

from core.commands import CommandError, CommandOutcome
from core.config import Settings
from core.local_coordinator import LocalCoordinator
from core.owner_commands import owner_commands
from core.setup_probe import (
    free_port_near,
    local_addresses,
    outgoing_addresses,
    port_problem,
    probe_coordinator,
    read_interfaces,
)
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.small_agent import small_agent


async def test_a_coordinator_is_recognised_by_its_key() -> None:
    async with LocalCoordinator() as coordinator:
        answer = await probe_coordinator(Settings(), f" {coordinator.endpoint} ", tls=False)
    assert answer.is_good
    assert answer.sentence == f"A coordinator answers at {coordinator.endpoint}."


async def test_nobody_at_the_address_is_said_and_no_reason_to_stop() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        answer = await probe_coordinator(Settings(), f"127.0.0.1:{taken.getsockname()[1]}", tls=False)
    assert not answer.is_reached
    assert "cannot be reached" in answer.sentence
    assert "You can go on" in answer.hint


async def test_something_else_at_the_address_is_told_from_a_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.coordinator_link.CALL_LIMIT_S", 0.3)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(8)
        other.setblocking(False)
        answer = await probe_coordinator(Settings(), f"127.0.0.1:{other.getsockname()[1]}", tls=False)
    assert answer.is_reached
    assert not answer.has_key
    assert not answer.is_good


@pytest.mark.parametrize("text", ["http://x:1", "", "a b", "0.0.0.0:50051", "host:99999", "::1:x", "x" * 300])
async def test_text_that_is_no_address_is_said_with_a_remedy(text: str) -> None:
    answer = await probe_coordinator(Settings(), text, tls=False)
    assert not answer.is_reached
    assert answer.sentence
    assert answer.hint


def test_addresses_come_likeliest_first_and_without_the_useless() -> None:
    interfaces = {
        "lo": ["127.0.0.1", "::1"],
        "docker0": ["172.17.0.1"],
        "eth1": ["10.0.0.7"],
        "wlan0": ["192.168.1.20", "fe80::1%wlan0", "2003:e1::5"],
        "odd": ["00:11:22:33:44:55", "0.0.0.0"],
    }
    found = local_addresses(interfaces, preferred=("192.168.1.20",))
    assert [(item.host, item.kind) for item in found] == [
        ("192.168.1.20", "home"),
        ("2003:e1::5", "public"),
        ("10.0.0.7", "home"),
        ("172.17.0.1", "virtual"),
    ]
    assert local_addresses({}) == ()


def test_the_real_machine_can_be_read() -> None:
    assert read_interfaces()
    assert all(isinstance(host, str) for host in outgoing_addresses())


def test_finding_the_way_out_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    real = socket.socket

    class Watched(real):  # type: ignore[misc, valid-type]
        def __init__(self, family: int, kind: int) -> None:
            kinds.append(kind)
            super().__init__(family, kind)

        def send(self, *_: object) -> int:
            raise AssertionError("a packet")

        sendto = sendall = send

    monkeypatch.setattr(socket, "socket", Watched)
    outgoing_addresses()
    assert set(kinds) == {socket.SOCK_DGRAM}  # connecting a datagram socket only looks at the routes


def test_a_taken_port_is_said_and_a_free_one_is_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert port_problem(port) == f"Port {port} is not free on this machine: address already in use."
    assert port_problem(port) == ""


async def test_the_commands_answer_in_words_and_figures() -> None:
    async def no_self_test(model: str) -> CommandOutcome:
        raise AssertionError("not asked for")

    async with small_agent(FakeEngine()) as agent, LocalCoordinator() as coordinator:
        table = owner_commands(agent, shut_down=lambda: None, self_test=no_self_test)
        answer = await table.execute("test_coordinator", {"endpoint": coordinator.endpoint})
        assert answer.result["has_key"] is True
        addresses = await table.execute("find_addresses", {})
        assert isinstance(addresses.result["addresses"], list)
        own = await table.execute("check_port", {"port": str(agent.report.port)})
        assert own.result["problem"] == ""  # ours already
        with pytest.raises(CommandError, match="not a port"):
            await table.execute("check_port", {"port": "many"})


def test_a_free_port_is_found_beside_one_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        found = free_port_near(port)
        assert found is not None
        assert port < found <= port + 100
        assert port_problem(found) == ""
    assert free_port_near(65535) is None
