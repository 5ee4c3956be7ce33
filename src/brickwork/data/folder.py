"""Folders of image files: their sub-folders are the classes, and captions may lie beside the images."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from brickwork.data.decode import Decoder
from brickwork.data.files import source_of_files
from brickwork.data.found import passed_over
from brickwork.data.names import clean_name
from brickwork.data.regular import read_regular, regular_size
from brickwork.data.source import Source


def open_folder(path: Path, *, captions: bool = True, decoder: Decoder | None = None) -> Source:
    """Open the images of a folder and its sub-folders, sorted by path.

    Args:
        path: The folder.
        captions: Look for captions.
        decoder: Decoder of its images; None for one with default limits.

    Raises:
        MissingExtraError: It holds HEIC images, and pillow-heif is not installed.
        DataError: It holds no image, images lie beside class folders, or some images have captions and others none.
    """

    def read(file: str, limit: int) -> bytes:
        return read_regular(os.path.join(path, file), clean_name(file), limit)

    def size(file: str) -> int:
        return regular_size(os.path.join(path, file), clean_name(file))

    files, closed = walk(path)
    return source_of_files(
        str(path),
        files,
        read,
        size,
        captions=captions,
        version=lambda images: version_of(path, images),
        passed=passed_over("folder that cannot be opened", closed),
        decoder=decoder or Decoder(),
    )


def walk(root: Path) -> tuple[list[str], list[str]]:
    """List every file below a folder, relative to it, with forward slashes; follow links, but not in circles.

    A link to a folder that holds this one leads out of it, perhaps into all of a disk, and is not followed.

    Returns:
        The files, and the folders that cannot be opened.
    """
    found, seen = [], set()
    closed: list[OSError] = []
    for folder, subfolders, files in os.walk(root, onerror=closed.append, followlinks=True):
        if (real := os.path.realpath(folder)) in seen or (seen and _holds(real, root)):
            subfolders.clear()
            continue
        seen.add(real)
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        found += [f"{prefix}{file}" for file in files]
    return found, [os.path.relpath(error.filename, root) for error in closed]


def _holds(folder: str, root: Path) -> bool:
    """Return True for a folder, its links resolved, that holds another."""
    return Path(folder) in Path(os.path.realpath(root)).parents


def version_of(root: Path, paths: list[str]) -> str:
    """Return the SHA-256 (hex) of the files' names, sizes and times of change, of content and of status."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            facts = os.stat(os.path.join(root, path))
        except OSError:  # a link that leads nowhere: reported when it is read
            continue
        digest.update(
            f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\0".encode(errors="surrogateescape")
        )
    return digest.hexdigest()
