"""`import brickwork` is cheap, and its public names are exactly those that exist."""

from __future__ import annotations

import subprocess
import sys

import pytest

import brickwork

PROBE = "import sys, {module}; print(sorted(m for m in ('torch', 'safetensors', 'diffusers') if m in sys.modules))"


@pytest.mark.parametrize(
    "module", ["brickwork", "brickwork.cli", "brickwork.errors", "brickwork.sampling.loop", "brickwork.data.dataset"]
)
def test_no_torch_comes_in(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in brickwork.__all__:
        assert getattr(brickwork, name) is not None
    assert set(brickwork.__all__) <= set(dir(brickwork))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="wings"):
        _ = brickwork.wings  # pyright: ignore[reportAttributeAccessIssue]
