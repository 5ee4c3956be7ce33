"""A folder of image files; its sub-folders are the classes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from brickwork.data.decode import decode_image
from brickwork.data.source import Pixels, Source
from brickwork.data.tree import arrange, is_image_path
from brickwork.errors import DataError


def open_folder(path: Path) -> Source:
    """The images of a folder and its sub-folders, sorted by path.

    Raises:
        DataError: If there is no image in it, or images lie beside class folders.
    """
    paths = sorted(filter(is_image_path, walk(path)))
    if not paths:
        raise DataError(f"{path}: no image files in this folder; give a folder of images, a .zip, an .npz or IDX files")
    labels, classes, splits = arrange(str(path), paths)

    def image(i: int) -> Pixels:
        try:
            data = (path / paths[i]).read_bytes()
        except OSError as error:
            raise DataError(f"{paths[i]}: {error.strerror or error}") from None
        return decode_image(data, paths[i])

    return Source(
        name=str(path),
        image=image,
        identity=lambda i: paths[i].encode(errors="surrogateescape"),
        names=paths,
        labels=labels,
        classes=classes,
        splits=splits,
        fingerprint=fingerprint_of(path, paths),
    )


def walk(root: Path) -> list[str]:
    """Every file below a folder, relative to it, with forward slashes. Links are followed, but not in circles."""
    found, seen = [], set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        prefix = Path(folder).relative_to(root)
        found += [(prefix / file).as_posix() for file in files]
    return found


def fingerprint_of(root: Path, paths: list[str]) -> str:
    """sha256 over the files' names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = (root / path).stat()
        except OSError:  # a link that leads nowhere: reported when it is read
            continue
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
