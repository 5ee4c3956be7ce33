"""How long does it take to open a folder of JPEGs, next to a plain loop over Pillow, and to open it again?

Each turn makes the plain loop, a first opening with an empty cache, a second one that finds the first one's images, and
a second one that reads every image too, which checks all blocks. Turns follow each other, so that other work on the
machine hits all alike; ratios are medians of the ratios within a turn. The loop does the same work: it lists the
files, decodes each, turns it upright, resizes it if need be, and puts all into one array, on one thread.

    python benchmarks/opening.py --images 5000 --repeats 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from record import facts_of_this_machine, write_result

from brickwork.data.config import DataConfig
from brickwork.data.dataset import load_dataset

SIDE = 128
ALL = DataConfig(split="all", size=SIDE)


def make(folder: Path, count: int) -> None:
    """Write JPEGs of smooth noise, which take as many bytes as photographs of that size: some 6 kB."""
    generator = np.random.default_rng(0)
    for i in range(count):
        coarse = generator.integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8)
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)


def plain_loop(folder: Path) -> np.ndarray:
    """The same work by Pillow alone."""
    paths = sorted(folder.iterdir())
    images = np.empty((len(paths), SIDE, SIDE, 3), np.uint8)
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.size != (SIDE, SIDE):
                upright = upright.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            images[i] = np.asarray(upright.convert("RGB"))
    return images


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall time and processor time, of all threads, of one call."""
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def turn(folder: Path, cache: Path) -> dict[str, tuple[float, float]]:
    """Return the times of everything once, with a cache that is empty at first."""
    return {
        "plain Pillow loop": seconds(lambda: plain_loop(folder)),
        "first opening": seconds(lambda: load_dataset(folder, ALL, cache=cache)),
        "second opening": seconds(lambda: load_dataset(folder, ALL, cache=cache)),
        "second opening and all images": seconds(lambda: load_dataset(folder, ALL, cache=cache).images[:].sum()),
    }


def row_of(name: str, turns: list[dict[str, tuple[float, float]]]) -> dict[str, float]:
    """Return medians of a subject: wall and processor seconds, and both as shares of the loop's in the same turn."""
    loop = "plain Pillow loop"
    return {
        "seconds": round(statistics.median(some[name][0] for some in turns), 4),
        "processor_seconds": round(statistics.median(some[name][1] for some in turns), 4),
        "of_plain_loop": round(statistics.median(some[name][0] / some[loop][0] for some in turns), 4),
        "processor_of_plain_loop": round(statistics.median(some[name][1] / some[loop][1] for some in turns), 4),
    }


def main() -> None:
    """One turn uncounted, then as many as asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        folder.mkdir()
        make(folder, options.images)
        assert (plain_loop(folder) == load_dataset(folder, ALL, cache=Path(place) / "cache").images).all()
        turns = [turn(folder, Path(place) / f"cache{i}") for i in range(options.repeats + 1)][1:]
    rows = {name: row_of(name, turns) for name in turns[0]}
    for name, row in rows.items():
        print(f"{name:<30} {row['seconds']:8.3f} s {row['of_plain_loop']:7.3f} of the loop")
    facts = {**facts_of_this_machine(), "processors": os.cpu_count(), "repeats": options.repeats}
    print(write_result("opening", {**facts, "images": options.images, "side": SIDE, "results": rows}))


if __name__ == "__main__":
    main()
