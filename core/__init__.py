"""The TitanCompute agent without windows: everything that serves, measures and decides. Imports no Qt."""

import os

__version__ = "0.1.0"

# Before anything imports grpc, which reads it then. uvloop starts a process by fork, with all libraries' fork handlers:
# gRPC's are for a child that goes on with gRPC, and crashed one engine in twenty before it began while calls ran.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Read then, too: the server's sockets by grpc's older poller, which wakes fewer threads. A token costs the processor a
# quarter less, a short session a tenth (docs/performance.md). Whoever sets the variable decides alone.
if os.name == "posix":
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
