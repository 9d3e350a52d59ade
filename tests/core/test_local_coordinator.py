from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt
import pytest

from core.coordinator_types import Health, Registration
from core.errors import PortTakenError
from core.local_coordinator import LocalCoordinator
from core.local_registry import DEGRADED, HEALTHY, AgentRegistry, estimated_size_mb
from core.token_signer import TokenSigner
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc
from tests.fakes.faulty_coordinator import FaultyCoordinator, test_signer
from tests.fakes.manual_clock import ManualClock

CLAIMS = {"agent_id", "client_id", "model", "jti", "iat", "nbf", "exp", "iss"}
MODEL = "llama3.1:8b"


def offer(agent_id: str = "agent-1", *, total_mb: int = 8_000, **changes: Any) -> Registration:
    values: dict[str, Any] = {
        "agent_id": agent_id,
        "endpoint": f"{agent_id}.example:50052",
        "total_vram_mb": total_mb,
        "total_ram_mb": 16_000,
        "max_jobs": 4,
        "supported_models": (MODEL,),
    }
    return Registration(**(values | changes))


def health(free_mb: int, *, cpu: float = 5.0, running: int = 0) -> Health:
    return Health(free_vram_mb=free_mb, free_ram_mb=1_000, running_jobs=running, queued_jobs=0, cpu_percent=cpu)


def make_registry(clock: ManualClock | None = None) -> AgentRegistry:
    return AgentRegistry((clock or ManualClock()).monotonic)


# The rules of the public coordinator


@pytest.mark.parametrize(
    "beat", [health(0), health(511), health(799), health(8_000, cpu=90.1)], ids=["none", "few", "used", "cpu"]
)
def test_hard_pressed_agent_is_degraded_at_once(beat: Health) -> None:
    registry = make_registry()
    registry.register(offer())
    registry.update("agent-1", beat, 1.0)
    assert registry.agents["agent-1"].status == DEGRADED


def test_agent_at_the_limits_stays_healthy() -> None:
    registry = make_registry()
    registry.register(offer())
    registry.update("agent-1", health(800, cpu=90.0), 1.0)
    assert registry.agents["agent-1"].status == HEALTHY


@pytest.mark.parametrize(
    ("beat", "status"),
    [
        (health(2_401, cpu=69.9), HEALTHY),
        (health(2_400), DEGRADED),  # exactly 70 % used
        (health(8_000, cpu=70.0), DEGRADED),
    ],
)
def test_degraded_agent_recovers_below_seventy_percent(beat: Health, status: str) -> None:
    registry = make_registry()
    registry.register(offer())
    registry.update("agent-1", health(0), 1.0)
    registry.update("agent-1", beat, 1.0)
    assert registry.agents["agent-1"].status == status


def test_registering_again_makes_a_degraded_agent_healthy() -> None:
    registry = make_registry()
    registry.register(offer())
    registry.update("agent-1", health(0), 1.0)
    registry.register(offer())
    assert registry.agents["agent-1"].status == HEALTHY


def test_agent_without_any_capacity_is_degraded_by_its_first_beat() -> None:
    registry = make_registry()
    registry.register(offer(total_mb=0))
    assert registry.agents["agent-1"].status == HEALTHY
    registry.update("agent-1", health(0), 1.0)
    registry.sweep()
    assert registry.agents["agent-1"].status == DEGRADED


def test_sweep_forgets_after_thirty_silent_seconds() -> None:
    clock = ManualClock()
    registry = make_registry(clock)
    registry.register(offer())
    asyncio.run(clock.advance(30.0))
    registry.sweep()
    assert "agent-1" in registry.agents
    asyncio.run(clock.advance(0.1))
    registry.sweep()
    assert registry.agents == {}
    assert not registry.update("agent-1", health(8_000), 1.0)


def test_silence_alone_forgets_nobody_before_the_sweep() -> None:
    clock = ManualClock()
    registry = make_registry(clock)
    registry.register(offer())
    asyncio.run(clock.advance(59.0))
    assert registry.update("agent-1", health(8_000), 1.0)


