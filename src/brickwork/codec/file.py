"""Autoencoder files: one file holds the weights, and in its header the statistics of the latents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brickwork.codec.latents import Latents
from brickwork.codec.table import CODECS
from brickwork.doors import door
from brickwork.errors import ArgumentError, BrickworkError, CheckpointError, short
from brickwork.files.header import open_tensors, read_kinds, read_metadata
from brickwork.files.plain import json_text, read_json
from brickwork.files.schema import from_entry, to_entry
from brickwork.files.tensors import read_tensors, write_tensors
from brickwork.nn.promised import building_no_more, check_sizes, compare

AUTOENCODER_FILE = "autoencoder.safetensors"
HEADER = "brickwork-autoencoder"
MODEL_HEADER = "brickwork"
MODEL_FILE = "model.safetensors"
IN_MODEL = "codec.autoencoder."
"""Start of the names of an autoencoder's tensors in a model's file."""
FORMAT = 1


@door("saving an autoencoder")
def save_codec(codec: Latents, path: str | Path, facts: Mapping[str, object] | None = None) -> None:
    """Write an autoencoder as one file, atomically.

    Args:
        codec: The autoencoder with its statistics.
        path: The file to write.
        facts: How and on what it was trained, JSON-like.

    Raises:
        OutputError: The file cannot be written; a previous file there stays whole.
        ArgumentError: JSON cannot hold the facts.
    """
    header = {"format": FORMAT, "codec": to_entry(CODECS, codec.config), "training": facts or {}}
    try:
        text = json_text(header)
    except ValueError as error:
        raise ArgumentError(f"facts of {path}: JSON cannot hold them ({error}); change them") from None
    write_tensors(Path(path), codec.autoencoder.state_dict(), {HEADER: text})


@door("loading an autoencoder")
def load_codec(path: str | Path) -> Latents:
    """Load the autoencoder of a file, of its run's folder, or of a latent model.

    Raises:
        CheckpointError: The file is missing, truncated or foreign, a model of pixels, or its header belies its weights.
    """
    path = _file(Path(path))
    metadata, shapes = read_metadata(path)
    try:
        config = from_entry(CODECS, _entry(metadata), "codec")
        if not isinstance(config, Latents.Config):
            raise CheckpointError("it is a model of pixels, which has no autoencoder: give one of latents")
        check_sizes(config, shapes.values())
        prefix = "" if HEADER in metadata else IN_MODEL
        found = {k.removeprefix(prefix): kind for k, kind in read_kinds(path).items() if k.startswith(prefix)}
        with building_no_more(len(found)):
            dtypes = compare(config.build().autoencoder.state_dict(), found)
        codec = config.build()
        tensors, _ = read_tensors(path)
        codec.autoencoder.load_state_dict({name: tensors[prefix + name].to(dtypes[name]) for name in dtypes})
        codec.check_weights()
    except BrickworkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return codec


def read_codec_header(path: str | Path) -> dict[str, Any]:
    """Read the header of an autoencoder's file: format, codec, training.

    Raises:
        CheckpointError: The file is missing, truncated, or no autoencoder's.
    """
    path = _file(Path(path))
    with open_tensors(path) as file:
        text = (file.metadata() or {}).get(HEADER)
    if text is None:
        raise CheckpointError(f"{path} is no autoencoder of brickwork: give what `brickwork autoencoder train` wrote")
    try:
        return _parsed(text)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _file(path: Path) -> Path:
    """Return the file itself, or in a run's folder the file of its autoencoder or model."""
    if not path.is_dir():
        return path
    found = [path / name for name in (AUTOENCODER_FILE, MODEL_FILE) if (path / name).exists()]
    if not found:
        raise CheckpointError(
            f"{path} holds no {AUTOENCODER_FILE}: give a folder that `brickwork autoencoder train` wrote"
        )
    return found[0]


def _entry(metadata: dict[str, str]) -> Any:
    for name in (HEADER, MODEL_HEADER):
        if name in metadata:
            return _parsed(metadata[name]).get("codec")
    raise CheckpointError("it has no header of brickwork: give what `brickwork autoencoder train` or `import` wrote")


def _parsed(text: str) -> dict[str, Any]:
    try:
        header = read_json(text)
    except ValueError as error:
        raise CheckpointError(f"its header cannot be read ({error}): copy or train it again") from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise CheckpointError(f"its header is {short(header)}: it must be a table; copy or train it again")
    return header
