"""Where only numpy, pillow, lazy-loader and ONNX Runtime are installed a package draws, and torch cannot come in.

The interpreter of such an environment is named by BRICKWORK_BARE_PYTHON; `make test-devices` makes it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import latent_model, text_model

from brickwork.files.manifest import manifest_digest
from brickwork.files.picture import read_facts
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.sampling.loop import sample

PYTHON = os.environ.get("BRICKWORK_BARE_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="BRICKWORK_BARE_PYTHON names no interpreter")


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run([PYTHON, *map(str, words)], capture_output=True, text=True, timeout=120, env=plain)


@pytest.mark.parametrize("name", ["torch", "einops", "safetensors", "tqdm", "tyro", "jaxtyping", "onnx"])
def test_nothing_else_is_there(name: str) -> None:
    assert "ModuleNotFoundError" in run("-c", f"import {name}").stderr


def test_the_shipped_model(tmp_path: Path) -> None:
    model, out = load("digits"), tmp_path / "digits.onnx"
    pack(model, out, Packing(guidance=2.0, steps=10), say=lambda line: None)
    done = run("-m", "brickwork.device", out, "--labels", "3", "--seed", "5", "--out", tmp_path / "a.png")
    assert (done.returncode, done.stderr) == (0, "")
    expected = sample(model, seeds=[5], labels=3, steps=10, guidance=2.0)[0, ..., 0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), expected)
    facts = read_facts(tmp_path / "a.png")
    assert facts["manifest_sha256"] == manifest_digest(out)
    assert (facts["seeds"], facts["labels"], facts["steps"]) == ([5], [3], 10)


def test_latents_and_prompts(tmp_path: Path) -> None:
    wishes: list[tuple[Model, dict[str, Any]]] = [
        (latent_model(), {"labels": 1}),
        (text_model(), {"text": "red circle"}),
    ]
    for model, wish in wishes:
        pack(model, tmp_path / "a.onnx", Packing(batches=(1,), steps=4), say=lambda line: None)
        words = ["--labels", "1"] if "labels" in wish else ["--prompt", "red circle"]
        done = run("-m", "brickwork.device", tmp_path / "a.onnx", *words, "--out", tmp_path / "a.png")
        assert (done.returncode, done.stderr) == (0, "")
        expected = sample(model, seeds=[0], steps=4, **wish)[0].astype(int)
        assert np.abs(np.asarray(Image.open(tmp_path / "a.png")).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("layout", ["stack", "scan"])
def test_stacked_layouts(layout: str, tmp_path: Path) -> None:
    model = load("digits")
    pack(model, tmp_path / "a.onnx", Packing(layout=layout, batches=(1,), steps=4), say=lambda line: None)
    done = run("-m", "brickwork.device", tmp_path / "a.onnx", "--labels", "7", "--out", tmp_path / "a.png")
    assert (done.returncode, done.stderr) == (0, "")
    expected = sample(model, seeds=[0], labels=7, steps=4)[0, ..., 0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), expected)


def test_a_missing_runtime_is_named(tmp_path: Path) -> None:
    out = tmp_path / "a.onnx"
    pack(load("digits"), out, Packing(batches=(1,), steps=2), say=lambda line: None)
    hide = "import sys; sys.modules['onnxruntime'] = None; from brickwork.device.command import main; "
    done = run("-c", f"{hide} sys.exit(main({[str(out)]}))")
    assert done.returncode == 1
    assert 'pip install "brickwork[onnx]"' in done.stderr
    assert done.stderr.count("\n") == 1
