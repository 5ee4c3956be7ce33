"""Autoencoder files: one file holds the weights, and in its header the statistics of the latents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brickwork.codec.latents import Latents
from brickwork.codec.table import CODECS
from brickwork.errors import BrickworkError, CheckpointError
from brickwork.files.header import open_tensors
from brickwork.files.schema import from_entry, short, to_entry
from brickwork.files.tensors import read_tensors, write_tensors

AUTOENCODER_FILE = "autoencoder.safetensors"
HEADER = "brickwork-autoencoder"
MODEL_HEADER = "brickwork"
MODEL_FILE = "model.safetensors"
FORMAT = 1


def save_codec(codec: Latents, path: str | Path, facts: Mapping[str, object] | None = None) -> None:
    """Write an autoencoder as one file, atomically.

    Args:
        codec: The autoencoder with its statistics.
        path: The file to write.
        facts: How and on what it was trained, JSON-like.

    Raises:
        OutputError: The file cannot be written; a previous file there stays whole.
    """
    header = {"format": FORMAT, "codec": to_entry(CODECS, codec.config), "training": facts or {}}
    write_tensors(Path(path), codec.autoencoder.state_dict(), {HEADER: json.dumps(header)})


def load_codec(path: str | Path) -> Latents:
    """Load the autoencoder of a file, of its run's folder, or of a latent model.

    Raises:
        CheckpointError: The file is missing, truncated or foreign, a model of pixels, or its header belies its weights.
    """
    path = _file(Path(path))
    tensors, metadata = read_tensors(path)
    try:
        config = from_entry(CODECS, _entry(metadata), "codec")
        if not isinstance(config, Latents.Config):
            raise CheckpointError("it is a model of pixels, which has no autoencoder: give one of latents")
        if HEADER not in metadata:
            tensors = {k.removeprefix("codec.autoencoder."): v for k, v in tensors.items() if k.startswith("codec.")}
        codec = config.build()
        _fill(codec, tensors)
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
    return _parsed(text)


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
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its header cannot be read ({error}): copy or train it again") from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise CheckpointError(f"its header is {short(header)}: it must be a table; copy or train it again")
    return header


def _fill(codec: Latents, tensors: dict[str, Tensor]) -> None:
    own = codec.autoencoder.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        promised, found = (tuple(part[name].shape) if name in part else "none" for part in (own, tensors))
        if promised != found:
            raise CheckpointError(
                f"its header promises {name} of shape {promised} and the file holds {found}: "
                "header and weights are of different autoencoders"
            )
    codec.autoencoder.load_state_dict(
        {k: v.to(torch.float32) if v.is_floating_point() else v for k, v in tensors.items()}
    )
