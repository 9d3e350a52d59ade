"""Read OLLAMA_HOST as Ollama itself reads it (its envconfig/config.go, `Host` and `ConnectableHost`)."""

from __future__ import annotations

import ipaddress
import re

from core.errors import ConfigError

_DEFAULT_PORTS = {"http": "80", "https": "443"}  # with a scheme; without one the port is Ollama's own
_OLLAMA_PORT = "11434"
_BRACKETED = re.compile(r"\[([^\[\]]*)\]:([^:]*)")


def parse_ollama_host(text: str) -> str:
    """The URL to connect to, without a slash at its end.

    No scheme means http and port 11434; a scheme without a port means 80 or 443; an address to listen on (0.0.0.0, ::)
    becomes the loopback address of its family. A port that is none falls back to the default, as in Ollama. Raises
    ConfigError for a scheme that is not http or https.
    """
    value = text.strip().strip("\"'").strip()
    scheme, separator, rest = value.partition("://")
    default_port = _OLLAMA_PORT
    if not separator:
        scheme, rest = "http", value
        if value == "ollama.com":
            scheme, rest = "https", "ollama.com:443"
    elif scheme in _DEFAULT_PORTS:
        default_port = _DEFAULT_PORTS[scheme]
    else:
        raise ConfigError(
            [f"OLLAMA_HOST has the scheme {scheme!r}; http and https are known"],
            hint="Write OLLAMA_HOST like http://localhost:11434.",
        )
    host_and_port, _, path = rest.partition("/")
    host, port = _split_host_port(host_and_port, default_port)
    path = path.strip("/")
    return f"{scheme}://{_connectable(host)}:{port}" + (f"/{path}" if path else "")


def _split_host_port(text: str, default_port: str) -> tuple[str, str]:
    """Go's net.SplitHostPort, and Ollama's fall-back where that gives an error."""
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2)
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        host, port = text.strip("[]") or "127.0.0.1", default_port
    is_port = re.fullmatch(r"\+?[0-9]{1,9}", port, re.ASCII) is not None and int(port) <= 65535
    return host, str(int(port)) if is_port else default_port


def _connectable(host: str) -> str:
    """The host as it stands in a URL; an unspecified address as loopback."""
    try:
        address = ipaddress.ip_address(host or "127.0.0.1")
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return f"[{address}]" if address.version == 6 else str(address)
