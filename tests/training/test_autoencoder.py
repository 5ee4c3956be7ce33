"""Training autoencoders: losses, codes, the adversary, exact resumes, losses that are no numbers."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import brickwork.training.autoencoder.loop as loop
from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.file import load_codec, read_codec_header
from brickwork.codec.latents import Latents
from brickwork.data.dataset import DataConfig, Dataset
from brickwork.errors import BrickworkError, CheckpointError, ConfigError, TrainingError
from brickwork.files.tensors import read_tensors
from brickwork.training.autoencoder.adversary import Adversary, deceiving_loss, judging_loss
from brickwork.training.autoencoder.loop import AutoencoderRecipe, AutoencoderReport, train_autoencoder
from brickwork.training.autoencoder.observers import image_psnr
from brickwork.training.autoencoder.recipe import (
    autoencoder_toml,
    load_autoencoder_recipe,
    parse_autoencoder_recipe,
)
from brickwork.training.autoencoder.state import AutoencoderState
from brickwork.training.run.journal import read_journal
from brickwork.training.run.recipe import differing_fields
from brickwork.training.run.trainer import Trainer

RECIPES = Path(__file__).parents[2] / "recipes" / "autoencoders"
KINDS: dict[str, dict[str, Any]] = {
    "kl": {},
    "vq": {"autoencoder": Autoencoder.Config(width=8, channels=3, kind="vq", codes=8), "revive_after": 2},
    "adversarial": {"adversarial": 0.1, "adversarial_start": 2, "adversary_width": 4, "precision": "bf16"},
}


def smooth_images(count: int = 24, size: int = 16, channels: int = 3) -> Dataset:
    """Two colours with an edge between them, the same at every call."""
    rng = np.random.default_rng(count)
    images = np.empty((count, size, size, channels), np.uint8)
    for image in images:
        image[:], edge = rng.integers(0, 256, channels), rng.integers(2, size - 2)
        image[edge:] = rng.integers(0, 256, channels)
    return Dataset(
        name="edges",
        images=images,
        labels=None,
        classes=(),
        captions=None,
        skipped=(),
        flip=True,
        digest=f"edges {count} {size} {channels}",
    )


def recipe_of(**changes: Any) -> AutoencoderRecipe:
    report = {"log_every": 2, "eval_every": 0, "save_minutes": 0.0, "sheet_images": 0, **changes.pop("report", {})}
    values: dict[str, Any] = {
        "autoencoder": Autoencoder.Config(width=8, channels=3),
        "batch": 4,
        "steps": 8,
        "warmup": 2,
        "precision": "fp32",
        "report": AutoencoderReport(**report),
    }
    return AutoencoderRecipe(**values | changes)


def run(recipe: AutoencoderRecipe, out: Path, data: Dataset | None = None, **options: Any) -> Latents:
    return train_autoencoder(recipe, data or smooth_images(), out, device="cpu", progress=False, **options)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal after a step."""
    after_step = Trainer.after_step

    def stopping(self: Trainer[Any]) -> None:
        after_step(self)
        if self.state.counters.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "after_step", stopping)


def spoil(steps: set[int], monkeypatch: pytest.MonkeyPatch, *, times: int = 99) -> None:
    """Make the loss of some steps no number, so many times in all."""
    left = [times]
    update = AutoencoderState.update

    def spoiled(self: AutoencoderState, loss: Tensor, square: Tensor) -> None:
        hit = self.counters.step in steps and left[0] > 0
        left[0] -= hit
        update(self, loss * torch.nan if hit else loss, square)

    monkeypatch.setattr(AutoencoderState, "update", spoiled)


def assert_same_bits(a: Path, b: Path) -> None:
    for name in ("state.safetensors", "autoencoder.safetensors"):
        first, second = (read_tensors(folder / name)[0] for folder in (a, b))
        assert first.keys() == second.keys()
        assert [k for k in first if not torch.equal(first[k], second[k])] == []


# ---- losses -------------------------------------------------------------------------------------------------------


def test_a_standard_normal_posterior_has_no_divergence() -> None:
    assert float(loop.kl_divergence(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))) == 0


def test_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)).mean()
    torch.testing.assert_close(loop.kl_divergence(mean, log_variance), expected)


