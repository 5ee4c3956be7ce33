"""The lock of a run folder, for one run at a time; the system releases the lock of a run that was killed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from brickwork.errors import ConfigError, OutputError
from brickwork.files.whole import check_file_name

LOCK_FILE = ".lock"
NO_LOCKS = (
    errno.ENOSYS,
    errno.ENOLCK,
    errno.EOPNOTSUPP,
)  # errors where a file system has no locks


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Keep other runs from writing into the folder during the context; make the folder if it is missing.

    On a file system without locks nothing is locked.

    Raises:
        ConfigError: Another run writes there now.
        OutputError: The folder cannot be written.
    """
    # A marker file in place of a lock would outlive a run that was killed, and refuse the next one for ever.
    lock: FileLock | None = FileLock(out / LOCK_FILE, blocking=False, fallback_to_soft=False)
    check_file_name(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"another run is writing into {out} now: wait for its end, stop it, or choose another out folder"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise OutputError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from None
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
