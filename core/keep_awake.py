"""Keep the machine from falling asleep by itself while it serves: only while a session runs, and only on mains.

What is asked for is no more than "the machine is not idle": the owner's own Suspend, a closed lid and the screen's
saver work as always. Every system drops it when this program ends, however it ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from core.logs import get_logger
from core.signals import Power, Unknown
from core.signals.bus import system_address

log = get_logger(__name__)

WHO = "TitanCompute"
WHY = "Answering a session of the network"
POWER_INTERVAL_S = 5.0  # an unplugged machine may sleep again after this
ASK_LIMIT_S = 3.0

_LOGIND = "org.freedesktop.login1"
_ES_CONTINUOUS, _ES_SYSTEM_REQUIRED = 0x80000000, 0x00000001  # winbase.h
_ASSERTION_ON, _UTF8 = 255, 0x08000100  # IOPMLib.h, CFString.h


class NotHeld(Exception):
    """This system can't be kept awake; the text goes behind a colon in a sentence."""


class Inhibitor(Protocol):
    """One system's way. Both are called on the loop thread."""

    async def hold(self) -> None:
        """Raises NotHeld. What is held already stays."""
        ...

    def release(self) -> None:
        """At once; nothing held is no error."""
        ...


class KeepAwake:
    """Holds while it is wanted and the machine is on mains. `want` and `close` on the loop thread."""

    def __init__(self, inhibitor: Inhibitor, read_power: Callable[[], Power | Unknown]) -> None:
        """`read_power` blocks, and is called on a worker thread."""
        self._inhibitor = inhibitor
        self._read_power = read_power
        self._is_wanted = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self.is_held = False

    def want(self, is_wanted: bool) -> None:
        """Say it as often as you like; what is no longer wanted is released before this returns."""
        if is_wanted == self._is_wanted:
            return
        self._is_wanted = is_wanted
        self._changed.set()
        if not is_wanted:
            self._release()
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="keep-awake")

    async def close(self) -> None:
        self.want(False)
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._is_wanted:
                self._changed.clear()  # first: what changes from here on is not slept over
                power = await asyncio.to_thread(self._read_power)
                if isinstance(power, Unknown) or not power.on_mains:
                    self._release()
                elif self._is_wanted and not self.is_held and not await self._hold():
                    return  # asked again with the next session
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), POWER_INTERVAL_S)
        finally:
            self._task = None
            self._release()

    async def _hold(self) -> bool:
        try:
            await self._inhibitor.hold()
        except NotHeld as error:
            if str(error) != self._problem:
                self._problem = str(error)
                log.info("the machine may fall asleep while it serves", problem=self._problem)
            return False
        self.is_held = True
        if not self._is_wanted:  # the session ended meanwhile
            self._release()
        return True

    def _release(self) -> None:
        if self.is_held:
            self.is_held = False
            self._inhibitor.release()


class LogindInhibitor:
    """Linux. A file descriptor that logind gave: closed by us, or by the kernel when we end.

    Of "idle" only: "sleep" would make the owner's own Suspend ask for a password.
    """

    def __init__(self, address: str) -> None:
        """`address` is the system bus's, "" where there is none."""
        self._address = address
        self._descriptor: int | None = None

    async def hold(self) -> None:
        if self._descriptor is not None:
            return
        if not self._address:
            raise NotHeld("there is no system bus")
        try:
            async with asyncio.timeout(ASK_LIMIT_S):
                self._descriptor = await _inhibit(self._address)
        except TimeoutError:
            raise NotHeld("logind does not answer") from None

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


