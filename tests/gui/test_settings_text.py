"""What stands beside each setting, without a display."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.config import DECLARATIONS, SECRET_ENVIRONMENT
from core.config_load import Layer, Origin
from titan_gui.settings_text import (
    SECRET_TITLES,
    TITLES,
    facts_text,
    is_locked,
    lock_text,
    place_problems,
    problem_of,
    range_text,
    title_of,
)

DEFAULT = Origin(Layer.DEFAULT, "default")
ENVIRONMENT = Origin(Layer.ENVIRONMENT, "environment AGENT_PORT")


def test_every_setting_has_a_name_for_people_of_its_own() -> None:
    assert set(TITLES) == set(DECLARATIONS)
    assert set(SECRET_TITLES) == set(SECRET_ENVIRONMENT)
    assert len(set(TITLES.values())) == len(TITLES)


def test_facts_say_range_unit_default_when_and_whether_the_owner_set_it() -> None:
    in_file = Origin(Layer.FILE, "settings.toml")
    assert facts_text(DECLARATIONS["queue_wait_s"], in_file) == (
        "0 to 600 seconds · Default: 10 · Counts at once · Set in the settings file"
    )
    assert facts_text(DECLARATIONS["agent_port"], DEFAULT) == "0 to 65,535 · Default: 50052 · Applies on restart"
    assert range_text(DECLARATIONS["slow_client_s"]) == "0.1 to 3,600 seconds"
    assert range_text(DECLARATIONS["share"]) == ""


def test_a_field_that_another_layer_decides_says_which() -> None:
    port = DECLARATIONS["agent_port"]
    assert not is_locked(port, DEFAULT)
    assert is_locked(port, ENVIRONMENT)
    assert lock_text(port, ENVIRONMENT) == "Set by environment AGENT_PORT; change it there."
    reloaded = Origin(Layer.COMMAND_LINE, "command line --profile")
    assert lock_text(DECLARATIONS["profile"], reloaded) == "Chosen when the program starts."
    assert is_locked(DECLARATIONS["profile"], DEFAULT)


def test_a_problem_has_the_declaration_s_own_words() -> None:
    assert problem_of(DECLARATIONS["agent_port"], "70000") == "Port must be a whole number from 0 to 65535."
    assert problem_of(DECLARATIONS["agent_port"], "6000") == ""


@given(st.sampled_from(sorted(DECLARATIONS)), st.text())
def test_no_text_in_any_field_raises(name: str, text: str) -> None:
    sentence = problem_of(DECLARATIONS[name], text)
    assert not sentence or sentence.startswith(title_of(name))


def test_the_core_s_problems_find_their_fields() -> None:
    by_field, elsewhere = place_problems(
        [
            "agent_port = '70000' (new value): must be a whole number from 0 to 65535",
            "engine = 'openai' (/f/settings.toml): needs openai_base_url, the address",
            "agent_id: environment AGENT_ID says 'a' and environment TITAN_AGENT_ID says 'b': unset one of them",
            "AGENT_PROT (environment): there is no such setting; remove it",
        ]
    )
    assert by_field["agent_port"] == "Port must be a whole number from 0 to 65535."
    assert by_field["engine"] == "Needs openai_base_url, the address"
    assert "unset one of them" in by_field["agent_id"]
    assert elsewhere == ("AGENT_PROT (environment): there is no such setting; remove it",)
