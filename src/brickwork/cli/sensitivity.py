"""Verb ``brickwork sensitivity``: the layers that fewer bits hurt most."""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Literal

from tyro.conf import Positional, arg

import brickwork as bw
from brickwork.cli.arguments import ModelName
from brickwork.files.streams import say


def sensitivity(
    model: Positional[ModelName],
    *,
    data: Annotated[str, arg(metavar="DATA")],
    precision: Literal["int8", "int8-static", "int4"] = "int8",
    num_images: int = 64,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Measure what fewer bits cost in each part of a network.

    `brickwork pack --fp32-layers` keeps the parts that cost most.

    Args:
        model: Run folder, model file, or a shipped model by name.
        data: Images with a held-out split: folder, zip, npz, IDX, hub set or "digits".
        precision: Arithmetic that is measured.
        num_images: Largest number of held-out images for the loss.
        as_json: Print JSON.
    """
    from brickwork.package.targets.onnx.sensitivity import sensitivity as measure

    found = measure(bw.load(model), precision, data, num_images=num_images, progress=True)
    if as_json:
        print(json.dumps([part.to_dict() for part in found], indent=2))
        return
    *parts, whole = found
    width = max(len(part.name) for part in parts)
    say(f"{'part':<{width}} {'weights':>10} {'loss':>9}  (quantised alone, against fp32)")
    for part in parts:
        say(f"{part.name:<{width}} {part.weights:>10} {part.loss_increase:>+9.3%}")
    say(f"{'all of these':<{width}} {whole.weights:>10} {whole.loss_increase:>+9.3%}")
    words = ["brickwork", "pack", model, "--precision", precision, "--data", data, "--fp32-layers", parts[0].name]
    say(f"keep the first in fp32: {shlex.join(words)}")
