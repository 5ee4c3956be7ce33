"""Does a transformer learn latents more slowly than a U-Net at first, and catch up with it?

That is what arXiv 2212.14678 says of its Transformer-LDM and the latent U-Net it is compared with. Here both have equal
parameters and nearly equal MACs, see the same images of the same cached latents in the same order with the same noise,
and are measured at the same points; two seeds. Every run is resumable, and several may run side by side (--only).

    python benchmarks/convergence.py --data ../shared/data/clothing128_jpeg.npz --codec runs/ae-clothing-f4c8 \
        --out runs/convergence
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import facts_of_this_machine, write_result

from brickwork.backbone.presets import preset
from brickwork.codec.file import load_codec
from brickwork.codec.latents import Latents
from brickwork.data.dataset import DataConfig, Dataset, load_dataset, load_heldout
from brickwork.diffusion.prediction import Eps, Velocity
from brickwork.diffusion.process import DiscreteVp, LinearFlow
from brickwork.files.picture import save_png
from brickwork.files.whole import write_whole
from brickwork.model.cost import Cost, cost
from brickwork.quality.evaluate import evaluate
from brickwork.quality.reference import Reference
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe import Recipe, Report
from brickwork.training.denoiser.times import LogitNormal, Uniform
from brickwork.training.run.panel import Line, Point, panel

NETWORKS = {"tldm": "tldm-tiny", "unet": "unet-small-latent"}
COLOURS = {"tldm": (20, 90, 180), "unet": (200, 90, 20)}
NOISE: dict[str, dict[str, Any]] = {
    # As latent diffusion was published (Rombach et al. 2022, its ImageNet configs): 1000 steps, eps, all times alike.
    "ldm": {"process": DiscreteVp(beta_start=0.0015, beta_end=0.0195), "prediction": Eps(), "times": Uniform()},
    "flow": {"process": LinearFlow(), "prediction": Velocity(), "times": LogitNormal()},
}
MACS_OF_A_STEP = 3
"""Of the forward pass, per image: the backward pass takes two products for each of the forward pass's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--codec", type=Path, required=True, help="autoencoder, as brickwork autoencoder train wrote it"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--points", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384, 32768])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--noise", choices=NOISE, default="ldm")
    parser.add_argument("--lr", type=float, nargs=2, default=[1e-3, 1e-3], metavar=("TLDM", "UNET"))
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--steps", type=int, default=15, help="of the solver")
    parser.add_argument("--only", nargs="+", default=None, help="runs to make now: tldm-0 tldm-1 unet-0 unet-1")
    arguments = parser.parse_args()

    codec = load_codec(arguments.codec)
    config = DataConfig(size=arguments.size, split="train")
    data, heldout = load_dataset(arguments.data, config), load_heldout(arguments.data, config)
    reference = Reference.open(arguments.data, config)
    names = [f"{network}-{seed}" for seed in arguments.seeds for network in NETWORKS]
    for name in names:
        if arguments.only is None or name in arguments.only:
            run(name, data, heldout, reference, codec, arguments)
    rows = {name: read(arguments.out / name) for name in names}
    missing = [name for name in names if [row["images"] for row in rows[name]] != arguments.points]
    if missing:
        print(f"no result yet: {', '.join(missing)} are not at {arguments.points[-1]} images")
        return
    costs = {network: cost(adapted(network, data, codec)) for network in NETWORKS}
    path = write_result("convergence", facts(arguments, codec, data) | summary(rows, costs, arguments))
    save_png(draw(rows, costs), path.with_suffix(".png"))
    print(path)


def adapted(network: str, data: Dataset, codec: Latents) -> Any:
    """The preset for these latents and classes."""
    size = data.shape[0] // codec.factor
    return replace(preset(NETWORKS[network]), size=size, channels=codec.channels, num_classes=len(data.classes))


