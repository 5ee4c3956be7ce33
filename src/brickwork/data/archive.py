"""Zips of image files: their folders are the classes, and captions may lie beside the images.

Members are read into memory; nothing is unpacked to disk.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path

from brickwork.data.decode import Decoder
from brickwork.data.files import source_of_files
from brickwork.data.folder import version_of
from brickwork.data.names import clean_name
from brickwork.data.source import Source
from brickwork.errors import DataError

UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, NotImplementedError)
"""Errors of reading a damaged or encrypted member."""
ENCRYPTED = 1
"""Flag of a member that wants a password."""
UTF8 = 0x800
"""Flag of a member whose name is said to be UTF-8."""


def open_archive(path: Path, *, captions: bool = True, decoder: Decoder | None = None) -> Source:
    """Open the images of a zip, sorted by path.

    Args:
        path: The zip.
        captions: Look for captions.
        decoder: Decoder of its images; None for one with default limits.

    Raises:
        MissingExtraError: It holds HEIC images, and pillow-heif is not installed.
        DataError: It is no zip, damaged, without images, or some images have captions and others none.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: not a zip that can be read ({error}); make it again") from error
    files = [(name_of(m), m) for m in archive.infolist() if not m.filename.endswith(("/", "\\"))]
    members = dict(files)

    def read(file: str, limit: int) -> bytes:
        try:
            with archive.open(members[file]) as stream:
                return stream.read(limit)
        except UNREADABLE as error:
            locked = members[file].flag_bits & ENCRYPTED
            said = "encrypted; unpack the zip with its password, and give the folder" if locked else error
            raise DataError(f"{clean_name(file)}: {said}") from error

    return source_of_files(
        str(path),
        [name for name, _ in files],
        read,
        lambda file: members[file].file_size,
        captions=captions,
        version=lambda _: version_of(path.parent, [path.name]),
        unwrap=True,
        decoder=decoder or Decoder(),
    )


def name_of(member: zipfile.ZipInfo) -> str:
    """Return a member's path; UTF-8 that is not said to be UTF-8, as some programs write it, is read as such."""
    name = member.filename
    if member.flag_bits & UTF8 or name.isascii():
        return name
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name
