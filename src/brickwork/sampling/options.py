"""Words as values, and values as words: solvers and schedules with options behind a colon, seeds, classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from typing import Any, get_type_hints

from brickwork.errors import ArgumentError
from brickwork.registry import Registry

MAX_SEEDS = 100_000


def choose(kind: str, text: str, registry: Registry[Any]) -> Any:
    """Return the value of a name in a registry, with options behind a colon: "heun:churn=10,churn_noise=1.003".

    Raises:
        UnknownNameError: The registry lacks the name.
        ExtensionError: A package states the name and cannot be imported.
        ArgumentError: An option does not exist, or its value has another type.
    """
    name, _, words = text.partition(":")
    make = registry.find(name)
    known, values = _options(make), {}
    for key, _, value in (word.partition("=") for word in words.split(",") if word):
        if key not in known:
            there = f"its options are {', '.join(known)}" if known else "it has no options"
            raise ArgumentError(f"{kind} {text!r}: no option {key!r}; {there}")
        try:
            values[key] = _READERS[known[key]](value)
        except (KeyError, ValueError):
            raise ArgumentError(f"{kind} {text!r}: {key!r} is {value!r}; it must be {_KINDS[known[key]]}") from None
    return make(**values)


def word_of(value: Any, registry: Registry[Any]) -> str:
    """Return the word from which ``choose`` makes a value.

    Raises:
        ExtensionError: The value's class has no name.
        ArgumentError: A field is set that a word cannot set.
    """
    name = registry.name_of(value)
    make = registry[name]
    plain = make()
    changed = {key: getattr(value, key) for key in _options(make) if getattr(value, key) != getattr(plain, key)}
    options = ",".join(f"{key}={_written(part)}" for key, part in changed.items())
    word = f"{name}:{options}" if options else name
    if choose(registry.kind, word, registry) != value:
        raise ArgumentError(f"{registry.kind} {value!r}: {word!r} does not say all of it, so it cannot be written down")
    return word


def _written(value: Any) -> str:
    """Write a value as ``_READERS`` read it."""
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")


_READERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: {"1": True, "true": True, "0": False, "false": False}[text.lower()],
    int: int,
    float: float,
    str: str,
}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _options(make: Callable[..., Any]) -> dict[str, type]:
    """Return the fields that a word can set (bool, number or text), except those that the registry sets itself."""
    fixed = make.keywords if isinstance(make, partial) else {}
    config: Any = make.func if isinstance(make, partial) else make
    hints = get_type_hints(config)
    return {f.name: hints[f.name] for f in fields(config) if hints[f.name] in _READERS and f.name not in fixed}


def parse_seeds(texts: Sequence[str]) -> list[int]:
    """Read seeds from words such as "3", "0-7" or "1,2".

    Raises:
        ArgumentError: A word is no seed and no rising range.
    """
    seeds: list[int] = []
    for word in (w for text in texts for w in text.split(",") if w):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(last) >= int(first))):
            raise ArgumentError(f"seed {word!r}: give a number from 0 to 2^64-1 or a rising range such as 0-7")
        wanted = range(int(first), int(last or first) + 1)
        if int(last or first) - int(first) + 1 + len(seeds) > MAX_SEEDS:
            raise ArgumentError(f"seed {word!r}: at most {MAX_SEEDS:,} seeds at once; draw the rest in another call")
        seeds.extend(wanted)
    return seeds


def class_number(name: str, classes: Sequence[str]) -> int:
    """Return the index of a class, from its name or its number.

    Raises:
        ArgumentError: The class does not exist.
    """
    if name in classes:
        return list(classes).index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    known = ", ".join(f"{i} {c}" if c != str(i) else c for i, c in enumerate(classes[:20]))
    rule = f"its classes are {known}" if classes else "it has no classes; leave the label out"
    if near := get_close_matches(name.lower(), [c.lower() for c in classes], n=3, cutoff=0.5):
        rule = f"did you mean {', '.join(c for c in classes if c.lower() in near)}? {rule}"
    raise ArgumentError(f"label {name!r}: this model has {len(classes)} classes; {rule}")
