"""Regular files, which have an end: a pipe, a socket or a device, which might have none, is not even opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO


def regular_size(path: str | Path) -> int:
    """Return the size of a regular file in bytes.

    Raises:
        OSError: It is missing.
        ValueError: It is no regular file, or its name is none.
    """
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError("not a regular file, and no other is read")
    return facts.st_size


def open_regular(path: str | Path) -> IO[bytes]:
    """Open a regular file; another one is not even opened.

    Raises:
        OSError: It is missing, or cannot be read.
        ValueError: ``regular_size`` would raise it.
    """
    regular_size(path)
    return open(path, "rb", opener=_open_at_once)


def check_name(path: str | Path) -> None:
    """Refuse a name that other libraries than Python cannot open.

    Raises:
        ValueError: It holds a zero byte, half a character, or bytes that are no UTF-8.
    """
    text = str(path)
    if "\0" in text:
        raise ValueError("a name holds no zero byte; choose another name")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the name is no whole UTF-8; choose another name") from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe, if it became one just now."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
