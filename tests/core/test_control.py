"""The local door, over real gRPC: what it says, who may ask, and what happens when nobody is there."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

import grpc
import grpc.aio
import pytest

from core.control import ControlClient, ControlServer, TransportKind
from core.control_address import LoopbackDoor, UnixDoor, prepare_socket_folder, read_address, write_address
from core.errors import AgentNotRunning, CommandRefused, ControlError, StorageError
from core.instance_lock import InstanceLock
from core.snapshot import AgentSnapshot, Reason, SnapshotStore
from core.state import AgentState
from proto import titancompute_pb2, titancompute_pb2_grpc
from tests.fakes.commands import FakeCommands


class DoorHouse:
    """One profile's folders with a held lock, and servers in front of one store."""

    def __init__(self, home: Path) -> None:
        self.socket = home / "run dir %20#?" / "control.sock"  # every character that a URI would trip over
        self.address_file = home / "state" / "control.json"
        self.lock = InstanceLock(home / "state" / "lock", "default")
        self.store = SnapshotStore(AgentSnapshot(agent_id="agent-1", reasons=(Reason(code="x", sentence="Because."),)))
        self.commands = FakeCommands()

    def server(self, transport: TransportKind = "unix") -> ControlServer:
        return ControlServer(
            socket=self.socket,
            address_file=self.address_file,
            store=self.store,
            commands=self.commands,
            lock=self.lock,
            transport=transport,
        )

    def client(self) -> ControlClient:
        return ControlClient(read_address(self.address_file))


@pytest.fixture
def house(tmp_path: Path) -> DoorHouse:
    house = DoorHouse(tmp_path)
    house.lock.acquire()
    return house


@pytest.fixture(params=["unix", "loopback"])
async def client(request: pytest.FixtureRequest, house: DoorHouse) -> AsyncIterator[ControlClient]:
    async with house.server(request.param), house.client() as client:
        yield client


async def test_snapshot_arrives_whole(client: ControlClient, house: DoorHouse) -> None:
    expected = json.loads(json.dumps(asdict(house.store.current)))

    assert await client.snapshot() == expected
    assert expected["reasons"][0]["sentence"] == "Because."


async def test_watch_gives_the_present_then_each_change_and_ends_with_the_agent(house: DoorHouse) -> None:
    states: list[str] = []
    server = house.server()
    await server.start()

    async with house.client() as client:
        async for snapshot in client.watch():
            states.append(snapshot["state"])
            if len(states) == 1:
                house.store.publish(state=AgentState.STARTING)
            else:
                stopping = asyncio.ensure_future(server.stop())
        await stopping

    assert states[:2] == ["stopped", "starting"]


async def test_watcher_that_leaves_is_forgotten(client: ControlClient, house: DoorHouse) -> None:
    async with aclosing(client.watch()) as snapshots:
        await anext(snapshots)
        assert len(house.store._listeners) == 1
        assert house.store.is_watched

    async with asyncio.timeout(5):
        while house.store._listeners or house.store.is_watched:  # noqa: ASYNC110 - the server hears of it when gRPC tells it
            await asyncio.sleep(0)


async def test_slow_watcher_gets_the_newest_value(client: ControlClient, house: DoorHouse) -> None:
    async with aclosing(client.watch()) as snapshots:
        await anext(snapshots)
        for number in range(1, 500):
            house.store.publish(running_jobs=number)
        last = await anext(snapshots)

    assert last["running_jobs"] == 499


async def test_command_is_done_with_its_arguments(client: ControlClient, house: DoorHouse) -> None:
    reply = await client.execute("pause", {"for_s": "3600", "mode": "stop"})

    assert house.commands.calls == [("pause", {"for_s": "3600", "mode": "stop"})]
    assert reply.message == "pause is done"
    assert reply.result == {"for_s": "3600", "mode": "stop"}


async def test_refused_command_brings_reason_and_hint(client: ControlClient) -> None:
    with pytest.raises(CommandRefused) as caught:
        await client.execute("load_model", {"model": "x"})

    assert caught.value.detail == "the engine has no model 'x'"
    assert caught.value.hint == "Pull it: `ollama pull x`."


async def test_bug_in_a_command_is_told_without_internals(client: ControlClient) -> None:
    with pytest.raises(CommandRefused) as caught:
        await client.execute("break")

    assert "secret" not in caught.value.detail
    assert "titan logs" in caught.value.hint


async def test_command_without_an_answer_ends_at_its_deadline(client: ControlClient) -> None:
    with pytest.raises(ControlError, match=r"within 0\.05 s"):
        await client.execute("shutdown", timeout_s=0.05)


