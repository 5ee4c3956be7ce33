"""Caches of rows of numbers: made chunk by chunk, taken up after a kill or a full disk, and checked when first read.

cache.json    what the rows are of, with a digest of itself; written first
NAME.npy      the rows, (N, ...)
NAME.sums     a line for each chunk of rows, written after it: its digest

A chunk counts as made when its line is there. Nothing is mapped before it is written, so that a full disk is an error
and no signal. A chunk whose rows are not those of its line is made anew when it is read, and that is said.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.errors import BrickworkWarning, ConfigError, OutputError
from brickwork.files.blocks import block_digest
from brickwork.files.plain import LARGE, read_json, read_small
from brickwork.files.regular import open_regular
from brickwork.files.whole import write_whole

FACTS = "cache.json"
DIGEST_OF_FACTS = "digest"
"""Key in the facts of the digest of all others."""
LINE = 33
"""Bytes of a line of digests."""


@final
class Chunks:
    """Rows of numbers in a file, read like an array of rows; see the module.

    Args:
        folder: The folder that holds them, one cache in each.
        name: Name of the files of rows and digests, without suffix; also what the rows are, for messages: "latents".
        facts: What the rows are of, JSON-like: "format", digests.
        shape: Shape of all rows, (N, ...).
        dtype: Dtype of a number.
        per_chunk: Rows in a chunk; the last one may have fewer.
        make: Function that computes the rows from ``start`` to ``stop``, (stop - start, ...).
        ours: True for a folder in the user's cache, where what is of something else is replaced; in other folders it
            is refused.

    Raises:
        ConfigError: A folder that is not ours holds rows of something else.
        OutputError: The folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        facts: Mapping[str, Any],
        *,
        shape: Sequence[int],
        dtype: str,
        per_chunk: int,
        make: Callable[[int, int], np.ndarray],
        ours: bool,
    ) -> None:
        self.shape, self.dtype, self.per_chunk = tuple(shape), np.dtype(dtype), per_chunk
        self.path, self.sums_path = folder / f"{name}.npy", folder / f"{name}.sums"
        self._name, self._make = name, make
        self._elsewhere = "set XDG_CACHE_HOME to a folder on a larger disk" if ours else "name another folder"
        self._header = _npy_header(self.shape, self.dtype)
        self._count = -(-len(self) // per_chunk)
        facts = {**facts, "shape": list(self.shape), "dtype": self.dtype.name, "per_chunk": per_chunk}
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._check_regular()
            if not (self._holds(facts, ours=ours) and self._has_header() and self.sums_path.exists()):
                self._begin(facts)
            self._sums = self._read_sums()
        self._checked = np.zeros(self._count, bool)
        self._mapped: np.ndarray | None = None

    def __len__(self) -> int:
        """Return N, the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows by their numbers, (B, ...); each chunk is checked when it is first read.

        Raises:
            OutputError: A damaged chunk cannot be written anew.
        """
        for chunk in np.unique(np.asarray(rows) // self.per_chunk):
            if not self._checked[chunk]:
                self._check(int(chunk))
        return self._rows()[rows]

    @property
    def made(self) -> int:
        """Number of rows that are made."""
        return sum(stop - start for start, stop, line in self._chunks() if line)

    def fill(self, count: Callable[[int], object] = lambda _: None) -> None:
        """Make the rows that are missing.

        Args:
            count: Called after each chunk with its number of rows.

        Raises:
            OutputError: The disk is full or the folder cannot be written; finished chunks stay.
        """
        for chunk, (start, stop, line) in enumerate(self._chunks()):
            if not line:
                self._put(chunk)
                count(stop - start)

    # ---- chunks -------------------------------------------------------------------------------------------------

    def _chunks(self) -> list[tuple[int, int, str]]:
        """Return first row, end and line of every chunk; the line is "" where the chunk is not made."""
        return [(*self._bounds(chunk), line) for chunk, line in enumerate(self._sums)]

    def _bounds(self, chunk: int) -> tuple[int, int]:
        """Return the first row of a chunk and the one after its last."""
        return chunk * self.per_chunk, min((chunk + 1) * self.per_chunk, len(self))

    def _offset(self, row: int) -> int:
        """Return the place of a row in the file, in bytes."""
        return len(self._header) + row * math.prod(self.shape[1:]) * self.dtype.itemsize

    def _put(self, chunk: int) -> None:
        """Compute a chunk, write it, and then its digest."""
        start, stop = self._bounds(chunk)
        data = np.ascontiguousarray(self._make(start, stop), self.dtype).tobytes()
        assert len(data) == self._offset(stop) - self._offset(start)
        self._sums[chunk] = _line(data)
        with self._explained():
            _write_at(self.path, self._offset(start), data)
            _write_at(self.sums_path, chunk * LINE, self._sums[chunk].encode())

    def _check(self, chunk: int) -> None:
        """Compare a chunk with its digest, and make it anew where they differ."""
        start, stop = self._bounds(chunk)
        if _line(self._rows()[start:stop].tobytes()) != self._sums[chunk]:
            self._say(f"rows {start} to {stop - 1} are damaged and made anew")
            self._put(chunk)
        self._checked[chunk] = True

    def _rows(self) -> np.ndarray:
        """Return all rows, mapped from the file."""
        if self._mapped is None:
            self.fill()  # beyond the end of a file a mapping kills the process
            self._mapped = self._map()
        return self._mapped

    def _map(self) -> np.ndarray:
        """Map the rows; their shape is known, so that the file's own header is not asked for it."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", len(self._header), self.shape)

    # ---- files --------------------------------------------------------------------------------------------------

    def _holds(self, facts: Mapping[str, Any], *, ours: bool) -> bool:
        """Return True if the folder says that it holds rows of this; refuse one of something else that is not ours."""
        folder = self.path.parent
        found = self._read_facts(folder / FACTS)
        if not ((folder / FACTS).exists() or self.sums_path.exists() or ours) and self.path.exists():
            raise ConfigError(
                f"{folder} holds {self.path.name} without {FACTS} that says what it is of: "
                "remove it, or name another folder"
            )
        if not found or found.get("format") != facts["format"]:
            return False
        odd = [key for key, value in facts.items() if found.get(key) != value]
        if odd and not ours:
            was, now = (str(some.get(odd[0]))[:16] for some in (found, facts))
            raise ConfigError(
                f"{folder} holds {self._name} of something else ({odd[0]}: {was}, not {now}): give what they were made "
                "from, or another folder"
            )
        return not odd

    def _read_facts(self, path: Path) -> dict[str, Any]:
        """Return what a folder says that it holds; nothing where that is missing or damaged."""
        if not path.exists():
            return {}
        with suppress(OSError, ValueError):
            found = read_json(read_small(path, LARGE))
            if isinstance(found, dict) and found.pop(DIGEST_OF_FACTS, "") == _facts_digest(found):
                return found
        self._say(f"{FACTS} is damaged, or of an earlier version; all is made anew")
        return {}

    def _check_regular(self) -> None:
        """Refuse a pipe or a device in the place of a file."""
        for path in (self.path, self.sums_path):
            if path.exists() and not path.is_file():
                raise ConfigError(f"{path} is no regular file: remove it, or name another folder")

    def _has_header(self) -> bool:
        """Return True if the file of rows begins as it must; warn where it does not."""
        start = b""
        if self.path.exists():
            with open_regular(self.path) as file:
                start = file.read(len(self._header))
        if not self._header.startswith(start):
            self._say(f"{self.path.name} is damaged; all is made anew")
        return start == self._header

    def _begin(self, facts: Mapping[str, Any]) -> None:
        """Begin an empty cache."""
        folder = self.path.parent
        self.sums_path.write_bytes(b"")  # digests of other rows go first
        write_whole(folder / FACTS, json.dumps({**facts, DIGEST_OF_FACTS: _facts_digest(facts)}).encode())
        self.path.write_bytes(self._header)

    def _read_sums(self) -> list[str]:
        """Return the line of every chunk, a digest unless it is damaged; "" where line or rows are not there whole."""
        with open_regular(self.sums_path) as file:
            lines = file.read(self._count * LINE)
        size = self.path.stat().st_size
        made = [self._offset(self._bounds(chunk)[1]) <= size for chunk in range(min(self._count, len(lines) // LINE))]
        found = [
            lines[chunk * LINE : (chunk + 1) * LINE].decode("latin-1") if whole else ""
            for chunk, whole in enumerate(made)
        ]
        return found + [""] * (self._count - len(found))

    def _say(self, what: str) -> None:
        """Warn of damage."""
        warnings.warn(f"{self.path.parent}: {self._name} kept there: {what}", BrickworkWarning, stacklevel=3)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of the disk into one line."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self.path.parent}: cannot keep {self._name} here ({error.strerror or error}); make room, or "
                f"{self._elsewhere}; what is finished stays"
            ) from error


def _line(data: bytes) -> str:
    """Return the line of a chunk's bytes: their digest."""
    return f"{block_digest(data)}\n"


def _facts_digest(facts: Mapping[str, Any]) -> str:
    """Return the digest of facts."""
    return block_digest(json.dumps(facts, sort_keys=True).encode())


def _npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return the bytes before the numbers of an .npy file."""
    buffer = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _write_at(path: Path, offset: int, data: bytes) -> None:
    """Write bytes at a place in a file that exists."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
