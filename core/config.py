"""The one declaration of every setting.

Everything that reads, shows or documents a setting (core/config_load.py, `titan config`, docs/settings.md, the window's
page) is made from `DECLARATIONS`.
"""

# ruff: noqa: RUF009 - setting() is dataclasses.field() with a declaration in it

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType

from core.config_rules import RULE_SETTINGS, RuleFields
from core.config_values import Declaration, declare, setting
from core.paths import DEFAULT_PROFILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RuleFields):
    """Every setting's value. What a field means, its unit and its range stand in its declaration.

    Those of the rules are declared in core/config_rules.py.
    """

    profile: str = setting(
        DEFAULT_PROFILE,
        "The set of files (settings, data, lock, control door) to use. Several agents on one host need one each. "
        "Unset, an AGENT_ID from the environment names it.",
        is_in_file=False,
    )
    agent_id: str = setting(
        "",
        "The name under which the coordinator knows this agent.",
        form="text of at most 128 characters",
        seed_name="AGENT_ID",
        default_text="agent- and 12 random hex digits, made once per profile",
    )
    coordinator_endpoint: str = setting(
        "localhost:50051", "The coordinator's address.", form="host:port", seed_name="COORDINATOR_ENDPOINT"
    )
    coordinator_tls: bool = setting(False, "Speak TLS with the coordinator.")
    coordinator_ca: Path | None = setting(None, "PEM file of the authority that signed the coordinator's certificate.")
    heartbeat_interval_s: float = setting(
        10.0,
        "Time between heartbeats; the coordinator may ask for a shorter one.",
        between=(1, 15),
        unit="seconds",
        seed_name="HEARTBEAT_INTERVAL",
        is_held_in_range=True,
    )

    public_host: str = setting(
        "localhost",
        "The name or address under which clients reach this machine.",
        form="a host name or an IP address, without a port",
        seed_name="PUBLIC_HOST",
    )
    agent_port: int = setting(
        50052,
        "The port that clients connect to; 0 takes any free one.",
        between=(0, 65535),
        seed_name="AGENT_PORT",
    )
    public_port: int = setting(
        0,
        "The port that clients are sent to, where a router maps it to agent_port.",
        between=(0, 65535),
        default_text="0 = the same as agent_port",
    )
    listen_address: str = setting(
        "",
        "The address to listen on.",
        form="a host name or an IP address, without a port",
        default_text="this machine only while the coordinator is on it, else every address",
    )
    tls_cert: Path | None = setting(None, "PEM file with the certificate that clients see.")
    tls_key: Path | None = setting(None, "PEM file with that certificate's private key.")
    tls_self_signed: bool = setting(False, "Make a certificate for this agent and serve TLS with it.")

    engine: str = setting(
        "auto",
        "The program that runs the models: auto takes Ollama where it answers, else the embedded engine.",
        choices=("auto", "ollama", "openai", "embedded"),
    )
    ollama_host: str = setting(
        "http://localhost:11434", "Ollama's address, read as Ollama itself reads it.", seed_name="OLLAMA_HOST"
    )
    openai_base_url: str = setting(
        "", "Address of an OpenAI-compatible server.", form="a URL such as http://localhost:8000/v1"
    )
    models_dir: Path = setting(
        Path(), "Folder with the GGUF files of the embedded engine.", default_text="models, in the data folder"
    )
    hub_endpoint: str = setting(
        "",
        "The model hub that the embedded engine's models are downloaded from, when you ask for one.",
        form="an address that begins with https://",
        default_text="the public one of huggingface_hub",
        is_live=True,
    )
    download_limit_mb_s: float = setting(
        0.0,
        "How fast models may be downloaded for the embedded engine.",
        between=(0, 100_000),
        unit="MB per second",
        default_text="0 = as fast as the network",
        is_live=True,
    )
    models_disk_budget_gb: float = setting(
        0.0,
        "How much disk the models may take that were downloaded with this program.",
        between=(0, 1_000_000),
        unit="GB",
        default_text="0 = all but 2 GB of what is free",
        is_live=True,
    )
    supported_models: tuple[str, ...] = setting(
        ("llama3.1:8b-instruct-q4_k_m",),
        "The models offered to the network, as far as the engine has them.",
        seed_name="SUPPORTED_MODELS",
        is_live=True,
    )
    model_names: tuple[str, ...] = setting(
        (),
        "Other names for the engine's models, as the network knows them: llama3.1:8b=my-llama. "
        "Instead of the engine's name, the whole path of a GGUF file will do.",
        form="pairs NAME=NAME or NAME=PATH",
        is_live=True,
    )
    context_tokens: int = setting(
        4096, "Context of one session, prompt and answer together.", between=(256, 1_048_576), unit="tokens"
    )

    max_concurrent_jobs: int = setting(
        4, "Sessions served at the same time.", between=(1, 256), seed_name="MAX_CONCURRENT_JOBS", is_live=True
    )
    queue_size: int = setting(0, "Requests that may wait for a free place.", between=(0, 1024), is_live=True)
    queue_wait_s: float = setting(10.0, "How long a request may wait.", between=(0, 600), unit="seconds", is_live=True)
    max_prompt_bytes: int = setting(262_144, "The longest prompt.", between=(1, 16_777_216), unit="bytes")
    max_output_tokens: int = setting(4096, "The longest answer.", between=(1, 1_048_576), unit="tokens", is_live=True)
    max_session_s: float = setting(600.0, "The longest session.", between=(0.1, 86_400), unit="seconds", is_live=True)
    slow_client_s: float = setting(
        30.0, "A client that takes nothing for so long is ended.", between=(0.1, 3600), unit="seconds", is_live=True
    )
    first_token_timeout_s: float = setting(
        120.0,
        "How long the engine may take to its first token, loading included.",
        between=(0.1, 3600),
        unit="seconds",
        is_live=True,
    )
    token_gap_timeout_s: float = setting(
        30.0, "How long the engine may take between two tokens.", between=(0.1, 3600), unit="seconds", is_live=True
    )

    ram_budget_mb: int = setting(
        0,
        "Memory lent to the embedded engine.",
        between=(0, 16_777_216),
        unit="MB",
        default_text="0 = all but the reserve",
        is_live=True,
    )
    vram_reserve_mb: int = setting(
        0,
        "GPU memory that stays the owner's.",
        between=(0, 16_777_216),
        unit="MB",
        default_text="0 = 10 %, at least 1 GB",
        is_live=True,
    )
    ram_reserve_mb: int = setting(
        0,
        "Memory that stays the owner's.",
        between=(0, 16_777_216),
        unit="MB",
        default_text="0 = 10 %, at least 1 GB",
        is_live=True,
    )
    gpus: tuple[str, ...] = setting(
        (),
        "The graphics cards to lend, by name or UUID; only these count. Ollama and other servers choose their cards by "
        "themselves: start them with CUDA_VISIBLE_DEVICES to keep one from them.",
        default_text="all; of several, all but the one that drives the display",
        is_live=True,
    )
    drain_limit_s: float = setting(
        10.0,
        "How long running sessions may go on when the agent is stopped.",
        between=(0, 600),
        unit="seconds",
        is_live=True,
    )
    finish_limit_s: float = setting(
        120.0,
        "How long running sessions may go on after a pause that lets them finish.",
        between=(0, 86_400),
        unit="seconds",
        is_live=True,
    )
    unload_after_idle_s: float = setting(
        300.0,
        "A model that has served nobody for so long leaves memory; in Ollama, only one that this agent loaded.",
        between=(10, 86_400),
        unit="seconds",
        is_live=True,
    )
    preload_on_resume: bool = setting(
        True,
        "After a pause, load the model and wait for a first real token before serving again (embedded and Ollama).",
        is_live=True,
    )
    preload_at_start: bool = setting(
        False,
        "At the program's start, load the model that was used most in the last 7 days, before anybody asks for it.",
        is_live=True,
    )
    preload_models: int = setting(
        1,
        "How many of the most used models are loaded then, at the start and after a pause, as far as they fit beside "
        "each other; the embedded engine holds one at a time.",
        between=(1, 16),
        is_live=True,
    )
    keep_awake: bool = setting(
        True, "Keep the machine from falling asleep by itself while a session runs on mains power.", is_live=True
    )

    share: str = setting(
        "always",
        "When to share: always, or only after you resume by hand at each start.",
        choices=("always", "by_hand"),
    )

    setup_done: bool = setting(False, "The window's first questions are answered; before that it shares nothing.")
    notifications: bool = setting(
        True, "Show a message on trouble, when sharing resumes, and at a day's first session.", is_live=True
    )
    update_index_url: str = setting(
        "",
        "Address of the signed list of releases, asked once a day for a newer version; it is told, never installed.",
        form="an address that begins with https://",
        default_text="nobody is asked",
        is_live=True,
    )

    log_level: str = setting(
        "info", "The least that is logged.", choices=("debug", "info", "warning", "error"), is_live=True
    )
    log_format: str = setting(
        "auto", "JSON lines, or text for people; auto is text on a terminal.", choices=("auto", "json", "text")
    )


_GROUPS = {
    "profile": "Identity and coordinator",
    "public_host": "Network",
    "engine": "Engine and models",
    "max_concurrent_jobs": "Sessions",
    "ram_budget_mb": "The owner's share",
    "setup_done": "The window",
    "log_level": "Logs",
    "pause_while_in_use": "Rules",
}
_FIELDS = sorted(fields(Settings), key=lambda item: item.name in RULE_SETTINGS)  # the rules last: sorting is stable
DECLARATIONS: Mapping[str, Declaration] = MappingProxyType(declare(_GROUPS, _FIELDS))

# Secrets never stand in the settings file; core/secrets.py keeps them, and these names override it on headless hosts.
SECRET_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {"openai_api_key": "TITAN_OPENAI_API_KEY", "enrolment_token": "TITAN_ENROLMENT_TOKEN"}
)
# TITAN_ variables that are no settings: where the files lie, and how deep in our own children a process is.
IGNORED_ENVIRONMENT = frozenset({"TITAN_HOME", "TITAN_ENGINE_WORKER_DEPTH", *SECRET_ENVIRONMENT.values()})
