"""Kinds of files: pictures by suffix or first bytes, and what systems, devices and programs leave beside them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache

from brickwork.errors import DataError

HEAD = 32
"""First bytes of a file that tell its kind."""

SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".apng", ".webp", ".gif", ".avif", ".heic", ".heif",
        ".tif", ".tiff", ".bmp", ".tga", ".ppm", ".pgm", ".pbm", ".pnm",
    }
)  # fmt: skip
"""Suffixes of image files. A file with one that Pillow cannot read is reported, not silently skipped."""

UNREAD_SUFFIXES = frozenset(
    {
        ".jxl", ".jxr", ".psd", ".psb", ".xcf", ".kra", ".svg", ".svgz", ".ai", ".eps", ".pdf", ".ico", ".icns",
        ".cur", ".exr", ".hdr", ".qoi", ".dds", ".pcx", ".sgi", ".fits", ".dng", ".cr2", ".cr3", ".crw", ".nef",
        ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".3fr", ".iiq", ".x3f", ".dcr",
        ".kdc", ".mrw", ".rwl",
    }
)  # fmt: skip
"""Suffixes of pictures that are not read; cameras' raw files among them, whose first bytes are those of TIFF."""

OTHER_SUFFIXES = frozenset(
    {
        ".txt", ".md", ".rst", ".caption", ".captions", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".xml",
        ".yaml", ".yml", ".toml", ".html", ".htm", ".log", ".py", ".npz", ".npy", ".zip", ".gz", ".tar", ".7z",
        ".rar", ".db", ".lmdb", ".mdb", ".pt", ".pth", ".ckpt", ".safetensors", ".mp4", ".mov", ".avi", ".mkv",
        ".webm",
    }
)  # fmt: skip
"""Suffixes of files that are no pictures, so that their first bytes need not be read."""

LEFT_FOLDERS = frozenset(
    {
        "__macosx", "appledouble", "network trash folder", "temporary items", "thevolumesettingsfolder",
        "thefindbycontentfolder", "$recycle.bin", "recycler", "system volume information", "msocache", "found.000",
        "lost+found", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@database", "#recycle",
        "#snapshot", "~snapshot", "adobe bridge cache", "_gsdata_", "_vti_cnf", "__pycache__", "node_modules",
        "thmbnl", "avf_info",
    }
)  # fmt: skip
"""Folders that systems, NAS boxes, cameras and programs make for themselves, in lower case."""

LEFT_FOLDER_SUFFIXES = (".lrdata", ".lrcat-data", ".lrlibrary", ".cocatalog", ".aplibrary", ".photolibrary")
"""Ends of folders in which picture managers keep previews."""

LEFT_FILES = re.compile(
    r"(eh)?thumbs(_vista)?\.db|desktop\.ini|icon\\r|zbthumbnail\.info|picasa\.ini|pspbrwse\.jbf|synofile_thumb.*"
    r"|~(\$|syncthing~).*|.*(~|\.(bak|old|orig|tmp|temp|part|partial|crdownload|download|swp|lnk|url))",
    re.DOTALL,
)
"""Files that systems and programs leave: thumbnails, settings, backups and downloads that were not finished."""


class Kind(Enum):
    """Kind of a file; the value is what is said where it is passed over."""

    PICTURE = "in a format that is read"
    UNREAD = "in a format that is not read"
    LEFT = "hidden or left by systems and programs"
    OTHER = "of another kind"


def kind_of(path: str, head: Callable[[], bytes]) -> Kind:
    """Tell the kind of a file by its folders and its suffix, and by its first bytes where these do not say it.

    Args:
        path: Its cleaned path.
        head: Function that reads its first bytes; it may raise a DataError.
    """
    if is_left(path):
        return Kind.LEFT
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return Kind.PICTURE
    if suffix in UNREAD_SUFFIXES:
        return Kind.UNREAD
    if suffix in OTHER_SUFFIXES:
        return Kind.OTHER
    try:
        return kind_of_content(head())
    except DataError:
        return Kind.OTHER


def is_left(path: str) -> bool:
    """Tell whether a path or a folder above it is hidden, or one that a system or program leaves."""
    folder, _, file = path.lower().rpartition("/")
    return file.startswith(".") or LEFT_FILES.fullmatch(file) is not None or _is_left_folder(folder)


@lru_cache(maxsize=1024)
def _is_left_folder(path: str) -> bool:
    return any(
        name.startswith((".", "__macosx")) or name in LEFT_FOLDERS or name.endswith(LEFT_FOLDER_SUFFIXES)
        for name in path.split("/")
    )


def kind_of_content(head: bytes) -> Kind:
    """Tell the kind of a file by its first bytes: the signatures of the formats that are read, and of some others."""
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"):
        return Kind.PICTURE
    if head.startswith(b"RIFF"):
        return Kind.PICTURE if head[8:12] == b"WEBP" else Kind.OTHER
    if head.startswith(b"BM"):  # two letters are few: the header's size, which follows, must be a known one
        return Kind.PICTURE if head[14:18] in _BITMAP_HEADERS else Kind.OTHER
    if head.startswith(_PICTURES):
        return Kind.PICTURE
    return Kind.UNREAD if brand == b"crx " or head.startswith(_UNREAD) else Kind.OTHER


_PICTURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
)
_UNREAD = (
    b"\xff\x0a",  # JPEG XL
    b"\0\0\0\x0cJXL \r\n\x87\n",
    b"8BPS",
    b"gimp xcf",
    b"qoif",
    b"v/1\x01",  # OpenEXR
    b"#?RADIANCE",
    b"II\xbc\x01",  # JPEG XR
    b"DDS ",
    b"%!PS",
    b"SIMPLE  =",
)
_BITMAP_HEADERS = tuple(size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124))
