"""Take out of a text what says who and where somebody is, or what opens a door. Pure.

For reports that an owner passes on. Rather too much than too little: a file name that looks like a host's is gone too.
Loopback and "any" addresses stay: they say nothing of anybody, and much about a fault.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.log_format import JsonValue

SECRET, ADDRESS, HOST, USER, ID = "[secret]", "[address]", "[host]", "[user]", "[id]"

_SECRET_NAME = re.compile(
    r"(?i)(^|_)(api_?key|key|secret|password|passwd|credentials?|authorization|auth|cookie|pin)($|_)|_token$|^token$"
)
_SECRETS = (
    re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL),
    re.compile(r"eyJ[\w-]{4,}(?:\.[\w-]*){0,4}"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[^\s'\",\[]+"),
    re.compile(r"\b(?:sk|pk|rk|hf|gh[opsu]|github_pat|glpat|xox[abps])[-_][\w-]{6,}"),
    re.compile(
        r"(?i)\b((?:api[_-]?key|secret|password|passwd|access[_-]?token|auth[_-]?token|session[_-]?token)"
        r"['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&\[]+"
    ),
    re.compile(r"(?<![\w/+=-])(?=[\w+/-]*\d)(?=[\w+/-]*[A-Za-z])[A-Za-z0-9+_-]{32,}={0,2}(?![\w+-])"),
)
_UUID = re.compile(r"(?i)(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])")
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)([^\s/?#\"'<>\\]*)([^\s?#\"'<>]*)([?#][^\s\"'<>]*)?")
_MAIL = re.compile(r"[^\s@<>\"'(),;:=/\[\]]+@[^\s@<>\"'(),;:=/\[\]]+")
_MAC = re.compile(r"(?i)(?<![0-9a-f:-])[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}(?![0-9a-f:-])")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%\w+)?")
_HOST = re.compile(r"(?<![\w.@-])(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_]{2,63}\.?(?![\w-])")
_HOST_AND_PORT = re.compile(r"(?<![\w.@\[\]/-])([^\W\d_][\w-]*):(\d{2,5})(?![\w:.-])")
_HOMES = re.compile(r"(?i)((?:/home|/users|/var/home|/export/home|[a-z]:[\\/]+users)[\\/]+)([^\\/\r\n\"':]+)")
_UNC = re.compile(r"(?<![\w:.)\]~\\-])\\\\[^\\/\s\"']+")  # not the escaped separator within a path
_KEPT_HOSTS = frozenset({"localhost"})
# Endings of files that are no top-level domain; "py" and "so" are both, and are a file's only within a path.
_FILE_ENDINGS = frozenset({"log", "toml", "json", "sock", "sqlite", "gguf", "pem", "ini", "txt", "dll", "exe", "svg"})
_PATH_ENDINGS = _FILE_ENDINGS | {"py", "so"}


@dataclass(frozen=True, slots=True)
class Redactor:
    """What is known of this machine and its owner beforehand; everything else is found by its shape."""

    homes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()  # dotted names that are no hosts: Python's modules

    def text(self, text: str) -> str:
        """The text without secrets, addresses, host names, home folders and user names. Twice is the same as once."""
        for secret in _longest_first(self.secrets, least=4):
            text = text.replace(secret, SECRET)
        for pattern in _SECRETS:
            text = pattern.sub(_secret, text)
        text = _UUID.sub(ID, text)
        for home in _longest_first(self.homes, least=2):
            for form in {home, home.replace("\\", "\\\\"), home.replace("\\", "/")}:
                text = re.sub(rf"{re.escape(form)}(?![\w.-])", "~", text, flags=re.IGNORECASE)
        text = _HOMES.sub(rf"\1{USER}", text)
        for host in _longest_first(self.hosts, least=2):
            if not _is_harmless(host):
                text = _word(host).sub(HOST, text)
        text = _URL.sub(_url, text)
        text = _MAIL.sub(f"{USER}@{HOST}", text)
        text = _UNC.sub(lambda _: f"\\\\{HOST}", text)
        text = _MAC.sub(ADDRESS, text)
        text = _IPV6.sub(_ipv6, text)
        text = _IPV4.sub(lambda found: found[0] if _is_harmless(found[0]) else ADDRESS, text)
        text = _HOST.sub(self._host, text)
        text = _HOST_AND_PORT.sub(_host_and_port, text)
        for user in _longest_first(self.users, least=2):
            text = _word(user).sub(USER, text)
        return text

    def value(self, value: object) -> JsonValue:
        """The same for a tree of plain values, names included; a string under a secret's name goes whatever it says."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(name)): self._field(str(name), item) for name, item in value.items()}
        if isinstance(value, Iterable):
            return [self.value(item) for item in value]
        return type(value).__name__

    def _host(self, found: re.Match[str]) -> str:
        name, dot = found[0].rstrip("."), "." if found[0].endswith(".") else ""
        before = found.string[max(0, found.start() - 2) : found.start()]
        is_in_path = before[-1:] in ("/", "\\") and before not in ("//", "\\\\")
        endings = _PATH_ENDINGS if is_in_path else _FILE_ENDINGS
        if name in self.kept or name.rpartition(".")[2].lower() in endings:
            return found[0]
        return HOST + dot

    def _field(self, name: str, value: object) -> JsonValue:
        if isinstance(value, str) and value and _SECRET_NAME.search(name):
            return SECRET
        return self.value(value)


def _longest_first(words: Iterable[str], *, least: int) -> list[str]:
    return sorted({word for word in words if len(word) >= least}, key=len, reverse=True)


def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", re.IGNORECASE)


def _secret(found: re.Match[str]) -> str:
    name = found[1] if found.re.groups else ""
    return f"{name}{SECRET}"


def _is_harmless(address: str) -> bool:
    """localhost, loopback and "any"."""
    if address.strip("[]").lower() in _KEPT_HOSTS:
        return True
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    return parsed.is_loopback or parsed.is_unspecified


def _url(found: re.Match[str]) -> str:
    """Scheme, port and path stay; user, host and query go."""
    scheme, authority, path, query = found[1], found[2], found[3], found[4]
    if scheme.lower().startswith("file"):
        return found[0]
    host, colon, port = authority.rpartition("@")[2].rpartition(":")
    if not port.isdigit() or (":" in host and not host.endswith("]")):
        host, colon, port = authority.rpartition("@")[2], "", ""
    kept = host if not host or _is_harmless(host) or host in (HOST, ADDRESS) else HOST
    return f"{scheme}{kept}{colon}{port}{path}{'?…' if query else ''}"


def _ipv6(found: re.Match[str]) -> str:
    """A colon or a dot of the sentence may stand before or behind the address."""
    text = found[0].rstrip(".")
    for candidate in (text, text.removesuffix(":"), text.removeprefix(":"), text.removeprefix(":").removesuffix(":")):
        try:
            parsed = ipaddress.ip_address(candidate)
        except ValueError:
            continue
        return found[0] if parsed.is_loopback or parsed.is_unspecified else found[0].replace(candidate, ADDRESS)
    return found[0]


def _host_and_port(found: re.Match[str]) -> str:
    return found[0] if found[1].lower() in _KEPT_HOSTS else f"{HOST}:{found[2]}"
