"""Verb ``brickwork run``: pictures from a package."""

from __future__ import annotations

from collections.abc import Sequence

from brickwork.device.command import run as draw


def run(words: Sequence[str]) -> None:
    """Draw pictures from a package, without PyTorch."""
    draw(words, "brickwork run")
