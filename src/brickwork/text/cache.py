"""Embedded captions of a data set, computed once into a memory-mapped file; an interrupted computation continues.

embeddings.npy    float16 or float32 (N, M, E), in the order of the captions
cache.json        digests of captions and encoder, and how many different captions are done
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from brickwork.data.cache import cache_folder
from brickwork.errors import ArgumentError, ConfigError, OutputError
from brickwork.files.bars import Bar
from brickwork.files.whole import write_whole
from brickwork.text.base import TextEncoder

FACTS, EMBEDDINGS = "cache.json", "embeddings.npy"
FORMAT = 1
AT_ONCE = 64
"""Captions embedded before the count of finished ones is written again."""


def embedded(
    encoder: TextEncoder,
    captions: Sequence[str],
    folder: Path | None = None,
    *,
    dtype: Literal["float16", "float32"] = "float16",
    progress: bool = False,
) -> np.ndarray:
    """Return embedded tokens of captions, (N, M, E), mapped from a file; missing ones are computed.

    Args:
        encoder: The text encoder, on the device to compute on.
        captions: N texts; equal ones are embedded once.
        folder: The folder to read or fill; by default in the user's cache.
        dtype: Dtype of the file. float16 keeps three digits of numbers below 65,504.
        progress: Show a bar.

    Raises:
        ConfigError: The folder holds embeddings of other captions or by another encoder.
        ArgumentError: An embedding has numbers that are not finite, or too large for the dtype.
        OutputError: The folder cannot be written or the disk is full; finished embeddings stay.
    """
    facts = {
        "format": FORMAT,
        "encoder": encoder_digest(encoder),
        "captions": captions_digest(captions),
        "shape": [len(captions), encoder.config.num_tokens, encoder.config.token_width],
        "dtype": dtype,
    }
    folder = texts_folder(facts) if folder is None else folder
    try:
        if (done := _begin(folder, facts)) < len(set(captions)):
            _compute(folder, facts, done, encoder, captions, progress)
        return np.load(folder / EMBEDDINGS, mmap_mode="r")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{folder}: cannot keep embedded captions here ({reason}); make room, or name another folder"
        ) from error


def texts_folder(facts: dict[str, Any]) -> Path:
    """Return the default folder of embeddings: below ``texts`` in brickwork's cache folder."""
    name = f"{facts['captions'][:16]}-{facts['encoder'][:16]}-{facts['dtype']}"
    return cache_folder().parent / "texts" / name


def encoder_digest(encoder: TextEncoder) -> str:
    """Return the SHA-256 (hex) of an encoder's weights and config, without the place that it is read from.

    A published encoder's config has its weights' digest already.
    """
    values = {key: value for key, value in asdict(encoder.config).items() if key != "source"}
    digest = hashlib.sha256(json.dumps([type(encoder).__name__, values], sort_keys=True).encode())
    if not values.get("digest"):
        for name, tensor in sorted(encoder.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def captions_digest(captions: Sequence[str]) -> str:
    """Return the SHA-256 (hex) of captions in their order."""
    return hashlib.sha256(json.dumps(list(captions)).encode()).hexdigest()


def _begin(folder: Path, facts: dict[str, Any]) -> int:
    """Return how many different captions are done; create the files where there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / FACTS).exists():
        try:
            found = json.loads((folder / FACTS).read_text())
        except ValueError:
            found = {}
        for key, value in facts.items():
            if found.get(key) != value:
                other = "other captions" if key == "captions" else f"another {key}"
                raise ConfigError(
                    f"{folder} holds embeddings of {other} ({str(found.get(key))[:16]}, not {str(value)[:16]}): "
                    "give the captions and the text encoder that they were made with, or another folder"
                )
        if (folder / EMBEDDINGS).exists():
            return int(found.get("done", 0))
    elif (folder / EMBEDDINGS).exists():
        raise ConfigError(f"{folder} holds embeddings without {FACTS} that says what they are of: name another folder")
    np.lib.format.open_memmap(folder / EMBEDDINGS, "w+", facts["dtype"], tuple(facts["shape"])).flush()
    _note(folder, facts, 0)
    return 0


def _compute(
    folder: Path, facts: dict[str, Any], done: int, encoder: TextEncoder, captions: Sequence[str], progress: bool
) -> None:
    rows: dict[str, list[int]] = {}
    for row, caption in enumerate(captions):
        rows.setdefault(caption, []).append(row)
    texts, file = list(rows), np.lib.format.open_memmap(folder / EMBEDDINGS, "r+")
    device = next((weight.device for weight in encoder.parameters()), torch.device("cpu"))
    with Bar(total=len(texts), initial=done, unit="caption", desc="captions", disable=not progress) as bar:
        for start in range(done, len(texts), AT_ONCE):
            some = texts[start : start + AT_ONCE]
            with torch.no_grad():
                numbers = encoder(torch.from_numpy(encoder.tokenize(some)).to(device)).float().cpu().numpy()
            _check(some, numbers, facts["dtype"])
            for caption, tokens in zip(some, numbers, strict=True):
                file[rows[caption]] = tokens
            file.flush()
            _note(folder, facts, start + len(some))
            bar.update(len(some))


def _check(captions: list[str], numbers: np.ndarray, dtype: str) -> None:
    largest = np.abs(numbers).max(axis=(1, 2))
    if (odd := np.flatnonzero(~(largest <= np.finfo(dtype).max))).size:
        raise ArgumentError(
            f"the text encoder makes numbers up to {largest[odd[0]]} of {captions[odd[0]]!r}, which {dtype} cannot "
            "hold: keep embeddings in float32, or take another encoder"
        )


def _note(folder: Path, facts: dict[str, Any], done: int) -> None:
    write_whole(folder / FACTS, json.dumps({**facts, "done": done}).encode())
