"""Temporary folders with an owner: their writer holds the system's lock on each, and the lock dies with the writer."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

SUFFIX = ".brickwork.part"
OLD_AFTER = 24 * 3600.0
"""Seconds after which a temporary folder counts as nobody's on Windows, where a locked one cannot be renamed."""


@contextmanager
def owned_folder(place: Path) -> Iterator[Path]:
    """Yield a new empty folder in a place; it is removed after the ``with`` block unless it was renamed.

    Its permissions are those that the user's umask allows.

    Raises:
        OSError: The place cannot be written.
    """
    folder, handle = _new_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        release(handle)


def sweep(place: Path, pattern: str = f".*{SUFFIX}") -> None:
    """Remove the temporary files and folders in a place whose writer is gone; those of a living one stay.

    Args:
        place: The folder that holds them; it need not exist.
        pattern: Names of what is temporary there. The default is right anywhere.
    """
    for path in place.glob(pattern):
        if (handle := lock(path)) is not None:
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            release(handle)


def lock(path: Path) -> int | None:
    """Lock a temporary file or folder, and return a handle for :func:`release`; None where the lock cannot be had.

    The end of the process, however it ends, releases the lock too. On Windows nothing is locked: what has not changed
    for a day counts as free.
    """
    handle = -1
    try:
        if sys.platform == "win32":
            return handle if time.time() - path.stat().st_mtime > OLD_AFTER else None
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is gone, somebody else has it, or the file system has no locks
        release(handle)
        return None
    return handle


def release(handle: int | None) -> None:
    """Release a lock."""
    if handle is not None and handle >= 0:
        os.close(handle)


def _new_folder(place: Path) -> tuple[Path, int | None]:
    """Make a folder under a name of its own, and lock it."""
    while True:
        folder = place / f".{secrets.token_hex(8)}{SUFFIX}"
        folder.mkdir()
        handle = lock(folder)
        if folder.exists():  # a sweep that comes between the two lines takes it for nobody's
            return folder, handle
        release(handle)
