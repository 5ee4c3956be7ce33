"""Headers of model files, read without PyTorch: find a file, and read its description of the model.

The header is JSON in the safetensors metadata under the key "brickwork": for each component of the model a pair
``[name, {field: value}]``, and the classes and facts of training. :mod:`brickwork.model.checkpoint` builds the model.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from brickwork.errors import CheckpointError, short
from brickwork.files.header import read_metadata
from brickwork.files.plain import read_json
from brickwork.files.revision import HUB
from brickwork.files.schema import HEADER as READER

FORMAT = 2
HEADER = "brickwork"
MODEL_FILE = "model.safetensors"
SHIPPED = ("digits", "digits-lego")
GUEST = "guest"
"""Key of a guest's header within its model's; also the prefix, with a dot, of the names of its weights."""
MAX_GUESTS = 16
"""Largest number of nested guests in one file."""
ENTRIES = ("backbone", "process", "target", "codec", "given", "text")
"""Keys in a file that hold ``[name, {field: value}]``."""
KEYS = {"target": "prediction", "given": "image_condition"}
"""Present names of keys that files have kept since 0.1, so that files and digests of models stay as they are."""
BACKBONE_KEYS = {"given_channels": "condition_channels"}
"""Present names of a backbone's fields, likewise."""


def _say_nothing_else(header: dict[str, Any]) -> dict[str, Any]:
    """Convert format 1 to 2, by a file's keys: models of format 1 have no text encoder and no image condition."""
    return {"text": ["none", {}], "given": ["nothing", {}], **header}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _say_nothing_else}
"""Functions that turn a header of format n into one of format n + 1, by n; old files stay readable for ever."""


def find_model(name: str | Path) -> Path:
    """Return the file of a run folder, a model file or the name of a shipped model; it need not exist.

    A model of the Hub, as "hf:owner/name", is downloaded.

    Raises:
        CheckpointError: A folder holds no model, or the Hub has none of this name.
        MissingExtraError: The Hub's library is not installed.
    """
    path = Path(name)
    if str(name).startswith(HUB) and not path.exists():
        from brickwork.model.download import downloaded

        return downloaded(str(name).removeprefix(HUB))
    if path.is_dir():
        if not (path / MODEL_FILE).exists():
            raise CheckpointError(f"{path} holds no {MODEL_FILE}: give a folder that `brickwork train` wrote")
        return path / MODEL_FILE
    if not path.exists() and str(name) in SHIPPED:
        return Path(str(resources.files("brickwork") / "models" / f"{name}.safetensors"))
    return path


def existing_model(name: str | Path) -> Path:
    """Return the file of a name, as :func:`find_model` does, if it exists.

    Raises:
        CheckpointError: The file does not exist.
    """
    path = find_model(name)
    if not path.exists():
        raise CheckpointError(
            f"no file {path}: give a run folder, a model file, a shipped model ({', '.join(SHIPPED)}) or hf:owner/name"
        )
    return path


def stored_header(path: Path) -> tuple[dict[str, Any], list[tuple[int, ...]]]:
    """Read a model file's header, converted to the present format and keys, and the shapes of the file's tensors.

    The header has every key; the values of the configs' fields are not checked.

    Raises:
        CheckpointError: The file is no model of ours, is of a later format, or its header is incomplete.
    """
    metadata, shapes = read_metadata(path)
    if HEADER not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file, but not a model of brickwork, whose header it lacks: `brickwork import "
            f"{shlex.quote(str(path))} --out NEW.safetensors` makes a model of published weights; an autoencoder is "
            "given as --codec"
        )
    try:
        header = read_json(metadata[HEADER])
    except ValueError as error:
        raise CheckpointError(f"{path} has a header that cannot be read ({error}): copy or train it again") from error
    try:
        header = _migrated(header)
        for part in chain(header):
            _check_keys(part)
        header = _with_present_keys(header)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return header, list(shapes.values())


def as_stored(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header with the keys that files have; those of the guests in it too."""
    name, values, *package = header["backbone"]
    values = _renamed(values, {present: stored for stored, present in BACKBONE_KEYS.items()})
    written = _renamed(header, {present: stored for stored, present in KEYS.items()})
    written |= {"backbone": [name, values, *package]}
    return written | {GUEST: as_stored(header[GUEST])} if GUEST in header else written


def _renamed(table: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in table.items()}


def _with_present_keys(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header of checked entries with the present keys; those of the guests in it too."""
    name, values, *package = header["backbone"]
    read = READER.renamed(header, KEYS)
    read |= {"backbone": [name, READER.renamed(values, BACKBONE_KEYS, "backbone"), *package]}
    return read | {GUEST: _with_present_keys(header[GUEST])} if GUEST in header else read


def chain(header: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a header, that of its guest, that of the guest's guest, and so on.

    Raises:
        CheckpointError: More than :data:`MAX_GUESTS` guests are nested.
    """
    headers = [header]
    while GUEST in headers[-1]:
        headers.append(headers[-1][GUEST])
        if len(headers) > MAX_GUESTS + 1:
            raise CheckpointError(f"its header has more than {MAX_GUESTS} guests in each other: copy or train it again")
    return headers


def _migrated(header: Any, guests: int = MAX_GUESTS) -> dict[str, Any]:
    """Convert a header of any format, and those of the guests in it, to the present one."""
    if not isinstance(header, dict) or "format" not in header:
        raise CheckpointError("its header has no format: it is no model of brickwork; copy or train it again")
    version = header["format"]
    if type(version) is not int or version < min(MIGRATIONS, default=FORMAT):
        raise CheckpointError(
            f"its header is of format {short(version)}: a format is a whole number from "
            f"{min(MIGRATIONS, default=FORMAT)} to {FORMAT}; copy or train it again"
        )
    if version > FORMAT:
        raise CheckpointError(f"it is of format {version}, this brickwork reads up to {FORMAT}: upgrade brickwork")
    for number in range(version, FORMAT):
        header = MIGRATIONS[number](header)
    if GUEST not in header or not guests:  # deeper ones are refused later
        return header
    try:
        return header | {GUEST: _migrated(header[GUEST], guests - 1)}
    except CheckpointError as error:
        raise CheckpointError(f"its guest: {error}") from error


def _check_keys(header: Mapping[str, Any]) -> None:
    """Refuse a header that lacks a key, or whose entries, class names or facts are of a wrong type."""
    if missing := [name for name in (*ENTRIES, "classes", "training") if name not in header]:
        raise CheckpointError(f"its header lacks {', '.join(missing)}: copy or train it again")
    for kind in ENTRIES:
        READER.check_entry(header[kind], kind)
    classes, training = header["classes"], header["training"]
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise CheckpointError(
            f"its header's classes are {short(classes)}: they must be a list of names; train it again"
        )
    if not isinstance(training, dict):
        raise CheckpointError(f"its header's training is {short(training)}: it must be a table; copy or train it again")
