"""Packages: opened, checked, one step drawn; also by someone who makes the sums agree."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tiny_models import text_model

import brickwork as bw
from brickwork.files.manifest import MANIFEST, SUMS
from campaign.subject import Subject, everything
from campaign.subjects.models import small


def whole(place: Path) -> None:
    """Pack a small model with graphs of one and two blocks."""
    bw.pack(small(), place / "a.onnx", bw.Packing(parts=(1, 2), batches=(1,), steps=2), say=lambda line: None)


def stack(place: Path) -> None:
    """Pack a model of words as a stack of blocks."""
    bw.pack(text_model(), place / "a.onnx", bw.Packing(layout="stack", batches=(1,), steps=2), say=lambda line: None)


def drawn(place: Path) -> Any:
    """Check every byte, open the package, and draw one step."""
    manifest = bw.verify(place / "a.onnx")
    runner = bw.open_package(place / "a.onnx")
    text = "red square" if runner.text_shape else None
    pictures = bw.sample(runner, seeds=[3], labels=0 if runner.num_classes else None, text=text, steps=1)
    return pictures, manifest.classes


def seal(place: Path) -> None:
    """Write sums of the files as they are now into the manifest and beside it."""
    folder = place / "a.onnx"
    if not all(path.is_file() for path in folder.iterdir()) or any(
        p.stat().st_size > 1 << 30 for p in folder.iterdir()
    ):
        return  # a pipe, or a hole: no forger reads it
    try:
        values = json.loads((folder / MANIFEST).read_text())
        for name, file in values["files"].items():
            file["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if "length" in file:
                file["length"] = (folder / name).stat().st_size
        (folder / MANIFEST).write_text(json.dumps(values))
        sums = {name: file["sha256"] for name, file in values["files"].items()}
        sums[MANIFEST] = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # no forger mends this


SUBJECTS = (
    Subject(name="package", make=whole, read=drawn, guarded=everything),
    Subject(name="package, stack", make=stack, read=drawn, guarded=everything),
    Subject(name="package, forged", make=whole, read=drawn, files="**/*.json", seal=seal),
    Subject(name="package, forged weights", make=whole, read=drawn, files="**/*.bin", seal=seal, share=0.3),
    Subject(name="package, forged stack", make=stack, read=drawn, files="**/*.json", seal=seal, share=0.5),
)
