"""Zips of image files: their folders are the classes, and captions may lie beside the images.

Members are read into memory; nothing is unpacked to disk.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from brickwork.data.captions import find_captions
from brickwork.data.decode import MAX_PIXELS, decode_image
from brickwork.data.folder import version_of
from brickwork.data.source import Source
from brickwork.data.tree import arrange, is_image_path
from brickwork.errors import DataError

MAX_MEMBER_BYTES = 4 * MAX_PIXELS
"""Largest member that is unpacked, in bytes; the largest image allowed takes less, even uncompressed."""


def open_archive(path: Path, *, captions: bool = True) -> Source:
    """Open the images of a zip, sorted by path. One folder around everything, as zip programs add it, is no class.

    Args:
        path: The zip.
        captions: Look for captions.

    Raises:
        DataError: It is no zip, damaged, without images, or some images have captions and others none.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: not a zip that can be read ({error}); make it again") from error
    members = {m.filename: m for m in archive.infolist() if not m.is_dir()}
    files = sorted(filter(is_image_path, members))
    if not files:
        raise DataError(f"{path}: no image files in this zip; give a zip of images, in one folder per class or in none")
    paths = without_wrapper(files)
    labels, classes, splits = arrange(str(path), paths)

    shown = dict(zip(files, paths, strict=True))

    def read(file: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
        member, name = members[file], shown.get(file, file)
        if member.file_size > MAX_MEMBER_BYTES:
            raise DataError(f"{name}: unpacks to {member.file_size} bytes; {MAX_MEMBER_BYTES} are allowed")
        try:
            with archive.open(member) as stream:
                return stream.read(min(limit, MAX_MEMBER_BYTES))
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"{name}: {error}") from error

    return Source(
        name=str(path),
        image=lambda i: decode_image(read(files[i]), paths[i]),
        identity=lambda i: paths[i].encode(),
        names=paths,
        labels=labels,
        classes=classes,
        captions=find_captions(str(path), files, members, read) if captions else None,
        splits=splits,
        version=version_of(path.parent, [path.name]),
    )


def without_wrapper(files: list[str]) -> list[str]:
    """Return the paths without the one top folder that all of them share, if there is one."""
    parts = [PurePosixPath(file).parts for file in files]
    if len({p[0] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[1:] for p in parts]
    return ["/".join(p) for p in parts]
