"""Folders of image files: their sub-folders are the classes, and captions may lie beside the images."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from brickwork.data.files import source_of_files
from brickwork.data.found import passed_over
from brickwork.data.names import clean_name
from brickwork.data.source import Source
from brickwork.errors import DataError


def open_folder(path: Path, *, captions: bool = True) -> Source:
    """Open the images of a folder and its sub-folders, sorted by path.

    Args:
        path: The folder.
        captions: Look for captions.

    Raises:
        DataError: It holds no image, images lie beside class folders, or some images have captions and others none.
    """

    def read(file: str, limit: int | None = None) -> bytes:
        try:
            if not stat.S_ISREG((path / file).stat().st_mode):
                raise DataError(f"{clean_name(file)}: no regular file")
            with (path / file).open("rb") as opened:
                return opened.read(limit)
        except OSError as error:
            raise DataError(f"{clean_name(file)}: {error.strerror or error}") from None

    files, closed = walk(path)
    return source_of_files(
        str(path),
        files,
        read,
        captions=captions,
        version=lambda images: version_of(path, images),
        passed=passed_over("folder that cannot be opened", closed),
    )


def walk(root: Path) -> tuple[list[str], list[str]]:
    """List every file below a folder, relative to it, with forward slashes; follow links, but not in circles.

    Returns:
        The files, and the folders that cannot be opened.
    """
    found, seen = [], set()
    closed: list[OSError] = []
    for folder, subfolders, files in os.walk(root, onerror=closed.append, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        prefix = Path(folder).relative_to(root)
        found += [(prefix / file).as_posix() for file in files]
    return found, [os.path.relpath(error.filename, root) for error in closed]


def version_of(root: Path, paths: list[str]) -> str:
    """Return the SHA-256 (hex) of the files' names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            facts = (root / path).stat()
        except OSError:  # a link that leads nowhere: reported when it is read
            continue
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
