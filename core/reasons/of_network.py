"""Sentences of the coordinator, and of the way to this machine."""

from __future__ import annotations

from core.snapshot import Reason


def no_public_address(sentence: str, remedy: str) -> Reason:
    return Reason(
        code="no_public_address",
        sentence=sentence,
        icon="attention",
        setting="public_host",
        remedy=remedy,
    )


def coordinator_away(detail: str, remedy: str = "titan doctor", *, endpoint: str = "") -> Reason:
    """Blocks nobody: valid tokens are served while a key is held. `detail` is gRPC's text: only its kind is said."""
    where = f"The coordinator at {endpoint}" if endpoint else "The coordinator"
    return Reason(
        code="coordinator_away",
        sentence=f"{where} can't be reached ({kind_of_silence(detail)}). It is tried again by itself.",
        icon="offline",
        setting="coordinator_endpoint",
        remedy=remedy,
        blocks=False,
    )


def kind_of_silence(detail: str) -> str:
    """The few kinds that an owner can tell apart; the log has the text itself."""
    text = detail.lower()
    if "refused" in text:
        return "connection refused"
    if any(word in text for word in ("dns", "resolution", "resolving", "name or service", "not known")):
        return "its name isn't found"
    if any(word in text for word in ("parsing http/2", "settings frame, got", "unimplemented")):
        return "what answers there is no coordinator"
    if any(word in text for word in ("certificate", "handshake", "ssl")):
        return "no secure connection"
    return "no answer"


def registration_refused(detail: str, remedy: str = "titan doctor") -> Reason:
    """The coordinator was reached, and doesn't have us. Blocks nobody: tokens that it signed before still hold."""
    return Reason(
        code="registration_refused",
        sentence=f"Not registered with the coordinator: {detail}",
        icon="offline",
        setting="coordinator_endpoint",
        remedy=remedy,
        blocks=False,
    )
