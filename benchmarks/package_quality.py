"""What do fewer bits cost? One model packed at every precision: loss and distance above fp32, bytes, the same pictures.

Each package is written and run by the Python of its runtime (``.venvs/openvino``, see the Makefile), with the bound of
quality wide open, so that what would be refused is measured as well; "kept" says what the usual bound makes of it.

    python benchmarks/package_quality.py digits --data digits --targets onnx openvino
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import runtimes

LABELS = range(10)
STEPS = 25


def write(model: str, data: str, target: str, precision: str, out: Path) -> None:
    """In the runtime's Python: pack, then draw a picture of each class."""
    from brickwork.device.runner import open_package
    from brickwork.model.checkpoint import load
    from brickwork.package.pack import pack
    from brickwork.package.packing import Packing
    from brickwork.package.precision import FLOORS_DB
    from brickwork.sampling.loop import sample

    packing = Packing(target=target, precision=precision, steps=STEPS, max_loss_increase=100.0)
    pack(load(model), out, packing, data=None if precision in FLOORS_DB else data, say=print)
    np.save(runtimes.drawn(out), sample(open_package(out), seeds=LABELS, labels=list(LABELS), steps=STEPS))


def measured(model: str, data: str, target: str, precision: str, folder: Path) -> dict[str, Any]:
    """Write one package in a fresh process and read what its manifest says."""
    from brickwork.files.manifest import read_manifest

    out = folder / f"{precision}.{target}"
    shutil.rmtree(out, ignore_errors=True)
    runtimes.ask(target, __file__, [model, "--data", data, "--write", target, precision, str(out)])
    manifest = read_manifest(out)
    weights = sum(manifest.files[name].length for name in {name for graph in manifest.graphs for name in graph.weights})
    found: dict[str, Any] = {"target": target, "precision": precision, "weights_bytes": weights}
    found |= {"runtime": manifest.runtime, "parity_db": manifest.parity["db"]}
    if not manifest.quality:
        return found | {"kept": True}
    quality = {key: manifest.quality[key] for key in ("loss_increase", "distance_increase", "loss", "distance")}
    loss, distance = bounds()
    kept = quality["loss_increase"] <= loss and quality["distance_increase"] <= distance
    return found | quality | {"kept": kept}


def bounds() -> tuple[float, float]:
    """Of loss and distance: what ``brickwork pack`` allows, if it is not told otherwise."""
    from brickwork.package.check.quality import DISTANCE_SHARE
    from brickwork.package.packing import Packing

    loss = Packing().max_loss_increase
    return loss, DISTANCE_SHARE * loss


def said(row: dict[str, Any]) -> str:
    """A line for people."""
    text = f"{row['target']} {row['precision']}, {row['parity_db']:.0f} dB"
    if "loss_increase" in row:
        text += f", loss {row['loss_increase']:+.2%}, distance {row['distance_increase']:+.1%}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="digits")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--targets", nargs="+", default=["onnx", "openvino"])
    parser.add_argument("--out", type=Path, default=Path("runs/package-quality"))
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--also", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        runtimes.also(options.also)  # the data's library is there
        target, precision, out = options.write
        write(options.model, options.data, target, precision, Path(out))
        return
    from record import facts_of_this_machine, write_result

    from brickwork.files.picture import save_png
    from brickwork.model.checkpoint import load
    from brickwork.package.targets.table import target_of
    from brickwork.sampling.loop import sample

    options.out.mkdir(parents=True, exist_ok=True)
    cases = [(target, precision) for target in options.targets for precision in target_of(target).precisions]
    rows = [measured(options.model, options.data, *case, options.out) for case in cases]
    for row in rows:
        print(said(row), "" if row["kept"] else "(refused by the usual bound)")
    result = {"model": options.model, "data": options.data, "bound": bounds(), "packages": rows}
    path = write_result("package-quality", facts_of_this_machine() | result)
    eager = sample(load(options.model), seeds=LABELS, labels=list(LABELS), steps=STEPS)
    pictures = [("eager PyTorch fp32", eager)]
    pictures += [
        (said(row), np.load(runtimes.drawn(options.out / f"{row['precision']}.{row['target']}"))) for row in rows
    ]
    save_png(runtimes.sheet(pictures), path.with_suffix(".png"))
    print(path)


if __name__ == "__main__":
    main()
