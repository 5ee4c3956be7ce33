"""Timing of one package in a process of its own: ``python -m brickwork.device.timing PACKAGE``.

Imports the package's runtime and nothing more, so that the memory of the process is the package's. Requests are lines
of JSON on its input, each answered by a line; ``brickwork.speed.measure`` asks several such processes in turn.

    {"do": "open", "sampling": {...}, "batch": 1, "threads": 2}    import_s, load_s, first_call_s, versions, memory
    {"do": "call"}                                                 call_s: the first call of a run, once more
    {"do": "image"}                                                image_s, calls_s, processor_s, memory

A user's mistake is answered by {"error": its line}.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TextIO, final

import numpy as np

import brickwork
from brickwork.device.program import runtime_of
from brickwork.device.runner import Runner, open_package
from brickwork.diffusion.arrays import Array
from brickwork.diffusion.denoiser import Condition, Denoiser, capabilities_of
from brickwork.diffusion.gaussian import as_seeds, normals
from brickwork.errors import BrickworkError
from brickwork.files.manifest import read_manifest
from brickwork.sampling.conditions import as_condition, on_device
from brickwork.sampling.guidance import Guided
from brickwork.sampling.levels import Evaluation, evaluated_levels
from brickwork.sampling.loop import bind_condition, sample
from brickwork.sampling.planned import Planned, planned
from brickwork.sampling.sampler import Sampler
from brickwork.sampling.wrapper import Wrapper, innermost

STATUS = Path("/proc/self/status")

Opening = Callable[[int | None], Any]
"""Function that opens a denoiser on a number of processor threads; imports are done before."""
Ready = Callable[[Any, list[Evaluation]], None]
"""Function that prepares an opened denoiser, maybe with a plan, for the calls of a run."""


def memory(text: str) -> dict[str, int | None]:
    """Parse ``/proc/PID/status``: peak and present anonymous memory, in bytes; None where a figure is missing.

    Anonymous memory has no file behind it: weights that are mapped from a file are not in it, copies of them are.
    """
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if words[1:] == ["kB"]:
            found[key] = int(words[0]) * 1024
    return {"peak_bytes": found.get("VmHWM"), "anonymous_bytes": found.get("RssAnon")}


def memory_now() -> dict[str, int | None]:
    """Return the memory of this process."""
    try:
        return memory(STATUS.read_text())
    except OSError:  # not Linux
        return memory("")


@final
@dataclass(frozen=True)
class Timed(Wrapper):
    """A denoiser whose every call is timed.

    Attributes:
        inner: Denoiser that is timed.
        seconds: Seconds of each call so far.
    """

    inner: Denoiser
    seconds: list[float] = field(default_factory=list)

    def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Return the inner denoiser's estimate, and record its seconds."""
        start = perf_counter()
        found = self.inner(x, sigma, condition)
        self.seconds.append(perf_counter() - start)
        return found


@final
class Run:
    """A run that draws the same pictures, of seeds 0, 1, ..., whenever asked.

    Args:
        denoise: An opened model or package.
        how: The sampler.
        batch: Pictures drawn at once.

    Raises:
        BrickworkError: The sampler does not fit the denoiser.
    """

    def __init__(self, denoise: Any, how: Sampler, batch: int) -> None:
        self.how, self.batch, self.planned = how, batch, planned(denoise, how.plan)
        guided = self.planned if how.guidance == 1 else Guided(self.planned, how.guidance, how.guidance_interval)
        self.timed = Timed(guided)
        channels = capabilities_of(denoise).condition_channels
        self.told: dict[str, Any] = {
            "labels": [seed % denoise.num_classes for seed in range(batch)] if denoise.num_classes else None,
            "image": np.zeros((channels, *denoise.shape[1:]), np.float32) if channels else None,
            # Any text that is not "no text", of which guidance would ask once and not twice.
            "text": None if denoise.text_shape is None else np.ones(denoise.text_shape, np.float32),
        }
        self.condition = as_condition(denoise, batch, negative=None, guidance=how.guidance, **self.told)

    def evaluations(self) -> list[Evaluation]:
        """Return the denoiser calls of a run."""
        return evaluated_levels(self.timed.process, self.how)

    def call(self) -> float:
        """Time the first call of a run, in seconds."""
        level = float(self.how.sigmas(self.timed.process)[0])
        x = self.timed.asarray(level * normals(as_seeds(range(self.batch)), 0, self.timed.shape))
        bind_condition(self.timed, on_device(self.condition, x))(x, level)
        return self.timed.seconds.pop()

    def image(self) -> dict[str, Any]:
        """Draw, from seeds to 8 bits, and time it: the whole, each call, and the sum over processors, in seconds."""
        self.timed.seconds.clear()
        begun, start = process_time(), perf_counter()
        how = self.how.but(guidance=1.0, plan=None, batch_size=self.batch)  # guidance and plan are in the denoiser
        sample(self.timed, seeds=range(self.batch), how=how, **self.told)
        seconds = perf_counter() - start
        return {"image_s": seconds, "calls_s": [*self.timed.seconds], "processor_s": process_time() - begun}


