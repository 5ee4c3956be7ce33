"""One file of weights that all graphs of a package read; equal weights are written once."""

from __future__ import annotations

import hashlib
from typing import BinaryIO, final

WEIGHTS = "weights.bin"
ALIGN = 64
"""Alignment of the weights in the file, in bytes."""


@final
class Weights:
    """The file of weights, while it is written.

    Args:
        file: Open for writing, in binary.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.places: dict[bytes, int] = {}

    def put(self, data: bytes) -> int:
        """Write bytes unless they are there already; return where they start."""
        key = hashlib.sha256(data).digest()
        if key not in self.places:
            self.file.write(bytes(-self.file.tell() % ALIGN))
            self.places[key] = self.file.tell()
            self.file.write(data)
        return self.places[key]
