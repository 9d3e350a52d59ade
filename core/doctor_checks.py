"""What `titan doctor` looks at, for one profile's settings and, where it runs, its agent's snapshot."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.config import Settings
from core.config_load import LoadedSettings
from core.coordinator_types import NotRegistering
from core.doctor import Check, Finding, broken, note, ok, skipped, warning
from core.doctor_machine import machine_checks
from core.errors import AgentError, CoordinatorUnreachable
from core.gpu.advice import REMEDY, unused_card
from core.network import (
    effective_listen_addresses,
    has_ipv6,
    is_loopback_endpoint,
    parse_endpoint,
    public_address_problem,
)
from core.paths import ProfilePaths
from core.reasons.of_network import kind_of_silence

if TYPE_CHECKING:
    from core.engines import Engine
    from core.model_manager import ModelManager

Snapshot = Mapping[str, Any]

CONNECT_LIMIT_S = 5.0


def make_checks(loaded: LoadedSettings | AgentError, paths: ProfilePaths, snapshot: Snapshot | None) -> list[Check]:
    """The checks in the order in which they are shown. With unusable settings, those that need none."""
    machine = machine_checks(paths)
    if isinstance(loaded, AgentError):
        problem = loaded
        return [Check("settings", lambda: _raise(problem)), *machine]
    settings = settings_in_use(loaded.settings, snapshot)
    coordinator, models = CoordinatorLook(settings), ModelsLook(loaded, snapshot)
    return [
        Check("settings", lambda: _settings(loaded)),
        Check("agent", lambda: _agent(snapshot)),
        Check("coordinator", coordinator.reach),
        Check("coordinator key", coordinator.key, limit_s=15.0),
        Check("engine", models.engine, limit_s=15.0, remedy="Is the engine hanging? Start it again."),
        Check("models", models.offered, limit_s=20.0),
        Check("port", lambda: _port(settings, snapshot)),
        Check("public host", lambda: _public_host(settings), remedy="The name server does not answer."),
        *machine,
    ]


def settings_in_use(settings: Settings, snapshot: Snapshot | None) -> Settings:
    """The running agent may have been started with options: what it really uses is what is checked."""
    if snapshot is None or not snapshot["endpoint"]:
        return settings
    public = parse_endpoint(snapshot["endpoint"])
    return replace(
        settings,
        coordinator_endpoint=snapshot["coordinator"]["endpoint"] or settings.coordinator_endpoint,
        public_host=public.host,
        agent_port=public.port,
    )


async def _raise(error: AgentError) -> Finding:
    raise error


async def _settings(loaded: LoadedSettings) -> Finding:
    file = loaded.paths.config_file
    where = str(file) if file.exists() else f"all defaults or environment; {file} does not exist"
    if loaded.notices:
        return warning("; ".join(loaded.notices), "titan config show --origins")
    return ok(f"usable (profile {loaded.settings.profile}: {where})")


async def _agent(snapshot: Snapshot | None) -> Finding:
    if snapshot is None:
        return note("no agent runs for this profile", "Start it with `titan run`.")
    blocking = [reason for reason in snapshot["reasons"] if reason["blocks"]]
    if blocking:
        return warning(f"runs but does not serve: {blocking[0]['sentence']}", blocking[0]["remedy"])
    return ok(f"runs as process {snapshot['pid']} and is {snapshot['state']}")


class CoordinatorLook:
    """Whether something listens at the coordinator's address, and whether it hands out a key as a coordinator does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_reached: asyncio.Future[bool] | None = None

    async def reach(self) -> Finding:
        settings, endpoint = self._settings, parse_endpoint(self._settings.coordinator_endpoint)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        except (OSError, TimeoutError) as error:
            self._answer.set_result(False)
            detail = f"{endpoint} cannot be reached: {_why(error)}"
            raise CoordinatorUnreachable(detail, hint=_COORDINATOR_HINT) from error
        writer.close()
        self._answer.set_result(True)
        if not settings.coordinator_tls and not is_loopback_endpoint(settings.coordinator_endpoint):
            remedy = "Turn on coordinator_tls if the coordinator speaks TLS."
            return warning(f"{endpoint} is reached, in plaintext", remedy)
        return ok(f"{endpoint} is reached")

    async def key(self) -> Finding:
        if not await self._answer:
            return skipped("needs the coordinator")
        return await _key(self._settings)

    @property
    def _answer(self) -> asyncio.Future[bool]:
        if self._is_reached is None:
            self._is_reached = asyncio.get_running_loop().create_future()
        return self._is_reached


async def _key(settings: Settings) -> Finding:
    from core.coordinator_client import CoordinatorClient, Health
    from core.jwt_validator import JwtValidator

    def no_health() -> Health:
        raise AssertionError("nothing is reported by a check")

    client = CoordinatorClient(
        endpoint=settings.coordinator_endpoint,
        heartbeat_interval_s=settings.heartbeat_interval_s,
        get_registration=lambda: NotRegistering("this is only a check"),
        get_health=no_health,
        on_key=lambda pem: None,
        on_view=lambda view: None,
        tls=settings.coordinator_tls,
        ca_path=settings.coordinator_ca,
    )
    validator = JwtValidator(settings.agent_id or "doctor")
    try:
        key = await client.fetch_key()
    except CoordinatorUnreachable as error:  # it took the connection: only what kind of silence follows is of use
        detail = f"{settings.coordinator_endpoint} gives no key: {kind_of_silence(error.detail)}"
        raise CoordinatorUnreachable(detail, hint=error.hint) from error
    validator.set_key(key)
    return ok(f"an RSA key, fingerprint {validator.key_fingerprint[:16]}")


