"""Memory for reading pictures: one budget for all threads together, so that many small files cannot claim it all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final


@final
class MemoryBudget:
    """Bytes that all threads of this process share; one that finds none left waits for the others.

    A need larger than the whole budget is met when nobody else holds any, so that it is met at last. The peak is
    therefore the budget, or the largest single need if that is more.

    Args:
        total: The budget, in bytes.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._used = 0
        self._changed = threading.Condition()
        self._own = threading.local()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Return at the end of the outermost ``with`` block of this thread what it claimed inside."""
        if hasattr(self._own, "bytes"):
            yield
            return
        self._own.bytes = 0
        try:
            yield
        finally:
            self._give(self._own.bytes)
            del self._own.bytes

    def claim(self, size: int) -> None:
        """Wait until so many bytes are free, and hold them until the end of the block.

        A second claim replaces the first one, and waits with empty hands, so that no two threads wait for each other.
        """
        size = max(size, self._own.bytes)
        self._give(self._own.bytes)
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + size <= self.total)
            self._used += size
        self._own.bytes = size

    def _give(self, size: int) -> None:
        if not size:
            return
        with self._changed:
            self._used -= size
            self._changed.notify_all()


DECODING = MemoryBudget(2 << 30)
"""Memory of decoding and resizing: six photographs of 24 million pixels at once, which keeps eight cores busy. The
largest picture that is read by default needs about as much alone."""
FILES = MemoryBudget(1 << 29)
"""Memory of the files that are being decoded: 512 MiB, of which photographs of a few MiB need little."""
