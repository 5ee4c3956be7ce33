"""Which carrier of layout lets a position-free STOIC learn best at equal MACs?

One recipe, one data order and one noise for all; only the carrier differs, and depth is chosen so that MACs are about
the same. Judged by the held-out loss, averaged over eight noise levels.

    python benchmarks/layout_carrier.py --data ../shared/data/fashion_mnist --images 64000
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import facts_of_this_machine, write_result

from brickwork.backbone.stoic import Stoic
from brickwork.data.dataset import load_dataset, load_heldout
from brickwork.files.picture import save_png
from brickwork.model.cost import cost
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe import Recipe, Report
from brickwork.training.denoiser.times import LogitNormal


@dataclass(frozen=True)
class Form:
    """One way to tell the network where things are."""

    name: str
    options: dict[str, Any]
    position_free: bool = True


# Depths are such that MACs are within 6 % of each other.
FORMS = [
    Form("none: one 7x7 convolution", {"depth": 6}),
    Form("depthwise 3x3 in every block", {"depth": 6, "depthwise": True}),
    Form("two-layer stem", {"depth": 6, "stem_layers": 2}),
    Form("four-layer stem", {"depth": 5, "stem_layers": 4}),
    Form("two-layer stem + depthwise", {"depth": 6, "stem_layers": 2, "depthwise": True}),
    Form("learned position table", {"depth": 6, "position": "learned"}, position_free=False),
    Form("rotary positions", {"depth": 6, "position": "rope"}, position_free=False),
]


def run(form: Form, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train one form; its cost and its last held-out losses."""
    base = Stoic.Config(width=arguments.width, stride=arguments.stride, size=28, channels=1, num_classes=10, depth=1)
    recipe = Recipe(
        backbone=replace(base, **form.options),
        times=LogitNormal(stratified=True),
        precision=arguments.precision,
        images=arguments.images,
        warmup=50,
        seed=seed,
        report=Report(sheet_steps=0, eval_images=1000, eval_every=0, save_minutes=0, log_every=20),
    )
    data = load_dataset(arguments.data, recipe.data)
    heldout = load_heldout(arguments.data, recipe.data)
    with tempfile.TemporaryDirectory() as folder:
        model = train(recipe, data, folder, heldout, device=arguments.device)
        lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    losses = [line["held_out"] for line in lines if "held_out" in line][-1]
    counted = cost(model.backbone.config)
    return {
        "form": form.name,
        "options": form.options,
        "position_free": form.position_free,
        "seed": seed,
        "parameters": counted.parameters,
        "macs": counted.macs,
        "held_out": losses,
        "mean_held_out": float(np.mean(list(losses.values()))),
        "minutes": model.facts["minutes"],
    }


def draw(rows: list[dict[str, Any]]) -> np.ndarray:
    """A bar per form, the mean of its seeds, with a line from the least to the largest: the shorter, the better."""
    from PIL import Image, ImageDraw, ImageFont

    losses: dict[str, list[float]] = {}
    for row in rows:
        losses.setdefault(row["form"], []).append(row["mean_held_out"])
    free = {row["form"]: row["position_free"] for row in rows}
    canvas = Image.new("RGB", (760, 40 + 30 * len(losses)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    top = max(max(values) for values in losses.values())
    seeds = max(len(values) for values in losses.values())
    title = "held-out loss, mean of eight noise levels (shorter is better)"
    pen.text((10, 8), title + (f"; mean and range of {seeds} seeds" if seeds > 1 else ""), "black", font)
    for i, (form, values) in enumerate(sorted(losses.items(), key=lambda item: float(np.mean(item[1])))):
        y, (low, mean, high) = (
            36 + 30 * i,
            (280 + 380 * float(v) / top for v in (min(values), np.mean(values), max(values))),
        )
        pen.rectangle((280, y, mean, y + 18), "#3b6ea5" if free[form] else "#bbbbbb")
        pen.line((low, y + 9, high, y + 9), "black", 2)
        pen.text((10, y), form, "black", font)
        pen.text((high + 6, y), f"{np.mean(values):.4f}", "black", font)
    return np.asarray(canvas)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=64_000)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--forms", type=int, nargs="*", default=list(range(len(FORMS))))
    arguments = parser.parse_args()
    rows = []
    for seed in range(arguments.seeds):
        for index in arguments.forms:
            rows.append(run(FORMS[index], arguments, seed))
            row = rows[-1]
            print(f"{row['form']:<32} {row['macs'] / 1e6:6.1f} MMAC  loss {row['mean_held_out']:.4f}", flush=True)
            facts = facts_of_this_machine() | {"threads": torch.get_num_threads()}
            path = write_result("layout-carrier", facts | {"arguments": vars(arguments), "rows": rows})
            save_png(draw(rows), path.with_suffix(".png"))
            print(path)


if __name__ == "__main__":
    main()
