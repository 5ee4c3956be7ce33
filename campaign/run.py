"""The whole campaign in order: mutations, kills, small disks, streams; then counts, kept inputs, and the exit code."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from campaign.disks import tight
from campaign.keep import keep
from campaign.kills import killed
from campaign.mutations import BrokenSubjectError, mutated, numbers_of, scratch
from campaign.report import Counts
from campaign.streams import streamed
from campaign.subject import Subject
from campaign.subjects import SUBJECTS
from campaign.warm import warm

OUT = Path("build/campaign")


def main(words: Sequence[str] | None = None) -> None:
    """Read the options, run what they ask for, and leave with 1 after a fault."""
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of everything that is drawn; a new one when left out")
    parser.add_argument("--count", type=int, default=20_000, help="mutations over all readers")
    parser.add_argument(
        "--kills", type=int, default=300, help="kills of writers; a third as many small disks and limits"
    )
    parser.add_argument("--only", default="", help="readers and writers with this in their name")
    parser.add_argument("--repeat", default="", help="NAME:NUMBER, one trial again, with its traceback")
    parser.add_argument("--out", type=Path, default=OUT, help="where counts and failing inputs are kept")
    asked = parser.parse_args(words)
    os.environ["XDG_CACHE_HOME"] = str(asked.out.absolute() / "cache")
    warm()
    sys.exit(repeat(asked.repeat) if asked.repeat else campaign(asked))


def campaign(asked: argparse.Namespace) -> int:
    """Run all of it; return the exit code."""

    seed = secrets.randbelow(1 << 31) if asked.seed is None else asked.seed
    shutil.rmtree(asked.out, ignore_errors=True)
    counts = Counts(seed, asked.out)
    subjects = [subject for subject in SUBJECTS if asked.only in subject.name]
    for subject in subjects if asked.count else ():
        share = subject.share / sum(s.share for s in subjects)
        mutate(subject, seed, max(1, round(asked.count * share)), counts)
    if asked.kills:
        killed(seed, asked.kills, asked.only, counts)
        tight(seed, max(1, asked.kills // 3), asked.only, counts)
        streamed(asked.only, counts)
    counts.write()
    return 1 if counts.faults else 0


def mutate(subject: Subject, seed: int, count: int, counts: Counts) -> None:
    """Try one subject's mutations, in a process of its own; count, and keep what is a fault."""
    start, place = time.perf_counter(), scratch()
    try:
        for result in mutated(subject, numbers_of(seed, subject.name, count), place):
            first = counts.add(subject.name, result.outcome, result.change.number)
            if first:
                keep(subject, result, place, counts.folder)
    except BrokenSubjectError as error:
        counts.broken(subject.name, str(error))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    counts.row(subject.name, time.perf_counter() - start)


def repeat(wanted: str) -> int:
    """Try one mutation again, and print what comes of it."""
    name, _, number = wanted.rpartition(":")
    subject, place = next(subject for subject in SUBJECTS if subject.name == name), scratch()
    try:
        [result] = mutated(subject, [int(number)], place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"{result.change.what} ({result.change.level}) in {result.change.file}: {result.outcome.kind}")
    print(result.outcome.text or result.outcome.line)
    return int(result.outcome.is_fault)
