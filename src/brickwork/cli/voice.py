"""Loudness of a command: as usual, results and errors only, or more than usual."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from enum import Enum, auto
from time import perf_counter

import brickwork
from brickwork.errors import UsageError
from brickwork.files.streams import steady

LOG = logging.getLogger("brickwork")
"""Logger to which any room tells what is worth knowing with ``--verbose`` alone, at level INFO."""
LIBRARIES = ("torch", "numpy", "pillow", "onnxruntime")
"""Libraries whose versions are told."""


class Voice(Enum):
    """Loudness of a command."""

    QUIET = auto()
    USUAL = auto()
    VERBOSE = auto()


FLAGS = {"-q": Voice.QUIET, "--quiet": Voice.QUIET, "-v": Voice.VERBOSE, "--verbose": Voice.VERBOSE}
"""Options of every verb, which may stand before it or behind."""


def take_voice(words: Sequence[str]) -> tuple[Voice, list[str]]:
    """Return the voice that words ask for, and the other words.

    Raises:
        UsageError: They ask for two voices.
    """
    asked = {FLAGS[word] for word in words if word in FLAGS}
    if len(asked) > 1:
        raise UsageError("--quiet with --verbose: give one of them")
    return (asked or {Voice.USUAL}).pop(), [word for word in words if word not in FLAGS]


@contextmanager
def speaking(voice: Voice) -> Iterator[None]:
    """Let a command speak in a voice: standard error is dropped, as usual, or also gets versions and time."""
    if voice is Voice.QUIET:
        with redirect_stderr(steady(None)):  # an error is printed outside
            yield
    elif voice is Voice.VERBOSE:
        with _told():
            yield
    else:
        yield


@contextmanager
def _told() -> Iterator[None]:
    """Print what is logged, the versions first and the time last."""
    handler, level, start = logging.StreamHandler(sys.stderr), LOG.level, perf_counter()
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        LOG.info("versions: %s", versions())
        yield
    finally:
        LOG.info("time: %.3g s", perf_counter() - start)
        LOG.removeHandler(handler)
        LOG.setLevel(level)


def versions() -> str:
    """Return the versions of this library, its interpreter, its libraries and the system, in one line."""
    from importlib.metadata import PackageNotFoundError, version  # half of the time in which `--help` starts

    parts = [f"brickwork {brickwork.__version__}", f"Python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"no {name}")
    return ", ".join([*parts, f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"])
