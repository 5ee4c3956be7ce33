"""HEIC pictures, the format of telephones, by the optional package pillow-heif."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from brickwork.errors import DataError, MissingExtraError

SUFFIXES = (".heic", ".heif", ".hif")
BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
CONTAINERS = (b"mif1", b"msf1")
HEAD = 64
"""Bytes at the beginning of a file that tell whether it is HEIC."""


def is_heif(head: bytes) -> bool:
    """Tell from the first bytes of a file whether it is HEIC; AVIF, in the same kind of container, is not."""
    if head[4:8] != b"ftyp":
        return False
    return head[8:12] in BRANDS or (head[8:12] in CONTAINERS and any(brand in head[16:HEAD] for brand in BRANDS))


def heif_factory(what: str) -> Callable[..., Any]:
    """Return what opens a HEIC file as a picture of Pillow, without a change of Pillow's own list of formats.

    Args:
        what: What needs it, for the message.

    Raises:
        MissingExtraError: pillow-heif is not installed.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise MissingExtraError("heif", "pillow-heif", what) from error
    return HeifImageFile


def check_heif(paths: Iterable[str], read: Callable[[str, int], bytes]) -> None:
    """Refuse HEIC files at once where nothing can read them, before other pictures are decoded for minutes.

    Args:
        paths: Paths of the images of a source.
        read: Function that returns the first so many bytes of a file.

    Raises:
        MissingExtraError: One is HEIC by its suffix and its first bytes, and pillow-heif is not installed.
    """
    for path in paths:
        if not path.lower().endswith(SUFFIXES):
            continue
        try:
            head = read(path, HEAD)
        except DataError:  # it is named when it is read
            continue
        if is_heif(head):
            heif_factory(f"{path}, a HEIC picture,")
            return
