"""IDX files, the format of MNIST and Fashion-MNIST: big-endian sizes, then bytes; gzipped or not.

An images file starts with 0, 0, 8 (uint8), 3 (axes), then N, H, W as uint32; a labels file with 0, 0, 8, 1, then N.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from brickwork.data.folder import version_of
from brickwork.data.regular import check_unpacking, read_regular, regular_size
from brickwork.data.source import SPLITS, Source, checked_labels
from brickwork.errors import DataError

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
"""Fashion-MNIST's classes 0 to 9, by its authors' table."""

PIECE = 1 << 20
PREFIXES = {"train": "train", "t10k": "test", "test": "test"}
MAX_BYTES = 1 << 34
MAPPED_FROM = 1 << 31
"""Size from which the pixels of a plain file are mapped instead of read into memory: 2 GiB."""


def idx_files(folder: Path) -> dict[str, Path]:
    """Return the images files by split, of the IDX files directly in a folder; empty if there are none."""
    found = {}
    for name in sorted(name for name in os.listdir(folder) if "idx3-ubyte" in name and "-images" in name):
        prefix = name.split("-")[0]
        if prefix in PREFIXES and (folder / name).is_file():
            found.setdefault(PREFIXES[prefix], folder / name)
    return found


def open_idx(path: Path) -> Source:
    """Open the images of a folder of IDX files, or of one images file, with the labels beside them.

    Raises:
        DataError: A file is truncated or no IDX file of bytes, or labels and images differ in number.
    """
    files = idx_files(path) if path.is_dir() else {"": path}
    parts = [read_pair(file) for file in files.values()]
    if len({images.shape[1:] for images, _ in parts}) > 1:
        raise DataError(
            f"{path}: {' and '.join(str(images.shape[1:]) for images, _ in parts)} pixels; splits must agree"
        )
    images = np.concatenate([images for images, _ in parts]) if len(parts) > 1 else parts[0][0]
    labels, classes = None, ()
    if all(labels is not None for _, labels in parts):
        names = FASHION if "fashion" in (path if path.is_dir() else path.absolute().parent).name.lower() else None
        given = np.concatenate([labels for _, labels in parts if labels is not None])
        labels, classes = checked_labels(str(path), given, len(images), names)
    splits = None
    if path.is_dir():
        splits = np.concatenate([np.full(len(p[0]), SPLITS[s], np.int64) for s, p in zip(files, parts, strict=True)])
    return Source(
        name=str(path),
        image=lambda i: images[i, :, :, None],
        identity=lambda i: hashlib.sha256(images[i].tobytes()).digest(),
        names=[f"image {i}" for i in range(len(images))],
        labels=labels,
        classes=classes,
        splits=splits,
        mirrors=False,
        version=version_of(path if path.is_dir() else path.parent, [file.name for file in files.values()]),
    )


def read_pair(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read images, uint8 (N, H, W), and labels, uint8 (N,), from the file named "labels" instead, if there is one."""
    images = read_idx(path, axes=3)
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if beside.name == path.name or not beside.is_file():
        return images, None
    labels = read_idx(beside, axes=1)
    if len(labels) != len(images):
        raise DataError(f"{beside}: {len(labels)} labels for {len(images)} images; there must be one label per image")
    return images, labels


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read one IDX file of uint8 with so many axes; a large plain one is mapped."""
    length = 4 + 4 * axes
    try:
        packed, size = read_regular(path, str(path), 2) == b"\x1f\x8b", regular_size(path, str(path))
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            head = file.read(length)
            if head[:4] != bytes([0, 0, 8, axes]):
                want = bytes([0, 0, 8, axes]).hex(" ")
                raise DataError(
                    f"{path}: starts with {head[:4].hex(' ')}; an IDX file of uint8 with {axes} axes with {want}"
                )
            shape = struct.unpack(f">{axes}I", head[4:])
            count = math.prod(shape)
            if count > MAX_BYTES:
                raise DataError(f"{path}: claims {count} bytes; up to {MAX_BYTES} are read: split it")
            if packed:
                check_unpacking(str(path), size, count)
                if size > 2 * (count + length) + PIECE:  # its reader skips zeros at the end, however many they are
                    raise DataError(
                        f"{path}: {size} bytes for {count} of images; nothing is packed so badly: get it again"
                    )
            elif size - length == count > MAPPED_FROM:
                return np.memmap(path, np.uint8, "r", length, shape)
            body = read_into(file, np.empty(count if packed else min(count, max(0, size - length)), np.uint8))
            more = bool(file.read(1))
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path}: truncated or damaged ({error}); get it again") from error
    if len(body) < count or more:
        than = "more" if more else "fewer"
        raise DataError(f"{path}: holds {than} bytes than the {count} of {'x'.join(map(str, shape))}; get it again")
    return body.reshape(shape)


def read_into(file: IO[bytes] | gzip.GzipFile, room: np.ndarray) -> np.ndarray:
    """Fill an array of bytes from a file, piece by piece, and return the part that the file filled."""
    place = 0
    while place < len(room):
        piece = file.read(min(PIECE, len(room) - place))
        if not piece:
            break
        room[place : place + len(piece)] = np.frombuffer(piece, np.uint8)
        place += len(piece)
    return room[:place]
