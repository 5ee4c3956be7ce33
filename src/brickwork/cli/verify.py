"""Verb ``brickwork verify``: check and description of a package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from brickwork.files.manifest import Manifest, manifest_digest, to_table
from brickwork.files.manifest import verify as check
from brickwork.files.streams import say


def verify(
    package: Positional[Path],
    *,
    expect: Annotated[str, arg(metavar="SHA256")] = "",
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Check every byte of a package, and describe it.

    Args:
        package: Folder that `brickwork pack` wrote.
        expect: SHA-256 that manifest.json must have; without it, this guards against accident, not forgery.
        as_json: Print the manifest.
    """
    manifest = check(package, expect)
    if as_json:
        print(json.dumps(to_table(manifest), indent=1))
        return
    size = sum(file.length for file in manifest.files.values())
    say(f"package    {package}: whole, {len(manifest.files)} files, {size / 1e6:.4g} MB")
    say(*describe(package, manifest))


def describe(folder: Path, manifest: Manifest) -> list[str]:
    """Return the facts of a package and of its drawing, one line each."""
    said, parity = manifest.sampling, manifest.parity
    model = json.dumps(manifest.model.get("backbone", "unknown"))
    checked = f"{parity.get('db', 0):.1f} dB at least, {parity.get('how', '')}"
    lines = [
        f"sha256     {manifest_digest(folder)} (of manifest.json)",
        f"target     {manifest.target}, layout {manifest.layout}, {manifest.precision}",
        f"runtime    {', '.join(f'{name} {number}' for name, number in manifest.runtime.items())}",
        f"model      {model[:100]}{'...' if len(model) > 100 else ''}",
        f"draws      {said.steps} steps of {said.solver} on {said.grid}, guidance {said.guidance}, plan {said.plan}",
        f"parity     {checked if parity.get('checked') else 'unchecked: ' + parity.get('why', 'it was not said why')}",
    ]
    if manifest.quality:
        lines.append(f"quality    {_quality(manifest.quality)}")
    return [*lines, f"licence    {manifest.licence or 'unsaid'}"]


def _quality(found: dict[str, Any]) -> str:
    """Format the two figures that bound quality, for people."""
    words = []
    for name, title in (("loss", "held-out loss"), ("distance", "Fréchet distance")):
        rise, most = found.get(f"{name}_increase"), found.get(f"max_{name}_increase")
        if isinstance(rise, int | float) and isinstance(most, int | float):
            words.append(f"{title} {rise:+.1%} (at most {most:+.0%})")
    return ", ".join(words) or "not said"