async def _inhibit(address: str) -> int:
    """The descriptor. The connection isn't needed any longer: what counts is that the descriptor is open."""
    from dbus_fast import AuthError, InvalidAddressError, Message, MessageFlag, MessageType
    from dbus_fast.aio import MessageBus

    message = Message(
        destination=_LOGIND, path="/org/freedesktop/login1", interface=f"{_LOGIND}.Manager", member="Inhibit",
        signature="ssss", body=["idle", WHO, WHY, "block"], flags=MessageFlag.NO_AUTOSTART,
    )  # fmt: skip
    bus: MessageBus | None = None
    try:
        bus = await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()
        reply = await bus.call(message)
    except (OSError, EOFError, AuthError, InvalidAddressError) as error:
        raise NotHeld("the system bus can't be reached") from error
    finally:
        if bus is not None:
            bus.disconnect()
            with suppress(OSError, EOFError):  # the bus has ended before us
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
    if reply.message_type is MessageType.ERROR or not reply.unix_fds:
        raise NotHeld(f"logind answers with {reply.error_name or 'nothing to hold'}")
    return int(reply.unix_fds[0])


class WindowsInhibitor:
    """SetThreadExecutionState holds for the calling thread, the loop's, until it is taken back or the thread ends."""

    def __init__(self, kernel32: Any = None) -> None:
        self._kernel32 = kernel32

    async def hold(self) -> None:
        if not self._set(_ES_CONTINUOUS | _ES_SYSTEM_REQUIRED):
            raise NotHeld("Windows refuses it")

    def release(self) -> None:
        self._set(_ES_CONTINUOUS)

    def _set(self, state: int) -> int:
        if self._kernel32 is None:
            import ctypes

            self._kernel32 = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
        return int(self._kernel32.SetThreadExecutionState(state))


class MacInhibitor:
    """An assertion of IOKit's power management, as `caffeinate -i` makes one."""

    def __init__(self, open_libraries: Callable[[], tuple[Any, Any]] | None = None) -> None:
        """`open_libraries` gives (IOKit, CoreFoundation), or raises OSError."""
        self._open_libraries = open_libraries or _mac_libraries
        self._iokit: Any = None
        self._assertion: int | None = None

    async def hold(self) -> None:
        if self._assertion is not None:
            return
        import ctypes

        try:
            self._iokit, foundation = self._open_libraries()
        except OSError as error:
            raise NotHeld("IOKit is not there") from error
        words = [
            foundation.CFStringCreateWithCString(None, text.encode(), _UTF8)
            for text in ("PreventUserIdleSystemSleep", f"{WHO}: {WHY}")
        ]
        assertion = ctypes.c_uint32()
        try:
            status = self._iokit.IOPMAssertionCreateWithName(words[0], _ASSERTION_ON, words[1], ctypes.byref(assertion))
        finally:
            for word in words:
                foundation.CFRelease(word)
        if status:
            raise NotHeld(f"IOKit answers with {status}")
        self._assertion = assertion.value

    def release(self) -> None:
        assertion, self._assertion = self._assertion, None
        if assertion is not None:
            self._iokit.IOPMAssertionRelease(assertion)


class NoInhibitor:
    """A system that we know no way for."""

    async def hold(self) -> None:
        raise NotHeld("this system has no known way")

    def release(self) -> None:
        """Nothing is ever held."""


def open_inhibitor(system: str = sys.platform) -> Inhibitor:
    """The one for this system (a sys.platform value). Nothing is asked or imported before the first `hold`."""
    if system == "win32":
        return WindowsInhibitor()
    if system == "darwin":
        return MacInhibitor()
    return LogindInhibitor(system_address(os.environ)) if system == "linux" else NoInhibitor()


def _mac_libraries() -> tuple[Any, Any]:
    import ctypes

    frameworks = "/System/Library/Frameworks"
    iokit = ctypes.CDLL(f"{frameworks}/IOKit.framework/IOKit")
    foundation = ctypes.CDLL(f"{frameworks}/CoreFoundation.framework/CoreFoundation")
    foundation.CFStringCreateWithCString.restype = ctypes.c_void_p
    foundation.CFStringCreateWithCString.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
    foundation.CFRelease.argtypes = [ctypes.c_void_p]
    iokit.IOPMAssertionCreateWithName.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_uint32),
    ]
    iokit.IOPMAssertionRelease.argtypes = [ctypes.c_uint32]
    return iokit, foundation
