"""One trial: a reader before a changed input, and the name of what it does."""

from __future__ import annotations

import io
import logging
import os
import re
import resource
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args

from mutate import LONGEST_LINE

from brickwork.errors import BrickworkError
from campaign.subject import fingerprint

Kind = Literal["refused", "same", "said", "other", "silent", "traceback", "crash", "hang", "memory", "line"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FAULTS: tuple[Kind, ...] = KINDS[4:]
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that an error's line must not carry to a terminal."""


@final
@dataclass(frozen=True)
class Outcome:
    """What came of one trial."""

    kind: Kind
    line: str = ""
    """The error's line, or what is wrong."""
    where: str = ""
    """Innermost places in the code of an exception that is a fault: what tells one fault from another."""
    text: str = ""
    """Whole traceback."""

    @property
    def is_fault(self) -> bool:
        """True for an outcome that must not be."""
        return self.kind in FAULTS

    @property
    def signature(self) -> tuple[str, str]:
        """Kind and place: equal for two inputs that meet the same fault."""
        return self.kind, self.where


@final
class Warnings(logging.Handler):
    """Counts what brickwork warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


def observe(read: Callable[[], Any]) -> tuple[Outcome, str]:
    """Call a reader; return what came of it and the fingerprint of its result.

    An outcome of kind "other" is a result without a word, and "said" one with a warning; what they mean is for
    ``judged`` to say.
    """
    handler, log = Warnings(), logging.getLogger("brickwork")
    log.addHandler(handler)
    told = io.StringIO()
    try:
        with redirect_stdout(told), redirect_stderr(told):
            value = fingerprint(read())
    except BrickworkError as error:
        return _refused(str(error)), ""
    except Exception as error:
        return _traceback(error), ""
    finally:
        log.removeHandler(handler)
    return Outcome("said" if handler.lines else "other", "; ".join(handler.lines)[:300]), value


def judged(outcome: Outcome, value: str, valid: str, *, guarded: bool) -> Outcome:
    """Compare a result with that of the valid input."""
    if outcome.kind in ("said", "other") and value == valid:
        return Outcome("same")
    if outcome.kind == "other" and guarded:
        return Outcome("silent", "another result without a word", "result")
    return outcome


def _refused(line: str) -> Outcome:
    if not line or len(line) > LONGEST_LINE or CONTROL.search(line):
        what = f"{len(line)} characters" if len(line) > LONGEST_LINE else "control characters, or none at all"
        where = re.sub(r"\W+", " ", re.sub(r"\d+|/\S+", "", line[:60])).strip()
        return Outcome("line", f"an error's line of {what}: {line[:200]!r}", where)
    return Outcome("refused", line)


def _traceback(error: BaseException) -> Outcome:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/brickwork/" in f.filename] or frames
    where = f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].name}"
    text = "".join(traceback.format_exception(error))[-6000:]
    return Outcome("traceback", f"{type(error).__name__}: {str(error)[:200]}", where, text)


def memory_now(peak: bool = False) -> int:
    """Return the bytes that this process holds, or held at most since ``forget_peak``."""
    name = "VmHWM:" if peak else "VmRSS:"
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))


def forget_peak() -> None:
    """Let the peak of memory begin anew from what is held now."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def limit_addresses(more: int) -> None:
    """Refuse this process more than so many further bytes of addresses."""
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + more, held + more))


def watched(read: Callable[[], Any], memory: int) -> tuple[Outcome, str, float]:
    """Observe a reader within a bound of memory; also return the seconds that it took."""
    before, start = memory_now(), time.perf_counter()
    forget_peak()
    outcome, value = observe(read)
    took, grown = time.perf_counter() - start, memory_now(peak=True) - before
    if grown > memory:
        outcome = Outcome("memory", f"{grown >> 20:,} MiB, at most {memory >> 20:,}; {outcome.line}", outcome.kind)
    return outcome, value, took
