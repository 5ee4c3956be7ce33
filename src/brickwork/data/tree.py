"""Classes and splits told by the paths of image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from brickwork.data.source import SPLITS, Labels, Rows
from brickwork.errors import DataError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".apng", ".webp", ".gif", ".avif", ".heic", ".heif"),
    *(".tif", ".tiff", ".bmp", ".tga", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""Suffixes of image files. A file with one that Pillow cannot read is reported, not silently skipped."""

SPLIT_FOLDERS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "validation", "valid": "validation", "validation": "validation",
}  # fmt: skip


def is_image_path(path: str) -> bool:
    """Tell whether a path has an image's suffix and is not hidden."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES and not is_hidden(path)


def is_hidden(path: str) -> bool:
    """Tell whether a path or a folder above it is hidden, or a folder that the Mac's archiver adds."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts)


def arrange(name: str, paths: Sequence[str]) -> tuple[Labels | None, tuple[str, ...], Rows | None]:
    """Return labels, class names and splits by sub-folders: ``[split/]class/.../file`` or ``[split/]file``.

    The folders at the top are splits if all have a split's name ("train", "test", "val" ...) and one is "train"; else
    they are the classes, sorted by name.

    Raises:
        DataError: Some images lie in class folders and others beside them.
    """
    parts = [PurePosixPath(path).parts for path in paths]
    splits = None
    tops = {p[0].lower() for p in parts if len(p) > 1}
    nested = all(len(p) > 1 for p in parts)
    if nested and tops <= set(SPLIT_FOLDERS) and "train" in {SPLIT_FOLDERS[t] for t in tops}:
        splits = np.array([SPLITS[SPLIT_FOLDERS[p[0].lower()]] for p in parts], np.int64)
        parts = [p[1:] for p in parts]
    if all(len(p) == 1 for p in parts):
        return None, (), splits
    for path, p in zip(paths, parts, strict=True):
        if len(p) == 1:
            raise DataError(f"{name}: {path} lies beside the class folders; put every image in a sub-folder, or none")
    classes = tuple(sorted({p[0] for p in parts}))
    index = {c: k for k, c in enumerate(classes)}
    return np.array([index[p[0]] for p in parts], np.int64), classes, splits
