"""Cut the data of ICU, which Qt brings whole (31 MB, 8 MB of the package), to what Qt's core asks for.

usage: trim_icu.py libicudata.so.NN    (the library is replaced; needs gcc and readelf)

Qt's core calls ICU for collation (file dialogs), time zones, the case of letters and old text encodings. Kept: the root
collation and English, time zones, the tables that others refer to. Gone: other languages' names of languages, regions,
units and currencies (Qt has its own), word breaking for Asian scripts, transliteration, encodings but Unicode's.
What isn't there ICU takes from its root, as for a language that it doesn't know.

Format: ICU's icu/source/common/ucmndata.h (a header, a table of names and offsets sorted by name, the items).
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

_KEPT = re.compile(
    r"(coll/(root|en|en_US|res_index|ucadata)|zone/(root|en|res_index)"
    r"|root|en|res_index|pool|cnvalias|icustd|icuver|currencyNumericCodes|dayPeriods|genderList|grammaticalFeatures"
    r"|keyTypeData|langInfo|likelySubtags|metaZones|metadata|nfc|nfkc|nfkc_cf|numberingSystems|plurals|pluralRanges"
    r"|supplementalData|timezoneTypes|uemoji|ulayout|unames|uprops|windowsZones|zoneinfo64)\.\w+"
)
_ALIGNMENT = 16  # bytes; ICU reads the items in place


def main() -> None:
    library = Path(sys.argv[1])
    before = library.stat().st_size
    trim(library)
    print(f"{library.name}: {before / 1e6:.1f} MB -> {library.stat().st_size / 1e6:.1f} MB")


def trim(library: Path) -> None:
    symbol, data = read_data(library)
    header, items = unpack(data)
    prefix = next(iter(items)).partition("/")[0]
    kept = {name: item for name, item in items.items() if _KEPT.fullmatch(name.removeprefix(f"{prefix}/"))}
    if not {f"{prefix}/{name}" for name in ("root.res", "coll/root.res", "coll/ucadata.icu", "zoneinfo64.res")} <= set(
        kept
    ):
        raise SystemExit(f"{library} doesn't hold what is to be kept: has ICU changed? It has {sorted(items)[:20]} ...")
    write_library(library, symbol, pack(header, kept))


def read_data(library: Path) -> tuple[str, bytes]:
    """The one symbol of the library, and the bytes behind it."""
    printed = subprocess.run(["readelf", "--dyn-syms", "--wide", library], check=True, capture_output=True, text=True)
    rows = [line.split() for line in printed.stdout.splitlines() if "OBJECT" in line]
    name, address, size = next((row[7], int(row[1], 16), int(row[2], 0)) for row in rows if row[7].startswith("icudt"))
    segments = subprocess.run(
        ["readelf", "--program-headers", "--wide", library], check=True, capture_output=True, text=True
    )
    for row in (line.split() for line in segments.stdout.splitlines() if line.split()[:1] == ["LOAD"]):
        offset, start, length = int(row[1], 16), int(row[2], 16), int(row[4], 16)
        if start <= address < start + length:
            place = offset + address - start
            return name, library.read_bytes()[place : place + size]
    raise SystemExit(f"{name} lies in no segment of {library}")


def unpack(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The header, and the items by name in their order."""
    (header_size,) = struct.unpack_from("<H", data)
    if data[2:4] != b"\xda\x27" or data[12:16] != b"CmnD":
        raise SystemExit("this is no ICU common data of the usual kind")
    header, body = data[:header_size], data[header_size:]
    (count,) = struct.unpack_from("<I", body)
    table = list(struct.iter_unpack("<II", body[4 : 4 + 8 * count]))
    ends = [place for _, place in table[1:]] + [len(body)]
    names = [body[place : body.index(b"\0", place)].decode("ascii") for place, _ in table]
    return header, {name: body[start:end] for name, (_, start), end in zip(names, table, ends, strict=True)}


def pack(header: bytes, items: dict[str, bytes]) -> bytes:
    names = b"".join(name.encode("ascii") + b"\0" for name in items)
    first_name = 4 + 8 * len(items)
    table, body, name_place = b"", bytearray(), first_name
    first_item = _aligned(len(header) + first_name + len(names)) - len(header)
    for name, item in items.items():
        table += struct.pack("<II", name_place, first_item + len(body))
        name_place += len(name) + 1
        body += item.ljust(_aligned(len(item)), b"\0")
    head = struct.pack("<I", len(items)) + table + names
    return header + head.ljust(first_item, b"\0") + body


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def write_library(library: Path, symbol: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, content = Path(folder, "data.S"), Path(folder, "data.bin")
        content.write_bytes(data)
        source.write_text(
            f".section .rodata\n.balign {_ALIGNMENT}\n.globl {symbol}\n.type {symbol}, %object\n"
            f'{symbol}:\n.incbin "{content}"\n'
            f'.size {symbol}, . - {symbol}\n.section .note.GNU-stack, "", %progbits\n',
            encoding="ascii",
        )
        library.unlink()  # not written in place: the file may have a second name
        subprocess.run(
            ["gcc", "-shared", "-nostdlib", f"-Wl,-soname,{library.name}", "-o", library, source], check=True
        )


if __name__ == "__main__":
    main()
