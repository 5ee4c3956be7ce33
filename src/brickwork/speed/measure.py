"""Speed and memory of packages: several are measured in turn in one run.

Each lives in a process of its own, opened once. Each draws a picture in turn, round after round and every other round
in reverse order, so that other load on the machine affects all alike; ratios are taken within one round. One uncounted
call before each picture removes the effect of another process's data in the caches.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.errors import ArgumentError
from brickwork.files.manifest import Sampling
from brickwork.files.whole import write_whole
from brickwork.speed.child import Child
from brickwork.speed.energy import Energy
from brickwork.speed.subjects import Subject

SETTLE_S = 0.02  # wait before each: threads of the previous subject still spin for a while


@final
@dataclass(kw_only=True)
class Measured:
    """The measurements of one subject.

    Attributes:
        subject: The subject.
        opened: Its process's answer when it was opened.
        images_s: Seconds of each picture, or batch of them, in order of rounds.
        calls_s: Seconds of each call of the denoiser, by rounds.
        processor_s: Seconds of all processors together, for each picture or batch.
        joules: Energy of each picture or batch; empty where the machine does not expose it.
        anonymous_bytes, peak_bytes: Memory after the first picture, and the most at any time; None where unknown.
    """

    subject: Subject
    opened: dict[str, Any]
    images_s: list[float] = field(default_factory=list)
    calls_s: list[list[float]] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    anonymous_bytes: int | None = None
    peak_bytes: int | None = None

    @property
    def steps_s(self) -> list[float]:
        """Seconds of all calls."""
        return [seconds for calls in self.calls_s for seconds in calls]

    def add(self, answer: dict[str, Any], joules: float | None) -> None:
        """Record the figures of a picture."""
        self.images_s.append(answer["image_s"])
        self.calls_s.append(answer["calls_s"])
        self.processor_s.append(answer["processor_s"])
        if joules is not None:
            self.joules.append(joules)

    def ratios_to(self, first: Measured) -> dict[str, dict[str, float]]:
        """Return time over another subject's, round by round: of the median call, and of the whole picture."""
        calls = [float(np.median(a) / np.median(b)) for a, b in zip(self.calls_s, first.calls_s, strict=True)]
        images = [a / b for a, b in zip(self.images_s, first.images_s, strict=True)]
        return {"step": spread(calls), "image": spread(images)}

    def to_dict(self, first: Measured, batch: int) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        joules = float(np.mean(self.joules)) / batch if self.joules else None
        return {
            "name": self.subject.name,
            **self.subject.about,
            "sampling": asdict(self.subject.sampling),
            "step_ms": milliseconds(self.steps_s),
            "image_ms": milliseconds(self.images_s),
            "images_per_second": batch / float(np.median(self.images_s)),
            "processor_ms_per_image": 1e3 * float(np.median(self.processor_s)) / batch,
            "import_ms": 1e3 * self.opened["import_s"],
            "load_ms": 1e3 * self.opened["load_s"],
            "first_call_ms": 1e3 * self.opened["first_call_s"],
            "peak_bytes": self.peak_bytes,
            "anonymous_bytes": self.anonymous_bytes,
            "empty_bytes": self.opened["empty_bytes"],
            "package_bytes": self.subject.num_bytes,
            "joules_per_image": joules,
            "ratio_to_first": self.ratios_to(first),
            "versions": self.opened["versions"],
            "rounds": {
                "image_ms": [round(1e3 * seconds, 4) for seconds in self.images_s],
                "median_step_ms": [round(1e3 * float(np.median(calls)), 4) for calls in self.calls_s],
            },
        }


