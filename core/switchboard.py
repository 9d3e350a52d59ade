"""Which handler a gRPC call comes to, how many of the small ones run at once, and the two services of grpc's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc import aio

from core.call_limits import CallCounter


class Switchboard(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    """Finds each call's handler; all but one method's are counted, half-open ones too, and refused above a limit.

    Services are added to it as to a server. Not an interceptor, and no method is registered with grpc itself: grpc.aio
    waits for each registered method by itself at every call, and both together cost a session more than admission does.
    """

    def __init__(self, calls: CallCounter, *, uncounted: str) -> None:
        """`uncounted` is the method that counts its calls itself, as /package.Service/Method."""
        self._calls = calls
        self._uncounted = uncounted
        self._services: list[grpc.GenericRpcHandler[Any, Any]] = []
        self._found: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}  # by method, once it was asked for

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler[Any, Any]]) -> None:
        self._services.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Generated code adds the same methods both ways."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        handler = self._found.get(method)
        if handler is None:
            found = (service.service(handler_call_details) for service in self._services)
            handler = next((handler for handler in found if handler is not None), None)
            if handler is None:
                return None
            self._found[method] = handler
        if method != self._uncounted:
            task = asyncio.current_task()
            if self._calls.is_full or task is None:
                return grpc.stream_stream_rpc_method_handler(_refuse)
            self._calls.enter()
            task.add_done_callback(lambda _: self._calls.leave())
        return handler


async def _refuse(_: object, context: aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "this agent has too many calls at the moment")


def add_health(switchboard: Switchboard) -> Any:
    """grpc.health.v1; returns its servicer, which is told the state."""
    from grpc_health.v1 import health, health_pb2_grpc

    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # an alias that its stubs lack
    health_pb2_grpc.add_HealthServicer_to_server(servicer, switchboard)
    return servicer


def add_reflection(switchboard: Switchboard, service: str) -> None:
    """What grpcurl asks for; it lists `service` beside the two of grpc's own."""
    from grpc_health.v1 import health
    from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

    names = (service, health.SERVICE_NAME, reflection.SERVICE_NAME)
    servicer = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]  # an alias that its stubs lack
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, switchboard)
