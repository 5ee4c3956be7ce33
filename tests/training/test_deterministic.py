"""Runs that choose nothing by timing: two that begin anew are equal to the bit, whatever was chosen before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import brickwork as bw
import brickwork.training.autoencoder.loop as autoencoder_loop
import brickwork.training.denoiser.warmup as warmup
from brickwork.codec.autoencoder import Autoencoder
from brickwork.data.dataset import Dataset
from brickwork.errors import ConfigError
from brickwork.files.tensors import read_tensors
from brickwork.nn import attention, linear
from brickwork.nn.pinned import pinned
from brickwork.training.denoiser.recipe import Recipe


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("something was timed")


@pytest.fixture(autouse=True)
def _no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (warmup, "faster_precision"),
        (autoencoder_loop, "faster_precision"),
        (warmup, "_seconds"),
        (attention, "measure"),
        (linear, "measure"),
    ):
        monkeypatch.setattr(module, name, refuse)


def weights(folder: Path, name: str) -> dict[str, bytes]:
    tensors = read_tensors(folder / name)[0]
    return {key: tensor.numpy().tobytes() for key, tensor in tensors.items()}


def test_two_fresh_runs_have_the_same_bytes(
    make_recipe: Callable[..., Recipe], data: Dataset, heldout: Dataset, tmp_path: Path
) -> None:
    report = {"eval_every": 2, "sheet_steps": 2, "sheet_seeds": 1}
    recipe = make_recipe(deterministic=True, precision="auto", batch=0, report=report)
    for name, kernel, library in (("a", "fused", "torch"), ("b", "matmul", "onednn")):
        torch.manual_seed(ord(name))
        keys = [attention.kernel_key("cpu", "float32", 32, 1, 17, 32, True), "cpu/float32/train/product"]
        attention.set_kernel_choices(dict(zip(keys, (kernel, library), strict=True)))
        bw.train(recipe, data, tmp_path / name, heldout, device="cpu", progress=False)
    for file in ("model.safetensors", "state.safetensors"):
        assert weights(tmp_path / "a", file) == weights(tmp_path / "b", file)
    ended = bw.load_recipe(tmp_path / "a" / "recipe.toml")
    assert (ended.deterministic, ended.precision, ended.batch) == (True, "fp32", 32)
    assert not torch.are_deterministic_algorithms_enabled()


def test_likewise_autoencoders(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    data = Dataset(
        name="noise", images=images, labels=None, classes=(), captions=None, skipped=(), flip=False, digest="noise"
    )
    network = Autoencoder.Config(width=8, channels=3)
    recipe = bw.AutoencoderRecipe(autoencoder=network, batch=4, steps=3, deterministic=True)
    for name in "ab":
        bw.train_autoencoder(recipe, data, tmp_path / name, device="cpu", progress=False)
    assert weights(tmp_path / "a", "state.safetensors") == weights(tmp_path / "b", "state.safetensors")


def test_a_budget_by_the_clock_is_refused(make_recipe: Callable[..., Recipe], data: Dataset, tmp_path: Path) -> None:
    recipe = make_recipe(deterministic=True, minutes=5.0)
    with pytest.raises(ConfigError, match=r"deterministic = true and minutes = 5: .* set steps or images"):
        bw.train(recipe, data, tmp_path, device="cpu", progress=False)


def test_an_operator_without_one_order_is_a_setting_to_leave_out() -> None:
    with (
        pytest.raises(ConfigError, match=r"deterministic = true does not work here \(fold_cuda .*: set it to false"),
        pinned(),
    ):
        raise RuntimeError("fold_cuda does not have a deterministic implementation, but you set ...")
    with pytest.raises(RuntimeError, match="out of memory"), pinned():
        raise RuntimeError("out of memory")
