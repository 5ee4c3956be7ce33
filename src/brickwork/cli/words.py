"""The words of a command line as the call of a function; a mistake in them as one line."""

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
    """Call a function with what the words say of its parameters, and return its result; ``--help`` prints and leaves.

    Args:
        act: Its annotations and docstring make the options.
        prog: What the user typed before the words.
        words: The rest.

    Raises:
        ArgumentError: An unknown or missing option, or a value of another type.
    """
    told, stderr, begun = io.StringIO(), sys.stderr, False

    @functools.wraps(act)
    def begin(*values: Any, **options: Any) -> Any:
        nonlocal begun
        begun = True
        stderr.write(told.getvalue())
        with redirect_stderr(stderr):  # the words were right: what is written from now on is the function's
            return act(*values, **options)

    try:
        with redirect_stderr(told):
            return tyro.cli(begin, prog=prog, args=list(words))
    except SystemExit as left:
        if left.code == 2 and not begun:
            raise ArgumentError(one_line(told.getvalue(), prog)) from None
        raise


def one_line(box: str, prog: str) -> str:
    """tyro's box of several lines as one: what is wrong, the options it may have meant, where all are listed."""
    lines = [COLOUR.sub("", line).strip().strip("│╰╯").strip() for line in box.splitlines()]
    parts: list[list[str]] = [[]]
    for line in lines[1:]:  # the first is a title
        if RULE.fullmatch(line):
            parts.append([])
        elif line:
            parts[-1].append(line)
    wrong = "; ".join(" ".join(part).rstrip(".") for part in parts if part and not part[0].startswith(ADVICE))
    hints = [line for part in parts if part and part[0].startswith(NEAR) for line in part]
    near = [line.split()[0] for line in hints if line.startswith("--")]
    meant = f"did you mean {', '.join(sorted(set(near)))}? " if near else ""
    return f"{wrong[:1].lower()}{wrong[1:]}; {meant}`{prog} --help` lists the options"
