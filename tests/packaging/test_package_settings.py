"""What the packages are made from: every file that a setting names is there, and what is said twice is said alike."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
import uuid
from importlib.metadata import PathDistribution, distributions
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml  # type: ignore[import-untyped]

from core import __version__
from core.config import DECLARATIONS
from core.desktop_entry import ICON_SIZES_PX, NAME
from titan_gui.application import DESKTOP_FILE_NAME

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
APP = PYPROJECT["tool"]["briefcase"]["app"]["titan-desktop"]
LINUX = ROOT / "packaging" / "linux"
DOCKER = ROOT / "packaging" / "docker"
LIB_SH = (ROOT / "scripts" / "lib.sh").read_text(encoding="utf-8")


def script(name: str) -> ModuleType:
    """A module of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def words(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# [tool.briefcase]


def test_every_file_that_the_package_settings_name_is_there() -> None:
    for source in (*APP["sources"], APP["man_page"], *PYPROJECT["project"]["license-files"]):
        assert (ROOT / source).exists(), source
    for suffix in (".ico", ".icns", ".svg"):  # briefcase adds the ending that a system wants
        assert (ROOT / APP["icon"]).with_suffix(suffix).is_file()
    assert (LINUX / "template" / "cookiecutter.json").is_file()


def test_the_package_takes_along_every_folder_that_the_program_is_made_of() -> None:
    wheel = {name.partition(".")[0] for name in PYPROJECT["tool"]["setuptools"]["packages"]}
    assert {Path(source).name for source in APP["sources"]} == wheel | {"titan_desktop"}


def test_the_package_installs_all_extras_and_only_what_is_locked() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = {re.split(r"[=<>;\s]", name)[0] for name in (*extras["embedded"], *extras["desktop"])}
    assert set(APP["requires"]) == wanted
    arguments = APP["requirement_installer_args"]
    assert "--require-hashes" in arguments
    assert (ROOT / arguments[arguments.index("--constraint") + 1]).is_file()


def test_the_package_asks_for_every_library_that_the_scripts_know() -> None:
    asked = set(APP["linux"]["system"]["debian"]["system_runtime_requires"])
    known = set(re.findall(r"\.so\.[\d.]+:([a-z0-9.+-]+)", LIB_SH))
    assert len(known) > 10
    assert known - asked == set()


def test_windows_is_told_apart_by_a_fixed_guid_and_our_version() -> None:
    assert uuid.UUID(APP["windows"]["guid"]).version == 5
    assert APP["windows"]["version_triple"] == re.match(r"\d+\.\d+\.\d+", __version__)[0]  # type: ignore[index]


def test_macos_asks_for_what_its_wheels_ask_for() -> None:
    assert APP["macOS"]["min_os_version"] == "14.0"
    assert APP["macOS"]["universal_build"] is False


def test_the_locks_of_the_tools_name_no_host_of_ours() -> None:
    text = words(ROOT / "requirements" / "package.txt")
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|file:|--index-url|--find-links", text)
    for line in words(ROOT / "requirements" / "package.in").splitlines():
        assert line.startswith("#") or f"{line} " in text.replace("\n", " "), line


# Linux


def test_the_menu_entry_has_the_name_by_which_the_window_is_found() -> None:
    assert NAME == DESKTOP_FILE_NAME
    entry = words(LINUX / f"{DESKTOP_FILE_NAME}.desktop")
    assert entry.startswith("[Desktop Entry]\nType=Application\n")
    assert f"\nIcon={DESKTOP_FILE_NAME}\n" in entry
    assert "\nExec=/usr/bin/titan-desktop\n" in entry
    metainfo = ElementTree.parse(LINUX / "titancompute.metainfo.xml")
    assert metainfo.findtext("launchable") == f"{DESKTOP_FILE_NAME}.desktop"
    for size in ICON_SIZES_PX:
        assert (ROOT / "assets" / "icons" / "png" / f"{NAME}-{size}.png").is_file()


def test_the_service_starts_what_the_package_brings_and_names_only_real_options() -> None:
    unit = words(LINUX / "titancompute.service")
    (command,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    program, verb, *options = command.split()
    assert (program, verb) == ("/usr/bin/titan", "run")
    names = {declaration.option for declaration in DECLARATIONS.values()}
    assert {option for option in options if option.startswith("--")} <= names


@pytest.mark.parametrize(
    ("program", "argv", "expected", "left"),
    [
        ("/usr/bin/titan", ["x", "status"], True, ["x", "status"]),
        ("titan", ["x"], True, ["x"]),
        ("/usr/bin/titan-desktop", ["x", "--hidden"], False, ["x", "--hidden"]),
        ("/usr/bin/titan-desktop", ["x", "--engine-worker"], False, ["x", "--engine-worker"]),
        ("/Applications/TitanCompute.app/Contents/MacOS/TitanCompute", ["x", "--cli", "demo"], True, ["x", "demo"]),
    ],
)
def test_the_packaged_program_knows_its_two_names(
    program: str, argv: list[str], expected: bool, left: list[str]
) -> None:
    spec = importlib.util.spec_from_file_location(
        "packaged_entry", ROOT / "packaging" / "entry" / "titan_desktop" / "__main__.py"
    )
    assert spec is not None
    assert spec.loader is not None
    entry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entry)
    assert entry.wants_command_line(program, argv) is expected
    assert argv == left


# Container


def test_the_image_runs_as_a_user_and_checks_its_health() -> None:
    steps = list(script("dockerfile_steps").instructions(words(DOCKER / "Dockerfile")))
    stage = steps[max(number for number, (name, _) in enumerate(steps) if name == "FROM") :]
    said = dict(stage)
    assert said["USER"] not in ("root", "0")
    assert json.loads(said["HEALTHCHECK"].partition("CMD ")[2]) == ["titan", "health"]
    assert json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"]) == ["titan", "run"]
    assert f"EXPOSE {DECLARATIONS['agent_port'].default}" == f"EXPOSE {said['EXPOSE']}"


def test_the_image_copies_only_what_its_ignore_file_lets_through() -> None:
    steps = script("dockerfile_steps").instructions(words(DOCKER / "Dockerfile"))
    copied = {
        part for name, rest in steps if name == "COPY" and not rest.startswith("--from") for part in rest.split()[:-1]
    }
    let_through = {line[1:] for line in words(DOCKER / "Dockerfile.dockerignore").splitlines() if line.startswith("!")}
    assert copied == let_through
    assert all((ROOT / part).exists() for part in copied)


def test_compose_names_only_settings_that_exist_and_all_of_the_first_agents() -> None:
    compose: dict[str, Any] = yaml.safe_load(words(DOCKER / "compose.yaml"))
    agent = compose["services"]["agent"]
    known = {name for declaration in DECLARATIONS.values() for name in declaration.environment_names}
    assert set(agent["environment"]) <= known
    seeds = {name for name in known if not name.startswith("TITAN_")}
    assert seeds <= set(agent["environment"])
    assert (DOCKER / agent["build"]["context"] / agent["build"]["dockerfile"]).is_file()
    assert set(compose["volumes"]) == {"agent", "ollama"}


# Workflows


@pytest.mark.parametrize("name", ["checks", "packages"])
def test_the_workflows_run_files_that_are_there(name: str) -> None:
    workflow = yaml.safe_load(words(ROOT / ".github" / "workflows" / f"{name}.yml"))
    commands = " ".join(step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"])
    named = re.findall(r"(?:scripts|packaging|requirements|\.ci)/[\w./-]+", commands)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


# Licences and parts


@pytest.mark.parametrize("name", ["LGPL-3.0.txt", "GPL-3.0.txt", "qt-notice.txt", "bundled-notice.txt"])
def test_qts_licence_is_there_to_be_shipped(name: str) -> None:
    assert len(words(ROOT / "packaging" / "licences" / name)) > 500


# ICU


def test_icu_data_are_cut_to_what_is_kept_and_stay_readable() -> None:
    icu = script("trim_icu")
    header = bytearray(64)
    header[0:4], header[12:16] = b"\x40\x00\xda\x27", b"CmnD"
    items = {f"icudt73l/{name}": name.encode() * 7 for name in ("coll/root.res", "coll/zh.res", "root.res", "zz.cnv")}

    packed = icu.pack(bytes(header), items)
    found_header, found = icu.unpack(packed)

    assert found_header == header
    assert list(found) == list(items)
    assert all(found[name].rstrip(b"\0") == item for name, item in items.items())
    (count,) = (int.from_bytes(packed[64:68], "little"),)
    places = [int.from_bytes(packed[68 + 8 * n + 4 : 72 + 8 * n + 4], "little") for n in range(count)]
    assert all((len(header) + place) % 16 == 0 for place in places)


def test_part_without_a_licence_text_stops_the_build(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx", reason="in scripts/package's own environment")
    notices = script("package_notices")
    folder = tmp_path / "strange-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (folder / "RECORD").write_text("strange-1.0.dist-info/METADATA,,\n")
    with pytest.raises(SystemExit, match=r"strange 1\.0 brings no licence text"):
        notices.notices([PathDistribution(folder)])


def test_nothing_that_we_depend_on_brings_a_package_of_our_names() -> None:
    """Our top-level names are common ones: packaging/README.md says why they stay."""
    ours = {name.partition(".")[0] for name in PYPROJECT["tool"]["setuptools"]["packages"]}
    others = [part for part in distributions() if part.name != "titancompute-agent"]
    assert len(others) > 30
    clashes = [
        f"{part.name}: {file}"
        for part in others
        for file in part.files or []
        if len(file.parts) > 1 and file.parts[0] in ours
    ]
    assert clashes == []


def test_check_of_the_package_brings_every_file_of_the_tests_that_it_uses() -> None:
    """On the machine with the package there is no tree: a fake that began to use another one broke it there only."""
    brought = set(re.findall(r"tests/\w+/\w+\.py", words(LINUX / "check-deb")))
    assert "tests/packaging/installed_app.py" in brought
    wanted = {
        f"{module.replace('.', '/')}.py"
        for path in brought
        for module in re.findall(r"^from (tests[.\w]+) import", words(ROOT / path), re.MULTILINE)
    }
    assert wanted <= brought
