"""Changes of one file of an input: its bytes, a value inside it, or the file as a whole; a number repeats each."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import tomllib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import tomli_w
from mutate import NASTY, Mutation, mutate_bytes, mutate_header, mutate_json

from campaign.subject import Level

REFUSED = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
PNG = b"\x89PNG\r\n\x1a\n"


@final
@dataclass(frozen=True)
class Change:
    """A change of one file; its number and the same input make it again."""

    number: int
    file: str
    level: Level
    what: str
    data: bytes | None = None
    """The file's new bytes; None for a change of the file as a whole."""

    def apply(self, place: Path) -> None:
        """Change the file in a copy of the input."""
        path = place / self.file
        if self.data is not None:
            path.write_bytes(self.data)
        else:
            WHOLE[self.what](path)


def changed(number: int, place: Path, pattern: str, headers: Mapping[str, str]) -> Change:
    """Draw a file and a change of it.

    Args:
        number: Seed of the draw.
        place: Folder of the valid input.
        pattern: Pattern of the files that may be changed.
        headers: Key of the JSON text in a safetensors file's metadata, by the file's name.
    """
    rng = random.Random(number)
    found = [p for p in place.glob(pattern) if p.is_file() and p.stat().st_size]
    file = rng.choice(sorted(p.relative_to(place).as_posix() for p in found))
    if rng.random() < 0.04:
        return Change(number, file, "file", rng.choice(list(WHOLE)))
    data = (place / file).read_bytes()
    if rng.random() < 0.5 and (inside := _inside(file, headers)):
        try:
            made = inside(data, rng.getrandbits(48))
        except (zipfile.BadZipFile, *REFUSED):  # a value that the format cannot hold
            made = mutate_bytes(data, number)
            return Change(number, file, "bytes", made.what, made.data)
        return Change(number, file, "meaning", made.what, made.data)
    made = mutate_bytes(data, number)
    return Change(number, file, "bytes", made.what, made.data)


def _inside(file: str, headers: Mapping[str, str]) -> Callable[[bytes, int], Mutation] | None:
    """Return the function that changes values inside a file of this name, so that its own sums agree."""
    name = file.rpartition("/")[2]
    if name in headers:
        return lambda data, seed: mutate_header(data, headers[name], seed) if seed % 4 else _safetensors(data, seed)
    suffix = name.rpartition(".")[2].lower()
    return INSIDE.get(suffix)


