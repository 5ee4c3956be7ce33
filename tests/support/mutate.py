"""Mutations of files for readers: seeds that repeat, flipped bytes, and any JSON value replaced by a nasty one.

A reader is right if it returns a value that a check accepts, or raises a BrickworkError of one short line, in time.
"""

from __future__ import annotations

import copy
import json
import random
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from brickwork.errors import BrickworkError

LONGEST_LINE = 2000
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 255, 4097, 10**6, 2**31, 2**53, 2**63, -(2**63), 2**64, 10**19),
    *(0.0, -0.0, 0.5, 1e-308, 5e-324, 1e38, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "0", "1", "nan", "x", "../x", "/etc/passwd", "a\0b", "\x1b[31m", "\ud83d", "é", "e\u0301", "x" * 5000),
    *([], [[]], [None], [0], [1, 2], [-1], ["x"], list(range(1000)), {}, {"": 0}, {"x": 1}, {"name": "x"}),
)
"""Values that stand where others were expected."""
TEXTS: tuple[bytes, ...] = (
    *(b"9" * 500, b"-" + b"9" * 500, b"1e999", b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"0" + b"}" * 900),
    *(b"NaN", b"-Infinity", b'"\\ud83d"', b'"\xff"', b"", b"nul", b'{"a":1,"a":2}', b"0x10", b"1_000", b"'x'"),
)
"""Texts that no writer of JSON makes, in the place of a value."""
_PLACE = "@@place@@"


@dataclass(frozen=True)
class Mutation:
    """A changed file; ``seed`` and the same input make it again.

    Attributes:
        seed: Number of the mutation.
        what: Words for what was done.
        data: The file.
    """

    seed: int
    what: str
    data: bytes


def mutate_bytes(data: bytes, seed: int) -> Mutation:
    """Change a few bytes: flip, cut, insert, repeat, swap a number in the text, or overwrite by extremes."""
    rng = random.Random(seed)
    kind = rng.choice(("flip", "flip", "bytes", "cut", "insert", "drop", "repeat", "number", "extremes"))
    some, at = bytearray(data), rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 8, 64)))
    match kind:
        case "flip":
            for _ in range(rng.choice((1, 1, 1, 2, 8))):
                some[rng.randrange(len(some))] ^= 1 << rng.randrange(8) if some else 0
        case "bytes":
            some[at:end] = rng.randbytes(end - at)
        case "cut":
            del some[at:]
        case "insert":
            some[at:at] = rng.choice((rng.randbytes(8), b"\0" * 64, *TEXTS))
        case "drop":
            del some[at:end]
        case "repeat":
            some[at:at] = data[at:end] * rng.choice((1, 3, 1000))
        case "number":
            if found := list(re.finditer(rb"\d+", data)):
                number = rng.choice(found)
                text = str(rng.choice((0, 1, -1, 255, 65537, 2**31, 2**63, 10**30))).encode()
                some[number.start() : number.end()] = rng.choice((text, b"9" * 500))
        case "extremes":
            some[at:end] = rng.choice((b"\xff", b"\0", b"\x7f")) * (end - at)
    return Mutation(seed, f"{kind} at {at}", bytes(some))


def mutate_json(value: Any, seed: int) -> Mutation:
    """Replace, drop, double or rename one value anywhere in a JSON value; return the text in UTF-8."""
    rng = random.Random(seed)
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return Mutation(seed, "all", rng.choice(TEXTS))
    holder, key = rng.choice(places)
    kind = rng.choice(("nasty", "nasty", "nasty", "text", "drop", "rename", "double", "swap"))
    what = f"{kind} of {key!r}"
    match kind:
        case "nasty":
            holder[key] = rng.choice(NASTY)
        case "text":
            holder[key] = _PLACE
        case "drop":
            del holder[key]
        case "rename" if isinstance(holder, dict):
            holder[rng.choice(("x", "", f"{key}s", "\ud83d", "__class__"))] = holder.pop(key)
        case "double" if isinstance(holder, list):
            holder[key:key] = [holder[key]] * rng.choice((1, 1000))
        case _:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place])
    text = json.dumps(value).encode()
    return Mutation(seed, what, text.replace(json.dumps(_PLACE).encode(), rng.choice(TEXTS)))


def mutate_header(data: bytes, key: str, seed: int) -> Mutation:
    """Mutate the JSON text under a key of a safetensors file's metadata; the file stays a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    made = mutate_json(json.loads(header["__metadata__"][key]), seed)
    header["__metadata__"][key] = made.data.decode("utf-8", "replace")
    text = json.dumps(header).encode()
    return Mutation(seed, made.what, len(text).to_bytes(8, "little") + text + data[8 + length :])


def judge(read: Callable[[], Any], accept: Callable[[Any], bool] = lambda _: True, *, seconds: float = 10.0) -> str:
    """Return what is wrong with a reader's outcome: an exception, a long line, a wrong value, a late one; else ""."""
    start = time.perf_counter()
    try:
        value = read()
        wrong = "" if accept(value) else f"returned {value!r:.200}"
    except BrickworkError as error:
        line = str(error)
        wrong = "" if line and "\n" not in line and len(line) <= LONGEST_LINE else f"said {line!r:.200}"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        place = " < ".join(f"{f.filename.rpartition('/')[2]}:{f.lineno}" for f in reversed(frames))
        wrong = f"{type(error).__name__}: {str(error)[:120]} ({place})"
    took = time.perf_counter() - start
    return wrong or (f"took {took:.1f} s" if took > seconds else "")


def campaign(
    mutations: Iterator[Mutation], read: Callable[[bytes], Any], accept: Callable[[Any], bool] = lambda _: True
) -> list[str]:
    """Read every mutation, and return one line for each wrong outcome, with the seed that makes it again."""
    lines: list[str] = []
    for mutation in mutations:
        if wrong := judge(lambda data=mutation.data: read(data), accept):
            lines.append(f"seed {mutation.seed}, {mutation.what}: {wrong}")
    return lines


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])
