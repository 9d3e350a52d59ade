"""The network's way in: the port that listens, and the tokens that are spent already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from core.agent_server import AgentServer, ServerOptions
from core.config import Settings
from core.inference import InferenceService
from core.key_keeper import KeyKeeper
from core.logs import get_logger
from core.network import effective_listen_addresses, has_ipv6, public_address_problem
from core.parts.services import Services
from core.paths import ProfilePaths
from core.public_door import AgentDoor, tls_material
from core.reasons import ReasonBook
from core.reasons.of_network import no_public_address
from core.replay_store import ReplayStore
from core.reporting import Reporter
from core.snapshot import AgentSnapshot

log = get_logger(__name__)


class PublicSide:
    """Loaded, then listening, then closed; whether it serves is told by somebody else."""

    def __init__(
        self,
        settings: Settings,
        paths: ProfilePaths,
        *,
        keys: KeyKeeper,
        services: Services,
        report: Reporter,
        reasons: ReasonBook,
        snapshot: Callable[[], AgentSnapshot],
        on_change: Callable[[], None],
    ) -> None:
        """`report` is told where this listens, and gets the notices; `on_change` is called after a late one."""
        self._settings = settings
        self._paths = paths
        self._keys = keys
        self._services = services
        self._report = report
        self._reasons = reasons
        self._snapshot = snapshot
        self._on_change = on_change
        self._spent: ReplayStore | None = None  # from `load` on
        self._spent_notice = ""
        self._server: AgentServer | None = None
        self.service: InferenceService | None = None  # once it listens

    async def load(self) -> None:
        """Read the spent tokens, and see whether this machine can be reached at all. Raises StorageError."""
        path = self._paths.spent_tokens_file
        self._spent = await asyncio.to_thread(ReplayStore, path, on_notice=self._on_spent_notice)
        self._on_spent_notice(self._spent.notice)
        if (problem := public_address_problem(self._settings)) is not None:
            self._reasons.put(no_public_address(problem.sentence, problem.remedy))

    async def listen(self) -> None:
        """After `load`; not serving yet. Raises PortTakenError, ConfigError and StorageError."""
        assert self._spent is not None
        settings, report = self._settings, self._report
        tls = await asyncio.to_thread(tls_material, settings, self._paths.tls_dir)
        self.service = self._services.make(AgentDoor(self._keys, self._spent))
        self._server = server = AgentServer(
            service=self.service,
            options=ServerOptions(
                addresses=effective_listen_addresses(settings, ipv6=has_ipv6()),
                max_calls=settings.max_concurrent_jobs + settings.queue_size,
                max_prompt_bytes=settings.max_prompt_bytes,
                max_session_s=settings.max_session_s,
                tls=None if tls is None else (tls.private_key, tls.certificate_chain),
            ),
            snapshot=self._snapshot,
        )
        if tls is not None:
            report.tls_fingerprint = tls.fingerprint
            report.add_notice(tls.notice)
        await server.set_serving(False)  # not before there is an engine
        await server.start()
        report.port = server.ports[0]
        report.listening_on = server.listening_on
        log.info("listening", addresses=list(server.listening_on), agent_id=settings.agent_id)

    async def set_serving(self, is_serving: bool) -> None:
        """Answer grpc.health.v1 so from now on. After `listen`."""
        assert self._server is not None
        await self._server.set_serving(is_serving)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; those that run get `grace_s` for their last messages."""
        if self._server is not None:
            await self._server.stop(grace_s)

    def close(self) -> None:
        """After `stop`: no token is spent any more."""
        if self._spent is not None:
            self._spent.close()

    def _on_spent_notice(self, notice: str) -> None:
        self._report.replace_notice(self._spent_notice, notice)
        self._spent_notice = notice
        self._on_change()
