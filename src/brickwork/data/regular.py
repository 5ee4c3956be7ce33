"""Bounded reading: regular files only, and no more unpacked than a packed file can be believed to hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from brickwork.errors import DataError
from brickwork.files import regular

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
    with _named(name):
        return regular.regular_size(path)


def open_regular(path: str | Path, name: str) -> IO[bytes]:
    """Open a regular file; another one is not even opened.

    Raises:
        DataError: ``regular_size`` would raise it, or the file cannot be read.
    """
    with _named(name):
        return regular.open_regular(path)


def read_regular(path: str | Path, name: str, limit: int) -> bytes:
    """Return the first so many bytes of a regular file.

    Raises:
        DataError: It is missing, cannot be read, or is no regular file. name: its name in the message.
    """
    with open_regular(path, name) as file, _named(name):
        return file.read(limit)


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


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn errors of reading into DataError, with the file's name in the message."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
