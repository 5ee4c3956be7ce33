"""Verb ``brickwork info``: description of a model or a package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from brickwork.cli.verify import describe
from brickwork.files.digest import file_digest
from brickwork.files.manifest import MANIFEST, read_manifest, to_json
from brickwork.model.header import ENTRIES, chain, existing_model, stored_header


def print_info(
    model: Positional[
        Annotated[str, arg(metavar="MODEL", help="Run folder, model file, a shipped model by name, or a package.")]
    ],
    *,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Describe a model or a package: what it is, its training, and what it needs.

    Args:
        model: Run folder, model file, a shipped model by name, or a package.
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
        print(to_json(manifest), end="")
        return
    print(f"package    {folder}: `brickwork verify {folder}` checks its bytes")
    print("\n".join(describe(folder, manifest)))


def _print_model(name: str, as_json: bool) -> None:
    """Describe a model by its file's header, without reading its weights."""
    path = existing_model(name)
    header, _ = stored_header(path)
    if as_json:
        print(json.dumps(header, indent=2))
        return
    print(f"file       {path} ({path.stat().st_size / 1e6:.2f} MB)\nsha256     {file_digest(path)}")
    for part in ENTRIES:
        print(f"{part:<10} {_entry(header[part])}")
    print(f"classes    {', '.join(header['classes']) or 'none'}")
    for guest in chain(header)[1:]:
        print(f"guest      {_entry(guest['backbone'])}")
        print(f"           process {_entry(guest['process'])}; target {_entry(guest['target'])}")
    for key, value in header["training"].items():
        print(f"{key:<10} {str(value).strip().replace(chr(10), chr(10) + ' ' * 11)}")


def _entry(entry: Sequence[Any]) -> str:
    """Format a config of a header for people."""
    name, values, *package = entry
    return f"{name}{f' (of {package[0]})' if package else ''}: " + ", ".join(f"{k}={v}" for k, v in values.items())
