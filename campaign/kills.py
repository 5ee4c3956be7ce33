"""Kills of writers, at random times and at named points; the next run must end as one that was never stopped."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from campaign.fork import Ended, in_fork
from campaign.jobs import Job, each_job
from campaign.mutations import scratch
from campaign.report import Counts
from campaign.trial import Outcome

POINTS = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.truncate",
    "os.link",
    "shutil.rmtree",
)
"""Events of the interpreter before which a writer is killed, where they concern its folder."""
SECONDS = 120.0
"""A run that takes longer is blocked."""
PER_JOB = 3
"""Most kills in a row of one run, before it is let through."""


@final
@dataclass(frozen=True)
class Unbroken:
    """What a job makes of its folder when nothing stops it."""

    result: str
    seconds: float
    points: int
    """Number of named points that it passes."""


def killed(seed: int, count: int, only: str, counts: Counts) -> None:
    """Kill jobs in turn, so many times in all."""
    each_job("killed", only, seed, count, counts, partial(kill_one, counts))


def kill_one(counts: Counts, job: Job, name: str, seed: str, count: int) -> None:
    """Kill one job so many times, each run up to ``PER_JOB`` times in a row."""
    chance, place = random.Random(seed), scratch()
    try:
        whole = unbroken(job, place)
        done = 0
        while done < count:
            folder, row = begun(job, place), min(count - done, chance.randint(1, PER_JOB))
            outcomes = [kill(job, folder, whole, chance) for _ in range(row)]
            outcomes[-1] = Outcome("traceback", *outcomes[-1]) if outcomes[-1] else after(job, folder, whole)
            for one in outcomes[:-1]:
                outcome = Outcome("traceback", *one) if one else Outcome("same")
                counts.add(name, outcome, f"{seed} {done}")
            counts.add(name, outcomes[-1], f"{seed} {done + row - 1}")
            done += row
    finally:
        shutil.rmtree(place, ignore_errors=True)


def unbroken(job: Job, place: Path) -> Unbroken:
    """Run a job to its end, twice; the ends must be equal."""
    ends = []
    for _ in range(2):
        folder = begun(job, place)
        ended = in_fork(lambda folder=folder: (counted(folder, lambda: job.work(folder)), job.result(folder)), SECONDS)
        assert ended.how == "done", f"unbroken, it ends with {ended.how}: {ended.line} {ended.text[-600:]}"
        ends.append(ended)
    assert ends[0].value[1] == ends[1].value[1], "two unbroken runs end differently"
    return Unbroken(ends[0].value[1], ends[1].seconds, ends[1].value[0])


def begun(job: Job, place: Path) -> Path:
    """Return a folder as it is before the job."""
    first, folder = place / "before", place / "work"
    if not first.exists():
        first.mkdir()
        ended = in_fork(lambda: job.begin(first) and None, SECONDS)
        assert ended.how == "done", f"cannot begin: {ended.line} {ended.text[-600:]}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(first, folder)
    return folder


def kill(job: Job, folder: Path, whole: Unbroken, chance: random.Random) -> tuple[str, str] | None:
    """Kill the job once; return what is wrong with what is left, and its place, or None."""
    if chance.random() < 0.5 and whole.points:
        point = chance.randrange(whole.points)
        what = f"at point {point} of {whole.points}"
        ended = in_fork(lambda: counted(folder, lambda: job.work(folder), point), SECONDS)
    else:
        moment = chance.uniform(0, whole.seconds)
        what = f"after {moment:.3f} of {whole.seconds:.3f} s"
        ended = in_fork(lambda: job.work(folder), SECONDS, kill_after=moment)
    if ended.how in ("refused", "traceback", "crash", "hang"):
        return f"killed before, {what}: {ended.how}, {ended.line} {ended.text[-1500:]}", place_of(ended)
    left = in_fork(lambda: job.kept(folder) and None, SECONDS)
    if left.how != "done":
        return f"killed {what}, what is left is not whole: {left.line}", "left"
    return None


def after(job: Job, folder: Path, whole: Unbroken) -> Outcome:
    """Run the job to its end after its kills; it must end as the unbroken one, with the same files and no others."""
    ended = in_fork(lambda: (job.work(folder), job.result(folder))[1], SECONDS)
    if ended.how != "done":
        kind = "hang" if ended.how == "hang" else "traceback"
        return Outcome(kind, f"the next run: {ended.how}, {ended.line}", place_of(ended), ended.text)
    if ended.value == whole.result:
        return Outcome("same")
    names = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.name.startswith(".") or ".part" in p.name
    )
    return Outcome("silent", f"the next run ends differently; hidden files: {names}", "end")


def place_of(ended: Ended) -> str:
    """Return the last place of the library in a traceback, else the words."""
    lines = [line.strip() for line in ended.text.splitlines() if "/brickwork/" in line]
    return lines[-1].rpartition("/")[2] if lines else ended.line[:40]


def counted(folder: Path, act: Callable[[], Any], die_at: int | None = None) -> int:
    """Do something in this process and return the number of named points passed; die at one of them by SIGKILL."""
    passed, root = 0, str(folder)

    def watch(event: str, values: tuple[Any, ...]) -> None:
        nonlocal passed
        if event not in POINTS or not values or not str(values[0]).startswith(root):
            return
        if event == "open" and not (isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if passed == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    sys.addaudithook(watch)
    act()
    return passed
