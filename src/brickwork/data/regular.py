"""Bounded reading: regular files only, and no more unpacked than a packed file can be believed to hold."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from brickwork.errors import DataError

BELIEVED = 1 << 30
"""Bytes that a packed file may unpack to, whatever its size: 1 GiB, more than the largest published set of digits."""
RATIO = 32
"""Bytes that one byte of a larger packed file may unpack to: pictures, even drawings, seldom shrink so much."""


def regular_size(path: str | Path, name: str) -> int:
    """Return the size of a regular file in bytes.

    Raises:
        DataError: It is missing, or is no regular file but a pipe, a socket or a device, which might never end. name:
            its name in the message.
    """
    try:
        facts = os.stat(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(facts.st_mode):
        raise DataError(f"{name}: not a regular file, and no other is read")
    return facts.st_size


def open_regular(path: str | Path, name: str) -> IO[bytes]:
    """Open a regular file; another one is not even opened.

    Raises:
        DataError: ``regular_size`` would raise it, or the file cannot be read.
    """
    regular_size(path, name)
    try:
        return open(path, "rb", opener=_open_at_once)
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: {getattr(error, 'strerror', None) or error}") from None


def read_regular(path: str | Path, name: str, limit: int) -> bytes:
    """Return the first so many bytes of a regular file.

    Raises:
        DataError: It is missing, cannot be read, or is no regular file. name: its name in the message.
    """
    with open_regular(path, name) as file:
        try:
            return file.read(limit)
        except OSError as error:
            raise DataError(f"{name}: {error.strerror or error}") from None


def believed(packed: int) -> int:
    """Return how many bytes a file of so many bytes is believed to unpack to."""
    return max(BELIEVED, RATIO * packed)


def check_unpacking(name: str, packed: int, claimed: int) -> None:
    """Refuse to unpack what nobody packs but to fill a memory.

    Args:
        name: The file, for the message.
        packed: Its size in bytes.
        claimed: Size that it says it unpacks to.

    Raises:
        DataError: It claims more than BELIEVED bytes and more than RATIO bytes for each of its own.
    """
    if claimed > believed(packed):
        raise DataError(
            f"{name}: {packed} bytes that claim to unpack to {claimed}; up to {BELIEVED}, or {RATIO} for each, are "
            "believed: unpack it, and give the unpacked file"
        )


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
