"""Is one elastic STOIC as good at every depth as a model trained at that depth?

Two elastic runs, with blocks left out as a prefix or each by itself, against three runs of fixed depth: all of them the
same images, order, noise and number of images seen. Then quality and time at full, three-quarter and half depth.

    python benchmarks/elastic_stoic.py --data ../shared/data/fashion_mnist --out runs/elastic --images 60000
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import facts_of_this_machine, write_result

from brickwork.backbone.presets import preset
from brickwork.backbone.stoic import Stoic
from brickwork.data.dataset import DataConfig, load_dataset, load_heldout
from brickwork.files.picture import save_png, sheet
from brickwork.model.cost import cost
from brickwork.model.model import Model
from brickwork.quality.evaluate import evaluate
from brickwork.quality.reference import Reference
from brickwork.sampling.loop import sample
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.parts import PartsConfig
from brickwork.training.denoiser.recipe import Recipe, Report
from brickwork.training.denoiser.times import LogitNormal
from brickwork.training.run.panel import Line, panel

COLOURS = {"fixed": (40, 40, 40), "prefix": (20, 90, 180), "each": (200, 90, 20)}


def evenly(depth: int, kept: int) -> tuple[int, ...]:
    """So many of the blocks, spread evenly; the first and then every second for half of them."""
    return tuple(k * depth // kept for k in range(kept))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="stoic-tiny")
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--drops", nargs="+", default=["prefix", "each"])
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    backbone = preset(arguments.preset)
    assert isinstance(backbone, Stoic.Config)
    depth = backbone.depth
    depths = (depth, round(0.75 * depth), depth // 2)
    runs = {f"fixed {d}": (replace(backbone, depth=d), PartsConfig()) for d in depths}
    shares = {"prefix": 0.5, "each": 0.25}
    runs |= {drop: (backbone, PartsConfig(drop=drop, drop_share=shares[drop])) for drop in arguments.drops}
    models = {name: trained(name, *run, arguments) for name, run in runs.items()}

    cases: list[tuple[str, int, tuple[int, ...], Model]] = []
    for d in depths:
        cases.append(("fixed", d, tuple(range(d)), models[f"fixed {d}"]))
        for name in arguments.drops:
            cases.append((name, d, tuple(range(d)), models[name].first(d)))
            if d < depth:
                cases.append((name, d, evenly(depth, d), models[name].keep(evenly(depth, d))))
    taken = times([model for *_, model in cases], arguments)
    reference = Reference.open(arguments.data, DataConfig(size=arguments.size, split="train"))
    rows: list[dict[str, Any]] = []
    path = Path()
    for (name, d, kept, model), seconds in zip(cases, taken, strict=True):
        report = evaluate(
            model, reference, num_images=arguments.pictures, steps=arguments.steps, guidance=arguments.guidance
        )
        row = {
            "training": name,
            "depth": d,
            "blocks": kept,
            "giga_macs": cost(model.backbone.config).macs / 1e9,
            "milliseconds": 1000 * seconds,
            "loss": float(np.mean([level.share for level in report.loss])),
            "distance": report.distance.value,
            "agreement": report.agreement.share if report.agreement else None,
        }
        rows.append(row)
        print(
            f"{name:<7} blocks {' '.join(map(str, kept)):<17} loss {row['loss']:.4f}  distance {row['distance']:.3f}  "
            f"agreement {row['agreement'] or 0:.1%}  {row['milliseconds']:.2f} ms",
            flush=True,
        )
        facts = facts_of_this_machine() | {"threads": torch.get_num_threads()}
        arguments_of = {key: str(value) for key, value in vars(arguments).items()}
        minutes = {name: model.facts["minutes"] for name, model in models.items()}
        path = write_result("elastic-stoic", facts | {"arguments": arguments_of, "minutes": minutes, "rows": rows})
    save_png(draw(rows), path.with_suffix(".png"))
    save_png(pictures(cases, arguments), path.with_name(f"{path.stem}_pictures.png"))
    print(path)


def trained(name: str, backbone: Stoic.Config, parts: PartsConfig, arguments: argparse.Namespace) -> Model:
    """A run, taken up where it was."""
    recipe = Recipe(
        backbone=backbone,
        parts=parts,
        times=LogitNormal(stratified=True),
        data=DataConfig(size=arguments.size),
        batch=arguments.batch,
        images=arguments.images,
        lr=arguments.lr,
        ema_half_life=20_000,
        precision=arguments.precision,
        report=Report(sheet_steps=0, eval_every=0, log_every=50),
    )
    data, heldout = load_dataset(arguments.data, recipe.data), load_heldout(arguments.data, recipe.data)
    print(name, flush=True)
    model = train(recipe, data, arguments.out / name.replace(" ", "-"), heldout, device=arguments.device)
    model.precision = arguments.precision
    return model


def times(models: list[Model], arguments: argparse.Namespace) -> list[float]:
    """Median seconds per picture, every model in turn; on a CPU in processor time: other work does not count."""
    clock = time.process_time if arguments.device == "cpu" else time.perf_counter
    taken: list[list[float]] = [[] for _ in models]
    for repeat in range(arguments.repeats + 1):
        for model, spent in zip(models, taken, strict=True):
            began = clock()
            sample(model, seeds=range(32), labels=0, steps=arguments.steps, guidance=arguments.guidance)
            if repeat:  # the first round chooses kernels and fills caches
                spent.append((clock() - began) / 32)
    return [float(np.median(spent)) for spent in taken]


def draw(rows: list[dict[str, Any]]) -> np.ndarray:
    """Loss, distance and time over depth; of an elastic model its first blocks."""
    shown = [row for row in rows if row["blocks"] == tuple(range(row["depth"]))]

    def lines(key: str) -> list[Line]:
        return [
            Line(points=sorted((row["depth"], row[key]) for row in shown if row["training"] == name), colour=colour)
            for name, colour in COLOURS.items()
            if any(row["training"] == name for row in shown)
        ]

    title = "{} (black fixed depth, blue prefix, orange each)"
    return np.concatenate(
        [
            panel(lines("loss"), title=title.format("held-out loss"), axis="blocks that run", log_x=False),
            panel(lines("distance"), title=title.format("distance"), axis="blocks that run", log_x=False),
            panel(lines("milliseconds"), title="milliseconds per picture", axis="blocks that run", log_x=False),
        ],
        axis=1,
    )


def pictures(cases: list[tuple[str, int, tuple[int, ...], Model]], arguments: argparse.Namespace) -> np.ndarray:
    """A row per case, a class per column, the same seeds."""
    shown, captions = [], []
    for name, _, kept, model in cases:
        labels = [k % model.num_classes for k in range(20)]
        shown.append(sample(model, seeds=range(20), labels=labels, steps=arguments.steps, guidance=arguments.guidance))
        captions.append(f"{name} {','.join(map(str, kept))}")
    return sheet(np.concatenate(shown), 20, scale=2, row_captions=captions)


if __name__ == "__main__":
    main()
