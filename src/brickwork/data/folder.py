"""Folders of image files: their sub-folders are the classes, and captions may lie beside the images."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from brickwork.data.captions import find_captions
from brickwork.data.decode import decode_image
from brickwork.data.source import Source
from brickwork.data.tree import arrange, is_image_path
from brickwork.errors import DataError


def open_folder(path: Path, *, captions: bool = True) -> Source:
    """Open the images of a folder and its sub-folders, sorted by path.

    Args:
        path: The folder.
        captions: Look for captions.

    Raises:
        DataError: It holds no image, images lie beside class folders, or some images have captions and others none.
    """
    files = set(walk(path))
    paths = sorted(filter(is_image_path, files))
    if not paths:
        raise DataError(f"{path}: no image files in this folder; give a folder of images, a .zip, an .npz or IDX files")
    labels, classes, splits = arrange(str(path), paths)

    def read(file: str, limit: int = -1) -> bytes:
        try:
            with (path / file).open("rb") as opened:
                return opened.read(limit)
        except OSError as error:
            raise DataError(f"{file}: {error.strerror or error}") from None

    return Source(
        name=str(path),
        image=lambda i: decode_image(read(paths[i]), paths[i]),
        identity=lambda i: paths[i].encode(errors="surrogateescape"),
        names=paths,
        labels=labels,
        classes=classes,
        captions=find_captions(str(path), paths, files, read) if captions else None,
        splits=splits,
        version=version_of(path, paths),
    )


def walk(root: Path) -> list[str]:
    """List every file below a folder, relative to it, with forward slashes; follow links, but not in circles."""
    found, seen = [], set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        prefix = Path(folder).relative_to(root)
        found += [(prefix / file).as_posix() for file in files]
    return found


def version_of(root: Path, paths: list[str]) -> str:
    """Return the SHA-256 (hex) of the files' names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = (root / path).stat()
        except OSError:  # a link that leads nowhere: reported when it is read
            continue
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
