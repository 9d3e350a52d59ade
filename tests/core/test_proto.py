"""The wire contract, pinned by hand so that no edit of proto/ moves it unseen; and generated files are current."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from proto import control_pb2, titancompute_pb2

ROOT = Path(__file__).resolve().parents[2]
GENERATED = tuple(
    f"{name}_pb2{kind}" for name in ("control", "titancompute") for kind in (".py", ".pyi", "_grpc.py", "_grpc.pyi")
)

# Typed from the contract, not from the .proto file: (number, name, type). "map" is map<string, string>.
MESSAGES: dict[str, list[tuple[int, str, str]]] = {
    "InferenceRequest": [
        (1, "client_id", "string"),
        (2, "model", "string"),
        (3, "prompt", "string"),
        (4, "max_tokens", "int32"),
        (5, "temperature", "float"),
        (6, "parameters", "map"),
    ],
    "InferenceResponse": [
        (1, "agent_endpoint", "string"),
        (2, "session_token", "string"),
        (3, "expires_at", "int64"),
        (4, "job_id", "string"),
        (5, "estimated_rtt_ms", "double"),
        (6, "agent_id", "string"),
    ],
    "AgentRegistration": [
        (1, "agent_id", "string"),
        (2, "endpoint", "string"),
        (3, "total_vram_mb", "int64"),
        (4, "total_ram_mb", "int64"),
        (5, "max_jobs", "int32"),
        (6, "supported_models", "repeated string"),
        (7, "capabilities", "map"),
    ],
    "RegistrationResponse": [
        (1, "status", "string"),
        (2, "message", "string"),
        (3, "heartbeat_interval_seconds", "int32"),
    ],
    "HealthUpdate": [
        (1, "agent_id", "string"),
        (2, "free_vram_mb", "int64"),
        (3, "free_ram_mb", "int64"),
        (4, "running_jobs", "int32"),
        (5, "queued_jobs", "int32"),
        (6, "cpu_percent", "double"),
        (7, "rtt_ms", "double"),
        (8, "timestamp", "int64"),
    ],
    "HealthAck": [
        (1, "agent_id", "string"),
        (2, "status", "string"),
        (3, "message", "string"),
    ],
    "StatusRequest": [
        (1, "include_agents", "bool"),
        (2, "include_metrics", "bool"),
    ],
    "SystemStatus": [
        (1, "total_agents", "int32"),
        (2, "healthy_agents", "int32"),
        (3, "total_jobs", "int32"),
        (4, "uptime", "string"),
        (5, "agents", "repeated AgentStatus"),
    ],
    "AgentStatus": [
        (1, "agent_id", "string"),
        (2, "status", "string"),
        (3, "free_vram_mb", "int64"),
        (4, "running_jobs", "int32"),
        (5, "last_heartbeat", "int64"),
    ],
    "StreamRequest": [
        (1, "session_token", "string"),
        (2, "model", "string"),
        (3, "prompt", "string"),
        (4, "max_tokens", "int32"),
        (5, "temperature", "float"),
        (6, "stream", "bool"),
        (7, "options", "map"),
    ],
    "StreamResponse": [
        (1, "session_token", "string"),
        (2, "content", "string"),
        (3, "done", "bool"),
        (4, "token", "string"),
        (5, "created_at", "int64"),
        (6, "metadata", "map"),
    ],
    "AgentStatusRequest": [
        (1, "agent_id", "string"),
        (2, "include_jobs", "bool"),
    ],
    "AgentStatusResponse": [
        (1, "agent_id", "string"),
        (2, "status", "string"),
        (3, "free_vram_mb", "int64"),
        (4, "free_ram_mb", "int64"),
        (5, "active_sessions", "int32"),
        (6, "total_requests_processed", "int64"),
        (7, "model_loaded", "string"),
    ],
    "DeregistrationRequest": [
        (1, "agent_id", "string"),
        (2, "reason", "string"),
    ],
    "DeregistrationResponse": [
        (1, "status", "string"),
        (2, "message", "string"),
    ],
    "PublicKeyRequest": [],
    "PublicKeyResponse": [
        (1, "public_key_pem", "string"),
        (2, "algorithm", "string"),
        (3, "issuer", "string"),
    ],
}

# method: (input, output); "stream " marks the streaming side.
SERVICES: dict[str, dict[str, tuple[str, str]]] = {
    "CoordinatorService": {
        "RequestInference": ("InferenceRequest", "InferenceResponse"),
        "RegisterAgent": ("AgentRegistration", "RegistrationResponse"),
        "ReportHealth": ("stream HealthUpdate", "stream HealthAck"),
        "QuerySystemStatus": ("StatusRequest", "SystemStatus"),
        "GetPublicKey": ("PublicKeyRequest", "PublicKeyResponse"),
    },
    "AgentService": {
        "StreamInference": ("StreamRequest", "stream StreamResponse"),
        "GetStatus": ("AgentStatusRequest", "AgentStatusResponse"),
    },
}

SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
}


def type_text(field: FieldDescriptor) -> str:
    """The field's type as the tables above write it."""
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        kinds = [SCALARS[entry.fields_by_name[name].type] for name in ("key", "value")]
        return "map" if kinds == ["string", "string"] else f"map<{', '.join(kinds)}>"
    name = entry.name if entry is not None else SCALARS.get(field.type, f"type {field.type}")
    return f"repeated {name}" if field.is_repeated else name


