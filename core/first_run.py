"""Before the first questions are answered the agent runs, so that the setup can look at the machine; it shares nothing.

It is held by a reason of its own, is known to no coordinator, and listens on this machine only, on any free port: a
port that is taken is a question of the setup's, not a reason to fail.
"""

from __future__ import annotations

from dataclasses import replace

from core.config_load import LoadedSettings

_NOWHERE = "localhost:50051"


def held_settings(loaded: LoadedSettings) -> LoadedSettings:
    """The owner's settings, but for everything that another machine could notice."""
    settings = replace(
        loaded.settings,
        coordinator_endpoint=_NOWHERE,
        coordinator_tls=False,
        listen_address="127.0.0.1",
        agent_port=0,
        public_host="localhost",
        public_port=0,
        tls_cert=None,
        tls_key=None,
        tls_self_signed=False,
        max_concurrent_jobs=1,
        queue_size=0,
        share="always",  # the reason that holds it is the setup, not a pause
    )
    return replace(loaded, settings=settings)