def _safetensors(data: bytes, seed: int) -> Mutation:
    """Change names, types, shapes and places in the header of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    made = mutate_json(json.loads(data[8 : 8 + length]), seed)
    return Mutation(seed, made.what, len(made.data).to_bytes(8, "little") + made.data + data[8 + length :])


def _json(data: bytes, seed: int) -> Mutation:
    return mutate_json(json.loads(data), seed)


def _lines(data: bytes, seed: int) -> Mutation:
    """Change a value in one of several lines of JSON, or swap, double and drop lines."""
    rng, lines = random.Random(seed), data.splitlines()
    at = rng.randrange(len(lines))
    match rng.choice(("value", "value", "value", "swap", "double", "drop")):
        case "value":
            made = mutate_json(json.loads(lines[at]), seed)
            lines[at], what = made.data, made.what
        case "swap":
            other = rng.randrange(len(lines))
            lines[at], lines[other], what = lines[other], lines[at], "swapped lines"
        case "double":
            lines[at:at], what = [lines[at]] * rng.choice((1, 1000)), "line again"
        case _:
            del lines[at]
            what = "line gone"
    return Mutation(seed, f"{what} in line {at + 1}", b"\n".join(lines) + b"\n")


def _toml(data: bytes, seed: int) -> Mutation:
    """Put a nasty value in the place of one value."""
    rng, table = random.Random(seed), tomllib.loads(data.decode())
    tables = [table, *(value for value in table.values() if isinstance(value, dict))]
    holder = rng.choice([t for t in tables if t])
    key = rng.choice(list(holder))
    holder[key] = rng.choice([v for v in NASTY if v is not None])
    return Mutation(seed, f"nasty of {key}", tomli_w.dumps(table).encode("utf-8", "surrogatepass"))


def _zip(data: bytes, seed: int) -> Mutation:
    """Change the content or the name of a member and write the archive anew, with right sums."""
    rng, out = random.Random(seed), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = [(info.filename, old.read(info), info.compress_type) for info in old.infolist()]
    at = rng.randrange(len(members))
    name, content, packing = members[at]
    kind = rng.choice(("content", "content", "content", "name", "double", "drop", "packing"))
    names = (
        "",
        "/x",
        "../x",
        "a\\b.png",
        "\ud83dx".encode("utf-8", "replace").decode(),
        name + "/",
        "x" * 3000,
        "ä.png",
    )
    match kind:
        case "content":
            inner = _inside(name, {}) or mutate_bytes
            made = inner(content, seed) if seed % 2 else mutate_bytes(content, seed)
            members[at] = (name, made.data, packing)
        case "name":
            members[at] = (rng.choice(names), content, packing)
        case "double":
            members.insert(at, (name, rng.choice((content, b"")), packing))
        case "drop":
            del members[at]
        case _:
            members[at] = (name, content, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))
    with zipfile.ZipFile(out, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for member, content, packing in members:
            info = zipfile.ZipInfo(member or "x")
            info.filename, info.compress_type = member, packing
            new.writestr(info, content)
    return Mutation(seed, f"{kind} of {name}", out.getvalue())


def _gzip(data: bytes, seed: int) -> Mutation:
    made = mutate_bytes(gzip.decompress(data), seed)
    return Mutation(seed, f"inside: {made.what}", gzip.compress(made.data, mtime=0))


def _png(data: bytes, seed: int) -> Mutation:
    """Change the content or the kind of a chunk, double, drop or swap chunks; the sums of all chunks agree."""
    rng, chunks, at = random.Random(seed), [], len(PNG)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    match what := rng.choice(("content", "content", "kind", "double", "drop", "swap", "unpacked")):
        case "unpacked" if kind == b"IDAT":
            chunks[at] = (kind, zlib.compress(mutate_bytes(zlib.decompress(content), seed).data))
        case "kind":
            chunks[at] = (
                rng.choice((b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"IEND")),
                content,
            )
        case "double":
            chunks[at:at] = [chunks[at]] * rng.choice((1, 50))
        case "drop":
            del chunks[at]
        case "swap":
            other = rng.randrange(len(chunks))
            chunks[at], chunks[other] = chunks[other], chunks[at]
        case _:
            chunks[at] = (kind, mutate_bytes(content, seed).data)
    out = PNG + b"".join(len(c).to_bytes(4, "big") + k + c + zlib.crc32(k + c).to_bytes(4, "big") for k, c in chunks)
    return Mutation(seed, f"{what} of {kind.decode('latin-1')}", out)


INSIDE: dict[str, Callable[[bytes, int], Mutation]] = {
    "json": _json,
    "jsonl": _lines,
    "toml": _toml,
    **dict.fromkeys(("zip", "npz", "pt", "pth"), _zip),
    "gz": _gzip,
    "png": _png,
    "safetensors": _safetensors,
}
"""Changes of values inside a file, by its suffix."""


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _link(path: Path) -> None:
    """Put a link to the same bytes in its place."""
    aside = path.parent.parent / f"{path.name}.aside"
    path.rename(aside)
    path.symlink_to(aside)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _sparse(path: Path) -> None:
    """Stretch it by a hole of 20 GB."""
    os.truncate(path, 20 << 30)


def _neighbour(path: Path) -> None:
    """Put another file of the same folder in its place."""
    others = sorted(p for p in path.parent.iterdir() if p.is_file() and p != path)
    if others:
        shutil.copyfile(others[0], path)


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


WHOLE: dict[str, Callable[[Path], Any]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "folder": _folder,
    "loop": _loop,
    "link": _link,
    "pipe": _pipe,
    "sparse": _sparse,
    "neighbour": _neighbour,
    "device": _device,
}
"""Changes of a file as a whole, by their words."""
