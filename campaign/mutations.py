"""Mutations of a subject's input in worker processes, with a limit of time and a bound of memory for each."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from brickwork.nn.attention import use_kernel
from brickwork.nn.linear import use_library
from campaign.changes import Change, changed
from campaign.fork import Child, in_fork
from campaign.subject import Subject
from campaign.trial import Outcome, judged, limit_addresses, watched

SECONDS = 10.0
"""A reader that takes longer hangs."""
ADDRESSES = 6 << 30
"""Bytes of addresses that a worker may still get, so that the machine stays whole."""
FIRST = 120.0
"""Seconds for the valid input, whose reading imports and measures."""
SHM = Path("/dev/shm")


@final
@dataclass(frozen=True)
class Result:
    """A trial of a subject with a change."""

    subject: str
    change: Change
    outcome: Outcome
    seconds: float


class BrokenSubjectError(Exception):
    """A subject whose valid input is not read twice alike: a fault of the campaign, or of the reader."""


def numbers_of(seed: int, name: str, count: int) -> list[int]:
    """Return the numbers of a subject's mutations: the same for the same seed."""
    digests = (hashlib.sha256(f"{seed}/{name}/{i}".encode()).digest() for i in range(count))
    return [int.from_bytes(digest[:6], "big") for digest in digests]


def scratch() -> Path:
    """Return a new folder in memory, or on the disk where there is no such place."""
    return Path(tempfile.mkdtemp(prefix="campaign-", dir=SHM if SHM.is_dir() else None))


def made(subject: Subject, place: Path) -> Path:
    """Return a folder with the subject's valid input.

    Raises:
        BrokenSubjectError: It cannot be made.
    """
    valid = place / "valid"
    valid.mkdir()
    ended = in_fork(lambda: subject.make(valid) and None, FIRST)  # so that this process starts no threads
    if ended.how != "done":
        raise BrokenSubjectError(f"{subject.name}: its input cannot be made: {ended.how} {ended.line}")
    return valid


def mutated(subject: Subject, numbers: Sequence[int], place: Path, seconds: float = SECONDS) -> Iterator[Result]:
    """Yield the result of each mutation; ``place`` is an empty folder to work in.

    Raises:
        BrokenSubjectError: The valid input is refused, or read differently the second time.
    """
    valid = made(subject, place)
    changes = [changed(number, valid, subject.files, subject.headers) for number in numbers]
    yield from tried(subject, changes, place, seconds)


def tried(subject: Subject, changes: Sequence[Change], place: Path, seconds: float = SECONDS) -> Iterator[Result]:
    """Yield the result of each change of the input in ``place``; a trial over its time is tried once more, alone."""
    rest, again = list(changes), False
    while rest:
        done = 0
        for change, outcome, took in _worked(subject, rest[:1] if again else rest, place, seconds):
            if outcome.kind == "hang" and not again:
                again = True  # a slow moment of the machine is no hang
                break
            again = False
            done += 1
            yield Result(subject.name, change, outcome, took)
        rest = rest[done:]


def _worked(
    subject: Subject, changes: Sequence[Change], place: Path, seconds: float
) -> Iterator[tuple[Change, Outcome, float]]:
    """Try changes in one worker until it ends; the last one may be a hang or a crash."""
    child = Child(lambda send: _work(subject, changes, place, send))
    try:
        if (told := child.next(FIRST)) != "ready":
            raise BrokenSubjectError(f"{subject.name}: {told or 'the valid input ends the process'}")
        for change in changes:
            start = time.perf_counter()
            told = child.next(seconds)
            if told is not None:
                yield change, Outcome(**told[0]), told[1]
                continue
            kind = "hang" if child.open else "crash"
            child.kill()
            yield (
                change,
                Outcome(kind, f"{change.what} in {change.file}", f"{change.file} {change.level}"),
                (time.perf_counter() - start),
            )
            return
    finally:
        child.kill()
        child.end()
        shutil.rmtree(place / f"copy-{child.pid}", ignore_errors=True)


def _work(subject: Subject, changes: Sequence[Change], place: Path, send: Callable[[Any], None]) -> None:
    """Try each change in this process, and send what came of it."""
    limit_addresses(ADDRESSES)
    with use_kernel("matmul"), use_library("torch"):  # which timing would choose, now this and now that
        _try_each(subject, changes, place, send)


def _try_each(subject: Subject, changes: Sequence[Change], place: Path, send: Callable[[Any], None]) -> None:
    copy = place / f"copy-{os.getpid()}" / "input"  # while one fault is shrunk, the worker that met it goes on
    one, first, _ = watched(lambda: subject.read(_fresh(place, copy)), subject.memory)
    outcome, valid, _ = watched(lambda: subject.read(_fresh(place, copy)), subject.memory)
    if outcome.kind not in ("other", "said") or first != valid:
        send(f"the valid input is not read twice alike: {one} {outcome}"[:3000])
        return
    send("ready")
    for change in changes:
        _fresh(place, copy)
        change.apply(copy)
        subject.seal(copy)
        outcome, value, took = watched(lambda: subject.read(copy), subject.memory)
        outcome = judged(outcome, value, valid, guarded=subject.guarded(change.file, change.level))
        if outcome.kind in ("other", "said", "same") and took > SECONDS:
            outcome = Outcome("hang", f"took {took:.1f} s", change.file)
        send([asdict(outcome), took])


def _fresh(place: Path, copy: Path) -> Path:
    """Copy the valid input anew."""
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(place / "valid", copy)
    return copy