def run(
    name: str, data: Dataset, heldout: Dataset, reference: Reference, codec: Latents, arguments: argparse.Namespace
) -> None:
    """Train to each point in turn and measure there; points that are done are left as they are."""
    network, seed = name.split("-")
    lr = dict(zip(NETWORKS, arguments.lr, strict=True))[network]
    recipe = Recipe(
        backbone=adapted(network, data, codec),
        data=DataConfig(size=arguments.size),
        batch=arguments.batch,
        lr=lr,
        warmup=100,
        schedule="constant",  # so that every point is a run of its own length
        ema_half_life=20_000,
        precision=arguments.precision,
        seed=int(seed),
        report=Report(sheet_steps=0, eval_every=0, log_every=16, save_minutes=2),
        **NOISE[arguments.noise],
    )
    folder = arguments.out / name
    done = read(folder)
    for images in arguments.points[len(done) :]:
        began, spent = time.monotonic(), (done[-1]["training_seconds"] if done else 0.0)
        model = train(
            replace(recipe, images=images), data, folder, codec=codec, latents=arguments.out / "latents", device="cpu"
        )
        report = evaluate(
            model, reference, num_images=arguments.pictures, steps=arguments.steps, num_loss_images=len(heldout)
        )
        row = {
            "images": images,
            "levels": {f"{level.sigma:g}": level.share for level in report.loss},
            "distance": report.distance.value,
            "real_distance": report.real_distance.value if report.real_distance else None,
            "agreement": report.agreement.share if report.agreement else None,
            "training_seconds": model.facts["minutes"] * 60,
        }
        done.append(row)
        write_whole(folder / "points.json", json.dumps(done, indent=1).encode())
        row["loss"] = loss_of(row)
        seconds = row["training_seconds"] - spent
        print(
            f"{name} {images:>6} images: loss {row['loss']:.4f}  distance {row['distance']:.3f}  agreement "
            f"{row['agreement'] or 0:.1%}  ({seconds:.0f} s training, {time.monotonic() - began - seconds:.0f} s else)",
            flush=True,
        )


def read(folder: Path) -> list[dict[str, Any]]:
    """The points of a run that are done."""
    path = folder / "points.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    return [row | {"loss": loss_of(row)} for row in rows]


def loss_of(row: dict[str, Any]) -> float:
    """The geometric mean over noise levels of the error's share of the data's; no one level decides it.

    While eps is learned the share at the largest levels is hundreds of times that at the small ones.
    """
    return float(np.exp(np.mean(np.log(list(row["levels"].values())))))


def facts(arguments: argparse.Namespace, codec: Latents, data: Dataset) -> dict[str, Any]:
    """What the numbers depend on."""
    return facts_of_this_machine() | {
        "threads": torch.get_num_threads(),
        "arguments": {key: str(value) for key, value in vars(arguments).items()},
        "codec_sha256": codec.digest,
        "data_sha256": data.digest,
        "training_images": len(data),
    }


def summary(
    rows: dict[str, list[dict[str, Any]]], costs: dict[str, Cost], arguments: argparse.Namespace
) -> dict[str, Any]:
    """All points, what the networks cost, and for each seed and measure when the transformer caught up, if it did."""
    networks = {
        network: {"preset": NETWORKS[network], "parameters": known.parameters, "giga_macs": known.macs / 1e9}
        for network, known in costs.items()
    }
    caught_up = {}
    for seed in arguments.seeds:
        pair = [rows[f"{network}-{seed}"] for network in ("tldm", "unet")]
        for measure in ("loss", "distance"):
            ratios = [ours[measure] / theirs[measure] for ours, theirs in zip(*pair, strict=True)]
            behind = [k for k, ratio in enumerate(ratios) if ratio > 1]
            first = (behind[-1] + 1) if behind else 0
            images = arguments.points[first] if first < len(ratios) else None
            caught_up[f"{measure}, seed {seed}"] = {"tldm_over_unet": ratios, "ahead_for_good_from_images": images}
            print(f"{measure}, seed {seed}: TLDM over U-Net {' '.join(f'{ratio:.3f}' for ratio in ratios)}")
    return {"networks": networks, "caught_up": caught_up, "runs": rows}


def draw(rows: dict[str, list[dict[str, Any]]], costs: dict[str, Cost]) -> np.ndarray:
    """Loss above, distance below; over images seen on the left, over MACs of training on the right."""

    def lines(measure: str, *, macs: bool) -> list[Line]:
        found = []
        for name, points in rows.items():
            network = name.split("-")[0]
            each = MACS_OF_A_STEP * costs[network].macs / 1e12 if macs else 1
            line: list[Point] = [(row["images"] * each, row[measure]) for row in points]
            found.append(Line(points=line, colour=COLOURS[network]))
        return found

    panels = []
    for measure, title in (("loss", "held-out loss"), ("distance", "distance of drawn pictures")):
        title = f"{title} (blue transformer, orange U-Net)"
        row = [
            panel(lines(measure, macs=False), title=title, axis="images seen", log_x=True),
            panel(lines(measure, macs=True), title=title, axis="training, tera-MAC", log_x=True),
        ]
        panels.append(np.concatenate(row, axis=1))
    return np.concatenate(panels, axis=0)


if __name__ == "__main__":
    main()
