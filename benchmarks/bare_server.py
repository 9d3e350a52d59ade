"""The lower bound beside the agent: a grpc.aio server that makes the tokens itself and checks nothing.

Run: python -m benchmarks.bare_server [yield|write]; prints its port. `yield`, what one writes first, is an async
generator with a message per token; `write` calls context.write. A token is its own time stamp, and the prompt is
"n=600 r=60" for 600 tokens at 60 a second, r=0 for as fast as possible, as in benchmarks/load/engine.go.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import grpc

from proto import titancompute_pb2 as pb


def token_message() -> pb.StreamResponse:
    now = time.time_ns()
    token = f"{now // 1000:020d} "
    return pb.StreamResponse(content=token, token=token, created_at=now // 1_000_000)


class YieldingServicer:
    async def StreamInference(self, request: pb.StreamRequest, context: object) -> AsyncIterator[pb.StreamResponse]:
        fields = dict(field.split("=") for field in request.prompt.split())
        count, rate = int(fields["n"]), float(fields["r"])
        start = time.monotonic()
        for number in range(count):
            if rate:
                wait = start + (number + 1) / rate - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
            yield token_message()
        yield pb.StreamResponse(done=True, created_at=time.time_ns() // 1_000_000)


class WritingServicer:
    async def StreamInference(
        self, request: pb.StreamRequest, context: grpc.aio.ServicerContext[pb.StreamRequest, pb.StreamResponse]
    ) -> None:
        fields = dict(field.split("=") for field in request.prompt.split())
        count, rate = int(fields["n"]), float(fields["r"])
        start = time.monotonic()
        for number in range(count):
            if rate:
                wait = start + (number + 1) / rate - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
            await context.write(token_message())
        await context.write(pb.StreamResponse(done=True, created_at=time.time_ns() // 1_000_000))


async def main() -> None:
    server = grpc.aio.server()
    servicer = WritingServicer() if sys.argv[1:] == ["write"] else YieldingServicer()
    handler = grpc.unary_stream_rpc_method_handler(
        servicer.StreamInference,
        request_deserializer=pb.StreamRequest.FromString,
        response_serializer=pb.StreamResponse.SerializeToString,
    )
    service = pb.DESCRIPTOR.services_by_name["AgentService"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"StreamInference": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