class ModelsLook:
    """The engine and what it can offer: two checks over one start of the engine."""

    def __init__(self, loaded: LoadedSettings, snapshot: Snapshot | None) -> None:
        self._loaded = loaded
        self._snapshot = snapshot
        self._is_usable = asyncio.Event()
        self._is_looked = asyncio.Event()
        self._manager: ModelManager | None = None

    async def engine(self) -> Finding:
        try:
            finding = await self._look_at_engine()
        finally:
            self._is_looked.set()
        return finding

    async def offered(self) -> Finding:
        await self._is_looked.wait()
        if self._snapshot is not None and self._snapshot["engine"]["name"]:
            return self._offered_by_agent(self._snapshot)
        if self._manager is None:
            return skipped("needs the engine")
        try:
            await self._manager.refresh()
        finally:
            await self._manager.engine.close()
        if self._manager.problem:
            return broken(self._manager.problem, self._manager.problem_hint)
        return ok(f"offered: {', '.join(self._manager.offered)}")

    async def _look_at_engine(self) -> Finding:
        if self._snapshot is not None and self._snapshot["engine"]["name"]:
            return _engine_of_agent(self._snapshot["engine"], self._snapshot["machine"])
        from core.model_manager import ModelManager

        engine, because = await self._start_engine()
        settings = self._loaded.settings
        self._manager = ModelManager(
            engine=engine,
            supported=settings.supported_models,
            allow_selftest=is_loopback_endpoint(settings.coordinator_endpoint),
        )
        status = engine.status
        version = f" {status.version}" if status.version else ""
        return ok(f"{engine.name}{version} can run{because}")

    async def _start_engine(self) -> tuple[Engine, str]:
        """Start what `titan run` would take. Raises EngineError; the embedded engine loads nothing here."""
        from core.engines.factory import engine_factories

        wanted = self._loaded.settings.engine
        factories = engine_factories(self._loaded.settings, self._loaded.paths)
        engine = factories["ollama" if wanted == "auto" else wanted]()
        try:
            await engine.start()
        except AgentError:
            await engine.close()
            if wanted != "auto":
                raise
            engine = factories["embedded"]()
            await engine.start()
            return engine, " (automatic: Ollama does not answer)"
        return engine, " (automatic: Ollama answers)" if wanted == "auto" else ""

    def _offered_by_agent(self, snapshot: Snapshot) -> Finding:
        if snapshot["offered_models"]:
            return ok(f"offered: {', '.join(snapshot['offered_models'])}")
        reasons = [reason for reason in snapshot["reasons"] if reason["code"] == "model_not_ready"]
        if reasons:
            return broken(reasons[0]["sentence"], reasons[0]["remedy"])
        return skipped("the running agent offers nothing yet")


def _engine_of_agent(engine: Mapping[str, Any], machine: Mapping[str, Any] | None) -> Finding:
    status = engine["status"]
    name = " ".join(part for part in (engine["name"], status["version"]) if part)
    if status["state"] in ("fault", "attention"):
        return broken(f"{name}: {status['detail']}", status["hint"])
    if engine["breaker"] != "closed":
        return warning(
            f"{name} failed three times in a row and rests for a while", "titan logs; try again at once: titan retry"
        )
    sentence = f"{name} is {status['state']}" + (f", on {status['device']}" if status["device"] else "")
    cards = [(card["name"], card["total_mb"]) for card in (machine or {}).get("gpus", ()) if not card["is_unified"]]
    idle = unused_card(engine["name"], status["device"], cards)
    return warning(f"{sentence}. {idle}", REMEDY) if idle else ok(sentence)


async def _port(settings: Settings, snapshot: Snapshot | None) -> Finding:
    if snapshot is not None and snapshot["listening_on"]:
        return ok(f"our agent listens on {', '.join(snapshot['listening_on'])}")
    addresses = effective_listen_addresses(settings, ipv6=has_ipv6())
    for address in addresses:
        endpoint = parse_endpoint(address, default_port=settings.agent_port) if settings.agent_port else None
        if endpoint is None:
            return ok("any free port")
        try:
            _try_listen(endpoint.host, endpoint.port)
        except OSError as error:
            return broken(
                f"{address} cannot be listened on: {_why(error)}",
                "Another program may use it: end that one, or take another port (agent_port, --port).",
            )
    return ok(f"{', '.join(addresses)} is free")


def _try_listen(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does; a listener still refuses
        probe.bind((host, port))
        probe.listen(1)


async def _public_host(settings: Settings) -> Finding:
    problem = public_address_problem(settings)
    if problem is not None:
        return broken(problem.sentence, problem.remedy)
    host = settings.public_host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, settings.agent_port, type=socket.SOCK_STREAM)
    except OSError as error:
        return broken(f"{host} is not known: {_why(error)}", "Set public_host to a name or an address of this machine.")
    addresses = sorted({str(entry[4][0]) for entry in found})
    if is_loopback_endpoint(settings.coordinator_endpoint):
        return ok(f"{host} is {', '.join(addresses)}")
    return note(
        f"{host} is {', '.join(addresses)}; whether clients get through to port {settings.agent_port} "
        "can only be seen from outside"
    )


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not getattr(error, "errno", None):
        return f"no answer within {CONNECT_LIMIT_S:g} s"
    if isinstance(error, socket.gaierror):
        return error.strerror or "the name is not known"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()  # asyncio puts the address in place of the reason
    return "none of its addresses answers" if "Multiple exceptions" in str(error) else str(error)


_COORDINATOR_HINT = (
    "Check that the coordinator runs and that coordinator_endpoint (COORDINATOR_ENDPOINT) names it: titan config show"
)
