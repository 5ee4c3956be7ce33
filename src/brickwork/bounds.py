"""Choices and bounds of a config's fields, said once, on the field: ``Annotated[int, at_least(1)]``, ``Literal[1, 2]``.

A frozen config calls :func:`check_fields` when it is made; so the same rule holds for Python, files and words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from sys import float_info
from types import UnionType
from typing import Annotated, Any, Literal, Union, final, get_args, get_origin, get_type_hints

from brickwork.errors import BrickworkError, ConfigError, short


@final
@dataclass(frozen=True)
class Bound:
    """A rule for a value.

    Attributes:
        rule: The rule as a person reads it behind "must be".
        holds: Whether a value keeps it.
        whole: It says all about a value, so that the rule of its type is not asked.
    """

    rule: str
    holds: Callable[[Any], bool]
    whole: bool = False


def at_least(least: float) -> Bound:
    """Return the bound of numbers from ``least`` on; NaN is none of them."""
    return Bound(f"at least {least}", lambda value: value >= least)


def above(low: float, below: float | None = None) -> Bound:
    """Return the bound of finite numbers above ``low``, and below another one if it is given; neither is included."""
    high = float("inf") if below is None else below
    rule = f"above {low}" if below is None else f"above {low} and below {below}"
    return Bound(rule, lambda value: low < value < high)


def between(low: float, high: float) -> Bound:
    """Return the bound of numbers from ``low`` to ``high``, both included."""
    return Bound(f"from {low} to {high}", lambda value: low <= value <= high)


def up_to(low: float, below: float) -> Bound:
    """Return the bound of numbers from ``low``, included, up to ``below``, not included."""
    power = int(below).bit_length() - 1
    end = f"2^{power}" if power > 31 and below == 1 << power else f"{below}"
    return Bound(f"from {low} up to, not including, {end}", lambda value: low <= value < below)


INFINITE = Bound("a number, or infinity", lambda value: isinstance(value, Real) and value == value, whole=True)
"""Bound of a float that may be infinite; all others are finite."""
UNSIGNED = Bound(
    "a whole number from 0 to 2^64 - 1",
    lambda value: isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < 1 << 64,
    whole=True,
)
"""Bound of a whole number that is of 64 bits without a sign."""
MOST_BLOCKS = 1024
"""Most blocks of one stack, eight times those of the largest preset; more take minutes to build or to count."""
MOST_IMAGES = 1 << 20
"""Most images of one batch."""
LARGEST = 1 << 63
"""Whole numbers are below it, as they must fit into 64 bits with a sign."""


def check_fields(config: Any, where: str = "", error: type[BrickworkError] = ConfigError) -> None:
    """Refuse a config of which a value breaks a choice or bound that its field states.

    Args:
        config: A dataclass, as in its ``__post_init__``.
        where: What leads a field's name in the message: "report.".
        error: The class of the error.

    Raises:
        BrickworkError: Of the given class, with value and rule.
    """
    for name, hint in _hints(type(config)):
        value = getattr(config, name)
        if rule := broken_rule(value, hint):
            raise error(f"{where}{name} {short(value)}: must be {rule}")


def broken_rule(value: Any, hint: Any) -> str:
    """Return the rule of a type hint that a value breaks, or "" where it keeps all.

    Numbers of numpy count as numbers. Whole numbers fit into 64 bits, and floats are finite unless their hint says
    otherwise.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [bound for bound in inner[1:] if isinstance(bound, Bound)]
        broken = (bound.rule for bound in bounds if not _holds(bound, value))
        return next(broken, "") or ("" if any(b.whole for b in bounds) else broken_rule(value, inner[0]))
    if origin is Literal:
        known = isinstance(value, str | Integral) and value in inner
        return "" if known else f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        rules = [broken_rule(value, kind) for kind in inner if kind is not type(None)]
        is_none = value is None and type(None) in inner
        return "" if is_none or "" in rules else f"{' or '.join(rules)}"
    if origin is tuple:
        open_ended = inner[1:] == (...,)
        if not isinstance(value, tuple | list) or not (open_ended or len(value) == len(inner)):
            return "a list" if open_ended else f"a list of {len(inner)}"
        return next(filter(None, map(broken_rule, value, inner[:1] * len(value) if open_ended else inner)), "")
    if origin is Sequence and inner == (str,):
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            return "a list of texts"
        each = value if isinstance(value, list | tuple) else ()
        return next((f"a list, each of them {rule}" for part in each if (rule := broken_rule(part, inner[0]))), "")
    return _broken_type(value, hint)


def _broken_type(value: Any, hint: Any) -> str:
    """Return the rule of a class that a value breaks, or "" where it is of the class."""
    hint = get_origin(hint) or hint
    protocol = getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False)
    if not isinstance(hint, type) or protocol or hint.__module__ == "jaxtyping":
        return ""
    if hint is int:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        return "" if whole and -LARGEST <= int(value) < LARGEST else "a whole number of at most 64 bits"
    if hint is float:
        number = isinstance(value, Real) and not isinstance(value, bool)
        return "" if number and _is_finite(value) else "a finite number"
    if hint in (str, Path) and isinstance(value, hint):
        return "" if _is_whole(str(value)) else "a text without half a character (a lone surrogate)"
    words = {str: "a text", bool: "True or False"}
    return "" if isinstance(value, hint) else words.get(hint, f"of class {hint.__name__}")


def _is_whole(text: str) -> bool:
    """Return True for a text of whole characters; a file's name may hold bytes that are none."""
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_finite(value: Any) -> bool:
    return abs(value) <= float_info.max


def _holds(bound: Bound, value: Any) -> bool:
    """Return True where a bound holds; a value that cannot be compared breaks it."""
    try:
        return bool(bound.holds(value))
    except (TypeError, ValueError):
        return False


@cache
def _hints(config: type) -> tuple[tuple[str, Any], ...]:
    """Return each field with its annotated type hint; one that a subclass declares anew keeps the base's."""
    bases = [base for base in reversed(config.__mro__) if is_dataclass(base)]
    hints = [get_type_hints(base, include_extras=True) for base in bases]
    return tuple((item.name, known[item.name]) for known in hints for item in fields(config) if item.name in known)
