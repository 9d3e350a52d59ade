"""The lower bound beside which the agent is measured: a grpc.aio server that makes the tokens itself and checks nothing.

Run: python -m benchmarks.bare_server; prints its port. A token is its own time stamp, as in benchmarks/load/engine.go.
"""

from __future__ import annotations

import asyncio
import time

import grpc

from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc


class BareServicer(pb_grpc.AgentServiceServicer):
    async def StreamInference(self, request: pb.StreamRequest, context: grpc.aio.ServicerContext) -> None:  # type: ignore[override, type-arg]
        fields = dict(field.split("=") for field in request.prompt.split())
        count, rate = int(fields["n"]), float(fields["r"])
        start = time.monotonic()
        for number in range(count):
            if rate:
                wait = start + (number + 1) / rate - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
            now = time.time_ns()
            token = f"{now // 1000:020d} "
            await context.write(pb.StreamResponse(content=token, token=token, created_at=now // 1_000_000))
        await context.write(pb.StreamResponse(done=True, created_at=time.time_ns() // 1_000_000))


async def main() -> None:
    server = grpc.aio.server()
    pb_grpc.add_AgentServiceServicer_to_server(BareServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
