"""The shipped model as a package, made once for all tests that only read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from brickwork.model.checkpoint import load
from brickwork.package.pack import pack
from brickwork.package.packing import Packing


@pytest.fixture(scope="session")
def packed_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefixes of 2 and 3 blocks, one row at a time."""
    out = tmp_path_factory.mktemp("packages") / "digits.onnx"
    pack(load("digits"), out, Packing(parts=(2, 3), batches=(1,), steps=4), say=lambda line: None)
    return out


@pytest.fixture
def digits_package(packed_digits: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(packed_digits, tmp_path / "digits.onnx"))
