"""Verb ``brickwork pack``: a package for a device."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

import brickwork as bw
from brickwork.cli.arguments import ModelName
from brickwork.files.manifest import manifest_digest
from brickwork.files.revision import split_revision
from brickwork.files.streams import say
from brickwork.package.packing import Packing
from brickwork.package.targets.table import choose_target


def pack(
    model: Positional[ModelName],
    *,
    out: Path | None = None,
    data: Annotated[str | None, arg(metavar="DATA")] = None,
    packing: OmitArgPrefixes[Packing] = Packing(),
) -> None:
    """Make a package that draws without PyTorch.

    It is compared with the model, and kept only if it draws the same.

    Args:
        model: Run folder, model file, or a shipped model by name.
        out: Folder to write; by default MODEL.TARGET here. Its suffix sets the target unless --target does: .onnx,
            .openvino and so on. An earlier package there is replaced.
        data: Images to calibrate with and to measure quality on; needed for int8 and int4.
        packing: Target, precision, sizes and sampling of the package.
    """
    target = choose_target(packing.target, out)
    here = Path(model).resolve().name.removesuffix(".safetensors")
    name = here if Path(model).exists() else split_revision(model)[0].rpartition("/")[2]
    place = out if out is not None else Path(f"{name}{target.suffix}")
    bw.pack(bw.load(model), place, packing, data=data)
    say(f"manifest {manifest_digest(place)}")
    if target.name == "browser":
        say(f"see it: brickwork serve {shlex.quote(str(place))}")
    elif target.runs_here:
        say(f"draw: brickwork run {shlex.quote(str(place))} --seed 0 --out a.png")
