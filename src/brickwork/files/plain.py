"""The one reader of JSON and TOML texts: what a file says is bounded before it is believed.

A text is refused with a ``ValueError`` of one short line, which the caller puts into an error of its own; no other
exception leaves this module. Refused are texts that are too long, too deep or hold too many values, whole numbers of
more than 20 digits, keys that stand twice, halves of characters, and in JSON NaN and infinity.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, final

from brickwork.files.regular import open_regular

MAX_DEPTH = 64
"""Most lists and tables in each other."""
MAX_DIGITS = 20
"""Most digits of a whole number: 2^64 has as many."""
MAX_NUMBER = 400
"""Most characters of a number with a point or an exponent."""
MAX_SAID = 120
"""Most characters of a parser's own words in a message."""


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a text.

    Attributes:
        size: Most bytes or characters.
        values: Most commas, brackets, braces and equals signs, which together bound the number of values.
        finite: Refuse NaN and Infinity, which Python's writer puts into JSON.
    """

    size: int = 64 << 20
    values: int = 4_000_000
    finite: bool = True


SMALL = Limits(size=1 << 20, values=100_000)
"""Limits of recipes, single lines and other texts that people write."""
LARGE = Limits()
"""Limits of headers, manifests and facts of caches, which machines write."""


def read_small(path: Path, limits: Limits = SMALL) -> bytes:
    """Read a regular file whole.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is no regular file, or larger than the limits.
    """
    with open_regular(path) as file:
        _check_size(os.fstat(file.fileno()).st_size, limits)
        data = file.read(limits.size + 1)
    _check_size(len(data), limits)
    return data


def read_json(text: str | bytes, limits: Limits = LARGE) -> Any:
    """Parse JSON.

    Args:
        text: The text; bytes are UTF-8.
        limits: Its limits.

    Raises:
        ValueError: It is no JSON, or beyond the limits; in one short line.
    """
    text = _as_text(text, limits)
    try:
        constant = _refuse_constant if limits.finite else float
        value = json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=constant, object_pairs_hook=_table)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(_said(error)) from None
    _check_values(value)
    return value


def read_toml(text: str | bytes, limits: Limits = SMALL) -> dict[str, Any]:
    """Parse TOML; its infinities and NaN pass, as they are numbers of TOML.

    Raises:
        ValueError: It is no TOML, or beyond the limits; in one short line.
    """
    text = _as_text(text, limits)
    try:
        table = tomllib.loads(text, parse_float=_toml_real)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(_said(error)) from None
    except (ArithmeticError, TypeError, AttributeError, KeyError, IndexError):  # faults of its parser
        raise ValueError("it cannot be parsed") from None
    _check_values(table)
    return table


def json_text(value: Any, **how: Any) -> str:
    """Return JSON that :func:`read_json` reads; ``how`` goes to ``json.dumps``.

    Raises:
        ValueError: JSON cannot hold the value, or it could not be read again: NaN, infinity, half a character.
    """
    try:
        text = json.dumps(value, allow_nan=False, **how)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    read_json(text)
    return text


# ---- the text ---------------------------------------------------------------------------------------------------


_TOO_DEEP = f"more than {MAX_DEPTH} lists and tables in each other"
_TOO_LONG = f"a whole number of more than {MAX_DIGITS} digits"


def _as_text(text: str | bytes, limits: Limits) -> str:
    """Return the text, of a size and a number of values within the limits."""
    _check_size(len(text), limits)
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"byte {error.start} is no UTF-8") from None
    if (marks := sum(map(text.count, ",[{="))) > limits.values:
        raise ValueError(f"some {marks:,} values, and at most {limits.values:,} are read")
    return text


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.size:
        raise ValueError(f"{size:,} bytes, and at most {limits.size:,} are read")


def _said(error: ValueError) -> str:
    """Return the words of a parser, printable and short."""
    if "integer string conversion" in str(error):  # Python's own limit, in words for programmers
        return _TOO_LONG
    said = "".join(c if c.isprintable() else "?" for c in str(error))
    return said if len(said) <= MAX_SAID else f"{said[: MAX_SAID - 3]}..."


# ---- values -----------------------------------------------------------------------------------------------------


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits, and at most {MAX_DIGITS} are read")
    return int(text)


def _real(text: str) -> float:
    if len(text) > MAX_NUMBER:
        raise ValueError(f"a number of {len(text)} characters, and at most {MAX_NUMBER} are read")
    if not isfinite(value := float(text)):
        raise ValueError(f"{text} is too large for a number")
    return value


def _toml_real(text: str) -> float:
    return float(text) if text.lstrip("+-") in ("inf", "nan") else _real(text)


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice[:40]!r} stands twice")
    return table


def _check_values(value: Any) -> None:
    """Refuse values too deep, whole numbers too long, and halves of characters, level by level."""
    level = [value]
    for _ in range(MAX_DEPTH + 2):
        for part in level:
            _check_single(part)
        level = [inner for part in level if isinstance(part, dict | list) for inner in _inside(part)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _inside(part: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return (*part, *part.values()) if isinstance(part, dict) else part


def _check_single(part: Any) -> None:
    if type(part) is int and abs(part) >= 10**MAX_DIGITS:
        raise ValueError(_TOO_LONG)
    if type(part) is str and not part.isascii():
        try:
            part.encode()
        except UnicodeEncodeError:
            raise ValueError("a text with half a character (a lone surrogate)") from None
