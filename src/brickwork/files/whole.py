"""Files and folders written whole or not at all; this library writes all its output through here."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from brickwork.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; after the ``with`` block the file has its own name, whole.

    A reader finds the old file or the new one, never a part, whatever happens meanwhile: the temporary file beside it
    is flushed to the disk and renamed, then the folder is flushed. Other errors than those of the disk pass through.

    Args:
        path: The file; its folder is made where it is missing.

    Raises:
        OutputError: The place cannot be written or the disk is full. The previous file is whole, nothing else is left.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            os.chmod(part, 0o644)
            _flush(part)
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        if os.name == "posix":  # Windows opens no folder, and keeps renames by itself
            _flush(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose another place"
        ) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file's bytes so that a reader finds the old file or the new one, never a part.

    Raises:
        OutputError: The place cannot be written or the disk is full. The previous file is whole, nothing else is left.
    """
    with whole_file(path) as part:
        part.write_bytes(data)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that a killed writer of ``path`` left beside it."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)


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

    Args:
        out: The final folder; an existing one is replaced.

    Raises:
        OutputError: The place cannot be written; the previous folder is whole.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from None
    try:
        part.chmod(0o755)
        yield part
        _put(part, out)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}); free some space or choose another place"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(part: Path, out: Path) -> None:
    """Move a finished folder to its place; an earlier one is removed only after that has worked."""
    if not out.exists():
        part.rename(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
    out.rename(aside / out.name)
    try:
        part.rename(out)
    except OSError:
        (aside / out.name).rename(out)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
