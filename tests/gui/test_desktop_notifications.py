"""Messages through a notification server on a real session bus, and what happens where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from core.assets_path import asset_path
from tests.fakes.notification_server import FakeNotificationServer, Shown
from tests.fakes.session_bus import SessionBus, missing_programs
from titan_gui import notification_server
from titan_gui.desktop_notifications import DesktopNotifications
from titan_gui.notification_server import NotificationError, NotificationServer, Urgency, body_of
from titan_gui.notifications import Kind, Message

LIMIT_S = 20.0
TROUBLE = Message(Kind.TROUBLE, "Needs attention", "Ollama <0.5> & co do not answer.")
FIRST = Message(Kind.FIRST_SESSION, "Serving", "The first session of today has begun.")

pytestmark = pytest.mark.skipif(bool(missing_programs()), reason=missing_programs())


@pytest.fixture
async def bus(home: Path) -> AsyncIterator[SessionBus]:
    async with SessionBus(home) as session:
        yield session


class Sender:
    """The messages' sender, its signals counted, and Qt's loop turned by the test."""

    def __init__(self, address: str, *, platform: str = "linux") -> None:
        self.clicks = 0
        self.not_shown: list[Message] = []
        environ = {"DBUS_SESSION_BUS_ADDRESS": address} if address else {}
        self.messages = DesktopNotifications(environ, platform=platform)
        self.messages.clicked.connect(self._count)
        self.messages.not_shown.connect(self.not_shown.append)

    def _count(self) -> None:
        self.clicks += 1

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # Qt's loop and asyncio's take turns
                QApplication.processEvents()
                await asyncio.sleep(0.005)

    async def wait_shown(self, server: FakeNotificationServer, count: int) -> Shown:
        await self.wait_until(lambda: len(server.shown) >= count)
        return server.shown[-1]

    async def wait_gone(self) -> None:
        await self.wait_until(lambda: not self.messages.is_connected)


@pytest.fixture
def sender(bus: SessionBus, qapp: QApplication) -> Iterator[Sender]:
    made = Sender(bus.address)
    yield made
    made.messages.close()
    assert made.messages.join(LIMIT_S)
    qapp.processEvents()


# What the server is asked for


async def test_a_message_says_who_sends_it_and_how_much_it_matters(bus: SessionBus, sender: Sender) -> None:
    async with FakeNotificationServer(bus.address) as server:
        sender.messages.show(FIRST)
        sender.messages.show(TROUBLE)
        await sender.wait_shown(server, 2)
        first, trouble = server.shown
        assert (first.program, first.title, first.body) == ("TitanCompute", FIRST.title, FIRST.text)
        assert first.hints == {"urgency": 0, "desktop-entry": "titancompute"}
        assert trouble.hints["urgency"] == 1
        assert first.icon == asset_path("icons", "png", "titancompute-256.png").as_uri()
        assert first.actions == ["default", "Open"]
        assert trouble.body == "Ollama &lt;0.5&gt; &amp; co do not answer."
        assert first.number != trouble.number


async def test_a_later_message_of_a_kind_takes_the_place_of_the_earlier_one(bus: SessionBus, sender: Sender) -> None:
    async with FakeNotificationServer(bus.address) as server:
        for message in (TROUBLE, FIRST, TROUBLE):  # also while the first one is on its way
            sender.messages.show(message)
        await sender.wait_shown(server, 3)
        first, other, again = server.shown
        assert (first.replaced, other.replaced, again.replaced) == (0, 0, first.number)


async def test_a_server_without_markup_and_actions_gets_neither(bus: SessionBus, sender: Sender) -> None:
    async with FakeNotificationServer(bus.address, ["body"]) as server:
        sender.messages.show(TROUBLE)
        shown = await sender.wait_shown(server, 1)
        assert shown.body == TROUBLE.text
        assert shown.actions == []


async def test_another_server_is_not_asked_to_replace_what_it_never_showed(bus: SessionBus, sender: Sender) -> None:
    async with FakeNotificationServer(bus.address) as server:
        sender.messages.show(TROUBLE)
        await sender.wait_shown(server, 1)
    async with FakeNotificationServer(bus.address) as server:
        sender.messages.show(TROUBLE)
        assert (await sender.wait_shown(server, 1)).replaced == 0


def test_markup_is_escaped_only_where_it_would_be_read() -> None:
    assert body_of("a <b> & c", ["body", "body-markup"]) == "a &lt;b&gt; &amp; c"
    assert body_of("a <b> & c", ["body"]) == "a <b> & c"


# Clicks, and the connection's life


async def test_a_click_is_heard_and_the_connection_ends_with_the_last_message(bus: SessionBus, sender: Sender) -> None:
    async with FakeNotificationServer(bus.address) as server:
        sender.messages.show(TROUBLE)
        sender.messages.show(FIRST)
        await sender.wait_shown(server, 2)
        trouble, first = server.shown
        server.click(trouble.number + 100)  # another program's
        server.dismiss(first.number)
        server.click(trouble.number)
        await sender.wait_gone()
        assert sender.clicks == 1
        sender.messages.show(FIRST)  # it comes back
        await sender.wait_shown(server, 3)
        assert sender.not_shown == []


async def test_a_message_that_comes_while_the_connection_is_closed_is_shown(bus: SessionBus, sender: Sender) -> None:
    async with FakeNotificationServer(bus.address) as server:
        sender.messages.show(FIRST)
        await sender.wait_shown(server, 1)
        sender.messages.close()
        sender.messages.show(TROUBLE)
        await sender.wait_shown(server, 2)
        assert sender.not_shown == []


async def test_a_message_that_nobody_dismisses_keeps_no_connection_for_ever(
    bus: SessionBus, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titan_gui.desktop_notifications.KEPT_OPEN_MS", 1500)
    sender = Sender(bus.address)
    async with FakeNotificationServer(bus.address) as server:
        sender.messages.show(FIRST)
        await sender.wait_shown(server, 1)
        await sender.wait_gone()


# Where nobody shows it


async def test_without_a_server_the_message_comes_back_and_the_next_one_is_tried(
    bus: SessionBus, sender: Sender
) -> None:
    sender.messages.show(TROUBLE)
    await sender.wait_until(lambda: bool(sender.not_shown))
    assert sender.not_shown == [TROUBLE]
    await sender.wait_gone()
    async with FakeNotificationServer(bus.address) as server:
        sender.messages.show(FIRST)
        await sender.wait_shown(server, 1)
    assert sender.not_shown == [TROUBLE]


async def test_a_server_that_refuses_gives_the_message_back(bus: SessionBus, sender: Sender) -> None:
    async with FakeNotificationServer(bus.address) as server:
        server.refuse()
        sender.messages.show(TROUBLE)
        await sender.wait_until(lambda: sender.not_shown == [TROUBLE])


async def test_a_server_that_hangs_holds_up_nobody(
    bus: SessionBus, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notification_server, "CALL_LIMIT_S", 0.2)
    async with FakeNotificationServer(bus.address) as server:
        stopped = server.hang()
        sender.messages.show(TROUBLE)
        await sender.wait_until(lambda: sender.not_shown == [TROUBLE])
        stopped.set()


async def test_a_bus_that_is_not_there_gives_every_message_back(home: Path, qapp: QApplication) -> None:
    sender = Sender(f"unix:path={home}/none")
    sender.messages.show(TROUBLE)
    sender.messages.show(FIRST)
    await sender.wait_gone()
    assert sender.not_shown == [TROUBLE, FIRST]


@pytest.mark.parametrize(("address", "platform"), [("", "linux"), ("unix:path=/none", "win32"), ("", "darwin")])
def test_elsewhere_no_bus_is_looked_for(qapp: QApplication, address: str, platform: str) -> None:
    sender = Sender(address, platform=platform)
    sender.messages.show(TROUBLE)
    assert sender.not_shown == [TROUBLE]
    assert not sender.messages.is_connected


async def test_a_bus_that_dies_is_said_and_not_waited_for(home: Path) -> None:
    async with SessionBus(home) as session:
        server = NotificationServer(
            program="a", desktop_entry="a", icon_uri="", on_click=lambda: None, on_none_left=lambda: None
        )
        await server.open(session.address)
    with pytest.raises(NotificationError):
        await server.show("trouble", "a", "b", Urgency.LOW)
    await server.close()
