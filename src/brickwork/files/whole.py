"""Files and folders written whole or not at all; this library writes all its output through here."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from brickwork.errors import OutputError
from brickwork.files.owned import lock, owned_folder, release, sweep
from brickwork.files.regular import check_name

ASIDE = ".brickwork.old"
"""End of the name of a folder that is being replaced where the system cannot swap two names."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; after the ``with`` block the file has its own name, whole.

    A link stays, and the file that it leads to is written. A reader finds the old file or the new one, never a part,
    whatever happens meanwhile: the file is written in a
    temporary folder beside it, flushed to the disk and renamed, then the folder is flushed. Temporary folders there
    whose writer was killed are removed. Other errors than those of the disk pass through.

    Args:
        path: The file; its folder is made where it is missing. Its permissions are those that the umask allows.

    Raises:
        OutputError: The place cannot be written, the disk is full, or a device, a pipe or a socket is there, which a
            file would replace. The previous file is whole, nothing else is left.
    """
    check_file_name(path)
    try:
        place = _place_of(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep(place.parent)
        with owned_folder(place.parent) as folder:
            part = folder / place.name
            yield part
            part.chmod(folder.stat().st_mode & 0o666)  # a writer that renames a file of its own makes it private
            _flush(part)
            os.replace(part, place)
        if os.name == "posix":  # Windows opens no folder, and keeps renames by itself
            _flush(place.parent)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose another place"
        ) from error


def check_place(path: Path) -> None:
    """Refuse a file that cannot be written, before the work that makes it; nothing is left behind.

    Raises:
        OutputError: Its folder cannot be made or written, or the name is that of a folder, a device or a pipe.
    """
    check_file_name(path)
    try:
        place = _place_of(path)
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has that name")
        folder = next(above for above in place.parents if above.exists())
        sweep(folder)
        with owned_folder(folder):
            pass
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file's bytes so that a reader finds the old file or the new one, never a part.

    Raises:
        OutputError: The place cannot be written or the disk is full. The previous file is whole, nothing else is left.
    """
    with whole_file(path) as part:
        part.write_bytes(data)


def check_file_name(path: Path) -> None:
    """Refuse a name that no file can be written under.

    Raises:
        OutputError: It holds a zero byte, half a character, or bytes that are no UTF-8.
    """
    try:
        check_name(path)
    except ValueError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from None


def _place_of(path: Path) -> Path:
    """Return the place that a path leads to, through links.

    Raises:
        OSError: The links lead in a circle, or what is there is neither a file nor a folder.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileExistsError(errno.EEXIST, "a device, a pipe or a socket has that name, and would be lost")
    return Path(os.path.realpath(path))


def _flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder beside ``out`` to fill; it replaces ``out`` as a whole, or is removed after an error.

    Temporary folders there whose writer was killed are removed.

    Args:
        out: The final folder; an existing one is replaced, and is whole until the new one is.

    Raises:
        OutputError: The place cannot be written; the previous folder is whole.
    """
    check_file_name(out)
    try:
        place = _place_of(out)
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep(place.parent)
        restore(place)
        with owned_folder(place.parent) as part:
            yield part
            _put(part, place)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}); free some space or choose another place"
        ) from None


def restore(out: Path) -> None:
    """Put a folder back in its place whose writer was killed while it replaced it; do nothing where there is none.

    Only systems that cannot swap two names in one step leave such folders.
    """
    for aside in out.parent.glob(f".{glob.escape(out.name)}.*{ASIDE}"):
        if (handle := lock(aside)) is None:
            continue
        with suppress(OSError):
            shutil.rmtree(aside) if out.exists() else aside.rename(out)
        release(handle)


def _put(part: Path, out: Path) -> None:
    """Move a finished folder to its place, in one step where the system can; the earlier one ends where it was."""
    if not out.exists():
        part.rename(out)
    elif not _swap(part, out):
        _put_aside(part, out)


def _swap(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step; return False where the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _put_aside(part: Path, out: Path) -> None:
    """Replace a folder in two steps; whoever opens it next puts the earlier one back if we die between them."""
    aside = out.with_name(f".{out.name}.{secrets.token_hex(4)}{ASIDE}")
    handle = lock(out)
    try:
        out.rename(aside)
        try:
            part.rename(out)
        except OSError:
            aside.rename(out)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        release(handle)
