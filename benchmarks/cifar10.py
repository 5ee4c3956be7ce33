"""CIFAR-10 with the literal STOIC at both strides and our default, the same minutes each: one run, made for a GPU.

For each recipe: training, the three quality figures, images/s, sheet and curve; then one table. Rehearse it on a CPU
with ``--minutes 0.2 --num-images 8 --steps 1 --batch 8``.

    python benchmarks/cifar10.py --data cifar10_jpeg.npz --minutes 7 --out results/
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from record import facts_of_this_machine

from brickwork.data.dataset import Dataset, load_dataset, load_heldout
from brickwork.files.picture import save_png, sheet
from brickwork.model.cost import cost
from brickwork.quality.evaluate import evaluate
from brickwork.quality.reference import Reference
from brickwork.sampling.loop import sample
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe_file import load_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
NAMES = ("cifar10-stoic-12x512-s2", "cifar10-stoic-12x512-s1", "cifar10-stoic-small")


def run(name: str, data: Dataset, reference: Reference, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one recipe; leaves its sheet and curve in the output folder."""
    recipe = load_recipe(RECIPES / f"{name}.toml")
    report = replace(recipe.report, sheet_steps=0, save_minutes=0, eval_every=0)
    recipe = replace(recipe, steps=0, images=0, minutes=arguments.minutes, report=report)
    if arguments.batch:
        recipe = replace(recipe, batch=arguments.batch)
    folder = arguments.work / name
    model = train(recipe, data, folder, device=arguments.device)
    classes = list(range(model.num_classes))
    labels = [k for k in classes for _ in range(8)] or None
    images = sample(model, seeds=[*range(8)] * max(len(classes), 1), labels=labels, steps=arguments.steps)
    captions = [model.classes[k] for k in classes] or None
    save_png(sheet(images, 8, scale=2, row_captions=captions), arguments.out / f"{name}.png", {"recipe": name})
    shutil.copy(folder / "curve.png", arguments.out / f"{name}-curve.png")
    drawing: dict[str, Any] = {"steps": arguments.steps, "batch_size": 250, "progress": True}
    quality = evaluate(model, reference, num_images=arguments.num_images, **drawing)
    seen = model.facts["images"]
    return {
        "recipe": name,
        "macs": cost(model.backbone.config).macs,
        "images": seen,
        "images_per_second": seen / (60 * model.facts["minutes"]),
        "quality": quality.to_dict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--num-images", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=50, help="solver steps of every picture")
    parser.add_argument("--batch", type=int, default=0, help="images per step; that of the recipe when 0")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/cifar10"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = load_recipe(RECIPES / f"{NAMES[0]}.toml").data
    data = load_dataset(arguments.data, config, progress=True)
    reference = Reference(data, load_heldout(arguments.data, config), progress=True)
    rows = []
    for name in NAMES:
        rows.append(run(name, data, reference, arguments))
        result = facts_of_this_machine() | {"minutes_each": arguments.minutes, "rows": rows}
        (arguments.out / "cifar10.json").write_text(json.dumps(result, indent=2) + "\n")
        print(f"{name}: {rows[-1]['images_per_second']:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
