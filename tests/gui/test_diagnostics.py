"""What leaves this machine in a report: nothing that says who, where, or opens a door."""

from __future__ import annotations

import ipaddress
import json
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.config_load import LoadedSettings, load_settings
from core.doctor import Report, Verdict
from tests.fakes.snapshots import busy_snapshot
from titan_gui.diagnostics import Facts, collect_facts, report_of
from titan_gui.redaction import ADDRESS, HOST, SECRET, USER, Redactor

FACTS = Facts(
    platform="Linux 6.1.0 x86_64",
    python="CPython 3.11.7",
    qt="6.12.0",
    homes=("/home/maria",),
    users=("maria", "Maria Example"),
    hosts=("maria-pc",),
    kept=frozenset({"core.agent"}),
)
REDACT = Redactor(homes=FACTS.homes, users=FACTS.users, hosts=FACTS.hosts, kept=FACTS.kept)
BORDERS = st.sampled_from(["", " ", "\n", '"', "'", "(", ")", "[", "]", ",", "=", "<", ">", "; ", ": ", "| ", " - "])
LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listening on 192.168.1.7:50052", f"listening on {ADDRESS}:50052"),
        ("peer ipv6:[2001:db8::17]:50052.", f"peer ipv6:[{ADDRESS}]:50052."),
        ("fe80::1%eth0 is a link", f"{ADDRESS} is a link"),
        ("::ffff:203.0.113.9", ADDRESS),
        ("from aa:bb:cc:dd:ee:ff", f"from {ADDRESS}"),
        ("gpu.example.com:50051 is away", f"{HOST}:50051 is away"),
        ("at GPU.Example.COM.", f"at {HOST}."),
        ("nas:8080 refused", f"{HOST}:8080 refused"),
        ("http://user:pw@nas.local:8000/v1?key=abc", f"http://{HOST}:8000/v1?…"),
        ("write to maria@example.org", f"write to {USER}@{HOST}"),
        ("/home/maria/.config/titan", "~/.config/titan"),
        (r"C:\Users\Joe Doe\AppData", rf"C:\Users\{USER}\AppData"),
        (r"C:\\Users\\Joe\\AppData", rf"C:\\Users\\{USER}\\AppData"),
        ("/Users/joe/Library", f"/Users/{USER}/Library"),
        (r"\\server\share", rf"\\{HOST}\share"),
        ("Maria, MARIA and maria's", f"{USER}, {USER} and {USER}'s"),
        ("host Maria-PC", f"host {HOST}"),
        ("Bearer abcdef.ghi", SECRET),
        ("key sk-abcdef123456", f"key {SECRET}"),
        ('"api_key": "x y"', f'"api_key": "{SECRET} y"'),
        ("password=hunter2", f"password={SECRET}"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln", SECRET),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", SECRET),
    ],
)
def test_what_identifies_or_opens_is_taken_out(text: str, expected: str) -> None:
    assert REDACT.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "10:18:22 warning core.agent llama3.1:8b-instruct-q4_k_m 12.5 tokens/s",
        "2026-11-25T10:18:22.123Z",
        "127.0.0.1:11434 and [::1]:50052 and localhost:50051 and 0.0.0.0 and [::]:50052",
        "http://localhost:11434/api/generate",
        "agent.log settings.toml model.gguf",
        "version 2026.10.11549, 6.12.0",
        "max_output_tokens = 4096",
    ],
)
def test_what_a_helper_needs_stays(text: str) -> None:
    assert REDACT.text(text) == text


@given(BORDERS, st.ip_addresses(v=4), BORDERS, st.text(max_size=20))
def test_no_ipv4_address_is_left(before: str, address: ipaddress.IPv4Address, after: str, rest: str) -> None:
    assume(not address.is_loopback and not address.is_unspecified)
    assume(not rest[:1].isdigit() and rest[:1] != ".")

    assert str(address) not in REDACT.text(f"{before}{address}{after}{rest}")


