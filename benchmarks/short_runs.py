"""Do the defaults make the most of a short run? The default against a grid of batches and learning rates.

``stoic-tiny`` learns grey pictures, ``stoic-small`` colour ones of 32 pixels, for some minutes on one thread. Judged by
the held-out loss, as the geometric mean over the noise levels 0.4, 0.8, 1.6 and 3.2. Each finished run is a line of the
file OUT, and is not repeated: the same command goes on where it was stopped.

    python benchmarks/short_runs.py --grey ../shared/data/fashion_mnist --colour photos/ --out short_runs.jsonl --jobs 2
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

LEVELS = (0.4, 0.8, 1.6, 3.2)
RIVALS: list[dict[str, Any]] = [
    {"batch": 16, "lr": 1e-3, "warmup": 0.05},
    {"batch": 32, "lr": 2e-3, "warmup": 0.05},
    {"batch": 64, "lr": 2e-3, "warmup": 50},
    {"batch": 128, "lr": 5e-4, "warmup": 0.1},
]
WITHIN = 1.1
"""Largest ratio of the default's loss to the best one's."""


@dataclass(frozen=True)
class Job:
    """One run: a preset on a set, for some minutes, with the defaults or with other settings."""

    preset: str
    data: str
    minutes: float
    settings: dict[str, Any]
    size: int | None = None
    images: int = 128
    """Held-out images in the loss."""

    @property
    def name(self) -> str:
        """Name under which a finished run is known."""
        words = [f"{key} {value:g}" for key, value in self.settings.items()]
        return f"{self.preset}, {self.minutes:g} min, {', '.join(words) or 'default'}"


def jobs_of(arguments: argparse.Namespace) -> list[Job]:
    """The whole grid, short runs first."""
    sets = [("stoic-tiny", arguments.grey, None), ("stoic-small", arguments.colour, 32)]
    if arguments.tiny:
        sets, minutes, images = [("stoic-digits", "digits", None)], [0.05], 16
    else:
        minutes, images = arguments.minutes, 128
    return [
        Job(preset, data, budget, settings, size, images)
        for budget in minutes
        for preset, data, size in sets
        if data
        for settings in ({}, *RIVALS)
    ]


def run(job: Job) -> dict[str, Any]:
    """Train one, and measure it; called in a process of its own, on one thread."""
    import torch

    import brickwork as bw
    from brickwork.data.heldout import images_of_run
    from brickwork.quality.heldout import held_out_loss

    torch.set_num_threads(1)
    report = bw.Report(look_minutes=0, eval_images=1, sheet_steps=0, save_minutes=0)
    recipe = bw.load_recipe(job.preset, minutes=job.minutes, precision="fp32", report=report, **job.settings)
    recipe = replace(recipe, data=replace(recipe.data, size=job.size))
    data, heldout, missing = images_of_run(job.data, recipe.data)
    if heldout is None:
        raise SystemExit(f"{job.data}: {missing}")
    with tempfile.TemporaryDirectory() as folder:
        model = bw.train(recipe, data, folder, heldout, device="cpu", progress=False)
        used = bw.load_recipe(folder)
    losses = {level.sigma: level.share for level in held_out_loss(model, heldout, num_images=job.images)}
    held = {f"{sigma:g}": losses[sigma] for sigma in LEVELS}
    return {
        "run": job.name,
        "preset": job.preset,
        "minutes": job.minutes,
        "settings": job.settings,
        "batch": used.batch,
        "lr": used.lr,
        "warmup": used.warmup,
        "steps": model.facts["steps"],
        "images": model.facts["images"],
        "held_out": held,
        "mean": math.exp(sum(map(math.log, held.values())) / len(held)),
    }


def start(job: Job, core: int | None) -> dict[str, Any]:
    """Run a job in a process of one thread, on one core where the system has a way to say so."""
    words = [sys.executable, __file__, "--run", json.dumps(job.__dict__)]
    pinned = ["taskset", "-c", str(core), *words] if core is not None else words
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(pinned, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{job.name}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_all(jobs: list[Job], out: Path, at_once: int) -> list[dict[str, Any]]:
    """Run what is not in the file yet, some at a time, each on a core of its own; return all results."""
    known = {row["run"]: row for row in map(json.loads, out.read_text().splitlines())} if out.exists() else {}
    cores: SimpleQueue[int | None] = SimpleQueue()
    have = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for i in range(at_once):
        cores.put(have[i % len(have)] if have else None)

    def one(job: Job) -> None:
        core = cores.get()
        try:
            known[job.name] = row = start(job, core)
        finally:
            cores.put(core)
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{row['mean']:.4f}  {job.name}: batch {row['batch']}, {row['steps']} steps", flush=True)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, [job for job in jobs if job.name not in known]))
    return [known[job.name] for job in jobs]


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each preset and budget, the default beside the best: their ratio, and whether it is small enough."""
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["preset"], row["minutes"]), []).append(row)
    verdicts = []
    for (preset, minutes), group in groups.items():
        default = next(row for row in group if not row["settings"])
        best = min(group, key=lambda row: row["mean"])
        ratio = default["mean"] / best["mean"]
        facts = {"default": default["mean"], "best": best["mean"], "best_settings": best["settings"], "ratio": ratio}
        verdicts.append({"preset": preset, "minutes": minutes, **facts, "holds": ratio <= WITHIN})
    return verdicts


def main() -> int:
    """Run the grid, print and write the comparison; exit code 1 where a default is not good enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grey", help="grey pictures, as Fashion-MNIST's four files; left out: no such runs")
    parser.add_argument("--colour", help="folder of colour photographs; left out: no such runs")
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0, 7.0], help="budgets")
    parser.add_argument("--out", type=Path, default=Path("short_runs.jsonl"), help="file of finished runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each on a core of its own")
    parser.add_argument("--tiny", action="store_true", help="three seconds a run, on digits: does the script work?")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run(Job(**json.loads(arguments.run)))))
        return 0
    if not (arguments.tiny or arguments.grey or arguments.colour):
        parser.error("give --grey, --colour or --tiny")
    rows = run_all(jobs_of(arguments), arguments.out, arguments.jobs)
    verdicts = compare(rows)
    for verdict in verdicts:
        word = "holds" if verdict["holds"] else "FAILS"
        best = verdict["best_settings"] or "the default"
        print(f"{word}: {verdict['preset']}, {verdict['minutes']:g} min: {verdict['ratio']:.3f} of the best ({best})")
    if not arguments.tiny:
        from record import facts_of_this_machine, write_result

        print(
            write_result(
                "short-runs", {**facts_of_this_machine(), "jobs": arguments.jobs, "verdicts": verdicts, "runs": rows}
            )
        )
    return 0 if all(verdict["holds"] for verdict in verdicts) or arguments.tiny else 1


if __name__ == "__main__":
    sys.exit(main())