def test_codes_hand_their_gradient_to_the_latents() -> None:
    recipe = recipe_of(**KINDS["vq"])
    network = recipe.autoencoder.build()
    mean = torch.randn(1, 3, 4, 4, requires_grad=True)
    z, penalty = loop.noisy_latents(network, mean, None, torch.Generator(), recipe)
    torch.testing.assert_close(z, network.look_up(network.nearest(mean)))
    factors = torch.randn(z.shape)
    (gradient,) = torch.autograd.grad((z * factors).sum(), mean, retain_graph=True)
    assert torch.equal(gradient, factors)
    error = (mean - z).detach()
    expected = (1 + recipe.commitment) * error.square().mean()
    torch.testing.assert_close(penalty, expected)
    (drawn,) = torch.autograd.grad(penalty, mean)
    torch.testing.assert_close(drawn, 2 * recipe.commitment * error / error.numel())


def test_noise_has_the_deviation_of_the_posterior() -> None:
    recipe = recipe_of()
    mean, log_variance = torch.full((1, 3, 100, 100), 5.0), torch.full((1, 3, 100, 100), 2 * np.log(0.3))
    z, _ = loop.noisy_latents(recipe.autoencoder.build(), mean, log_variance, torch.Generator().manual_seed(0), recipe)
    assert float(z.mean()) == pytest.approx(5, abs=0.01)
    assert float(z.std()) == pytest.approx(0.3, abs=0.01)


def test_the_first_batch_makes_the_codes_and_idle_ones_are_replaced() -> None:
    recipe = recipe_of(**KINDS["vq"])
    state, generator = AutoencoderState(recipe, torch.device("cpu")), torch.Generator().manual_seed(0)
    z = torch.arange(48.0).reshape(1, 3, 4, 4)
    loop.revive(state, z, generator)
    book = state.network.codebook
    assert book is not None
    places = z[0].flatten(1).T.tolist()
    assert all(code in places for code in book.tolist())
    far = torch.full((1, 3, 1, 1), 1000.0)
    loop.revive(state, far, generator)
    loop.revive(state, far, generator)
    assert (state.idle >= recipe.revive_after).sum() == len(book) - 1  # all but the one that is nearest to it
    loop.revive(state, far, generator)
    assert (book == 1000).all(dim=1).sum() == len(book) - 1


def test_hinge_losses_by_hand() -> None:
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.5])
    assert float(judging_loss(real, made)) == pytest.approx((0.25 + 0.75) / 2)
    assert float(deceiving_loss(made)) == pytest.approx(0.75)
    assert Adversary(3, 4)(torch.zeros(2, 3, 16, 24)).shape == (2, 1, 4, 6)


def test_psnr_by_hand() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    made = images.copy()
    made[1] = 255
    made[0, 0, 0] = 51  # three of 48 values are wrong by a fifth of the range: 10 log10(48 / 3 * 25)
    assert image_psnr(images, made) == pytest.approx([10 * np.log10(400), 0.0])
    assert image_psnr(images, images) == pytest.approx([100.0, 100.0])


# ---- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_error(kind: str, tmp_path: Path) -> None:
    run(recipe_of(**{"steps": 60, "lr": 1e-2, **KINDS[kind]}), tmp_path)
    errors = [10 ** (-r["psnr"] / 10) for r in read_journal(tmp_path / "log.jsonl") if "psnr" in r]
    assert np.mean(errors[-5:]) < 0.4 * errors[0]