@given(BORDERS, st.ip_addresses(v=6), BORDERS, st.sampled_from(["compressed", "exploded"]))
def test_no_ipv6_address_is_left(before: str, address: ipaddress.IPv6Address, after: str, form: str) -> None:
    assume(not address.is_loopback and not address.is_unspecified)
    text = getattr(address, form)

    assert text not in REDACT.text(f"{before}{text}{after}")


@given(
    BORDERS, st.lists(LABEL, min_size=1, max_size=4), st.sampled_from(["com", "de", "local", "io", "museum"]), BORDERS
)
def test_no_host_name_is_left(before: str, labels: list[str], top: str, after: str) -> None:
    name = ".".join([*labels, top])

    assert name not in REDACT.text(f"{before}{name}{after}")


@given(st.text(max_size=30), st.sampled_from(["/", "\\", "\\\\"]), st.text(max_size=30))
def test_no_known_home_folder_is_left(before: str, separator: str, after: str) -> None:
    redact = Redactor(homes=(r"D:\profiles\zaphod",), users=("zaphod",))
    home = separator.join(["D:", "profiles", "zaphod"])

    assert "zaphod" not in redact.text(f"{before} {home}{separator}{after}")


@given(st.text(max_size=30), LABEL, st.text(max_size=30))
def test_no_users_home_folder_is_left(before: str, user: str, after: str) -> None:
    assert f"/home/{user}/" not in REDACT.text(f"{before}/home/{user}/{after}")


@given(
    st.text(string.ascii_letters + string.digits, min_size=20, max_size=60), st.text(max_size=20), st.text(max_size=20)
)
def test_no_known_secret_is_left(secret: str, before: str, after: str) -> None:
    redact = Redactor(secrets=(secret,))

    assert secret not in redact.text(before + secret + after)


PLAIN = st.text() | st.integers() | st.booleans() | st.none()


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12))
def test_any_tree_of_values_stays_writable(value: object) -> None:
    json.dumps(REDACT.value(value))


@given(st.text(alphabet=string.printable, max_size=200))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = REDACT.text(text)

    assert REDACT.text(once) == once


@pytest.mark.parametrize("name", ["api_key", "openai_api_key", "session_token", "token", "password", "Authorization"])
def test_a_string_under_a_secrets_name_is_gone_whatever_it_says(name: str) -> None:
    assert REDACT.value({"outer": [{name: "hunter2"}]}) == {"outer": [{name: SECRET}]}


def loaded(tmp_path: Path, **environ: str) -> LoadedSettings:
    return load_settings({"TITAN_HOME": str(tmp_path / "maria"), **environ})


def test_the_report_has_what_helps_and_not_what_tells(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        COORDINATOR_ENDPOINT="coordinator.example.com:50051",
        PUBLIC_HOST="203.0.113.77",
        OLLAMA_HOST="http://bigbox:11434",
        TITAN_OPENAI_BASE_URL="http://vllm.example.net:8000/v1",
    )
    lines = [
        json.dumps({"ts": "2026-11-25T10:00:00.000Z", "level": "info", "event": "x", "peer": "bigbox", "token": "abc"}),
        "half a line with 198.51.100.4 and http://joe:pw99@198.51.100.4/x",
    ]
    checks = [Report(name="folders", verdict=Verdict.OK, detail="in /home/maria/data", remedy="", seconds=0.1)]

    report = report_of(FACTS, settings, busy_snapshot(), lines, checks)

    for canary in ("203.0.113.77", "198.51.100.4", "bigbox", "example.", "pw99", "joe", "maria", '"abc"'):
        assert canary not in report
    for needed in (
        "Linux 6.1.0",
        "max_concurrent_jobs = 4",
        "(environment)",
        "llama3.1:8b",
        '"state": "ready"',
        "folders",
    ):
        assert needed in report


def test_the_report_of_this_machine_names_neither_it_nor_its_owner(tmp_path: Path) -> None:
    facts = collect_facts("6.12.0")
    snapshot = replace(busy_snapshot(), endpoint=f"{facts.hosts[0]}:50052")

    report = report_of(facts, loaded(tmp_path), snapshot, [f"home is {facts.homes[0]}"] if facts.homes else [])

    assert f"{facts.hosts[0]}:50052" not in report
    assert all(home not in report for home in facts.homes)
