"""Parser of the command line: calls a function with its words; a mistake in them becomes one line."""

from __future__ import annotations

import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from typing import Any

import tyro

from brickwork.errors import ArgumentError

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RULE = re.compile(r"[-─]{3,}")
NEAR = ("Perhaps you meant", "Arguments similar to")
ADVICE = (*NEAR, "For full helptext", "Argument helptext")


def call(act: Callable[..., Any], *, prog: str, words: Sequence[str]) -> Any:
    """Call a function with arguments from the words, and return its result; ``--help`` prints and exits.

    Args:
        act: Function whose annotations and docstring make the options.
        prog: Words that the user typed before these.
        words: Remaining words.

    Raises:
        ArgumentError: An option is unknown or missing, or a value has another type.
    """
    told, stderr, begun = io.StringIO(), sys.stderr, False

    @functools.wraps(act)
    def begin(*values: Any, **options: Any) -> Any:
        nonlocal begun
        begun = True
        stderr.write(told.getvalue())
        with redirect_stderr(stderr):  # the words were right: from now on the function writes here
            return act(*values, **options)

    try:
        with redirect_stderr(told):
            return tyro.cli(begin, prog=prog, args=list(words))
    except SystemExit as left:
        if left.code == 2 and not begun:
            raise ArgumentError(one_line(told.getvalue(), prog)) from None
        raise


def one_line(box: str, prog: str) -> str:
    """Shorten tyro's box of several lines to one: the mistake, similar options, and the place of the full list."""
    lines = [COLOUR.sub("", line).strip().strip("│╰╯").strip() for line in box.splitlines()]
    parts: list[list[str]] = [[]]
    for line in lines[1:]:  # the first line is a title
        if RULE.fullmatch(line):
            parts.append([])
        elif line:
            parts[-1].append(line)
    wrong = "; ".join(" ".join(part).rstrip(".") for part in parts if part and not part[0].startswith(ADVICE))
    hints = [line for part in parts if part and part[0].startswith(NEAR) for line in part]
    near = [line.split()[0] for line in hints if line.startswith("--")]
    meant = f"did you mean {', '.join(sorted(set(near)))}? " if near else ""
    return f"{wrong[:1].lower()}{wrong[1:]}; {meant}`{prog} --help` lists the options"
