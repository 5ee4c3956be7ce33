"""Arrays in numpy's files, .npy and .npz: what a header says is compared with the file before memory is spent on it.

A file is refused with a ``ValueError`` of one short line, which the caller puts into an error of its own. Pickled
objects and tables of named columns are never opened.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

MAX_AXES = 32
MOST = 1 << 40
"""Most bytes of the arrays of a file, where the caller says no other number."""
MAX_HEADER = 10_000
"""Most bytes of a header."""
CHUNK = 1 << 24
"""Bytes that are read at once."""
MAX_CHARACTER = 0x10FFFF
KINDS = "biufcUS"
"""Kinds of numbers and texts that are read, by numpy's letters."""


class PickledError(ValueError):
    """An array of pickled objects."""


def read_npy(path: Path, most: int = MOST) -> np.ndarray:
    """Read the array of an .npy file.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is no such file, damaged, or of more bytes than ``most``.
    """
    with path.open("rb") as file:
        return _read(file, path.stat().st_size, most)


def read_npz(path: Path, wanted: Collection[str], most: int = MOST) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read some arrays of an .npz file.

    Args:
        path: The file.
        wanted: Names of the arrays to read, where they are there.
        most: Most bytes of them all.

    Returns:
        The arrays by name, and the names of all arrays of the file.

    Raises:
        OSError: It cannot be opened.
        PickledError: An array is of pickled objects; the message begins with its name.
        ValueError: It is no such file, damaged, or its arrays have more bytes than ``most``.
    """
    arrays: dict[str, np.ndarray] = {}
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                for name in members.keys() & set(wanted):
                    with archive.open(members[name]) as member:
                        arrays[name] = _named(name, member, members[name].file_size, most)
                    most -= arrays[name].nbytes
                return arrays, list(members)
        except (OSError, ValueError, MemoryError):
            raise
        except Exception as error:  # the readers of zip files and of packed bytes raise errors of many classes
            raise ValueError(f"a damaged zip file: {error or type(error).__name__}") from None


def _named(name: str, file: IO[bytes], length: int, most: int) -> np.ndarray:
    try:
        return _read(file, length, most)
    except PickledError as error:
        raise PickledError(f"{name} is {error}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _read(file: IO[bytes], length: int, most: int) -> np.ndarray:
    """Read an array from a file of so many bytes."""
    shape, fortran, dtype, start = _header(file)
    size = math.prod(shape) * dtype.itemsize
    if start + size != length:
        raise ValueError(f"its header says {size:,} bytes of numbers, and {length - start:,} follow")
    if size > most:
        raise ValueError(f"an array of {size:,} bytes, and at most {most:,} are read")
    data = bytearray(size)
    _fill(file, memoryview(data))
    array = np.frombuffer(data, dtype) if size else np.zeros(math.prod(shape), dtype)
    if size and dtype.kind == "U" and array.view(f"{dtype.byteorder}u4").max() > MAX_CHARACTER:
        raise ValueError("a text with numbers that are no characters")
    return array.reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return shape, order, dtype, and the place of the first number."""
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or len(magic) < 8:
        raise ValueError("it does not begin as an array of numpy")
    width = {1: 2, 2: 4}.get(magic[6])
    if width is None:
        raise ValueError(f"version {magic[6]} of numpy's format, and 1 and 2 are read")
    text = file.read(width)
    count = int.from_bytes(text, "little")
    if len(text) < width or count > MAX_HEADER:
        raise ValueError(f"a header of {count:,} bytes, and at most {MAX_HEADER:,} are read")
    return *_parsed(text + file.read(count), magic[6]), 8 + width + count


def _parsed(text: bytes, version: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Parse a header, its length included, and refuse what is no array of numbers or texts."""
    read = np.lib.format.read_array_header_1_0 if version == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(io.BytesIO(text), max_header_size=MAX_HEADER)
    except Exception as error:  # its parser of Python's literals raises errors of many classes
        raise ValueError(f"a damaged header ({type(error).__name__})") from None
    if dtype.hasobject:
        raise PickledError("a pickled object array, which is never opened")
    if (
        dtype.kind not in KINDS
        or not dtype.itemsize
        or len(shape) > MAX_AXES
        or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape)
    ):
        raise ValueError(f"an array of {dtype.kind!r} and {len(shape)} axes: only plain numbers and texts are read")
    return shape, fortran, dtype


def _fill(file: IO[bytes], view: memoryview) -> None:
    """Fill a view with the next bytes of a file."""
    while view:
        part = file.read(min(len(view), CHUNK))
        if not part:
            raise ValueError("it ends before its last number")
        view[: len(part)] = part
        view = view[len(part) :]
