"""Sets of images with tables: captions, labels, arrays, IDX files, and data sets of a hub by a stand-in."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

import brickwork as bw
from campaign.subject import Subject

NAMES = tuple(f"{name}.png" for name in "abcdef")


def plain(place: Path, folder: str = "") -> None:
    """Write six pictures of one colour each."""
    (place / "set" / folder).mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (40 * i, 10, 90)).save(place / "set" / folder / name)


def opened(place: Path) -> Any:
    """Open the set, and its held-out part if there is one."""
    return of(place / "set")


def of(spec: str | Path) -> Any:
    """Open a set by its place."""
    data = bw.load_dataset(spec, bw.DataConfig(size=8, holdout=0.2))
    try:
        held = len(bw.load_heldout(spec, bw.DataConfig(size=8, holdout=0.2)))
    except bw.BrickworkError:
        held = 0
    return data.images, data.labels, data.classes, data.captions, data.skipped, held


def lines(place: Path) -> None:
    """Write captions as lines of JSON."""
    plain(place)
    rows = [json.dumps({"file_name": name, "text": f"picture {name}"}) for name in NAMES]
    (place / "set" / "metadata.jsonl").write_text("\n".join(rows) + "\n")


def comma(place: Path) -> None:
    """Write captions and labels as a table of commas."""
    plain(place)
    rows = ["file_name,text,label", *(f'{name},"a, picture",{i % 2}' for i, name in enumerate(NAMES))]
    (place / "set" / "metadata.csv").write_text("\n".join(rows) + "\n")


def parquet(place: Path) -> None:
    """Write captions as parquet."""
    import pyarrow
    import pyarrow.parquet

    plain(place)
    table = pyarrow.table({"file_name": list(NAMES), "text": [f"picture {name}" for name in NAMES]})
    pyarrow.parquet.write_table(table, place / "set" / "metadata.parquet")


def numbered(place: Path) -> None:
    """Write labels as StyleGAN's tools do."""
    plain(place, "00000")
    labels = [[f"00000/{name}", i % 2] for i, name in enumerate(NAMES)]
    (place / "set" / "dataset.json").write_text(json.dumps({"labels": labels}))


def beside(place: Path) -> None:
    """Write a text beside each picture."""
    plain(place)
    for name in NAMES:
        (place / "set" / name).with_suffix(".txt").write_text(f"picture {name}")


def arrays(place: Path) -> None:
    """Write arrays of pictures, labels, classes and captions."""
    rng = np.random.default_rng(0)
    np.savez(
        place / "set.npz",
        images=rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8),
        labels=np.arange(8) % 2,
        classes=np.array(["cats", "dogs"]),
        captions=np.array([f"picture {i}" for i in range(8)]),
        split=np.array([0, 0, 0, 0, 0, 0, 2, 2]),
    )


def encoded(place: Path) -> None:
    """Write encoded pictures one after the other."""
    plain(place)
    files = [(place / "set" / name).read_bytes() for name in NAMES]
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(place / "set.npz", jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets)


def idx(place: Path, pack: Callable[[bytes], bytes] = bytes, suffix: str = "") -> None:
    """Write the files of MNIST's format, train and test."""
    (place / "set").mkdir()
    for part, count in (("train", 6), ("t10k", 2)):
        for kind, array in (
            ("images", np.arange(count * 64).reshape(count, 8, 8) % 256),
            ("labels", np.arange(count) % 3),
        ):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            data = pack(head + array.astype(np.uint8).tobytes())
            (place / "set" / f"{part}-{kind}-idx{array.ndim}-ubyte{suffix}").write_bytes(data)


class Feature:
    """Stand-in for a feature of the hub's library, which is known by the name of its type."""

    def __init__(self, value: Any = None, decode: bool = True) -> None:
        self.names = self.dtype = value
        self.decode = decode


FEATURES = {name: type(name, (Feature,), {}) for name in ("Image", "ClassLabel", "Value")}


class Table(list[Any]):
    """Stand-in for a table of the hub's library."""

    def __init__(self, rows: list[Any], features: dict[str, Any]) -> None:
        super().__init__(rows)
        self.features = features

    def __getitem__(self, key: Any) -> Any:
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def hub(place: Path) -> None:
    """Write the rows of a data set of the hub."""
    plain(place)
    pictures = [base64.b64encode((place / "set" / name).read_bytes()).decode() for name in NAMES]
    rows = [{"image": p, "label": i % 2, "text": f"picture {i}", "number": i} for i, p in enumerate(pictures)]
    (place / "rows.json").write_text(json.dumps({"train": rows[:4], "test": rows[4:], "classes": ["cat", "dog"]}))


def from_hub(place: Path) -> Any:
    """Open the rows as if the hub's library had loaded them."""
    file = place / "rows.json"
    try:
        found = json.loads(file.read_text()) if file.is_file() and file.stat().st_size < 1 << 20 else None
    except (ValueError, RecursionError):
        return None
    features = {
        "image": FEATURES["Image"](),
        "label": FEATURES["ClassLabel"](["cat", "dog"]),
        "text": FEATURES["Value"]("string"),
        "number": FEATURES["Value"]("int64"),
    }
    tables = {}
    for split in ("train", "test"):
        rows = found.get(split) if isinstance(found, dict) else None
        rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        cells = [{key: row.get(key) for key in features} for row in rows]
        tables[split] = Table([{**cell, "image": _cell(cell["image"])} for cell in cells], features)
    sys.modules["datasets"] = SimpleNamespace(  # pyright: ignore[reportArgumentType]
        load_dataset=lambda *_, **__: tables, Image=FEATURES["Image"]
    )
    return of("hf:owner/name")


def _cell(value: Any) -> Any:
    """Return an image's cell: bytes and a path, or whatever stands there."""
    if not isinstance(value, str):
        return value
    try:
        return {"bytes": base64.b64decode(value), "path": None}
    except ValueError:
        return {"bytes": None, "path": value}


SUBJECTS = (
    Subject(name="metadata.jsonl", make=lines, read=opened, files="set/*.jsonl"),
    Subject(name="metadata.csv", make=comma, read=opened, files="set/*.csv"),
    Subject(name="metadata.parquet", make=parquet, read=opened, files="set/*.parquet", share=0.7),
    Subject(name="dataset.json", make=numbered, read=opened, files="set/*.json", share=0.7),
    Subject(name="captions beside", make=beside, read=opened, files="set/*.txt", share=0.5),
    Subject(name="npz", make=arrays, read=lambda p: of(p / "set.npz"), files="*.npz", share=1.5),
    Subject(name="npz, encoded", make=encoded, read=lambda p: of(p / "set.npz"), files="*.npz"),
    Subject(name="IDX", make=idx, read=opened, files="set/*", share=0.7),
    Subject(name="IDX, gzip", make=lambda p: idx(p, gzip.compress, ".gz"), read=opened, files="set/*"),
    Subject(name="hub", make=hub, read=from_hub, files="rows.json"),
)
