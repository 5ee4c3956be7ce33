"""Words as values, and values as words: solvers and schedules with options behind a colon, seeds, classes."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from brickwork.diffusion.gaussian import MAX_SEEDS
from brickwork.errors import ArgumentError, UsageError
from brickwork.files.schema import Reader, word_fields
from brickwork.registry import Registry

OPTIONS = "[:OPTION=VALUE,...]"
"""Form in which options follow the name of a class."""


def choose(kind: str, text: str, registry: Registry[Any]) -> Any:
    """Return the value of a name in a registry, with options behind a colon: "heun:churn=10,churn_noise=1.003".

    Raises:
        UnknownNameError: The registry lacks the name.
        ExtensionError: A package states the name and cannot be imported.
        ArgumentError: An option does not exist, or its value has another type or is out of its bounds.
    """
    name, _, words = text.partition(":")
    pairs = (word.partition("=") for word in words.split(",") if word)
    given = {key: value for key, _, value in pairs}
    reader = Reader(error=ArgumentError, form="word", subject=f"{kind} {text!r}", noun="option")
    return reader.config(registry.find(name), given)


def word_of(value: Any, registry: Registry[Any]) -> str:
    """Return the word from which ``choose`` makes a value.

    Raises:
        ExtensionError: The value's class has no name.
        ArgumentError: A field is set that a word cannot set.
    """
    name = registry.name_of(value)
    make = registry[name]
    plain = make()
    changed = {key: getattr(value, key) for key in word_fields(make) if getattr(value, key) != getattr(plain, key)}
    options = ",".join(f"{key}={_written(part)}" for key, part in changed.items())
    word = f"{name}:{options}" if options else name
    if choose(registry.kind, word, registry) != value:
        raise ArgumentError(f"{registry.kind} {value!r}: {word!r} does not say all of it, so it cannot be written down")
    return word


def _written(value: Any) -> str:
    """Write a value as ``choose`` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")


def parse_seeds(texts: Sequence[str]) -> list[int]:
    """Read seeds from words such as "3", "0-7" or "1,2".

    Raises:
        UsageError: A word is no seed and no rising range, or there are too many.
    """
    seeds: list[int] = []
    for word in (w for text in texts for w in text.split(",") if w):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(last) >= int(first))):
            raise UsageError(f"seed {word!r}: give a number from 0 to 2^64-1 or a rising range such as 0-7")
        wanted = range(int(first), int(last or first) + 1)
        if int(last or first) - int(first) + 1 + len(seeds) > MAX_SEEDS:
            raise UsageError(f"seed {word!r}: at most {MAX_SEEDS:,} seeds at once; draw the rest in another call")
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
