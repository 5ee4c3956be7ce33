"""Silence for other libraries: the one way to suppress their progress bars, remarks and warnings."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from threading import RLock

from brickwork.files.streams import steady

_alone = RLock()
"""Lock of the process's streams, which are redirected by one thread at a time."""


@contextmanager
def suppressed() -> Iterator[None]:
    """Suppress everything that libraries print, log below an error, or warn of; their exceptions come through.

    For imports, conversions and openings by toolkits whose remarks are for their own developers. Native code writes to
    the process's standard error without Python's knowledge, and is silenced too; so this holds for the whole process,
    and not for one thread. A second thread waits: each would restore what it found, and the last the first's silence.
    """
    with _alone:
        yield from _silenced()


def _silenced() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), _native_stderr_suppressed():
            warnings.simplefilter("ignore")
            with redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(level)


@contextmanager
def _native_stderr_suppressed() -> Iterator[None]:
    """Point file descriptor 2 at the null device; do nothing where a program has no console."""
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    stderr, nowhere = steady(sys.stderr), os.open(os.devnull, os.O_WRONLY)
    stderr.flush()
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
