"""Subjects of the campaign: a valid input, how a user reads it, and what of it is guarded against change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch

Level = Literal["bytes", "meaning", "file"]
"""How deep a change goes: bytes of a file; a value inside it, with sums that agree; the file as a whole."""
Guard = Callable[[str, Level], bool]
"""Tells whether a change of this level in this file must be seen: it may not make another result without a word."""
MEMORY = 1 << 30
"""Growth in bytes that a reader of a tiny input may need, whatever the input says: 1 GiB."""


def nothing(file: str, level: Level) -> bool:
    """Guard nothing: a changed input is another valid one."""
    return False


def each_byte(file: str, level: Level) -> bool:
    """Guard against changed bytes, and not against an editor who knows the format."""
    return level == "bytes"


def everything(file: str, level: Level) -> bool:
    """Guard against every change."""
    return True


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """One reader of the library and a valid input for it."""

    name: str
    """Name in the table."""
    make: Callable[[Path], object]
    """Function that writes the input into an empty folder."""
    read: Callable[[Path], Any]
    """Function that opens the input as a user does and uses it; what it returns is compared by ``fingerprint``."""
    guarded: Guard = nothing
    """What must not change in silence."""
    files: str = "**/*"
    """Pattern of the files that are changed."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Key of the JSON text in a safetensors file's metadata, by the file's name."""
    seal: Callable[[Path], object] = lambda place: None
    """Function that makes the sums of a changed input agree, as someone would who wants it to pass."""
    share: float = 1.0
    """Share of the mutations, relative to the other subjects."""
    memory: int = MEMORY
    """Bytes by which reading may grow the process."""


def fingerprint(value: Any) -> str:
    """Return the SHA-256 (hex) of arrays, tensors, texts, numbers, and containers of them."""
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().contiguous().cpu().numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        _add(digest, sorted(value.items(), key=lambda item: str(item[0])))
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for item in value:
            _add(digest, item)
    else:
        digest.update(repr(value).encode("utf-8", "backslashreplace"))
