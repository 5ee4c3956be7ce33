"""Command line: one verb is one file, imported when it is used; its function's docstring is its help.

A verb's file imports at its top only modules without torch, and reaches the rest through the library's public names,
which are looked up when they are used (``bw.load``); so ``--help`` and all verbs without torch start at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from functools import partial

import brickwork
from brickwork.cli.overview import overview, rows_of
from brickwork.cli.page import EVERYWHERE, HELP
from brickwork.cli.verbs import VERBS
from brickwork.errors import UnknownNameError, UsageError, printable
from brickwork.files.streams import run_command
from brickwork.memory import within_memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    A user's error becomes one line; its exit code is 2 where words are at fault that no verb knows, otherwise 1.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name, _ = split_verb([word for word in words if not word.startswith("-")])
    return run_command(partial(_obey, words), f"brickwork {printable(name, 40)}".rstrip())


def _obey(words: Sequence[str]) -> int:
    """Print the help or the version, or run a verb; return the exit code."""
    from brickwork.cli.voice import speaking, take_voice

    if not sys.stderr.isatty():  # a log needs a line of progress now and then, not ten a second
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    voice, words = take_voice(words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in HELP:
        print("\n".join(overview()))
        return 0
    if words[0] == "--version":
        print(brickwork.__version__)
        return 0
    name, rest = split_verb(words)
    with speaking(voice), within_memory(name, "choose smaller pictures, batches or models, or use a machine with more"):
        return run_verb(name, rest)


def split_verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name of the verb that words begin with, and the words behind it; a name may be of two words."""
    length = 2 if " ".join(words[:2]) in VERBS else 1
    return " ".join(words[:length]), list(words[length:])


def run_verb(name: str, words: Sequence[str]) -> int:
    """Run a verb with the words that follow it, and return the exit code.

    Raises:
        UsageError: There is no such verb.
        BrickworkError: The verb failed; the message is one line.
    """
    if members := {verb.removeprefix(f"{name} ") for verb in VERBS if verb.startswith(f"{name} ")}:
        return _run_group(name, members, words)
    if name not in VERBS:
        raise UsageError(UnknownNameError("verb", name, VERBS))
    verb = VERBS[name]
    if verb.reads_words:
        return verb.load()(words) or 0
    from brickwork.cli.words import call  # a tenth of a second, which --help saves

    return call(verb.load(), prog=f"brickwork {name}", words=words, examples=verb.examples) or 0


def _run_group(name: str, members: Collection[str], words: Sequence[str]) -> int:
    """Print the page of verbs of two words that begin alike; a second word that is none is refused."""
    if words and words[0] not in HELP:
        raise UsageError(UnknownNameError(f"{name} verb", words[0], members))
    print("\n".join([f"usage: brickwork {name} VERB [options]", "", *rows_of(name), "", *EVERYWHERE]))
    return 0
