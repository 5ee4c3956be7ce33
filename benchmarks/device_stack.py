"""Does a device's program stay the same, however many blocks a model has?

One STOIC with random weights for each depth, as whole graphs, as a stack of one block and as a scan, for ONNX Runtime.
Each is opened in fresh processes: anonymous memory, load time and time per step are theirs, asked in turn (see
``brickwork.speed.measure``). The same seeds are drawn by all three and compared before rounding. At last a process may
hold less private memory than the weights have bytes, by prlimit.

    python benchmarks/device_stack.py --depths 12 32 64 128 --folder runs/device-stack
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import facts_of_this_machine, write_result

from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.device.runner import open_package
from brickwork.device.stack import BLOCKS
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import LinearFlow
from brickwork.files.manifest import Manifest, read_manifest
from brickwork.files.picture import save_png
from brickwork.model.model import Model
from brickwork.package.check.parity import psnr
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.sampling.loop import sample_x0
from brickwork.speed.child import Child
from brickwork.speed.measure import measure
from brickwork.speed.subjects import subjects
from brickwork.training.run.panel import Line, panel

COLOURS = {"whole": (40, 40, 40), "stack": (20, 90, 180), "scan": (200, 90, 20)}
SEEDS = (0, 1, 2)
SLACK = 1.15
"""Of the better stacked form's time per step over the whole graph's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[12, 32, 64, 128])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--guidance", type=float, default=1.0, help="other than 1 makes two rows of each picture")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, required=True, help="for the packages; each depth's are taken away again"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    limited: dict[str, Any] = {}
    for depth in arguments.depths:
        model, places = packed(depth, arguments)
        rows += row_of(depth, model, places, arguments)
        if depth == arguments.depths[-1]:
            limited = under_a_limit(places, arguments)
        for place in places.values():
            shutil.rmtree(place)
    facts = facts_of_this_machine() | {"threads": arguments.threads}
    facts["versions"] |= {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")}
    grown = growth(rows)
    result = {
        "arguments": {key: str(value) for key, value in vars(arguments).items()},
        "rows": rows,
        "growth": grown,
        "limited": limited,
        "met": met(rows, grown, limited),
    }
    path = write_result(f"device-stack{'' if arguments.guidance == 1 else '-guided'}", facts | result)
    save_png(picture(rows), path.with_suffix(".png"))
    print(json.dumps({"growth": grown, "limited": limited, "met": result["met"]}, indent=1))
    print(path)


def packed(depth: int, arguments: argparse.Namespace) -> tuple[Model, dict[str, Path]]:
    """A model of so many blocks, and its three packages; each was compared with the model when it was packed."""
    config = Stoic.Config(width=arguments.width, depth=depth, stride=2, size=arguments.size, channels=3, num_classes=10)
    torch.manual_seed(0)
    model = Model(config.build(), LinearFlow(), Velocity(), Pixels()).eval().requires_grad_(False)
    batch = 1 if arguments.guidance == 1 else 2
    places = {}
    for layout in COLOURS:
        places[layout] = arguments.folder / f"{depth}-{layout}.onnx"
        packing = Packing(layout=layout, batches=(batch,), steps=min(arguments.steps, 2), guidance=arguments.guidance)
        if not places[layout].exists():  # of a run that was stopped
            pack(model, places[layout], packing, say=lambda line: print(line, flush=True))
    return model, places


def row_of(depth: int, model: Model, places: dict[str, Path], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What was measured of one depth, a row for each layout."""
    pictures = {layout: drawn(place, arguments) for layout, place in places.items()}
    found = subjects([str(place) for place in places.values()], steps=arguments.steps)
    speed = measure(found, rounds=arguments.rounds, threads=arguments.threads, say=lambda line: None)
    loads: dict[str, list[float]] = {
        layout: [1e3 * row.opened["load_s"]] for layout, row in zip(places, speed.rows, strict=True)
    }
    for _ in range(arguments.loads - 1):
        for layout, subject in zip(places, found, strict=True):
            with Child(subject, arguments.threads) as child:
                said = {"sampling": asdict(subject.sampling), "batch": 1, "threads": arguments.threads}
                loads[layout].append(1e3 * child.ask(do="open", **said)["load_s"])
    rows = []
    for (layout, place), measured in zip(places.items(), speed.rows, strict=True):
        manifest, told = read_manifest(place), measured.to_dict(speed.rows[0], 1)
        rows.append(
            {
                "depth": depth,
                "layout": layout,
                "parameters": sum(weight.numel() for weight in model.parameters()),
                "against_whole": against(pictures["whole"], pictures[layout]),
                "against_eager_db": manifest.parity["db"],
                "anonymous_mb": told["anonymous_bytes"] / 1e6,
                "peak_mb": told["peak_bytes"] / 1e6,
                "load_ms": float(np.median(loads[layout])),
                "loads_ms": loads[layout],
                "first_call_ms": told["first_call_ms"],
                "step_ms": told["step_ms"],
                "ratio": told["ratio_to_first"]["step"],
                **sizes(manifest),
            }
        )
        row = rows[-1]
        print(
            f"{depth:4} {layout:6} {row['step_ms']['p50']:8.1f} ms ({row['ratio']['p50']:.3f})  "
            f"load {row['load_ms']:7.0f} ms  anonymous {row['anonymous_mb']:7.1f} MB  "
            f"program {row['program_bytes']:8} B  {row['against_whole']}",
            flush=True,
        )
    return rows


def drawn(place: Path, arguments: argparse.Namespace) -> np.ndarray:
    """The same seeds, before rounding."""
    how: dict[str, Any] = {"labels": list(SEEDS), "guidance": arguments.guidance, "batch_size": 1}
    return sample_x0(open_package(place, threads=arguments.threads), seeds=SEEDS, steps=arguments.steps, **how)


def against(whole: np.ndarray, ours: np.ndarray) -> dict[str, Any]:
    """dB of the worst picture, 999 for no difference; how many 8-bit values are others, and by how much.

    Errors of 1e-6 move a value that lies so near to the edge between two levels: one in some ten thousand.
    """
    db = min(psnr(a, b) for a, b in zip(whole, ours, strict=True))
    eight = [np.clip(np.rint((pixels + 1) * 127.5), 0, 255) for pixels in (whole, ours)]
    apart = np.abs(eight[0] - eight[1])
    return {
        "db": round(min(db, 999.0), 2),
        "equal_8_bit": not apart.any(),
        "other_8_bit_values": int((apart > 0).sum()),
        "of_values": apart.size,
        "largest_8_bit_difference": int(apart.max()),
    }


def sizes(manifest: Manifest) -> dict[str, int]:
    """Bytes of graphs, of all weights, and of what names them."""
    programs = {graph.file for graph in manifest.graphs}
    weights = {name for graph in manifest.graphs for name in graph.weights}
    header = next((piece.length for file in manifest.files.values() for piece in file.pieces[:1]), 0)
    return {
        "program_bytes": sum(manifest.files[name].length for name in programs),
        "weight_bytes": sum(manifest.files[name].length for name in weights),
        "weight_header_bytes": header if manifest.layout == "stack" else 0,
    }


def growth(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What becomes of each layout from the least depth to the greatest."""
    found = {}
    for layout in COLOURS:
        first, *_, last = (own := [row for row in rows if row["layout"] == layout])[:1] + own
        found[layout] = {
            "anonymous": last["anonymous_mb"] / first["anonymous_mb"] - 1,
            "load_times": last["load_ms"] / first["load_ms"],
            "program_bytes": last["program_bytes"] - first["program_bytes"],
        }
    return found


def under_a_limit(places: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """The command that draws a picture, its private memory limited to a quarter of the weights' bytes.

    Less than 250 MB is not enough for an interpreter and the runtime, on two threads.
    """
    weights = read_manifest(places["stack"]).files[BLOCKS].length
    limit, said = max(weights // 4, 250_000_000), {}
    for layout, place in places.items():
        image = arguments.folder / f"{layout}.png"
        words = ["prlimit", f"--data={limit}", sys.executable, "-m", "brickwork.device", str(place), "--seed", "0"]
        words += ["--steps", "2", "--threads", str(arguments.threads), "--out", str(image)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        said[layout] = {"exit_code": done.returncode, "drew": image.exists(), "said": done.stderr.strip()[-400:]}
        image.unlink(missing_ok=True)
    return {"weight_bytes": weights, "limit_bytes": limit, **said}


def met(rows: list[dict[str, Any]], grown: dict[str, dict[str, float]], limited: dict[str, Any]) -> dict[str, bool]:
    """What was asked of it, and whether that is so."""
    stack, stacked = grown["stack"], [row for row in rows if row["layout"] != "whole"]
    better = [
        min(row["ratio"]["p50"] for row in stacked if row["depth"] == depth) for depth in {r["depth"] for r in rows}
    ]
    return {
        "the same 8-bit pictures": all(row["against_whole"]["equal_8_bit"] for row in stacked),
        "at least 90 dB before rounding": all(row["against_whole"]["db"] >= 90 for row in stacked),
        "anonymous memory grows by less than 10 %": stack["anonymous"] < 0.1,
        "load time grows by less than 2 times": stack["load_times"] < 2,
        "program grows by less than 1 kB": stack["program_bytes"] < 1000,
        f"step of the better stacked form within {SLACK} times": max(better) <= SLACK,
        "runs with less memory than weights, and whole says why not": bool(
            limited["stack"]["exit_code"] == 0
            and limited["whole"]["exit_code"] == 1
            and len(limited["whole"]["said"].splitlines()) == 1
            and "memory" in limited["whole"]["said"]
        ),
    }


def picture(rows: list[dict[str, Any]]) -> np.ndarray:
    """Memory, load time and time per step over depth."""

    def lines(value: Any) -> list[Line]:
        return [
            Line(points=[(row["depth"], value(row)) for row in rows if row["layout"] == layout], colour=colour)
            for layout, colour in COLOURS.items()
        ]

    titles = {
        "anonymous memory, MB": lambda row: row["anonymous_mb"],
        "load time, ms": lambda row: row["load_ms"],
        "time per step, ms": lambda row: row["step_ms"]["p50"],
    }
    said = " (black whole, blue stack, orange scan)"
    return np.concatenate(
        [panel(lines(value), title=title + said, axis="blocks", log_x=False) for title, value in titles.items()], axis=1
    )


if __name__ == "__main__":
    main()
