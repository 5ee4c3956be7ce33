"""Verb ``brickwork info``: description of a model or a package."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from brickwork.cli.arguments import MODEL
from brickwork.cli.verify import describe
from brickwork.errors import printable
from brickwork.files.digest import file_digest
from brickwork.files.manifest import MANIFEST, read_manifest, to_table
from brickwork.files.streams import say
from brickwork.model.header import ENTRIES, KEYS, as_stored, chain, existing_model, stored_header


def print_info(
    model: Positional[Annotated[str, arg(metavar="MODEL", help=f"{MODEL}; or a package.")]],
    *,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Describe a model or a package.

    Says what it is, how it was trained, and what it needs.

    Args:
        model: Run folder, model file, a shipped model by name, hf:owner/name, or a package.
        as_json: Print the header, or the package's manifest, as JSON.
    """
    if Path(model, MANIFEST).is_file():
        _print_package(Path(model), as_json)
    else:
        _print_model(model, as_json)


def _print_package(folder: Path, as_json: bool) -> None:
    """Describe a package by its manifest, without reading its files."""
    manifest = read_manifest(folder)
    if as_json:
        print(json.dumps(to_table(manifest), indent=1))
        return
    say(f"package    {folder}: `brickwork verify {shlex.quote(str(folder))}` checks its bytes")
    say(*describe(folder, manifest))


def _print_model(name: str, as_json: bool) -> None:
    """Describe a model by its file's header, without reading its weights."""
    path = existing_model(name)
    header, _ = stored_header(path)
    if as_json:
        print(json.dumps(as_stored(header), indent=2))
        return
    say(f"file       {path} ({path.stat().st_size / 1e6:.2f} MB)", f"sha256     {file_digest(path)}")
    for key in ENTRIES:
        part = KEYS.get(key, key)
        say(f"{part.removeprefix('image_'):<10} {_entry(header[part])}")
    say(f"classes    {', '.join(map(printable, header['classes'])) or 'none'}")
    for guest in chain(header)[1:]:
        say(f"guest      {_entry(guest['backbone'])}")
        say(f"           process {_entry(guest['process'])}; prediction {_entry(guest['prediction'])}")
    for key, value in header["training"].items():
        first, *rest = str(value).strip().split("\n")
        say(f"{key:<10} {first}", *(f"{'':<10} {line}" for line in rest))


def _entry(entry: Sequence[Any]) -> str:
    """Format a config of a header for people."""
    name, values, *package = entry
    return f"{name}{f' (of {package[0]})' if package else ''}: " + ", ".join(f"{k}={v}" for k, v in values.items())