@pytest.mark.parametrize(
    ("beat", "status"),
    [(health(2_049, cpu=79.9), HEALTHY), (health(2_048), DEGRADED), (health(3_000, cpu=80), DEGRADED)],
)
def test_sweep_heals_what_looks_well(beat: Health, status: str) -> None:
    registry = make_registry()
    registry.register(offer(total_mb=20_000))
    registry.update("agent-1", health(0), 1.0)
    registry.update("agent-1", beat, 1.0)
    registry.sweep()
    assert registry.agents["agent-1"].status == status


def test_the_freer_agent_is_picked() -> None:
    registry = make_registry()
    registry.register(offer("busy"))
    registry.register(offer("free"))
    registry.update("busy", health(8_000, running=3), 1.0)
    registry.update("free", health(8_000), 1.0)
    picked = registry.select(MODEL)
    assert picked is not None
    assert picked.registration.agent_id == "free"


def test_the_agent_that_offers_the_model_is_picked() -> None:
    registry = make_registry()
    registry.register(offer("other", total_mb=80_000, supported_models=("mistral:7b",)))
    registry.register(offer("right"))
    registry.update("right", health(5_000, running=3), 400.0)
    picked = registry.select(MODEL)
    assert picked is not None
    assert picked.registration.agent_id == "right"


def test_unknown_model_goes_to_any_healthy_agent() -> None:
    registry = make_registry()
    registry.register(offer())
    picked = registry.select("nobody-has-this")
    assert picked is not None


def test_degraded_agents_are_never_picked() -> None:
    registry = make_registry()
    registry.register(offer())
    registry.update("agent-1", health(0), 1.0)
    assert registry.select(MODEL) is None


@pytest.mark.parametrize(
    ("model", "size_mb"),
    [
        ("", 4096),
        ("tiny-1B", 4096),  # names of up to ten characters are not looked at
        ("tinyllama-1B", 2048),
        ("mistral-v1-7B", 6144),
        ("codellama-13B", 10240),
        ("llama3.1:8b-instruct-q4_k_m", 4096),
    ],
)
def test_model_sizes_are_guessed_from_the_name(model: str, size_mb: int) -> None:
    assert estimated_size_mb(model) == size_mb


# The calls