async def test_folder_and_socket_and_address_are_the_owners_alone(house: DoorHouse) -> None:
    async with house.server():
        assert stat.S_IMODE(house.socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(house.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(house.address_file.stat().st_mode) == 0o600
        assert read_address(house.address_file) == UnixDoor(str(house.socket))

    assert not house.socket.exists()
    assert not house.address_file.exists()


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_loopback_door_refuses_a_call_without_the_token(house: DoorHouse, token: str) -> None:
    async with house.server("loopback"):
        door = read_address(house.address_file)
        assert isinstance(door, LoopbackDoor)
        async with ControlClient(LoopbackDoor(door.port, token)) as stranger:
            with pytest.raises(ControlError, match="token"):
                await stranger.execute("pause")
            with pytest.raises(ControlError, match="token"):
                await stranger.snapshot()
            with pytest.raises(ControlError, match="token"):
                await anext(stranger.watch())

        assert house.commands.calls == []
        assert stat.S_IMODE(house.address_file.stat().st_mode) == 0o600
        assert door.token not in repr(door)


async def test_loopback_door_listens_on_loopback_only(house: DoorHouse) -> None:
    async with house.server("loopback"):
        door = read_address(house.address_file)
        assert isinstance(door, LoopbackDoor)
        with sockets.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(("127.0.0.2", door.port))  # would answer if the port were open on every address


async def test_nobody_behind_the_door_says_so_with_the_remedy(house: DoorHouse) -> None:
    with pytest.raises(AgentNotRunning) as caught:
        house.client()
    assert "titan run" in caught.value.hint

    write_address(house.address_file, LoopbackDoor(1, "left by a dead agent"))
    async with house.client() as client:
        with pytest.raises(AgentNotRunning):
            await client.snapshot()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"kind": "unix"}', '{"kind": "loopback", "port": "x", "token": 1}']
)
def test_damaged_address_file_means_not_running(tmp_path: Path, content: str) -> None:
    (tmp_path / "control.json").write_text(content)

    with pytest.raises(AgentNotRunning):
        read_address(tmp_path / "control.json")


async def test_stale_socket_of_a_dead_agent_is_replaced(house: DoorHouse) -> None:
    prepare_socket_folder(house.socket)
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(house.socket))

    async with house.server(), house.client() as client:
        assert (await client.snapshot())["agent_id"] == "agent-1"


async def test_without_the_lock_nothing_is_removed(house: DoorHouse) -> None:
    async with house.server(), house.client() as client:
        house.lock.release()
        with pytest.raises(RuntimeError, match="lock"):
            await house.server().start()

        assert (await client.snapshot())["agent_id"] == "agent-1"


async def test_file_in_the_sockets_place_is_kept(house: DoorHouse) -> None:
    prepare_socket_folder(house.socket)
    house.socket.write_text("precious")

    with pytest.raises(StorageError, match="no socket"):
        await house.server().start()

    assert house.socket.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o711])
async def test_folder_that_others_can_enter_is_refused_and_not_changed(house: DoorHouse, mode: int) -> None:
    house.socket.parent.mkdir()
    house.socket.parent.chmod(mode)

    with pytest.raises(StorageError, match="open to other users") as caught:
        await house.server().start()

    assert "chmod 700" in caught.value.hint
    assert stat.S_IMODE(house.socket.parent.stat().st_mode) == mode


async def test_link_to_a_folder_is_refused(house: DoorHouse, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    house.socket.parent.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StorageError, match="link"):
        await house.server().start()


async def test_folder_of_another_user_is_refused(house: DoorHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house.socket.parent.mkdir(mode=0o700)
    owner = house.socket.parent.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)

    with pytest.raises(StorageError, match="another user"):
        await house.server().start()


async def test_socket_path_that_is_too_long_is_a_clear_error(house: DoorHouse, tmp_path: Path) -> None:
    house.socket = tmp_path / ("d" * 120) / "control.sock"

    with pytest.raises(StorageError, match="cannot be opened"):
        await house.server().start()


async def test_stop_may_be_repeated_and_the_door_opens_again(house: DoorHouse) -> None:
    server = house.server()
    await server.start()
    await server.stop()
    await server.stop()

    async with house.server(), house.client() as client:
        assert (await client.snapshot())["agent_id"] == "agent-1"


async def test_the_door_offers_nothing_else(house: DoorHouse) -> None:
    async with house.server("loopback"):
        door = read_address(house.address_file)
        assert isinstance(door, LoopbackDoor)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{door.port}") as channel:
            agent = titancompute_pb2_grpc.AgentServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await agent.GetStatus(titancompute_pb2.AgentStatusRequest())

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
