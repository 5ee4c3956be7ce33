"""Graceful end at a signal: the step or the batch at hand is finished, and the run saved before it ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, final


@final
class Stopped(KeyboardInterrupt):
    """Something long that a signal asked to end between two of its steps; no handler of errors takes it for one."""


@final
class Interrupt:
    """Context in which ``asked`` turns true at the first SIGINT, SIGTERM or SIGHUP; a second one acts as it did before.

    SIGHUP comes when a terminal or a connection closes; where it is ignored, as under ``nohup``, it stays so. Outside
    the main thread, where Python delivers no signals, ``asked`` stays false.
    """

    SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        """Take over the signals that this system has."""
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.Signals[name] for name in self.SIGNALS if name in signal.Signals.__members__]
            obeyed = [n for n in numbers if n.name != "SIGHUP" or signal.getsignal(n) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._ask) for number in obeyed}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the previous handlers."""
        self._restore()

    def check(self, *_: object) -> None:
        """Do nothing until a signal comes; then end what is under way. It takes, and ignores, what a loop hands out.

        Raises:
            Stopped: A signal asked the run to end.
        """
        if self.asked:
            raise Stopped

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
