"""Run a Dockerfile's steps in a folder with a system in it, where there is no Docker engine.

usage: dockerfile_steps.py DOCKERFILE SYSTEM    (as root, in the folder that is the build's context)

All stages share the one system: COPY --from= finds its files where they already are, and a stage's WORKDIR is removed
at its end, so that nothing of it is needed later. Leaves SYSTEM/.image: user, entry, command, health check and
environment as bash arrays.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Image:
    """What the last stage says about running it."""

    user: str = "0"
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    )
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Name and rest of each instruction, continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def main() -> None:
    dockerfile, system = Path(sys.argv[1]), Path(sys.argv[2])
    image, folder = Image(), "/"
    for name, rest in instructions(dockerfile.read_text(encoding="utf-8")):
        print(f"{name} {rest}"[:110], file=sys.stderr)
        match name:
            case "FROM":
                if folder != "/":
                    shutil.rmtree(system / folder.lstrip("/"))
                image, folder = Image(), "/"
            case "WORKDIR":
                folder = rest
                (system / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "ENV":
                for pair in shlex.split(rest):
                    key, _, value = pair.partition("=")
                    image.environment[key] = value.replace("$PATH", image.environment["PATH"])
            case "COPY":
                copy(rest.split(), system, folder)
            case "RUN":
                chroot = ["chroot", str(system), "/bin/sh", "-c", f"cd {shlex.quote(folder)} && {rest}"]
                subprocess.run(chroot, check=True, env=from_outside() | image.environment, stdin=subprocess.DEVNULL)
            case "USER":
                image.user = rest
            case "ENTRYPOINT":
                image.entry = json.loads(rest)
            case "CMD":
                image.command = json.loads(rest)
            case "HEALTHCHECK":
                image.health = json.loads(rest.partition("CMD ")[2])
            case "ARG" | "VOLUME" | "EXPOSE" | "STOPSIGNAL":
                pass  # nothing to do in a plain folder
            case _:
                raise SystemExit(f"{dockerfile}: {name} is not known here")
    write_image(image, system)


def from_outside() -> dict[str, str]:
    """How this machine reaches the package index, as a builder's own settings would say it."""
    names = ("PIP_CERT", "PIP_INDEX_URL", "http_proxy", "https_proxy", "no_proxy")
    return {name: os.environ[name] for name in names if name in os.environ}


def copy(arguments: list[str], system: Path, folder: str) -> None:
    if arguments[0].startswith("--from="):
        if not (system / arguments[-1].lstrip("/")).exists():
            raise SystemExit(f"COPY {' '.join(arguments)}: the earlier stage made no such thing")
        return
    *sources, target = arguments
    place = system / os.path.join(folder, target).lstrip("/")  # noqa: PTH118 - an absolute target replaces the folder
    for source in map(Path, sources):
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            into_folder = target.endswith("/")
            (place if into_folder else place.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place / source.name if into_folder else place)


def write_image(image: Image, system: Path) -> None:
    pairs = [f"{name}={value}" for name, value in image.environment.items()]
    lists = {"entry": image.entry, "command": image.command, "health": image.health, "environment": pairs}
    lines = [f"image_{name}=({' '.join(map(shlex.quote, values))})" for name, values in lists.items()]
    text = "\n".join([f"image_user={shlex.quote(image.user)}", *lines, ""])
    (system / ".image").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
