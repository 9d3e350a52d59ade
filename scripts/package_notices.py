"""What a package holds of other people's work: their licences in one text, and the list of parts as CycloneDX.

usage: package_notices.py PACKAGES FOLDER    PACKAGES: the folder that pip installed into; FOLDER: where the files go

Everything comes from the metadata of what was really installed, never from a list of ours.
"""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
LICENCES = ROOT / "packaging" / "licences"
QT_PARTS = ("PySide6_Essentials", "shiboken6")  # their licence: packaging/licences
# Parts whose wheel brings no licence text, and what is known instead.
WITHOUT_TEXT = {
    "nvidia-ml-py": "BSD, says its metadata; the text stands at the head of pynvml.py itself",
    **dict.fromkeys(QT_PARTS, "LGPL-3.0-only: qt-notice.txt and LGPL-3.0.txt beside this file"),
}
_TEXT_NAME = re.compile(r"(^|/)(licen[cs]e|copying|notice|authors)[^/]*$", re.IGNORECASE)
_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?(.+)")


def main() -> None:
    write_notices(Path(sys.argv[1]), Path(sys.argv[2]))


def write_notices(packages: Path, folder: Path) -> None:
    """Write THIRD-PARTY-NOTICES.txt, sbom.cdx.json and Qt's licence into `folder`.

    SystemExit when a part has no licence text and WITHOUT_TEXT doesn't say why.
    """
    parts = sorted(distributions(path=[str(packages)]), key=lambda part: part.name.lower())
    if not parts:
        raise SystemExit(f"nothing is installed in {packages}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "THIRD-PARTY-NOTICES.txt").write_text(notices(parts), encoding="utf-8")
    (folder / "sbom.cdx.json").write_text(sbom(parts), encoding="utf-8")
    for name in ("LGPL-3.0.txt", "GPL-3.0.txt"):
        shutil.copyfile(LICENCES / name, folder / name)
    versions = "\n".join(f"{part.name} {part.version}" for part in parts if part.name in QT_PARTS)
    notice = (LICENCES / "qt-notice.txt").read_text(encoding="utf-8")
    (folder / "qt-notice.txt").write_text(f"{notice}\n{versions}\n", encoding="utf-8")


def notices(parts: list[Distribution]) -> str:
    head = "This program holds the work of others, under the licences below.\n"
    bundled = (LICENCES / "bundled-notice.txt").read_text(encoding="utf-8")
    return "\n".join([head, bundled, *(notice_of(part) for part in parts)])


def notice_of(part: Distribution) -> str:
    texts = licence_texts(part)
    if not texts and part.name not in WITHOUT_TEXT:
        raise SystemExit(f"{part.name} {part.version} brings no licence text: look for it, and say so in WITHOUT_TEXT")
    title = f"{part.name} {part.version} ({licence_of(part) or 'see below'})"
    body = texts or [WITHOUT_TEXT[part.name]]
    return "\n".join([title, "=" * len(title), *body, ""])


def licence_texts(part: Distribution) -> list[str]:
    """The files of its metadata folder that are licences; else those beside its modules (old wheels)."""
    files = [file for file in part.files or [] if _TEXT_NAME.search(file.as_posix()) and ".dist-info/" in str(file)]
    return [Path(str(file.locate())).read_text(encoding="utf-8", errors="replace").strip() for file in sorted(files)]


def licence_of(part: Distribution) -> str:
    """Its licence in short: an SPDX expression where it has one, else its own words; "" where it says nothing."""
    for field in ("License-Expression", "License"):
        said = part.metadata[field].strip() if field in part.metadata else ""
        if said and "\n" not in said and len(said) <= 120:
            return said
    named = [match[1] for line in part.metadata.get_all("Classifier") or [] if (match := _CLASSIFIER.fullmatch(line))]
    return ", ".join(named)


def sbom(parts: list[Distribution]) -> str:
    """CycloneDX 1.6 as JSON: the app, and each installed part with its version, licence and purl."""
    bom = Bom()
    bom.metadata.component = app = Component(
        name="titancompute-agent",
        version=our_version(),
        type=ComponentType.APPLICATION,
        bom_ref="titancompute-agent",
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    components = [component_of(part) for part in parts]
    for component in components:
        bom.components.add(component)
    bom.register_dependency(app, components)
    printed: str = JsonV1Dot6(bom).output_as_string(indent=1)
    return printed + "\n"


def component_of(part: Distribution) -> Component:
    licence = licence_of(part)
    acknowledged = LicenseAcknowledgement.DECLARED
    return Component(
        name=part.name,
        version=part.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{part.name}=={part.version}",
        purl=PackageURL(type="pypi", name=part.name.lower().replace("_", "-"), version=part.version),
        licenses=[LicenseFactory().make_from_string(licence, license_acknowledgement=acknowledged)] if licence else [],
    )


def our_version() -> str:
    source = (ROOT / "core" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    if found is None:
        raise SystemExit("core/__init__.py has no __version__")
    return found[1]


if __name__ == "__main__":
    main()
