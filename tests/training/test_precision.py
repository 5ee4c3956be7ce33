"""The precision of a run is the one that was faster, the trial changes no bit, and a resumed run keeps it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import brickwork.training.autoencoder.loop as autoencoder_loop
import brickwork.training.denoiser.begin as begin
import brickwork.training.denoiser.warmup as warmup
from brickwork.codec.autoencoder import Autoencoder
from brickwork.data.dataset import Dataset
from brickwork.files.tensors import read_tensors
from brickwork.model.model import Precision
from brickwork.nn import attention
from brickwork.nn.attention import kernel_choices, use_kernel
from brickwork.training.autoencoder.loop import AutoencoderRecipe, AutoencoderReport, train_autoencoder
from brickwork.training.autoencoder.recipe import load_autoencoder_recipe
from brickwork.training.denoiser.loop import train
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import load_recipe
from brickwork.training.run import precision
from brickwork.training.run.precision import faster_precision

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")
PRODUCT_RATIO = precision._product_ratio


@pytest.fixture(autouse=True)
def steps_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's products take, the trial of steps is reached."""
    monkeypatch.setattr(precision, "_product_ratio", lambda device: 1.0)


class Machine:
    """A clock that a step moves on by so many seconds per image, and what the step was asked for."""

    def __init__(self, patch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.now, self.seconds, self.asked = 0.0, seconds, [("", 0)]
        patch.setattr(time, "perf_counter", lambda: self.now)

    def step(self, name: Precision, count: int) -> None:
        self.asked.append((name, count))
        if not self.seconds[name]:
            raise RuntimeError("not implemented for 'BFloat16'")
        self.now += self.seconds[name] * count


@pytest.mark.parametrize(
    ("fp32", "bf16", "expected"),
    [(1e-3, 2e-4, "bf16"), (1e-3, 0.95e-3, "fp32"), (1e-3, 1e-3, "fp32"), (1e-3, 12e-3, "fp32"), (1e-3, 0.0, "fp32")],
)
def test_the_faster_one_where_the_difference_is_clear(
    fp32: float, bf16: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, fp32=fp32, bf16=bf16)
    chosen, line = faster_precision(machine.step, 128, CPU)
    assert chosen == expected
    assert line.startswith(f"precision {expected}, the faster here: 1,000 images/s in fp32, ")
    assert f"{1 / bf16 if bf16 else 0:,.0f} images/s in bf16" in line


def test_where_a_product_is_hopeless_no_step_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = {"fp32": 1e-3, "bf16": 60e-3}
    monkeypatch.setattr(precision, "_product_ratio", PRODUCT_RATIO)
    monkeypatch.setattr(precision, "_seconds", lambda step, name, count, device: ticks[name])
    machine = Machine(monkeypatch, fp32=1.0, bf16=60.0)
    chosen, line = faster_precision(machine.step, 128, CPU)
    assert (chosen, len(machine.asked)) == ("fp32", 1), "only the entry of the machine itself"
    assert line == "precision fp32, the faster here: a matrix product takes 60 times as long in bf16"


def test_a_short_step_takes_more_images_and_a_long_one_few(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = Machine(monkeypatch, fp32=1e-4, bf16=1e-4), Machine(monkeypatch, fp32=2.0, bf16=0.1)
    monkeypatch.setattr(time, "perf_counter", lambda: quick.now)
    faster_precision(quick.step, 100, CPU)
    assert max(count for _, count in quick.asked) == 100
    monkeypatch.setattr(time, "perf_counter", lambda: slow.now)
    faster_precision(slow.step, 100, CPU)
    assert max(count for _, count in slow.asked) == precision.FEW
    assert len(slow.asked) < len(quick.asked), "a clear difference needs no more rounds"


def test_kernels_of_the_trial_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    attention.set_kernel_choices({"cpu/float32/9x8/4h/infer": "fused"})

    def step(name: Precision, count: int) -> None:
        attention.set_kernel_choices({**kernel_choices(), f"cpu/float32/9x{count}/4h/infer": "matmul"})

    faster_precision(step, 64, CPU)
    assert kernel_choices() == {"cpu/float32/9x8/4h/infer": "fused"}


def same_bits(a: Path, b: Path) -> bool:
    first, second = read_tensors(a)[0], read_tensors(b)[0]
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def settle_on(name: Precision, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """The trial runs and is timed, and then this is what it found."""

    def found(*trial: Any, **options: Any) -> tuple[Precision, str]:
        faster_precision(*trial, **options)
        return name, f"precision {name}"

    monkeypatch.setattr(module, "faster_precision", found)


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("measured again")


@pytest.mark.parametrize("name", ["fp32", "bf16"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_trial_changes_no_bit_and_a_resumed_run_keeps_its_precision(
    name: Precision,
    accumulation: int,
    make_recipe: MakeRecipe,
    data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes: dict[str, Any] = {"schedule": "constant", "accumulation": accumulation}
    settle_on(name, monkeypatch, warmup)
    with use_kernel("matmul"):
        train(make_recipe(**changes, precision=name), data, tmp_path / "told", device="cpu", progress=False)
        train(make_recipe(**changes, precision="auto", steps=3), data, tmp_path / "auto", device="cpu", progress=False)
        assert load_recipe(tmp_path / "auto" / "recipe.toml").precision == name
        monkeypatch.setattr(warmup, "faster_precision", refuse)
        model = train(make_recipe(**changes, precision="auto"), data, tmp_path / "auto", device="cpu", progress=False)
    assert model.precision == "fp32"
    assert f'precision = "{name}"' in model.facts["recipe"]
    assert same_bits(tmp_path / "told" / "model.safetensors", tmp_path / "auto" / "model.safetensors")
    assert same_bits(tmp_path / "told" / "state.safetensors", tmp_path / "auto" / "state.safetensors")


def test_a_trial_that_fails_half_way_back_leaves_no_gradient(
    make_recipe: MakeRecipe, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, failures = begin.build_model, []

    def fragile(*arguments: Any) -> Any:
        model = build(*arguments)

        def check(gradient: Any) -> None:
            if model.precision == "bf16":
                failures.append(sum(p.grad is not None for p in model.parameters()))
                raise RuntimeError("not implemented for 'BFloat16'")

        next(model.backbone.parameters()).register_hook(check)
        return model

    with use_kernel("matmul"):
        train(make_recipe(precision="fp32"), data, tmp_path / "told", device="cpu", progress=False)
        monkeypatch.setattr(begin, "build_model", fragile)
        train(make_recipe(precision="auto"), data, tmp_path / "auto", device="cpu", progress=False)
    assert failures[0] > 0, "gradients of some weights were there"
    assert same_bits(tmp_path / "told" / "state.safetensors", tmp_path / "auto" / "state.safetensors")


def test_an_error_in_fp32_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="not implemented"):
        faster_precision(Machine(monkeypatch, fp32=0.0, bf16=1.0).step, 8, CPU)


def test_bf16_that_is_imitated_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, fp32=1e-3, bf16=0.1)
    assert faster_precision(machine.step, 128, CPU)[0] == "fp32"
    assert [name for name, _ in machine.asked].count("bf16") == 1


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_likewise_an_autoencoder(name: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), dtype=np.uint8)
    data = Dataset(
        name="noise", images=images, labels=None, classes=(), captions=None, skipped=(), flip=False, digest="noise"
    )
    settle_on(name, monkeypatch, autoencoder_loop)

    def recipe(precision: Any, steps: int = 4) -> AutoencoderRecipe:
        report = AutoencoderReport(eval_every=0, sheet_images=0)
        network = Autoencoder.Config(width=8, channels=3)
        return AutoencoderRecipe(
            autoencoder=network, batch=4, steps=steps, precision=precision, schedule="constant", report=report
        )

    train_autoencoder(recipe(name), data, tmp_path / "told", device="cpu", progress=False)
    train_autoencoder(recipe("auto", 2), data, tmp_path / "auto", device="cpu", progress=False)
    assert load_autoencoder_recipe(tmp_path / "auto" / "recipe.toml").precision == name
    monkeypatch.setattr(autoencoder_loop, "faster_precision", refuse)
    train_autoencoder(recipe("auto"), data, tmp_path / "auto", device="cpu", progress=False)
    assert same_bits(tmp_path / "told" / "autoencoder.safetensors", tmp_path / "auto" / "autoencoder.safetensors")
