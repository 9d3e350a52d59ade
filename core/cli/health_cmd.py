"""`titan health`: ask the agent's port as a load balancer or a container's health check would, by grpc.health.v1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption
from core.errors import ControlError

LIMIT_S = 5.0


class NoAnswer(ControlError):
    """Nobody answers on the agent's port, or something that is no agent."""

    title = "No answer"


def health(
    address: Annotated[
        str | None, typer.Option("--address", metavar="HOST:PORT", help="Default: this machine, the settings' port.")
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", metavar="FILE", help="Speak TLS, trusting this PEM file.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Whether the agent takes sessions now: exits 0 if so, 1 if it is paused, broken, or not there."""
    endpoint, certificate = address or "", ca
    if not endpoint:
        endpoint, own_certificate = _own_endpoint(profile)
        certificate = ca or own_certificate
    status = door.run(_ask(endpoint, certificate))
    if as_json:
        output.print_json({"address": endpoint, "status": status})
    else:
        typer.echo(f"{status.lower().replace('_', ' ')} ({output.plain(endpoint)})")
    if status != "SERVING":
        raise typer.Exit(output.EXIT_FAILED)


def _own_endpoint(profile: str | None) -> tuple[str, Path | None]:
    """Where the settings say that the agent listens, and its certificate; None in plaintext."""
    from core.config_load import load_settings

    loaded = load_settings(overrides={"profile": profile})
    settings = loaded.settings
    certificate = settings.tls_cert
    if certificate is None and settings.tls_self_signed:
        certificate = loaded.paths.tls_dir / "agent.crt"
    return f"127.0.0.1:{settings.agent_port}", certificate


async def _ask(endpoint: str, certificate: Path | None) -> str:
    """SERVING, NOT_SERVING, or another name of grpc.health.v1's table. Raises NoAnswer."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from core.inference_client import TlsChoice

    async with TlsChoice(enabled=certificate is not None, ca_path=certificate).channel(endpoint) as channel:
        try:
            reply = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=LIMIT_S, wait_for_ready=False
            )
        except grpc.aio.AioRpcError as error:
            raise NoAnswer(f"{endpoint} doesn't answer ({error.code().name})", hint="titan status") from error
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    return name
