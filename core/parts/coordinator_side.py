"""The coordinator's side: being registered there, its key, and what the owner is told when either fails."""

from __future__ import annotations

from collections.abc import Callable

from core.config import Settings
from core.coordinator_client import CoordinatorClient
from core.errors import CoordinatorError
from core.jwt_validator import JwtValidator
from core.key_keeper import KeyKeeper
from core.logs import get_logger
from core.reasons import ReasonBook
from core.reasons.of_network import coordinator_away, registration_refused
from core.reporting import Reporter
from core.snapshot import CoordinatorView

log = get_logger(__name__)


class CoordinatorSide:
    """The client that keeps the agent registered, and the keeper of the key that came with it."""

    def __init__(
        self,
        settings: Settings,
        report: Reporter,
        reasons: ReasonBook,
        *,
        on_link: Callable[[], None],
        on_woke: Callable[[float], None],
    ) -> None:
        """`on_link` is called after each change of the link, `on_woke` with the seconds that the machine slept."""
        self._report = report
        self._reasons = reasons
        self._on_link = on_link
        self.client = CoordinatorClient(
            endpoint=settings.coordinator_endpoint,
            heartbeat_interval_s=settings.heartbeat_interval_s,
            get_registration=report.registration,
            get_health=report.health,
            on_key=self._on_key,
            on_view=self._on_view,
            on_notice=report.add_notice,
            on_woke=on_woke,
            tls=settings.coordinator_tls,
            ca_path=settings.coordinator_ca,
        )
        self.keys = KeyKeeper(JwtValidator(settings.agent_id), self.client.fetch_key)

    def check_capacity(self) -> None:
        """Register again where the coordinator works with a capacity that is no longer true."""
        if self._report.is_registration_outdated():
            total_mb, kind = self._report.capacity().total_mb, self._report.memory_kind
            log.info("capacity changed", total_mb=total_mb, kind=kind)
            self.client.register_again()

    def _on_key(self, pem: str) -> None:
        try:
            self.keys.adopt(pem)
        except CoordinatorError as error:
            log.warning("coordinator key refused", error=error.detail)
            self._report.add_notice(error.detail)

    def _on_view(self, view: CoordinatorView) -> None:
        self._report.link = view
        away = view.link in ("away", "connecting") and bool(view.detail)
        self._reasons.put_or_drop(
            "coordinator_away", coordinator_away(view.detail, endpoint=view.endpoint) if away else None
        )
        refused = view.link == "not-registered" and not self._reasons.is_blocked
        self._reasons.put_or_drop("registration_refused", registration_refused(view.detail) if refused else None)
        self._on_link()
