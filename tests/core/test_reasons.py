"""The book of reasons: one per code, strongest first, and what a stranger may know of them."""

from __future__ import annotations

import pytest

from core.reasons import CLIENT_WORDS, ReasonBook, of_engine, of_network, of_owner
from core.snapshot import Reason

ALL = (
    of_owner.stopping(),
    of_owner.paused_by_owner(None),
    of_owner.draining(2),
    of_engine.engine_attention("it crashed", ""),
    of_engine.engine_unreachable("nothing at 10.0.0.7", ""),
    of_engine.model_not_ready(["m"], "", ""),
    of_network.no_public_address("No public address: it is localhost.", "titan config"),
    of_engine.engine_resting(None),
    of_network.coordinator_away("no route"),
    of_network.registration_refused("the coordinator said no"),
)


def test_strongest_comes_first_and_what_blocks_before_what_does_not() -> None:
    book = ReasonBook()
    for reason in reversed((*ALL, Reason(code="new_rule", sentence="x"))):
        book.put(reason)
    codes = [reason.code for reason in book.all]
    assert codes[:7] == [reason.code for reason in ALL[:7]]
    assert codes[7:] == ["new_rule", "engine_resting", "registration_refused", "coordinator_away"]


def test_change_is_told_once_and_only_when_there_is_one() -> None:
    told: list[bool] = []
    book = ReasonBook(lambda: told.append(book.is_blocked))
    book.put(of_owner.draining(2))
    book.put(of_owner.draining(2))
    book.put(of_owner.draining(1))
    book.put_or_drop("draining", None)
    book.drop("draining")
    assert told == [True, True, False]


@pytest.mark.parametrize("reason", [of_engine.engine_resting(None), of_network.coordinator_away("")])
def test_what_is_only_good_to_know_blocks_nobody(reason: Reason) -> None:
    book = ReasonBook()
    book.put(reason)
    assert (book.is_blocked, book.closed_because(), reason.code in book) == (False, "", True)


@pytest.mark.parametrize("reason", [reason for reason in ALL if reason.blocks], ids=lambda reason: reason.code)
def test_stranger_hears_that_it_is_closed_and_nothing_of_the_machine(reason: Reason) -> None:
    book = ReasonBook()
    book.put(reason)
    assert book.closed_because() == CLIENT_WORDS.get(reason.code, "this agent is not serving now")
    assert "10.0.0.7" not in book.closed_because()


@pytest.mark.parametrize("reason", [reason for reason in ALL if reason.code != "stopping"], ids=lambda r: r.code)
def test_every_reason_has_a_sentence_an_icon_and_most_a_remedy(reason: Reason) -> None:
    assert reason.sentence.endswith((".", "away")) or ":" in reason.sentence
    assert reason.icon
    assert reason.remedy or reason.code == "model_not_ready"


def test_timed_pause_says_when_it_ends() -> None:
    reason = of_owner.paused_by_owner(1_800_000_000.0)
    assert reason.ends_at == 1_800_000_000.0
    assert "until" in reason.sentence
    assert "you resume" in of_owner.paused_by_owner(None).sentence


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "UNAVAILABLE: ipv4:127.0.0.1:50051: Failed to connect to remote host: Connection refused",
            "connection refused",
        ),
        ("UNAVAILABLE: DNS resolution failed for coordinator.example:50051", "its name isn't found"),
        (
            "UNAVAILABLE: errors resolving c:1: [field:hostname lookup error: Domain name not found]",
            "its name isn't found",
        ),
        (
            "UNAVAILABLE: Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, got frame type 79)",
            "what answers there is no coordinator",
        ),
        ("UNIMPLEMENTED: Method not found!", "what answers there is no coordinator"),
        ("UNAVAILABLE: connection attempt timed out before receiving SETTINGS frame", "no answer"),
        ("UNAVAILABLE: Ssl handshake failed", "no secure connection"),
        ("RegisterAgent took longer than 5 s", "no answer"),
        ("", "no answer"),
    ],
)
def test_a_lost_coordinator_is_told_in_our_words(said: str, kind: str) -> None:
    reason = of_network.coordinator_away(said, endpoint="coordinator.example:50051")
    assert reason.sentence == (
        f"The coordinator at coordinator.example:50051 can't be reached ({kind}). It is tried again by itself."
    )
