"""Embedded captions of a data set, computed once into a file; it is taken up where it was left, and damage made good.

embeddings.npy    float16 or float32 (U, M, E), each of U different captions once, in the order of first use
embeddings.sums and cache.json    what :mod:`brickwork.files.chunks` says
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch

from brickwork.data.cache import cache_folder
from brickwork.data.source import Rows
from brickwork.errors import ArgumentError
from brickwork.files.bars import Bar
from brickwork.files.chunks import Chunks
from brickwork.text.base import TextEncoder

FORMAT = 2
AT_ONCE = 64
"""Captions that are embedded, written and checked together."""


@final
@dataclass(frozen=True)
class Embedded:
    """Embedded tokens of N captions, read like an array (N, M, E).

    Attributes:
        different: Tokens of each different caption, (U, M, E), in a file.
        row: The row there of each caption, (N,).
    """

    different: Chunks
    row: Rows

    def __len__(self) -> int:
        """Return N, the number of captions."""
        return len(self.row)

    def __getitem__(self, rows: Rows) -> np.ndarray:
        """Return tokens of some captions by their numbers, (B, M, E)."""
        return self.different[self.row[rows]]


def embedded(
    encoder: TextEncoder,
    captions: Sequence[str],
    folder: Path | None = None,
    *,
    dtype: Literal["float16", "float32"] = "float16",
    progress: bool = False,
) -> Embedded:
    """Return embedded tokens of captions, kept in a file; missing ones are computed.

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
    numbers = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
    texts = list(numbers)
    facts = {"format": FORMAT, "encoder": encoder_digest(encoder), "captions": captions_digest(captions)}
    different = Chunks(
        texts_folder(facts, dtype) if folder is None else folder,
        "embeddings",
        facts,
        shape=(len(texts), encoder.config.num_tokens, encoder.config.token_width),
        dtype=dtype,
        per_chunk=AT_ONCE,
        make=lambda start, stop: _embed(encoder, texts[start:stop], dtype),
        ours=folder is None,
    )
    with Bar(total=len(texts), initial=different.made, unit="caption", desc="captions", disable=not progress) as bar:
        different.fill(bar.update)
    return Embedded(different, np.array([numbers[caption] for caption in captions], np.int64))


def texts_folder(facts: dict[str, Any], dtype: str) -> Path:
    """Return the default folder of embeddings: below ``texts`` in brickwork's cache folder."""
    name = f"{facts['captions'][:16]}-{facts['encoder'][:16]}-{dtype}"
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


def _embed(encoder: TextEncoder, captions: list[str], dtype: str) -> np.ndarray:
    """Return embedded tokens of a few captions, (B, M, E)."""
    device = next((weight.device for weight in encoder.parameters()), torch.device("cpu"))
    with torch.no_grad():
        numbers = encoder(torch.from_numpy(encoder.tokenize(captions)).to(device)).float().cpu().numpy()
    _check(captions, numbers, dtype)
    return numbers


def _check(captions: list[str], numbers: np.ndarray, dtype: str) -> None:
    largest = np.abs(numbers).max(axis=(1, 2))
    if (odd := np.flatnonzero(~(largest <= np.finfo(dtype).max))).size:
        raise ArgumentError(
            f"the text encoder makes numbers up to {largest[odd[0]]} of {captions[odd[0]]!r}, which {dtype} cannot "
            "hold: keep embeddings in float32, or take another encoder"
        )
