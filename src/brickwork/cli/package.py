"""``brickwork pack``, ``run`` and ``verify``: packages for devices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from brickwork.cli.arguments import ModelName
from brickwork.package.packing import Packing


def pack(
    model: Positional[ModelName],
    *,
    out: Path | None = None,
    data: Annotated[str | None, arg(metavar="DATA")] = None,
    packing: OmitArgPrefixes[Packing] = Packing(),
) -> None:
    """Make a package that runs without PyTorch; it is compared with the model, and kept only if it draws the same.

    Args:
        model: Which.
        out: The folder; by default MODEL.TARGET here. An earlier package there is replaced.
        data: Images to calibrate with and to measure quality on; needed for int8 and int4.
        packing: What goes in.
    """
    from brickwork.files.manifest import manifest_digest
    from brickwork.model.checkpoint import load
    from brickwork.package.pack import pack as write
    from brickwork.package.pack import target_of

    suffix = target_of(packing.target).SUFFIX
    name = Path(model).resolve().name.removesuffix(".safetensors") if Path(model).exists() else model
    place = out if out is not None else Path(f"{name}{suffix}")
    write(load(model), place, packing, data=data)
    print(f"manifest {manifest_digest(place)}")
    if packing.target == "browser":
        print(f"see it: brickwork serve {place}")
    elif packing.target != "coreml":
        print(f"draw: brickwork run {place} --seed 0 --out a.png")


def verify(package: Positional[Path], *, expect: str = "", as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """Check every byte of a package, and say what it is.

    Args:
        package: Folder that `brickwork pack` wrote.
        expect: SHA-256 that manifest.json must have; without it, this guards against accident, not forgery.
        as_json: Print the manifest.
    """
    from brickwork.files.manifest import manifest_digest, to_json
    from brickwork.files.manifest import verify as check

    manifest = check(package, expect)
    if as_json:
        print(to_json(manifest), end="")
        return
    said, size = manifest.sampling, sum(file.length for file in manifest.files.values())
    model = json.dumps(manifest.model.get("backbone", "unknown"))
    print(f"package    {package}: whole, {len(manifest.files)} files, {size / 1e6:.4g} MB")
    print(f"sha256     {manifest_digest(package)} (of manifest.json)")
    print(f"target     {manifest.target}, layout {manifest.layout}, {manifest.precision}")
    print(f"runtime    {', '.join(f'{name} {number}' for name, number in manifest.runtime.items())}")
    print(f"model      {model[:100]}{'...' if len(model) > 100 else ''}")
    print(f"draws      {said.steps} steps of {said.solver} on {said.grid}, guidance {said.guidance}, plan {said.plan}")
    if manifest.parity.get("checked"):
        print(f"parity     {manifest.parity.get('db', 0):.1f} dB at least, {manifest.parity.get('how', '')}")
    else:
        print(f"parity     unchecked: {manifest.parity.get('why', 'it was not said why')}")
    if manifest.quality:
        print(f"quality    {_quality(manifest.quality)}")
    print(f"licence    {manifest.licence or 'unsaid'}")


def _quality(found: dict[str, Any]) -> str:
    """The two figures of the bound, for a person."""
    words = []
    for name, title in (("loss", "held-out loss"), ("distance", "Fréchet distance")):
        rise, most = found.get(f"{name}_increase"), found.get(f"max_{name}_increase")
        if isinstance(rise, int | float) and isinstance(most, int | float):
            words.append(f"{title} {rise:+.1%} (at most {most:+.0%})")
    return ", ".join(words) or "not said"


def run(words: Sequence[str]) -> None:
    """Draw pictures from a package, on this device, without PyTorch."""
    from brickwork.device.command import run as draw

    draw(words, "brickwork run")
