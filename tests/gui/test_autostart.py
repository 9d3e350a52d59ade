"""Start at login on three systems, each with folders or a registry of the test's own."""

from __future__ import annotations

import os
import plistlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.desktop_file import desktop_exec
from core.engines import worker_launch
from core.errors import AgentError, StorageError
from titan_gui.autostart import Autostart, autostart_of, windows_command_line

APPROVED = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
RUN = r"Software\Microsoft\Windows\CurrentVersion\Run"
TASK_MANAGER_OFF = bytes([3]) + bytes(11)
TASK_MANAGER_ON = bytes([2]) + bytes(11)


class FakeRegistry:
    """HKEY_CURRENT_USER as two levels of names."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], str | bytes] = {}

    def read(self, key: str, name: str) -> str | bytes | None:
        return self.values.get((key, name))

    def write(self, key: str, name: str, value: str) -> None:
        self.values[key, name] = value

    def delete(self, key: str, name: str) -> None:
        self.values.pop((key, name), None)


def on(
    platform: str, home: Path, *, profile: str = "default", command: tuple[str, ...] = ("/opt/titan-desktop",),
    registry: FakeRegistry | None = None, environ: Mapping[str, str] | None = None,
) -> Autostart:  # fmt: skip
    return autostart_of(
        profile, command, {"HOME": str(home), **(environ or {})}, platform=platform, registry=registry or FakeRegistry()
    )


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_it_is_off_until_asked_and_off_again_afterwards(platform: str, tmp_path: Path) -> None:
    registry = FakeRegistry()
    entry = on(platform, tmp_path, registry=registry)
    assert not entry.is_enabled()
    assert list(tmp_path.iterdir()) == []
    entry.enable()
    assert entry.is_enabled()
    assert on(platform, tmp_path, registry=registry).is_enabled()  # nothing is remembered in the object
    entry.disable()
    assert not entry.is_enabled()
    entry.disable()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert registry.values == {}


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_two_profiles_have_two_entries(platform: str, tmp_path: Path) -> None:
    registry = FakeRegistry()
    on(platform, tmp_path, registry=registry).enable()
    assert not on(platform, tmp_path, registry=registry, profile="work").is_enabled()
    on(platform, tmp_path, registry=registry, profile="work").enable()
    on(platform, tmp_path, registry=registry).disable()
    assert on(platform, tmp_path, registry=registry, profile="work").is_enabled()


# Linux


def test_the_desktop_file_is_where_the_session_looks_and_starts_hidden(tmp_path: Path) -> None:
    on("linux", tmp_path, profile="my work").enable()
    (file,) = (tmp_path / ".config" / "autostart").iterdir()
    text = file.read_text(encoding="utf-8")
    assert text.startswith("[Desktop Entry]\nType=Application\n")
    assert 'Exec=/opt/titan-desktop --profile "my work" --hidden\n' in text


def test_the_config_folder_of_the_environment_is_used_when_it_is_absolute(tmp_path: Path) -> None:
    on("linux", tmp_path, environ={"XDG_CONFIG_HOME": str(tmp_path / "xdg")}).enable()
    assert (tmp_path / "xdg" / "autostart" / "titancompute.desktop").is_file()
    on("linux", tmp_path, environ={"XDG_CONFIG_HOME": "relative"}).enable()
    assert (tmp_path / ".config" / "autostart" / "titancompute.desktop").is_file()


@pytest.mark.parametrize("line", ["Hidden=true", "X-GNOME-Autostart-enabled=false", "Hidden = TRUE"])
def test_what_the_desktops_own_settings_switched_off_is_off(line: str, tmp_path: Path) -> None:
    entry = on("linux", tmp_path)
    entry.enable()
    file = tmp_path / ".config" / "autostart" / "titancompute.desktop"
    kept = [old for old in file.read_text().splitlines() if not old.startswith("X-GNOME")]
    file.write_text("\n".join([*kept, line]))
    assert not entry.is_enabled()
    entry.enable()
    assert entry.is_enabled()


def test_keys_of_other_groups_do_not_count(tmp_path: Path) -> None:
    entry = on("linux", tmp_path)
    entry.enable()
    file = tmp_path / ".config" / "autostart" / "titancompute.desktop"
    file.write_text(file.read_text() + "[Desktop Action x]\nHidden=true\n")
    assert entry.is_enabled()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[Desktop Entry]\nName=x\n"])
def test_a_file_that_starts_nothing_is_off(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / ".config" / "autostart" / "titancompute.desktop"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert not on("linux", tmp_path).is_enabled()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("a file in the folder's place")
    with pytest.raises(StorageError):
        on("linux", tmp_path).enable()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["/opt/titan-desktop", "--hidden"], "/opt/titan-desktop --hidden"),
        (["/my apps/titan"], '"/my apps/titan"'),
        (["/100%/titan"], "/100%%/titan"),
        (['/a"b'], r'"/a\\"b"'),
        (["/a$b`c"], r'"/a\\$b\\`c"'),
        (["/a\\b"], r'"/a\\\\b"'),
        ([""], '""'),
    ],
)
def test_the_exec_key_is_quoted_as_the_specification_wants(command: list[str], expected: str) -> None:
    assert desktop_exec(command) == expected


def read_exec(value: str) -> list[str]:
    """The specification's reading: first the string's escapes, then the quoting, then the field codes."""
    text = re.sub(r"\\(.)", r"\1", value)
    words: list[str] = []
    for match in re.finditer(r'"((?:\\.|[^"\\])*)"|([^ "]+)', text):
        word = re.sub(r"\\(.)", r"\1", match[1]) if match[2] is None else match[2]
        words.append(word.replace("%%", "%"))
    return words


printable = st.text(st.sampled_from("ab/ \\\"'$`%;<=é中"), max_size=12)


@given(st.lists(printable, min_size=1, max_size=4))
def test_every_exec_line_reads_back_as_it_was_meant(command: list[str]) -> None:
    assert read_exec(desktop_exec(command)) == command


def test_a_line_break_cannot_add_a_key() -> None:
    with pytest.raises(AgentError):
        desktop_exec(["/opt/titan\nX=1"])


# macOS


def test_the_launch_agent_runs_once_at_login(tmp_path: Path) -> None:
    on("darwin", tmp_path, command=("/Applications/TitanCompute.app/Contents/MacOS/TitanCompute",)).enable()
    (file,) = (tmp_path / "Library" / "LaunchAgents").iterdir()
    content = plistlib.loads(file.read_bytes())
    assert content["Label"] == file.stem
    assert content["ProgramArguments"] == ["/Applications/TitanCompute.app/Contents/MacOS/TitanCompute", "--hidden"]
    assert content["RunAtLoad"] is True
    assert "KeepAlive" not in content  # Quit means quit


@pytest.mark.parametrize("content", [b"", b"<plist>", plistlib.dumps({"Label": "x"}), plistlib.dumps([])])
def test_a_damaged_or_empty_property_list_is_off(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "Library" / "LaunchAgents" / "org.titancompute.agent.plist"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert not on("darwin", tmp_path).is_enabled()


# Windows


def test_the_task_managers_switch_counts_and_is_reset_by_ours(tmp_path: Path) -> None:
    registry = FakeRegistry()
    entry = on("win32", tmp_path, registry=registry)
    entry.enable()
    registry.values[APPROVED, "titancompute"] = TASK_MANAGER_OFF
    assert not entry.is_enabled()
    registry.values[APPROVED, "titancompute"] = TASK_MANAGER_ON
    assert entry.is_enabled()
    registry.values[APPROVED, "titancompute"] = TASK_MANAGER_OFF
    entry.enable()
    assert entry.is_enabled()


def test_the_run_value_holds_a_command_line(tmp_path: Path) -> None:
    registry = FakeRegistry()
    on("win32", tmp_path, registry=registry, command=(r"C:\Program Files\Titan\titan.exe",)).enable()
    assert registry.values[RUN, "titancompute"] == '"C:\\Program Files\\Titan\\titan.exe" --hidden'


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["a b\\"], '"a b\\\\"'),
        (['a"b c'], '"a\\"b c"'),
        (['a\\"b'], 'a\\\\\\"b'),
        ([r"c:\x\y"], r"c:\x\y"),
        ([""], '""'),
    ],
)
def test_windows_quoting(command: list[str], expected: str) -> None:
    assert windows_command_line(command) == expected


@given(st.lists(printable, min_size=1, max_size=4))
def test_windows_quoting_is_what_pythons_own_is(command: list[str]) -> None:
    from subprocess import list2cmdline

    assert windows_command_line(command) == list2cmdline(command)


# Which command


def test_the_installed_script_is_found_beside_the_one_that_runs(tmp_path: Path) -> None:
    script = tmp_path / "titan-desktop"
    script.touch()
    assert worker_launch.desktop_command([str(script)], {}) == [str(script)]
    assert shlex.split(desktop_exec([str(script)])) == [str(script)]


def test_a_packaged_app_is_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/usr/bin/titancompute")
    assert worker_launch.desktop_command(["/usr/bin/titancompute"], {}) == ["/usr/bin/titancompute"]


def test_an_appimage_is_started_by_its_file(tmp_path: Path) -> None:
    assert worker_launch.desktop_command(["/tmp/.mount_x/titan"], {"APPIMAGE": "/home/o/T.AppImage"}) == [
        "/home/o/T.AppImage"
    ]


def test_no_script_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python3"))
    with pytest.raises(AgentError) as caught:
        worker_launch.desktop_command([str(tmp_path / "x.py")], {})
    assert "desktop" in caught.value.hint
    assert os.fspath(tmp_path) in caught.value.detail
