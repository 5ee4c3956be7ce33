"""Verb ``brickwork run``: pictures from a package, by the parser of a device, where tyro is not installed."""

from __future__ import annotations

from collections.abc import Sequence

from brickwork.cli.page import HELP, page
from brickwork.cli.verbs import VERBS
from brickwork.cli.words import described, of_width
from brickwork.device.command import parser
from brickwork.device.command import run as draw

PROGRAM = "brickwork run"


def run(words: Sequence[str]) -> None:
    """Draw pictures from a package, without PyTorch.

    What is left out is as the package says. `python -m brickwork.device` does the same where only numpy, pillow,
    lazy-loader and a runtime are installed.
    """
    if HELP & set(words):
        with of_width():
            printed = parser(PROGRAM, description=None).format_help()
        print(page(printed, described(run), VERBS["run"].examples))
        return
    draw(words, PROGRAM)
