"""One run at a time writes into a folder; the system forgets the lock of a run that was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from brickwork.errors import ConfigError, OutputError

LOCK_FILE = ".lock"


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Within the context no other run writes into the folder, which is made if it is missing.

    Raises:
        ConfigError: Another run writes there now.
        OutputError: The folder cannot be written.
    """
    lock: FileLock | None = FileLock(out / LOCK_FILE, blocking=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"another run is writing into {out} now: wait for its end, stop it, or choose another out folder"
        ) from None
    except NotImplementedError:  # a file system without locks
        lock = None
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