def serve(prepare: Callable[[], tuple[Opening, Ready, dict[str, str]]], asked: Iterable[str], out: TextIO) -> None:
    """Answer requests until the input ends.

    Args:
        prepare: Imports the runtime; returns a function that opens the denoiser, one that prepares it, and versions.
        asked: Requests, lines of JSON, as this module's text says.
        out: Stream for the answers, one line each.
    """
    run: Run | None = None
    for line in asked:
        words = json.loads(line)
        try:
            if words["do"] == "open":
                run, answer = _opened(prepare, words)
            else:
                assert run is not None, "nothing was opened"
                answer = {"call_s": run.call()} if words["do"] == "call" else run.image() | memory_now()
        except BrickworkError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=out, flush=True)


def _opened(
    prepare: Callable[[], tuple[Opening, Ready, dict[str, str]]], words: dict[str, Any]
) -> tuple[Run, dict[str, Any]]:
    empty, start = memory_now(), perf_counter()
    opening, ready, versions = prepare()
    imported = perf_counter()
    denoise = opening(words["threads"])
    run = Run(denoise, Sampler.from_entry(words["sampling"]), words["batch"])
    ready(run.planned, [Evaluation(sigma, rows * run.batch) for sigma, rows in run.evaluations()])
    loaded = perf_counter()
    first = run.call()
    versions = {"python": platform.python_version(), "numpy": np.__version__, **versions}
    return run, {
        "import_s": imported - start,
        "load_s": loaded - imported,
        "first_call_s": first,
        "empty_bytes": empty["peak_bytes"],
        "versions": {**versions, "brickwork": brickwork.__version__},
        "shape": [int(n) for n in denoise.shape],
        **memory_now(),
    }


def of_package(folder: Path) -> tuple[Opening, Ready, dict[str, str]]:
    """Import a package's runtime; see ``serve``."""
    runtime = runtime_of(read_manifest(folder).target)
    versions = {}
    with suppress(PackageNotFoundError):
        versions[runtime.PACKAGE] = version(runtime.PACKAGE)
    with suppress(ImportError):  # opening reports what is missing, in one line
        getattr(runtime, "start", lambda: None)()
    return lambda threads: open_package(folder, threads=threads), _ready, versions


def _ready(denoise: Runner | Planned, calls: list[Evaluation]) -> None:
    """Open every graph that a run needs."""
    core = innermost(denoise)
    assert isinstance(core, Runner)
    for sigma, rows in calls:
        runner: Any = denoise.denoisers[denoise.plan.parts_at(sigma)] if isinstance(denoise, Planned) else denoise
        runner.prepare(rows)
    if core.manifest.of_role("decoder"):
        core.files.program(core.manifest.graph("decoder", height=core.height, width=core.width))


def own_output() -> TextIO:
    """Reserve standard output for answers: redirect all that runtimes print to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Serve the package named on the command line."""
    folder = Path(sys.argv[1])
    serve(lambda: of_package(folder), sys.stdin, own_output())


if __name__ == "__main__":
    main()
