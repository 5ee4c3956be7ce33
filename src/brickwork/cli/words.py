"""Parser of the command line: calls a function with its words; a mistake in them becomes one line."""

from __future__ import annotations

import functools
import inspect
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from difflib import SequenceMatcher
from typing import Any

import tyro
from tyro.conf import DisallowNone

from brickwork.cli.page import UNFOLD, WIDTH, page
from brickwork.cli.voice import LOG
from brickwork.errors import UsageError, printable, short

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RULE = re.compile(r"[-─]{3,}")
NEAR = ("Perhaps you meant", "Arguments similar to")
ADVICE = (*NEAR, "For full helptext", "Argument helptext")


def call(act: Callable[..., Any], *, prog: str, words: Sequence[str], examples: Sequence[str] = ()) -> Any:
    """Call a function with arguments from the words, and return its result; ``--help`` prints and exits.

    Args:
        act: Function whose annotations and docstring make the options.
        prog: Words that the user typed before these.
        words: Remaining words.
        examples: Commands for the page of help.

    Raises:
        UsageError: An option is unknown or missing, or a value has another type.
    """
    bound = parsed(act, prog=prog, words=words, examples=examples)
    LOG.info("%s", "\n".join(told_values(bound)))
    return bound()


def parsed(
    act: Callable[..., Any], *, prog: str, words: Sequence[str], examples: Sequence[str] = ()
) -> functools.partial[Any]:
    """Return a function with its arguments from the words; the rest is as for :func:`call`."""

    @functools.wraps(act)
    def gather(*values: Any, **options: Any) -> functools.partial[Any]:
        return functools.partial(act, *values, **options)

    plain = ["--help" if word == UNFOLD else word for word in words]
    shown, told = io.StringIO(), io.StringIO()  # without an encoding, so that tyro draws no boxes
    try:
        with of_width(), redirect_stdout(shown), redirect_stderr(told):
            return tyro.cli(gather, prog=prog, description="", args=plain, config=(DisallowNone,))
    except SystemExit as left:
        if left.code:
            raise UsageError(one_line(told.getvalue(), prog)) from None
        print(page(shown.getvalue(), described(act), examples, whole=UNFOLD in words))
        raise


def described(act: Callable[..., Any]) -> str:
    """Return a function's docstring up to its arguments."""
    return (inspect.getdoc(act) or "").partition("\n\nArgs:")[0]


def told_values(bound: functools.partial[Any]) -> list[str]:
    """Return a line on every argument of a call: its value, and whether that is the default."""
    usual = {name: item.default for name, item in inspect.signature(bound.func).parameters.items()}
    taken = inspect.signature(bound.func).bind(*bound.args, **bound.keywords).arguments
    return [line for name, value in taken.items() for line in _told(name, value, usual[name])]


def _told(name: str, value: Any, usual: Any) -> Iterator[str]:
    """Yield lines on a value, or on the fields of a dataclass."""
    if is_dataclass(value) and type(value) is type(usual):
        for item in fields(value):
            yield from _told(item.name, getattr(value, item.name), getattr(usual, item.name))
    else:
        yield f"{name} {printable(short(value))}{' (default)' if value == usual else ''}"


@contextmanager
def of_width() -> Iterator[None]:
    """Give the terminal at most as many columns as a page has, as parsers ask for them."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(min(WIDTH, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def one_line(box: str, prog: str) -> str:
    """Shorten tyro's box of several lines to one: the mistake, similar options, and the place of the full list."""
    lines = [COLOUR.sub("", line).strip().strip("│|╰╯+").strip() for line in box.splitlines()]
    parts: list[list[str]] = [[]]
    for line in lines[1:]:  # the first line is a title
        if RULE.fullmatch(line):
            parts.append([])
        elif line:
            parts[-1].append(line)
    wrong = "; ".join(" ".join(part).rstrip(".") for part in parts if part and not part[0].startswith(ADVICE))
    hints = [line for part in parts if part and part[0].startswith(NEAR) for line in part]
    near = [_nearest(_flags(line), _flags(wrong)) for line in hints if line.startswith("--")]
    meant = f"did you mean {', '.join(sorted(set(near)))}? " if near else ""
    return f"{wrong[:1].lower()}{wrong[1:]}; {meant}`{prog} --help` lists the options"


def _flags(text: str) -> list[str]:
    """Return the words of a text that begin with two dashes."""
    return [word.strip(",") for word in text.split() if word.startswith("--")]


def _nearest(flags: Sequence[str], wrong: Sequence[str]) -> str:
    """Return the one of an option's names that is most like one of the wrong words."""
    return max(flags, key=lambda flag: max((SequenceMatcher(a=flag, b=word).ratio() for word in wrong), default=0.0))