@asynccontextmanager
async def connected(coordinator: LocalCoordinator) -> AsyncIterator[Any]:
    async with (
        asyncio.timeout(10),
        grpc.aio.insecure_channel(coordinator.endpoint, options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        yield pb_grpc.CoordinatorServiceStub(channel)


def registration_message(**changes: Any) -> pb.AgentRegistration:
    values: dict[str, Any] = {
        "agent_id": "agent-1",
        "endpoint": "h:1",
        "total_vram_mb": 8_000,
        "max_jobs": 1,
        "supported_models": [MODEL],
    }
    return pb.AgentRegistration(**(values | changes))


async def test_round_trip_of_a_client() -> None:
    clock = ManualClock()
    async with (
        LocalCoordinator(
            signer=signer_on(clock), wall=clock.wall, monotonic=clock.monotonic, sleep=clock.sleep
        ) as local,
        connected(local) as stub,
    ):
        registered = await stub.RegisterAgent(registration_message())
        assert (registered.status, registered.heartbeat_interval_seconds) == ("success", 15)
        answer = await stub.RequestInference(pb.InferenceRequest(client_id="c", model=MODEL, prompt="hi"))
        assert (answer.agent_id, answer.agent_endpoint) == ("agent-1", "h:1")
        assert answer.expires_at == int(clock.wall()) + 60
        key = await stub.GetPublicKey(pb.PublicKeyRequest())
        assert (key.algorithm, key.issuer) == ("RS256", "titancompute-coordinator")
        claims = jwt.decode(
            answer.session_token,
            key.public_key_pem,
            algorithms=["RS256"],
            issuer="titancompute-coordinator",
            options={"verify_exp": False},  # the token was made on the test's clock
        )
        assert set(claims) == CLAIMS
        assert (claims["agent_id"], claims["client_id"], claims["model"]) == ("agent-1", "c", MODEL)
        assert (claims["iat"], claims["nbf"], claims["exp"]) == (clock.wall(), clock.wall(), clock.wall() + 60)


def signer_on(clock: ManualClock) -> TokenSigner:
    return TokenSigner(test_signer(0)._private_key, wall=clock.wall)


async def test_health_stream_acks_each_beat_and_says_error_to_strangers() -> None:
    async with LocalCoordinator(signer=test_signer(0)) as local, connected(local) as stub:
        await stub.RegisterAgent(registration_message())
        stream = stub.ReportHealth()
        for agent_id, status in [("agent-1", "ok"), ("stranger", "error"), ("agent-1", "ok")]:
            await stream.write(pb.HealthUpdate(agent_id=agent_id, free_vram_mb=8_000))
            ack = await stream.read()
            assert (ack.agent_id, ack.status) == (agent_id, status)
        await stream.done_writing()


async def test_sweep_runs_each_minute() -> None:
    clock = ManualClock()
    async with (
        LocalCoordinator(signer=test_signer(0), monotonic=clock.monotonic, sleep=clock.sleep) as local,
        connected(local) as stub,
    ):
        await stub.RegisterAgent(registration_message())
        await clock.advance(59.0)
        assert list(local.agents) == ["agent-1"]
        await clock.advance(1.0)
        assert local.agents == {}


async def test_status_lists_the_agents_when_asked() -> None:
    clock = ManualClock()
    async with (
        LocalCoordinator(signer=test_signer(0), wall=clock.wall, monotonic=clock.monotonic, sleep=clock.sleep) as local,
        connected(local) as stub,
    ):
        await stub.RegisterAgent(registration_message())
        await clock.advance(10.0)
        short = await stub.QuerySystemStatus(pb.StatusRequest())
        assert (short.total_agents, short.healthy_agents, short.uptime, len(short.agents)) == (1, 1, "0:00:10", 0)
        full = await stub.QuerySystemStatus(pb.StatusRequest(include_agents=True))
        assert (full.agents[0].agent_id, full.agents[0].status) == ("agent-1", HEALTHY)
        assert full.agents[0].last_heartbeat == int(clock.wall()) - 10


@pytest.mark.parametrize("missing", ["agent_id", "endpoint"])
async def test_incomplete_registration_is_invalid(missing: str) -> None:
    async with LocalCoordinator(signer=test_signer(0)) as local, connected(local) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match=f"{missing} is required") as failure:
            await stub.RegisterAgent(registration_message(**{missing: ""}))
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("missing", ["client_id", "model", "prompt"])
async def test_incomplete_request_is_invalid(missing: str) -> None:
    fields: dict[str, Any] = {"client_id": "c", "model": MODEL, "prompt": "hi"} | {missing: ""}
    async with LocalCoordinator(signer=test_signer(0)) as local, connected(local) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match=f"{missing} is required"):
            await stub.RequestInference(pb.InferenceRequest(**fields))


async def test_request_without_agents_is_unavailable() -> None:
    async with LocalCoordinator(signer=test_signer(0)) as local, connected(local) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.RequestInference(pb.InferenceRequest(client_id="c", model=MODEL, prompt="hi"))
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_own_key_is_made_at_start_and_differs_between_two() -> None:
    async with LocalCoordinator() as first, LocalCoordinator() as second:
        assert first.public_key_pem != second.public_key_pem
        token = first.issue_token(agent_id="a", model=MODEL)
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(token, second.public_key_pem, algorithms=["RS256"])


async def test_issued_tokens_can_be_bent_for_tests() -> None:
    async with LocalCoordinator(signer=test_signer(0)) as local:
        token = local.issue_token(agent_id="a", model=MODEL, claims={"iss": "somebody", "jti": None})
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["iss"] == "somebody"
        assert "jti" not in claims


async def test_taken_port_is_a_clear_error_and_is_not_shared() -> None:
    async with LocalCoordinator(signer=test_signer(0)) as first:
        port = int(first.endpoint.rsplit(":", 1)[1])
        with pytest.raises(PortTakenError, match=str(port)):
            await LocalCoordinator(signer=test_signer(0), port=port).start()


async def test_faulty_coordinator_comes_back_on_its_port_with_another_key() -> None:
    async with FaultyCoordinator() as faulty:
        endpoint, key = faulty.endpoint, faulty.public_key_pem
        await faulty.restart()
        assert faulty.endpoint == endpoint
        assert faulty.public_key_pem != key
        async with connected(faulty) as stub:
            assert (await stub.GetPublicKey(pb.PublicKeyRequest())).public_key_pem == faulty.public_key_pem
        assert faulty.calls["GetPublicKey"] == 1
