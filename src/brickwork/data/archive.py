"""A zip of image files; its folders are the classes. Members are read in memory, nothing is unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from brickwork.data.decode import MAX_PIXELS, decode_image
from brickwork.data.folder import fingerprint_of
from brickwork.data.source import Pixels, Source
from brickwork.data.tree import arrange, is_image_path
from brickwork.errors import DataError

MAX_MEMBER_BYTES = 4 * MAX_PIXELS
"""Largest member that is unpacked, in bytes: more than the largest image allowed has when stored plainly."""


def open_archive(path: Path) -> Source:
    """The images of a zip, sorted by path. One folder around everything, as zip programs add it, is not a class.

    Raises:
        DataError: If it is not a zip, is damaged, or holds no image.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: not a zip that can be read ({error}); make it again") from error
    members = {m.filename: m for m in archive.infolist() if not m.is_dir() and is_image_path(m.filename)}
    if not members:
        raise DataError(f"{path}: no image files in this zip; give a zip of images, in one folder per class or in none")
    files = sorted(members)
    paths = without_wrapper(files)
    labels, classes, splits = arrange(str(path), paths)

    def image(i: int) -> Pixels:
        member = members[files[i]]
        if member.file_size > MAX_MEMBER_BYTES:
            raise DataError(f"{paths[i]}: unpacks to {member.file_size} bytes; {MAX_MEMBER_BYTES} are allowed")
        try:
            with archive.open(member) as stream:
                data = stream.read(MAX_MEMBER_BYTES)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"{paths[i]}: {error}") from error
        return decode_image(data, paths[i])

    return Source(
        name=str(path),
        image=image,
        identity=lambda i: paths[i].encode(),
        names=paths,
        labels=labels,
        classes=classes,
        splits=splits,
        fingerprint=fingerprint_of(path.parent, [path.name]),
    )


def without_wrapper(files: list[str]) -> list[str]:
    """The paths without the one folder that all of them share at the top, if there is one."""
    parts = [PurePosixPath(file).parts for file in files]
    if len({p[0] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[1:] for p in parts]
    return ["/".join(p) for p in parts]
