"""Small files of every kind."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Write flat images: folder({"cats/a.png": 10}, size=(w, h)); a tuple is a colour, bytes stay as they are."""

    def write(files: dict, size: tuple[int, int] = (8, 8), name: str = "set") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, content in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                Image.new("L" if isinstance(content, int) else "RGB", size, content).save(file)
        return root

    return write


@pytest.fixture
def idx(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of IDX files: idx({"train": (images, labels), "t10k": ...}, name="fashion")."""

    def write(parts: dict, name: str = "mnist", packed: bool = True) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for prefix, arrays in parts.items():
            for kind, array in zip(("images", "labels"), arrays, strict=False):
                head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
                data = head + array.astype(np.uint8).tobytes()
                file = root / f"{prefix}-{kind}-idx{array.ndim}-ubyte{'.gz' if packed else ''}"
                file.write_bytes(gzip.compress(data) if packed else data)
        return root

    return write
