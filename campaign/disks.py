"""Small disks and limits: a job on a tmpfs of any size, with a limit of file size or of memory, ends with one line."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from campaign.fork import Ended, in_fork
from campaign.jobs import Job, each_job
from campaign.kills import SECONDS, begun, place_of, unbroken
from campaign.mutations import scratch
from campaign.report import Counts
from campaign.trial import Outcome, limit_addresses

PAGE = 4096


def tight(seed: int, count: int, only: str, counts: Counts) -> None:
    """Run jobs in turn on small disks and within limits, so many times in all."""
    each_job("tight", only, seed, count, counts, partial(tighten, counts))


def tighten(counts: Counts, job: Job, name: str, seed: str, count: int) -> None:
    """Run one job within so many limits; each time it must be refused in one line, or end, and then go on."""
    chance, place = random.Random(seed), scratch()
    try:
        whole, needed = unbroken(job, place), bytes_in(place / "work")
        for index in range(count):
            how = chance.choice(("disk", "disk", "file", "memory"))
            size = int(needed ** chance.uniform(0.3, 1.05)) + PAGE
            outcome = WAYS[how](job, place, size, whole.result, chance)
            counts.add(name, outcome, f"{seed} {index}: {how} {size}")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def small_disk(job: Job, place: Path, size: int, result: str, chance: random.Random) -> Outcome:
    """Run on a small disk, then make it larger and run again."""
    before = begun(job, place)
    size += bytes_in(before) + PAGE * sum(1 for _ in before.rglob("*"))
    with disk(place / "disk", size) as root:
        if root is None:
            return limited_files(job, place, size, result, chance)
        folder = root / "work"
        try:
            shutil.copytree(before, folder)
        except OSError:
            return Outcome("refused", "there is no room for what there was before")
        outcome = judged(in_fork(lambda: job.work(folder), SECONDS))
        if not outcome.is_fault:
            subprocess.run(["mount", "-o", f"remount,size={1 << 30}", root], check=True)
            outcome = again(job, folder, result, outcome)
        return outcome


@contextmanager
def disk(place: Path, size: int) -> Iterator[Path | None]:
    """Mount a tmpfs of a size in bytes; None where this process may not."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=False, stderr=subprocess.DEVNULL
    )
    try:
        yield place if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


def limited_files(job: Job, place: Path, size: int, result: str, chance: random.Random) -> Outcome:
    """Run with a limit of each file's size, then without."""

    def act(folder: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        job.work(folder)

    return limited(job, place, result, act)


def limited_memory(job: Job, place: Path, size: int, result: str, chance: random.Random) -> Outcome:
    """Run with a limit of memory, then without."""
    more = chance.choice((1, 2, 4, 8, 16, 32, 64, 256)) << 20

    def act(folder: Path) -> None:
        limit_addresses(more)
        job.work(folder)

    return limited(job, place, result, act)


def limited(job: Job, place: Path, result: str, act: Callable[[Path], Any]) -> Outcome:
    """Run a job within limits, then without; judge both."""
    folder = begun(job, place)
    outcome = judged(in_fork(lambda: act(folder), SECONDS))
    return outcome if outcome.is_fault else again(job, folder, result, outcome)


def again(job: Job, folder: Path, result: str, before: Outcome) -> Outcome:
    """Run a job again without limits; it must end as the unbroken one."""
    ended = in_fork(lambda: (job.work(folder), job.result(folder))[1], SECONDS)
    if ended.how != "done":
        return Outcome(
            "hang" if ended.how == "hang" else "traceback",
            f"with room again: {ended.line}",
            place_of(ended),
            ended.text,
        )
    return (
        before
        if ended.value == result
        else Outcome("silent", f"with room again, another end; before: {before.line}", "end")
    )


def judged(ended: Ended) -> Outcome:
    """Return what an end within limits means."""
    match ended.how:
        case "done":
            return Outcome("same")
        case "refused":
            return Outcome("refused", ended.line)
        case "hang":
            return Outcome("hang", ended.line, "limit")
        case "traceback":
            return Outcome("traceback", ended.line, place_of(ended), ended.text)
        case _:
            return Outcome("crash", ended.line, ended.line)


WAYS: dict[str, Callable[[Job, Path, int, str, random.Random], Outcome]] = {
    "disk": small_disk,
    "file": limited_files,
    "memory": limited_memory,
}
"""Kinds of limits."""
