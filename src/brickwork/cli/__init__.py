"""Command line: one verb is one file, imported when it is used; its function's docstring is its help.

A verb's file imports at its top only modules without torch, and reaches the rest through the library's public names,
which are looked up when they are used (``bw.load``); so ``--help`` and all verbs without torch start at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

import brickwork
from brickwork.cli.verbs import VERBS
from brickwork.errors import UnknownNameError, printable
from brickwork.files.streams import run_command
from brickwork.memory import within_memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code; a user's error becomes one line and exit code 1."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(partial(_obey, words), f"brickwork {printable(words[0], 40)}" if words else "brickwork")


def _obey(words: Sequence[str]) -> int:
    """Print the help or the version, or run a verb; return the exit code."""
    if not sys.stderr.isatty():  # a log needs a line of progress now and then, not ten a second
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(brickwork.__version__)
        return 0
    with within_memory(words[0], "choose smaller pictures, batches or models, or use a machine with more"):
        return run_verb(words[0], words[1:])


def run_verb(name: str, words: Sequence[str]) -> int:
    """Run a verb with the words that follow it, and return the exit code.

    Raises:
        UnknownNameError: There is no such verb.
        BrickworkError: The verb failed; the message is one line.
    """
    if name not in VERBS:
        raise UnknownNameError("verb", name, VERBS)
    verb = VERBS[name]
    if verb.reads_words:
        return verb.load()(words) or 0
    from brickwork.cli.words import call  # a tenth of a second, which --help saves

    call(verb.load(), prog=f"brickwork {name}", words=words)
    return 0


def _help() -> str:
    """Return the page that lists every verb."""
    rows = [f"  {name:<12} {verb.line}" for name, verb in VERBS.items()]
    return "\n".join(["brickwork VERB [options]      brickwork VERB --help lists the options", "", *rows])
