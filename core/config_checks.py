"""Problems that one value alone doesn't show: addresses in their own form, and settings that contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.config_rules import EFFECT_SETTINGS
from core.config_values import shown
from core.errors import ConfigError
from core.model_names import BadNames, parse_model_names
from core.network import DEFAULT_COORDINATOR_PORT, is_unspecified_host, parse_endpoint, parse_host
from core.rules.effects import BadEffect, parse_effect
from core.rules.schedule import BadSchedule, parse_schedule

if TYPE_CHECKING:
    from core.config import Settings

MAX_AGENT_ID_CHARACTERS = 128


def cross_problems(settings: Settings, sources: Mapping[str, str]) -> list[str]:
    """One sentence per problem, each naming the key, its value, its source and the remedy."""
    found = (*_addresses(settings), *_combinations(settings), *_names(settings), *_rules(settings))
    return [f"{key} = {shown(str(getattr(settings, key)))!r} ({sources[key]}): {remedy}" for key, remedy in found]


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    checks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("coordinator_endpoint", lambda: _connectable(settings.coordinator_endpoint)),
        ("public_host", lambda: _host_without_port(settings.public_host)),
        ("listen_address", lambda: _host_without_port(settings.listen_address or "localhost")),
    )
    for key, check in checks:
        try:
            check()
        except ConfigError as error:
            yield key, f"{error.detail}. {error.hint}"
    if settings.openai_base_url and not _is_http_url(settings.openai_base_url):
        yield "openai_base_url", "must be a URL that starts with http:// or https://, without a user name or password"
    if len(settings.agent_id) > MAX_AGENT_ID_CHARACTERS:
        yield "agent_id", f"must have at most {MAX_AGENT_ID_CHARACTERS} characters"


def _combinations(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.tls_cert and not settings.tls_key:
        yield "tls_cert", "needs tls_key as well: a certificate is of no use without its key"
    if settings.tls_key and not settings.tls_cert:
        yield "tls_key", "needs tls_cert as well: a key is of no use without its certificate"
    if settings.tls_self_signed and settings.tls_cert:
        yield "tls_self_signed", "contradicts tls_cert: use one or the other"
    if settings.coordinator_ca and not settings.coordinator_tls:
        yield "coordinator_ca", "has no effect without coordinator_tls: set coordinator_tls = true"
    if settings.engine == "openai" and not settings.openai_base_url:
        yield "engine", "needs openai_base_url, the address of the OpenAI-compatible server"


def _rules(settings: Settings) -> Iterator[tuple[str, str]]:
    for key in EFFECT_SETTINGS:
        try:
            parse_effect(getattr(settings, key))
        except BadEffect as error:
            yield key, str(error)
    try:
        parse_schedule(settings.schedule)
    except BadSchedule as error:
        yield "schedule", str(error)
    if settings.gpu_resume_c > settings.gpu_max_c:
        yield "gpu_resume_c", f"must be at most gpu_max_c, which is {settings.gpu_max_c:g}"
    if settings.cpu_resume_c > settings.cpu_max_c:
        yield "cpu_resume_c", f"must be at most cpu_max_c, which is {settings.cpu_max_c:g}"
    if settings.gpu_others_resume_percent > settings.gpu_others_percent:
        yield (
            "gpu_others_resume_percent",
            f"must be at most gpu_others_percent, which is {settings.gpu_others_percent:g}",
        )


def _names(settings: Settings) -> Iterator[tuple[str, str]]:
    try:
        parse_model_names(settings.model_names)
    except BadNames as error:
        yield "model_names", str(error)


def _connectable(text: str) -> None:
    endpoint = parse_endpoint(text, default_port=DEFAULT_COORDINATOR_PORT)
    if is_unspecified_host(endpoint.host):
        raise ConfigError([f"{endpoint.host} can be listened on, not connected to"], hint="Use localhost.")


def _host_without_port(text: str) -> None:
    if text.count(":") == 1 or "]:" in text or "://" in text:
        raise ConfigError(["a host alone, without scheme and port, is wanted here"], hint="The port is agent_port.")
    parse_host(text)


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:  # a port that is no number, or unmatched brackets
        return False