@final
@dataclass(frozen=True, kw_only=True)
class Speed:
    """The measurements of all subjects.

    Attributes:
        rows: Measurements in the order of the subjects; ratios are to the first.
        rounds: Counted rounds.
        batch: Pictures at once.
        threads: Processor threads; None for each runtime's own choice.
        energy: Reason that there is none; "" where there is.
        machine: Machine and date of the measurement.
    """

    rows: tuple[Measured, ...]
    rounds: int
    batch: int
    threads: int | None
    energy: str
    machine: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        return {
            **self.machine,
            "rounds": self.rounds,
            "batch": self.batch,
            "threads": self.threads,
            "energy": self.energy or "of the whole processor, other work and waiting included",
            "results": [row.to_dict(self.rows[0], self.batch) for row in self.rows],
        }

    def save(self, path: Path) -> None:
        """Write all figures as JSON.

        Raises:
            OutputError: The place cannot be written.
        """
        write_whole(path, (json.dumps(self.to_dict(), indent=2) + "\n").encode())

    def __str__(self) -> str:
        """Return a table for people."""
        rows = [row.to_dict(self.rows[0], self.batch) for row in self.rows]
        head = ["", "step ms", "p95", "image ms", "p95", "images/s", "load ms", "first ms", "peak MB", "anon MB"]
        table = [[*head, "files MB", "J/image", "step / first's"]]
        for row in rows:
            ratio = row["ratio_to_first"]["step"]
            own = row is rows[0]
            table.append(
                [
                    row["name"],
                    *(figure(row[key][at]) for key in ("step_ms", "image_ms") for at in ("p50", "p95")),
                    *(figure(row[key]) for key in ("images_per_second", "load_ms", "first_call_ms")),
                    *(figure(row[key], 1e-6) for key in ("peak_bytes", "anonymous_bytes", "package_bytes")),
                    figure(row["joules_per_image"]),
                    "1" if own else f"{ratio['p50']:.3f} ({ratio['p5']:.3f} to {ratio['p95']:.3f})",
                ]
            )
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        lines = [
            "  ".join(
                [
                    line[0].ljust(widths[0]),
                    *(word.rjust(width) for word, width in zip(line[1:], widths[1:], strict=True)),
                ]
            )
            for line in table
        ]
        return "\n".join([*self._said(), *lines, *([f"no energy: {self.energy}"] if self.energy else [])])

    def _said(self) -> list[str]:
        """Return lines about the samplers: one, and one for each subject whose sampler differs from the first's."""
        first = self.rows[0].subject.sampling
        threads = "as each runtime chooses" if self.threads is None else self.threads
        return [
            f"{words(first)}; batch {self.batch}; threads: {threads}; medians, rounds asked in turn: {self.rounds}",
            *(
                f"{row.subject.name}: {words(row.subject.sampling)}, which is other work than the first's"
                for row in self.rows
                if row.subject.sampling != first
            ),
        ]


def measure(
    found: Sequence[Subject],
    *,
    rounds: int = 20,
    warmup: int = 2,
    batch: int = 1,
    threads: int | None = None,
    energy: Energy | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Speed:
    """Open every subject in a process of its own, and let them draw pictures in turn.

    Args:
        found: The subjects.
        rounds: Rounds that count.
        warmup: Rounds before these.
        batch: Pictures at once.
        threads: Processor threads; by default each runtime's own choice.
        energy: The processor's counters; by default this machine's.
        say: Called with progress messages, a line at a time.

    Raises:
        ArgumentError: A number is out of range.
        PackageError: A subject's process failed; the message says how.
    """
    for name, value, least in (("repeats", rounds, 1), ("warmup", warmup, 0), ("batch", batch, 1)):
        if value < least:
            raise ArgumentError(f"{name} {value}: give a whole number from {least} on")
    if threads is not None and threads < 1:
        raise ArgumentError(f"threads {threads}: at least 1 computes")
    energy, machine = Energy.find() if energy is None else energy, facts_of_this_machine()
    with ExitStack() as stack:
        children, rows = [], []
        for subject in found:
            say(f"opening {subject.name}")
            child = stack.enter_context(Child(subject, threads))
            how = {"sampling": asdict(subject.sampling), "batch": batch, "threads": threads}
            rows.append(Measured(subject=subject, opened=child.ask(do="open", **how)))
            children.append(child)
        for number in range(-warmup, rounds):
            for row, child in order(list(zip(rows, children, strict=True)), number):
                time.sleep(SETTLE_S)
                child.ask(do="call")
                before = energy.read()
                answer = child.ask(do="image")
                joules = energy.joules(before, energy.read())
                if row.anonymous_bytes is None:
                    row.anonymous_bytes = answer["anonymous_bytes"]
                row.peak_bytes = answer["peak_bytes"]
                if number >= 0:
                    row.add(answer, joules)
            say(f"round {number + 1} of {rounds}" if number >= 0 else "warming up")
    return Speed(rows=tuple(rows), rounds=rounds, batch=batch, threads=threads, energy=energy.why, machine=machine)


def order(asked: list[Any], number: int) -> list[Any]:
    """Return the order of subjects in a round: unchanged, every other round in reverse."""
    return asked[::-1] if number % 2 else asked


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, and the 5th and 95th percentiles."""
    low, middle, high = np.percentile(values, (5, 50, 95)).tolist()
    return {"p5": low, "p50": middle, "p95": high}


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Return percentiles 50 and 95 and the least in milliseconds, and the number of values."""
    p50, p95 = np.percentile([1e3 * value for value in seconds], (50, 95)).tolist()
    return {"p50": p50, "p95": p95, "least": 1e3 * min(seconds), "count": len(seconds)}


def figure(value: float | None, unit: float = 1.0) -> str:
    """Return a number in four digits, or a dash for None."""
    if value is None:
        return "-"
    value *= unit
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def words(said: Sampling) -> str:
    """Return a line about how pictures are drawn."""
    guidance = "no guidance" if said.guidance == 1 else f"guidance {said.guidance:g}"
    plan = "" if said.plan is None else f", plan {said.plan}"
    return f"{said.steps} steps of {said.solver} on {said.grid}, {guidance}{plan}"


def facts_of_this_machine() -> dict[str, Any]:
    """Return processor, usable cores, system, load and date."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "hardware": found.group(1) if found else platform.processor() or platform.machine(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
