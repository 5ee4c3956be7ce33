"""Numbers that a preset proposes, on their way through the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from brickwork.files.proposed import proposals, proposing

C = TypeVar("C")


def proposed_again(config: C, start: C, words: Sequence[str], prefix: str = "") -> C:
    """Return a parsed config in which the proposed numbers that no flag sets are proposals again.

    The parser gets and gives plain numbers: a flag that repeats a preset's number is still the user's.

    Args:
        config: The parsed config.
        start: The config before, with its proposals.
        words: Words of the command line.
        prefix: Prefix of the config's flags, as "backbone.".
    """
    flags = flags_in(words)
    return proposing(config, [name for name in proposals(start) if f"{prefix}{name}" not in flags])


def flags_in(words: Sequence[str]) -> set[str]:
    """Return the names of the flags among words of the command line, as "backbone.mlp_ratio"."""
    return {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