def test_a_run_leaves_everything(tmp_path: Path) -> None:
    data, heldout = smooth_images(), smooth_images(5)
    recipe = recipe_of(report={"eval_every": 4, "sheet_images": 4})
    codec = run(recipe, tmp_path, data, heldout=heldout)
    assert load_autoencoder_recipe(tmp_path / "recipe.toml") == recipe
    facts = read_codec_header(tmp_path)["training"]
    assert (facts["finished"], facts["steps"], facts["images"]) == (True, 8, 32)
    held = [r["held_out_psnr"] for r in read_journal(tmp_path / "log.jsonl") if "held_out_psnr" in r]
    assert len(held) == 2
    assert facts["held_out_psnr"] == round(held[-1], 3)
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == ["step_00000004.png", "step_00000008.png"]
    assert (tmp_path / "curve.png").exists()
    loaded = load_codec(tmp_path)
    assert loaded.digest == codec.digest
    z = loaded.encode(torch.from_numpy(data.images))
    assert z.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (z.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_started_again_ends_with_the_same_bits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(**KINDS[kind])
    run(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        run(recipe, tmp_path / "parts")
    assert not read_codec_header(tmp_path / "parts")["training"]["finished"]
    run(recipe, tmp_path / "parts")
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    lines = [[r["step"] for r in read_journal(tmp_path / name / "log.jsonl")] for name in ("whole", "parts")]
    assert lines[0] == lines[1]
    run(recipe, tmp_path / "parts")  # finished: nothing happens
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_killed_without_a_last_save_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(report={"save_every": 3})
    run(recipe, tmp_path / "whole")
    after_step = Trainer.after_step

    def dying(self: Trainer[Any]) -> None:
        after_step(self)
        if self.state.counters.step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", dying)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "parts")
    assert not (tmp_path / "parts" / "autoencoder.safetensors").exists()
    run(recipe, tmp_path / "parts")
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_a_loss_that_is_no_number_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil({5}, monkeypatch, times=1)
    codec = run(recipe_of(report={"save_every": 2}), tmp_path)
    events = [r for r in read_journal(tmp_path / "log.jsonl") if "event" in r]
    assert [(r["step"], r["from_step"]) for r in events] == [(4, 6)]
    assert all(torch.isfinite(weight).all() for weight in codec.autoencoder.parameters())


def test_a_loss_that_stays_no_number_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil({5}, monkeypatch)
    with pytest.raises(TrainingError, match="lower lr") as caught:
        run(recipe_of(report={"save_every": 2}), tmp_path)
    assert "\n" not in str(caught.value)
    state, _ = read_tensors(tmp_path / "state.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_the_adversary_comes_in_late_and_moves() -> None:
    recipe = recipe_of(**KINDS["adversarial"])
    state = AutoencoderState(recipe, torch.device("cpu"))
    assert state.adversary is not None
    before = [p.clone() for p in state.adversary.parameters()]
    for step in range(4):
        loop.train_step(state, *loop.draw_images(state, smooth_images()))
        moved = any(not torch.equal(a, b) for a, b in zip(before, state.adversary.parameters(), strict=True))
        assert moved == (step >= 2)


# ---- errors -------------------------------------------------------------------------------------------------------


def wrong_runs(tmp_path: Path) -> list[tuple[type[BrickworkError], str, Any]]:
    done = tmp_path / "done"
    run(recipe_of(steps=1), done)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "autoencoder.safetensors").write_bytes((done / "autoencoder.safetensors").read_bytes())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.safetensors").write_bytes(b"nothing")
    fresh, more = tmp_path / "fresh", smooth_images(25)
    return [
        (ConfigError, "no budget", lambda: run(recipe_of(steps=0), fresh)),
        (ConfigError, "factor 4 must divide", lambda: run(recipe_of(), fresh, smooth_images(4, 18))),
        (ConfigError, "held-out images", lambda: run(recipe_of(), fresh, heldout=smooth_images(4, 32))),
        (ConfigError, "another recipe .kl: 3e-05 → 0.5", lambda: run(recipe_of(steps=1, kl=0.5), done)),
        (ConfigError, "other data", lambda: run(recipe_of(steps=1), done, more)),
        (ConfigError, "already holds a run", lambda: run(recipe_of(steps=1), done, resume=False)),
        (ConfigError, "without state", lambda: run(recipe_of(), tmp_path / "alone")),
        (CheckpointError, "no whole safetensors", lambda: run(recipe_of(), tmp_path / "broken")),
    ]


def test_each_misuse_has_one_line(tmp_path: Path) -> None:
    for kind, words, act in wrong_runs(tmp_path):
        with pytest.raises(kind, match=words) as caught:
            act()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch = 0", "batch is 0: it must be a whole number, from 1 to 1048576"),
        ("kl = -1.0", "kl is -1.0"),
        ("klw = 1.0", "no setting named 'klw'"),
        ('precision = "fp8"', "precision is 'fp8'"),
        ("autoencoder = 3", "write it as a table"),
        ('[autoencoder]\nkind = "ae"', "autoencoder.kind is 'ae'"),
        ("[report]\nlog_every = 0", "report.log_every is 0"),
        ("batch =", "not a TOML file"),
    ],
)
def test_recipes_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_autoencoder_recipe(text)


def test_recipes_as_text_and_back() -> None:
    recipe = recipe_of(betas=(0.5, 0.6), data=DataConfig(size=64, split="all"), kl=0.0)
    assert parse_autoencoder_recipe(autoencoder_toml(recipe)) == recipe
    assert parse_autoencoder_recipe("") == AutoencoderRecipe()


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_our_recipes(path: Path) -> None:
    recipe = load_autoencoder_recipe(path)
    assert recipe.steps or recipe.images or recipe.minutes
    assert parse_autoencoder_recipe(autoencoder_toml(recipe)) == recipe


def test_budgets_may_grow_while_the_rate_is_constant() -> None:
    short = recipe_of(schedule="constant")
    assert differing_fields(short, replace(short, steps=100, report=AutoencoderReport())) == []
    assert differing_fields(recipe_of(), recipe_of(steps=100)) == ["steps: 8 → 100"]