def method_text(method: MethodDescriptor) -> tuple[str, str]:
    """(input, output) as the table above writes them."""
    return (
        ("stream " if method.client_streaming else "") + method.input_type.name,
        ("stream " if method.server_streaming else "") + method.output_type.name,
    )


def test_package_and_go_package_are_the_contracts() -> None:
    assert titancompute_pb2.DESCRIPTOR.package == "titancompute.v1"
    assert titancompute_pb2.DESCRIPTOR.GetOptions().go_package == "github.com/titancompute/proto/gen/go;titancompute"


def test_the_contract_has_these_messages_and_no_others() -> None:
    assert sorted(titancompute_pb2.DESCRIPTOR.message_types_by_name) == sorted(MESSAGES)
    assert not titancompute_pb2.DESCRIPTOR.enum_types_by_name
    assert not titancompute_pb2.DESCRIPTOR.extensions_by_name


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_has_the_contracts_number_name_and_type(name: str) -> None:
    message = titancompute_pb2.DESCRIPTOR.message_types_by_name[name]
    assert [(field.number, field.name, type_text(field)) for field in message.fields] == MESSAGES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_no_field_is_in_a_oneof_or_has_presence_of_its_own(name: str) -> None:
    """`optional` would be wire compatible, but peers that read 0 as "not sent" would see another message than ours."""
    assert not titancompute_pb2.DESCRIPTOR.message_types_by_name[name].oneofs


def test_services_and_methods_are_the_contracts() -> None:
    found = {
        service.name: {method.name: method_text(method) for method in service.methods}
        for service in titancompute_pb2.DESCRIPTOR.services_by_name.values()
    }
    assert found == SERVICES


def test_control_is_no_part_of_the_public_contract() -> None:
    assert control_pb2.DESCRIPTOR.package == "titan.control.v1"
    assert not control_pb2.DESCRIPTOR.dependencies


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the modules generated anew, by the script that a developer runs."""
    output = tmp_path_factory.mktemp("generated")
    command = [sys.executable, str(ROOT / "scripts" / "generate_proto.py"), str(output)]
    subprocess.run(command, check=True, timeout=120, cwd=output)
    return output / "proto"


@pytest.mark.parametrize("name", GENERATED)
def test_generated_file_is_current(fresh: Path, name: str) -> None:
    assert (ROOT / "proto" / name).read_bytes() == (fresh / name).read_bytes(), "run scripts/generate-proto"


def test_nothing_else_is_generated(fresh: Path) -> None:
    assert sorted(path.name for path in fresh.iterdir()) == sorted(GENERATED)
    assert sorted(path.name for path in (ROOT / "proto").glob("*_pb2*.py*")) == sorted(GENERATED)


def test_modules_import_from_any_folder_with_no_path_patch(tmp_path: Path) -> None:
    program = (
        "from proto import titancompute_pb2, titancompute_pb2_grpc, control_pb2_grpc; print(titancompute_pb2.__file__)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()) == ROOT / "proto" / "titancompute_pb2.py"
