"""Acts in a fork of this warm process: their words come back through a pipe, and they end in time or are killed."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

from brickwork.errors import BrickworkError


@final
class Child:
    """An act that runs in a fork.

    Args:
        act: It is given a function that sends a JSON-like value to the parent.
    """

    def __init__(self, act: Callable[[Callable[[Any], None]], object]) -> None:
        self.pipe, inner = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            _live(act, inner)
        os.close(inner)
        self.rest = b""
        self.open = True

    def next(self, seconds: float) -> Any:
        """Return the next value; None when the child has ended or the time is over, which ``open`` tells apart."""
        end = time.monotonic() + seconds
        while b"\n" not in self.rest:
            if not self.open or not select.select([self.pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            more = os.read(self.pipe, 1 << 16)
            self.open = bool(more)
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def kill(self) -> None:
        """Kill it, wherever it is."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """Wait for it; return its exit code, or minus the signal that ended it."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(status)


def _live(act: Callable[[Callable[[Any], None]], object], inner: int) -> None:
    """Run the act in the child, and leave without the parent's own ends."""
    code = 3
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        act(lambda value: _send(inner, value))
        code = 0
    finally:
        os._exit(code)


def _send(pipe: int, value: Any) -> None:
    data = json.dumps(value).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


@final
@dataclass(frozen=True)
class Ended:
    """End of an act in a fork."""

    how: str
    """"done", "refused", "traceback", "killed", "crash" or "hang"."""
    line: str = ""
    text: str = ""
    seconds: float = 0.0
    value: Any = None
    """What the act returned."""


def in_fork(act: Callable[[], Any], seconds: float, *, kill_after: float | None = None) -> Ended:
    """Run an act in a fork; it is killed after so many seconds, where that is wanted."""

    def send_end(send: Callable[[Any], None]) -> None:
        try:
            send(["done", "", "", act()])
        except BrickworkError as error:
            send(["refused", str(error), "", None])
        except BaseException as error:
            send(["traceback", f"{type(error).__name__}: {error}"[:300], traceback.format_exc()[-6000:], None])

    start, child = time.perf_counter(), Child(send_end)
    told = child.next(seconds if kill_after is None else kill_after)
    late = told is None and child.open
    if late:
        child.kill()
    code = child.end()
    took = time.perf_counter() - start
    if told is not None:
        return Ended(told[0], told[1], told[2], took, told[3])
    if code == -signal.SIGKILL:
        return Ended("hang" if late and kill_after is None else "killed", f"after {took:.2f} s", "", took)
    return Ended("crash", f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit {code}", "", took)
