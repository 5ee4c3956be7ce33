"""The door of every command: standard streams on which writing never raises, one line for an error, an exit code."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast, final

from brickwork.errors import (
    MAX_MESSAGE,
    BrickworkError,
    BrickworkWarning,
    OutputError,
    PlaceError,
    printable,
    without_training,
)

MAX_LINE = 4000
"""Longest line that a command prints whole."""


class _Nowhere(io.TextIOBase):
    """Stream that takes every text and keeps none."""

    def write(self, text: str, /) -> int:
        return len(text)


@final
class SteadyStream:
    """Text stream that drops what it cannot write, and keeps the reason; letters that it lacks are escaped.

    Args:
        stream: The stream beneath; None, as Python has it for a closed descriptor, and a closed one take everything.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream: TextIO = cast(TextIO, _Nowhere()) if stream is None or stream.closed else stream
        self.failed: Exception | None = None

    def write(self, text: str) -> int:
        """Write a text, and return its length."""
        try:
            self._write(text)
        except (OSError, ValueError) as error:  # ValueError: it was closed meanwhile
            self.failed = error
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.failed = error

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            coding = self.stream.encoding or "ascii"
            self.stream.write(text.encode(coding, "backslashreplace").decode(coding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __eq__(self, other: object) -> bool:
        """Return True for the same stream beneath: so a bar recognises the stream that a line is written to."""
        return self.stream is (other.stream if isinstance(other, SteadyStream) else other)

    def __hash__(self) -> int:
        return hash(self.stream)


def steady(stream: TextIO | None) -> TextIO:
    """Return a stream on which writing never raises, around a stream."""
    return cast(TextIO, stream if isinstance(stream, SteadyStream) else SteadyStream(stream))


def say(*lines: object) -> None:
    """Print lines on standard output, as ``printable`` shows them: names in files cannot steer a terminal."""
    for line in lines:
        print(printable(line, MAX_LINE))


def run_command(act: Callable[[], int | None], program: str) -> int:
    """Run a command with steady standard streams, and return its exit code.

    A user's error is one line and its exit code, 1 or 2. Output that is lost, as on a full disk, is one line and 1,
    after the work is done; a reader that stopped, as in ``brickwork list | head``, and a stream that was closed from
    the start asked for nothing more.

    Args:
        act: The command; returns its exit code, None for 0.
        program: Name of the command, for the line.
    """
    _fill_descriptors()
    out, err = SteadyStream(sys.stdout), SteadyStream(sys.stderr)
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        code = _exit_code(act, program)
        out.flush()
        if out.failed is not None and not isinstance(out.failed, BrokenPipeError):
            reason = getattr(out.failed, "strerror", None) or out.failed
            print(f"{program}: standard output cannot be written ({reason}); send it elsewhere", file=sys.stderr)
            code = code or 1
        err.flush()
    for stream in (out, err):
        if stream.failed is not None:
            _give_up(stream)
    return code


def _exit_code(act: Callable[[], int | None], program: str) -> int:
    """Call a command; print a user's error as one line."""
    try:
        _check_folder()
        with _warnings_of_one_line(program):
            return act() or 0
    except BrickworkError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if not (missing := without_training(error, program)):
            raise
        print(missing, file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"{program}: {PlaceError(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        return 130
    except SystemExit as left:  # --help of a parser
        return left.code if isinstance(left.code, int) else int(left.code is not None)


def _check_folder() -> None:
    """Refuse a current folder that was removed: relative paths mean nothing there, and PyTorch ends the process."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise OutputError("the current folder is gone; change to one that exists") from None


@contextmanager
def _warnings_of_one_line(program: str) -> Iterator[None]:
    """Print the library's own warnings as one line each, without the place in the code, as often as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", BrickworkWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, BrickworkWarning):
                print(f"{program}: {printable(message, MAX_MESSAGE)}", file=sys.stderr)
            else:
                shown(message, category, *where)

        warnings.showwarning = show
        yield


def _fill_descriptors() -> None:
    """Open the null device in place of closed standard descriptors, or the next file opened would take their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _give_up(stream: SteadyStream) -> None:
    """Point a stream that failed at the null device, so that Python does not fail on it again when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
