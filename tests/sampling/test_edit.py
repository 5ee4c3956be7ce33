"""Editing with denoisers whose answer is known; each stands at the waist alone."""

import inspect
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.diffusion.arrays import Array, like
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.gaussian import normals
from brickwork.diffusion.process import Edm, NoiseProcess, Vp
from brickwork.diffusion.schedule import Karras, LogSnr
from brickwork.errors import ArgumentError
from brickwork.sampling.canvas import Canvas
from brickwork.sampling.edit import edit, remaining
from brickwork.sampling.guidance import Guided
from brickwork.sampling.loop import integrate, sample
from brickwork.sampling.plan import Plan
from brickwork.sampling.planned import Planned
from brickwork.sampling.solvers import SOLVERS, Ddim, Solver

SCALE = 40.0
"""Grey levels per unit of model space."""


@dataclass
class Pair:
    """The exact denoiser of Gaussian images, by their mean and the correlation of pixels that follow each other.

    The covariance of pixels i and j of a channel is 0.25 correlation^|i - j|, their mean label / 10. ``factor`` 2 is a
    stand-in for latents: pictures are twice as large, a place is the mean of four pixels.
    """

    process: NoiseProcess = field(default_factory=Edm)
    shape: tuple[int, int, int] = (1, 2, 4)
    num_classes: int = 10
    text_shape: tuple[int, int] | None = None
    correlation: float = 0.0
    factor: int = 1
    calls: list[float] = field(default_factory=list)

    def covariance(self) -> np.ndarray:
        place = np.arange(self.shape[1] * self.shape[2])
        return 0.25 * self.correlation ** np.abs(place[:, None] - place).astype(np.float64)

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        self.calls.append(float(sigma[0]))
        mean = 0.0 if condition.labels is None else 0.1 * like(condition.labels, x)[:, None, None, None]
        covariance, s2 = self.covariance(), float(sigma[0]) ** 2
        gain = like(np.linalg.solve(covariance + s2 * np.eye(len(covariance)), covariance), x)
        return mean + ((x - mean).reshape(*x.shape[:2], -1) @ gain).reshape(x.shape)

    def asarray(self, values: np.ndarray) -> Array:
        return np.asarray(values, dtype=np.float32)

    def encode(self, pictures: np.ndarray) -> Array:
        B, H, W, C = pictures.shape
        f = self.factor
        mean = pictures.astype(np.float32).reshape(B, H // f, f, W // f, f, C).mean(axis=(2, 4))
        return self.asarray(((mean - 128) / SCALE).transpose(0, 3, 1, 2))

    def decode(self, x0: Array) -> np.ndarray:
        pixels = np.clip(np.asarray(x0) * SCALE + 128, 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
        return pixels.repeat(self.factor, axis=1).repeat(self.factor, axis=2)


class TorchPair(Pair):
    def asarray(self, values: np.ndarray) -> Array:
        return torch.from_numpy(np.asarray(values, dtype=np.float32))


def pictures_like(model: Pair, count: int) -> np.ndarray:
    size = count, model.shape[1] * model.factor, model.shape[2] * model.factor, model.shape[0]
    return np.random.default_rng(3).integers(60, 200, size).astype(np.uint8)


def left_half(model: Pair) -> np.ndarray:
    mask = np.zeros((model.shape[1] * model.factor, model.shape[2] * model.factor), dtype=bool)
    mask[:, : model.shape[2] * model.factor // 2] = True
    return mask


# ---- strength ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("strength", [0, 0.0, 0.099])
def test_no_step_gives_the_picture_back(factor: int, strength: float) -> None:
    model = Pair(factor=factor)
    pictures = pictures_like(model, 3)
    result = edit(model, pictures, seeds=range(3), strength=strength, steps=10)
    np.testing.assert_array_equal(result, pictures)
    assert result.dtype == np.uint8
    assert not model.calls
    one = edit(model, pictures[0], seeds=range(3), strength=strength, steps=10)
    np.testing.assert_array_equal(one, pictures[[0, 0, 0]])


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("process", [Edm(), Vp()])
def test_full_strength_is_drawing_from_noise(name: str, process: NoiseProcess) -> None:
    model = Pair(process=process)
    options: dict[str, Any] = {"labels": [1, 2, 3], "steps": 9, "solver": SOLVERS[name]()}
    wanted = sample(model, seeds=[7, 8, 9], **options)
    pictures, everything = pictures_like(model, 3), np.ones((2, 4), dtype=bool)
    for mask in (None, everything):
        result = edit(model, pictures, seeds=[7, 8, 9], strength=1, mask=mask, resample=1, **options)
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize(("strength", "steps", "taken"), [(0.5, 50, 25), (0.58, 50, 29), (0.99, 10, 9), (1, 7, 7)])
def test_strength_is_the_share_of_steps_rounded_down(strength: float, steps: int, taken: int) -> None:
    model = Pair()
    sigmas = Karras().sigmas(model.process, steps)
    np.testing.assert_array_equal(remaining(sigmas, strength), sigmas[steps - taken :])
    edit(model, pictures_like(model, 1), seeds=[0], strength=strength, steps=steps, solver=Ddim())
    np.testing.assert_allclose(model.calls, sigmas[steps - taken : -1], rtol=1e-6)


def test_with_a_mask_steps_are_repeated() -> None:
    for mask, resample, times in ((None, None, 1), (True, None, 10), (True, 3, 3), (None, 2, 2)):
        model = Pair()
        masks = None if mask is None else left_half(model)
        edit(model, pictures_like(model, 1), seeds=[0], strength=0.5, mask=masks, resample=resample, steps=8)
        assert len(model.calls) == 4 * times


def test_x_starts_as_the_picture_and_the_seed_s_noise() -> None:
    """Of white noise, D = 0.25 x / (0.25 + s²): the ODE multiplies x by sqrt(0.25 / (0.25 + s²)) exactly."""
    model, steps = Pair(shape=(1, 8, 8)), 400
    pictures = pictures_like(model, 1)
    result = edit(model, pictures, seeds=[5], strength=0.3, steps=steps, labels=0, schedule=LogSnr())
    start = remaining(LogSnr().sigmas(model.process, steps), 0.3)[0]
    x = model.encode(pictures) + start * normals([5], 0, model.shape)
    wanted = model.decode(x * np.sqrt(0.25 / (0.25 + start**2)))
    assert np.abs(result.astype(int) - wanted.astype(int)).max() <= 1


def test_less_strength_stays_closer() -> None:
    model = Pair(shape=(1, 8, 8))
    pictures = pictures_like(model, 1)
    away = []
    for strength in (0, 0.2, 0.4, 0.6, 0.8, 1):
        drawn = edit(model, pictures, seeds=range(100), strength=strength, steps=20, labels=0).astype(float)
        away.append(np.square(drawn - pictures).mean())
    assert away[0] == 0
    assert all(more > 1.05 * less for less, more in pairwise(away[:5]))
    assert all(more > 0.99 * less for less, more in pairwise(away))


# ---- masks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("factor", [1, 2])
def test_known_pixels_stay_and_the_others_change(name: str, factor: int) -> None:
    options: dict[str, Any] = {"eta": 0.5} if name == "ddim" else {"churn": 5.0} if name == "heun" else {}
    model = Pair(factor=factor, correlation=0.8)
    pictures, mask = pictures_like(model, 4), left_half(model)
    for strength, resample in ((1.0, 1), (1.0, 3), (0.5, 1)):
        solver = SOLVERS[name](**options)
        drawn = edit(
            model, pictures, seeds=range(4), strength=strength, mask=mask, resample=resample, steps=8, solver=solver
        )
        np.testing.assert_array_equal(drawn[:, ~mask], pictures[:, ~mask])
        assert (drawn[:, mask] != pictures[:, mask]).mean() > 0.8
        assert len({row.tobytes() for row in drawn}) == 4


def test_a_place_of_latents_is_known_only_if_all_its_pixels_are() -> None:
    """One pixel to be drawn: its place is drawn, its three neighbours in the place are the input's all the same."""
    model, mask = Pair(factor=2), np.zeros((4, 8), dtype=bool)
    mask[1, 2] = True
    pictures = pictures_like(model, 1)
    seen: list[np.ndarray] = []
    drawn = edit(
        model, pictures, seeds=[1], strength=1, mask=mask, steps=5, on_step=lambda i, x, denoised: seen.append(denoised)
    )
    changed = seen[-1][0, 0] != model.encode(pictures)[0, 0]
    assert changed.tolist() == [[False, True, False, False], [False] * 4]
    np.testing.assert_array_equal(drawn[:, ~mask], pictures[:, ~mask])


def test_what_is_known_goes_the_straight_way_down() -> None:
    """x0 + s z at every level, for the ODE's solvers of any order, with one z."""
    for name in ("euler", "heun", "dpm2m", "dpm3m"):
        model = Pair(correlation=0.8)
        pictures, mask, xs = pictures_like(model, 2), left_half(model), []
        edit(
            model,
            pictures,
            seeds=[3, 4],
            strength=0.8,
            mask=mask,
            resample=1,
            steps=10,
            solver=SOLVERS[name](),
            on_step=lambda i, x, denoised, xs=xs: xs.append(x),
        )
        x0, z = model.encode(pictures), normals([3, 4], 0, model.shape)
        for x, s in zip(xs, remaining(Karras().sigmas(model.process, 10), 0.8)[1:], strict=True):
            np.testing.assert_allclose(x[:, :, ~mask], (x0 + s * z)[:, :, ~mask], rtol=1e-4, atol=2e-4)


def _slope(model: Pair, resample: int, solver: Any = None, steps: int = 40) -> float:
    """How far the drawn pixel follows its known neighbour: the regression of one on the other, over 600 pictures."""
    known = np.linspace(-1.2, 1.2, 600)
    pictures = np.zeros((600, 1, 2, 1), dtype=np.uint8)
    pictures[:, 0, 1, 0] = (known * SCALE + 128).round()
    mask = np.array([[True, False]])
    drawn = edit(
        model,
        pictures,
        seeds=range(600),
        strength=1,
        mask=mask,
        resample=resample,
        steps=steps,
        labels=0,
        batch_size=600,
        solver=solver,
    )
    units = (drawn.astype(float) - 128) / SCALE
    return float(np.polyfit(units[:, 0, 1, 0], units[:, 0, 0, 0], 1)[0])


def test_what_is_drawn_follows_what_is_known() -> None:
    """The drawn pixel's mean is 0.9 times the known one. Replacement follows by half; resampled, by nearly all."""
    model = Pair(shape=(1, 1, 2), correlation=0.9)
    once, often = _slope(model, 1), _slope(model, 10)
    fresh = _slope(model, 10, Ddim(eta=1.0))
    assert 0.3 < once < 0.6  # it is approximate: 0.46 when it was written, and 0.85 and 0.88
    assert often == pytest.approx(0.9, abs=0.1)
    assert fresh == pytest.approx(0.9, abs=0.06)


# ---- batches, kinds of arrays and of denoisers ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ddim", "dpm3m", "euler-maruyama"])
def test_a_picture_does_not_know_its_batch(name: str) -> None:
    model = Pair(correlation=0.5, factor=2)
    pictures, seeds = pictures_like(model, 5), [0, 1, 2**64 - 1, 1, 9]
    masks = np.random.default_rng(1).random((5, 4, 8)) < 0.5

    def draw(batch_size: int, rows: list[int]) -> np.ndarray:
        return edit(
            model,
            pictures[rows],
            seeds=[seeds[i] for i in rows],
            strength=0.7,
            mask=masks[rows],
            resample=2,
            labels=rows,
            guidance=2.0,
            steps=6,
            batch_size=batch_size,
            solver=SOLVERS[name](),
        )

    together = draw(5, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(draw(2, [0, 1, 2, 3, 4]), together)
    np.testing.assert_array_equal(draw(1, [3, 1]), together[[3, 1]])


def test_one_picture_and_mask_serve_all_seeds() -> None:
    model = Pair(correlation=0.5)
    pictures, mask = pictures_like(model, 1), left_half(model)
    options: dict[str, Any] = {"seeds": range(5), "strength": 0.8, "steps": 5, "batch_size": 2}
    wanted = edit(model, pictures.repeat(5, axis=0), mask=mask[None].repeat(5, axis=0), **options)
    np.testing.assert_array_equal(edit(model, pictures[0], mask=mask.astype(np.uint8) * 255, **options), wanted)


def test_torch_draws_the_same_pictures() -> None:
    ours, theirs = Pair(correlation=0.5, factor=2), TorchPair(correlation=0.5, factor=2)
    pictures, mask = pictures_like(ours, 3), left_half(ours)
    options: dict[str, Any] = {"seeds": range(3), "strength": 0.6, "mask": mask, "resample": 2, "labels": 3}
    a, b = (edit(model, pictures, steps=10, **options) for model in (ours, theirs))
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_guided_planned_and_on_a_canvas() -> None:
    model = Pair(correlation=0.8)
    pictures, mask = pictures_like(model, 2), left_half(model)
    options: dict[str, Any] = {"seeds": [1, 2], "strength": 0.9, "mask": mask, "labels": 4, "steps": 6}
    plain = edit(model, pictures, **options)
    planned = Planned({1: model, 2: model}, Plan(thresholds=(1.0,), counts=(2, 1)))
    np.testing.assert_array_equal(edit(planned, pictures, **options), plain)
    guided = edit(model, pictures, guidance=3.0, **options)
    np.testing.assert_array_equal(edit(Guided(model, 3.0), pictures, **options), guided)
    assert (guided != plain).any()
    np.testing.assert_array_equal(guided[:, ~mask], pictures[:, ~mask])
    wide, right = pictures.repeat(2, axis=2), np.arange(8) >= 3
    options["mask"] = np.tile(right, (2, 1))
    drawn = edit(Canvas(model, 2, 8), wide, **options)
    np.testing.assert_array_equal(drawn[:, :, :3], wide[:, :, :3])
    assert (drawn[:, :, 3:] != wide[:, :, 3:]).any()


def test_repeated_steps_forget_the_other_path() -> None:
    """A solver of several steps is told nothing of the estimates before the noise was put back."""
    told: list[int] = []

    class Watching(Solver):
        order, calls = 1, 1

        def step(self, denoise: Any, x: Any, s: float, s_next: float, noise: Any, memory: Any) -> Any:
            told.append(len(memory))
            return denoise(x, s), ((s, x),)

    integrate(lambda x, s: x, np.zeros((1, 1)), [3.0, 2.0, 1.0], Watching(), lambda: np.ones((1, 1)), repeats=3)
    assert told == [0, 0, 0, 1, 0, 0]


def test_options_are_those_of_sample() -> None:
    ours, theirs = inspect.signature(edit).parameters, inspect.signature(sample).parameters
    assert set(ours) == set(theirs) | {"pictures", "strength", "mask", "resample"}
    for name in set(theirs) - {"model", "seeds"}:
        assert ours[name] == theirs[name]


# ---- refusals ---------------------------------------------------------------------------------------------------


class Blind(Pair):
    encode = None  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"strength": 1.2}, "strength 1.2"),
        ({"strength": float("nan")}, "strength nan"),
        ({"resample": 0}, "resample 0"),
        ({"model": Blind()}, "Blind cannot encode"),
        ({"pictures": np.zeros((2, 2, 4), dtype=np.float32)}, "pictures of float32"),
        ({"pictures": np.zeros((3, 2, 4, 1), dtype=np.uint8)}, r"pictures of uint8 \(3, 2, 4, 1\).*\(2, H, W, C\)"),
        ({"pictures": np.zeros((2, 5, 1), dtype=np.uint8)}, r"2x5 pixels.*draws \(1, 2, 4\)"),
        ({"mask": np.zeros((4, 2), dtype=bool)}, "mask of 4x2 pixels for pictures of 2x4"),
        ({"mask": np.zeros((3, 2, 4), dtype=bool)}, r"mask of bool \(3, 2, 4\)"),
        ({"mask": np.zeros((2, 4))}, "mask of float64"),
        ({"steps": 0}, "steps 0"),
        ({"seeds": []}, "nothing to draw"),
        ({"seeds": [-1, 0]}, "seed -1"),
        ({"labels": 12}, "label 12"),
        ({"text": "a coat"}, "takes no text"),
        ({"strength": 0, "text": "a coat"}, "takes no text"),
    ],
)
def test_refusals_say_value_rule_and_way_out(options: dict[str, Any], says: str) -> None:
    usual: dict[str, Any] = {"model": Pair(), "pictures": np.zeros((2, 4, 1), dtype=np.uint8), "seeds": [0, 1]}
    with pytest.raises(ArgumentError, match=says) as caught:
        edit(**usual | {"strength": 0.5, "steps": 2} | options)
    assert "\n" not in str(caught.value)
