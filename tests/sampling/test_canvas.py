"""Canvases against denoisers whose answer is known pixel by pixel, so that every way of cutting must give the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.denoiser import Condition, capabilities_of
from brickwork.diffusion.prediction import EdmF
from brickwork.diffusion.process import Edm, NoiseProcess
from brickwork.errors import ArgumentError, BrickworkError, UnknownNameError
from brickwork.model.model import Model
from brickwork.sampling.canvas import MODES, Canvas, Mode, Whole, Windows, weights
from brickwork.sampling.guidance import Guided
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.plan import Plan
from brickwork.sampling.planned import Planned
from brickwork.sampling.solvers import Ddim, Heun

SIDE = 8
SIZES = [(8, 8), (33, 47), (16, 100), (5, 5), (3, 20), (24, 8), (9, 16)]


@dataclass
class PerPixel:
    """The exact denoiser of pixels N(label / 10, 0.5²), of squares of SIDE pixels; remembers what it was asked."""

    process: NoiseProcess = field(default_factory=Edm)
    shape: tuple[int, int, int] = (2, SIDE, SIDE)
    num_classes: int = 10
    text_shape: tuple[int, int] | None = None
    multiple: int | None = None
    rows: list[int] = field(default_factory=list)
    labels: list[list[int]] = field(default_factory=list)
    sizes: set[tuple[int, ...]] = field(default_factory=set)

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        assert sigma.shape == (len(x),)
        assert self.multiple is not None or tuple(x.shape[1:]) == self.shape
        self.rows.append(len(x))
        self.sizes.add(tuple(x.shape[1:]))
        s2 = (sigma * sigma)[:, None, None, None]
        mean = 0.0
        if condition.labels is not None:
            assert condition.labels.shape == (len(x),)
            self.labels.append(condition.labels.tolist())
            mean = 0.1 * condition.labels[:, None, None, None]
        if condition.text is not None:
            assert condition.text.shape == (len(x), 1, 1)
            mean = mean + condition.text[:, :, :, None]
        found = (0.25 * x + s2 * mean) / (0.25 + s2)
        return found if isinstance(found, torch.Tensor) else found.astype(x.dtype)

    def asarray(self, values: np.ndarray) -> Array:
        return np.asarray(values, dtype=np.float32)

    def decode(self, x0: Array) -> np.ndarray:
        return np.clip(np.asarray(x0) * 50 + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


@dataclass
class Ramp(PerPixel):
    """What it sees depends on where in its window a pixel lies."""

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        found = super().__call__(x, sigma, condition)
        return found + namespace(x).arange(x.shape[-1]) * 0.1


def noise(canvas: Canvas, batch: int = 3, kind: str = "numpy") -> tuple[Array, Array, Condition]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *canvas.shape)).astype(np.float32)
    sigma, labels = np.full(batch, 1.5, dtype=np.float32), np.arange(batch) + 2
    if kind == "torch":
        return torch.from_numpy(x), torch.from_numpy(sigma), Condition(labels=torch.from_numpy(labels))
    return x, sigma, Condition(labels=labels)


def at(sigma: Array, level: float) -> Array:
    return sigma * 0 + level


# ---- windows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("length", [8, 9, 15, 16, 33, 100])
def test_windows_cover_and_weights_sum_to_one(overlap: float, shift: bool, length: int) -> None:
    for word in (0, 1, 5, 7, 2**64 - 1):
        starts = Windows(overlap=overlap, shift=shift).starts(length, 8, word)
        assert starts == sorted(set(starts))
        assert starts[0] == 0
        assert starts[-1] == length - 8
        shares, total = weights(starts, length, 8), np.zeros(length)
        assert shares.min() > 0
        for start, share in zip(starts, shares, strict=True):
            total[start : start + 8] += share
        np.testing.assert_allclose(total, 1, rtol=1e-14)


def test_where_the_windows_lie() -> None:
    assert Windows(overlap=0.0).starts(96, 32) == [0, 32, 64]
    assert Windows(overlap=0.0).starts(80, 32) == [0, 32, 48]
    assert Windows().starts(80, 32) == [0, 19, 38, 48]
    assert Windows(overlap=0.5).starts(80, 32) == [0, 16, 32, 48]
    assert Windows(overlap=0.75).starts(56, 32) == [0, 8, 16, 24]
    moving = MODES["shift"]()
    assert moving.starts(96, 32, 0) == [0, 32, 64]
    assert moving.starts(96, 32, 5 + 32) == [0, 27, 59, 64]
    assert moving.starts(32, 32, 5) == [0]
    assert MODES["overlap+shift"](overlap=0.5).starts(64, 32, 5 + 16) == [0, 11, 27, 32]
    assert Whole().starts(96, 96) == [0]
    assert Whole().side(33, 32, 4) == 36


def test_weights_at_half_overlap_are_the_raised_cosine() -> None:
    """Two raised cosines half a window apart add up to a constant: inside, the weight is (1 - cos) / 2 itself."""
    expected = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(8) + 0.5) / 8)
    np.testing.assert_allclose(weights([0, 4, 8], 16, 8)[1], expected, rtol=1e-12)
    np.testing.assert_array_equal(weights([0, 8], 16, 8), 1)


# ---- the joined estimate ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_denoiser_of_pixels_does_not_see_the_windows(kind: str, mode: str, height: int, width: int) -> None:
    multiple = 3 if mode == "whole" else None
    canvas = Canvas(PerPixel(multiple=multiple), height, width, mode)
    x, sigma, condition = noise(canvas, kind=kind)
    before = x + 0
    got = canvas(x, sigma, condition)
    assert namespace(got) is namespace(x)
    assert got.dtype == x.dtype
    whole = PerPixel(multiple=1)(x, sigma, condition)
    np.testing.assert_allclose(np.asarray(got), np.asarray(whole), rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(np.asarray(x), np.asarray(before))


def test_overlapping_estimates_are_averaged() -> None:
    canvas = Canvas(Ramp(), SIDE, 12, Windows(overlap=0.5))
    x, sigma, _ = noise(canvas)
    got = canvas(x * 0, sigma, Condition())
    bump = 1 - np.cos(2 * np.pi * (np.arange(8) + 0.5) / 8)
    first, second = np.pad(bump, (0, 4)), np.pad(bump, (4, 0))
    ramp = (first * np.arange(12) + second * (np.arange(12) - 4)) / (first + second)
    np.testing.assert_allclose(got[0, 0, 0], 0.1 * np.where(np.arange(12) < 4, np.arange(12), ramp), rtol=1e-5)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("mode", MODES)
def test_a_canvas_of_one_window_is_no_canvas(kind: str, mode: str) -> None:
    ramp = Ramp(multiple=4)
    canvas = Canvas(ramp, SIDE, SIDE, mode, chunk=1)
    x, sigma, condition = noise(canvas, kind=kind)
    np.testing.assert_array_equal(canvas(x, sigma, condition), ramp(x, sigma, condition))
    assert ramp.rows == [3, 3]
    assert canvas.borders() == ([], [])


@pytest.mark.parametrize("mode", ["overlap", "overlap+shift"])
def test_chunks_change_nothing_but_rounding(mode: str) -> None:
    def joined(chunk: int) -> tuple[np.ndarray, list[int]]:
        canvas = Canvas(Ramp(), 20, 30, mode, chunk)
        return canvas(*noise(canvas)), canvas.inner.rows  # pyright: ignore[reportAttributeAccessIssue]

    (all_at_once, rows), num_windows = joined(10_000), sum(joined(1)[1])
    assert rows == [num_windows]
    for chunk in (1, 2, 5, 7, 64):
        got, rows = joined(chunk)
        np.testing.assert_allclose(got, all_at_once, rtol=1e-6)
        assert max(rows) <= chunk
        assert sum(rows) == num_windows


def test_the_largest_batch_does_not_grow_with_the_canvas() -> None:
    for width in (SIDE, 16, 64, 1024):
        model = PerPixel()
        sample_x0(Canvas(model, SIDE, width), seeds=range(2), labels=[1, 2], steps=2, guidance=2.0)
        assert max(model.rows) == (4 if width == SIDE else 8)
        assert model.sizes == {(2, SIDE, SIDE)}


# ---- the moving grid --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_shifted_grid_is_a_function_of_sigma_alone(kind: str) -> None:
    canvas = Canvas(Ramp(), 20, 30, "shift")
    x, sigma, condition = noise(canvas, kind=kind)
    got = {level: np.asarray(canvas(x, at(sigma, level), condition)) for level in (0.5, 0.7, 1.1)}
    np.testing.assert_array_equal(canvas(x, at(sigma, 0.7), condition), got[0.7])
    same = Canvas(Ramp(), 20, 30, "shift")
    np.testing.assert_array_equal(same(x, at(sigma, 1.1), condition), got[1.1])
    assert not np.allclose(got[0.5] * (0.25 + 0.25), got[0.7] * (0.25 + 0.49))
    mixed = sigma * 0
    mixed[0], mixed[1], mixed[2] = 0.7, 0.5, 0.7
    both = np.asarray(canvas(x, mixed, condition))
    for row, level in enumerate((0.7, 0.5, 0.7)):
        np.testing.assert_allclose(both[row], got[level][row], rtol=1e-6)


def test_numpy_and_torch_move_the_grid_alike() -> None:
    canvas = Canvas(Ramp(), 20, 30, "shift")
    ours, torchs = (canvas(*noise(canvas, kind=kind)) for kind in ("numpy", "torch"))
    np.testing.assert_allclose(ours, torchs.numpy(), rtol=1e-5)
    x, sigma, condition = noise(canvas)
    double = canvas(x.astype(np.float64), sigma.astype(np.float64), condition)
    np.testing.assert_allclose(ours, double, rtol=1e-5)


def test_all_shifts_come_up() -> None:
    levels = Edm().sigma_max * np.linspace(1, 0.001, 400, dtype=np.float32)
    seen: set[int] = set()

    class Watching(Mode):
        @property
        def moves(self) -> bool:
            return True

        def side(self, length: int, trained: int, multiple: int | None) -> int:
            return trained

        def starts(self, length: int, side: int, word: int = 0) -> list[int]:
            seen.add(word % 8)
            return [0, length - side]

    canvas = Canvas(PerPixel(), SIDE, 16, Watching())
    for level in levels:
        canvas(np.zeros((1, 2, SIDE, 16), np.float32), level[None], Condition())
    assert seen == set(range(8))


# ---- sampling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["tile", "overlap", "shift", "overlap+shift"])
@pytest.mark.parametrize("solver", [Ddim(eta=0.5), Heun(churn=4.0)])
def test_a_picture_depends_on_its_seed_alone(mode: str, solver: Any) -> None:
    def draw(seeds: list[int], batch_size: int, chunk: int) -> np.ndarray:
        canvas = Canvas(Ramp(), 11, 21, mode, chunk)
        return sample_x0(canvas, seeds=seeds, labels=3, steps=5, solver=solver, batch_size=batch_size)

    once = draw([4, 5, 6, 2**64 - 1], 4, 8)
    np.testing.assert_allclose(draw([4, 5, 6, 2**64 - 1], 3, 5), once, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(draw([6, 4], 1, 100), once[[2, 0]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pictures_of_any_size(mode: str, height: int, width: int) -> None:
    multiple = 3 if mode == "whole" else None
    canvas = Canvas(PerPixel(multiple=multiple), height, width, mode)
    pictures = sample(canvas, seeds=range(2), labels=[1, 9], steps=3)
    assert pictures.shape == (2, height, width, 2)


def test_a_side_below_the_window_s_is_the_window_s_middle() -> None:
    narrow, full = (Canvas(PerPixel(), n, 20) for n in (3, SIDE))
    assert narrow.shape == full.shape == (2, SIDE, 20)
    draw: dict[str, Any] = {"seeds": [7], "labels": 1, "steps": 4}
    np.testing.assert_array_equal(sample(narrow, **draw), sample(full, **draw)[:, 2:5])
    assert Canvas(PerPixel(), 3, 20, "tile").borders() == ([], [8, 12, 16])
    padded = Canvas(PerPixel(multiple=4), 9, 21, "whole")
    assert padded.shape == (2, 12, 24)
    assert padded.borders() == ([], [])
    np.testing.assert_array_equal(
        sample(padded, **draw), sample(Canvas(PerPixel(multiple=4), 12, 24, "whole"), **draw)[:, 1:10, 1:22]
    )


def test_pictures_larger_than_x_are_cropped_in_their_own_pixels() -> None:
    class Latents(PerPixel):
        def decode(self, x0: Array) -> np.ndarray:
            return super().decode(x0).repeat(4, axis=1).repeat(4, axis=2)

    latents, plain = Canvas(Latents(), 3, 20), Canvas(PerPixel(), 3, 20)
    x0 = sample_x0(plain, seeds=[1], labels=2, steps=2)
    np.testing.assert_array_equal(latents.decode(x0), plain.decode(x0).repeat(4, axis=1).repeat(4, axis=2))


def test_guided_and_planned_around_and_inside() -> None:
    full, part = PerPixel(), PerPixel()
    planned = Planned({1: part, 2: full}, Plan(thresholds=(1.0,), counts=(2, 1)))
    canvas = Canvas(planned, 12, 20)
    draw: dict[str, Any] = {"seeds": range(3), "labels": [1, 5, -1], "steps": 6, "guidance": 2.5}
    got = sample_x0(canvas, **draw)
    assert full.rows
    assert part.rows
    whole = PerPixel(shape=canvas.shape)
    np.testing.assert_allclose(got, sample_x0(whole, **draw), rtol=1e-4, atol=1e-5)
    del draw["guidance"]
    outside = sample_x0(Canvas(Guided(PerPixel(), 2.5), 12, 20), **draw)
    np.testing.assert_allclose(got, outside, rtol=1e-4, atol=1e-5)


def test_text_goes_to_every_window() -> None:
    text = np.array([0.3, -0.2], dtype=np.float32).reshape(2, 1, 1)
    canvas = Canvas(PerPixel(text_shape=(1, 1), num_classes=0), 10, 20)
    draw: dict[str, Any] = {"seeds": [1, 2], "text": text, "steps": 4}
    whole = PerPixel(text_shape=(1, 1), num_classes=0, shape=canvas.shape)
    np.testing.assert_allclose(sample_x0(canvas, **draw), sample_x0(whole, **draw), rtol=1e-4, atol=1e-5)


# ---- regions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_window_has_the_class_of_the_region_under_its_centre(kind: str) -> None:
    canvas = Canvas(PerPixel(), 16, 24, "tile", chunk=100)
    x, sigma, _ = noise(canvas, batch=2, kind=kind)
    labels = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 7, 7], [8, 8, 8]]])
    condition = Condition(labels=torch.from_numpy(labels) if kind == "torch" else labels)
    got = np.asarray(canvas(x, sigma, condition))
    assert isinstance(canvas.inner, PerPixel)
    assert canvas.inner.labels == [[1, 7, 2, 7, 3, 7, 4, 8, 5, 8, 6, 8]]  # window by window, then image by image
    mean = 0.1 * labels.repeat(8, axis=1).repeat(8, axis=2)[:, None]
    np.testing.assert_allclose(got, (0.25 * np.asarray(x) + 2.25 * mean) / 2.5, rtol=1e-5, atol=1e-6)


def test_one_region_is_one_label() -> None:
    canvas = Canvas(PerPixel(), 12, 20)
    x, sigma, condition = noise(canvas)
    assert condition.labels is not None
    one = canvas(x, sigma, Condition(labels=condition.labels[:, None, None]))
    np.testing.assert_array_equal(one, canvas(x, sigma, condition))


def test_regions_blend_where_windows_overlap() -> None:
    canvas = Canvas(PerPixel(), SIDE, 32, Windows(overlap=0.5))
    x, sigma, _ = noise(canvas, batch=1)
    seen = canvas(x * 0, at(sigma, 1e3), Condition(labels=np.array([[[0, 9]]])))[0, 0, 0]
    # Windows start at 0, 4, ..., 24; the four from 12 on have their centres in the right half.
    np.testing.assert_allclose(seen[:12], 0, atol=1e-5)
    np.testing.assert_allclose(seen[20:], 0.9, rtol=1e-5)
    assert np.all(np.diff(seen[11:21]) > -1e-6)


def test_labels_of_regions_go_through_sampling() -> None:
    labels = np.array([[[1, 2]], [[3, 4]], [[5, 6]]])
    for guidance in (1.0, 2.0):
        all_of = sample_x0(
            Canvas(PerPixel(), SIDE, 16), seeds=[1, 2, 3], labels=labels, steps=3, guidance=guidance, batch_size=2
        )
        one = sample_x0(Canvas(PerPixel(), SIDE, 16), seeds=[2], labels=labels[1], steps=3, guidance=guidance)
        np.testing.assert_allclose(all_of[1:2], one, rtol=1e-5, atol=1e-6)
    assert sample(Guided(Canvas(PerPixel(), SIDE, 16), 2.0), seeds=[0], labels=labels[:1], steps=2).shape[0] == 1
    assert not capabilities_of(PerPixel()).takes_regions


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((2, 1, 2), int), "2 labels for 3 seeds"),
        (np.full((1, 2), 10), "label 10: this model knows classes 0 to 9"),
        (np.zeros((1, 2)), "whole numbers"),
        (np.zeros((1, 1, 1, 1), int), "whole numbers"),
        (np.zeros((0, 2), int), "whole numbers"),
        ([[1, 2], [3]], "as many"),
        (np.zeros((1, 3), int), "1x3 regions: a canvas of 8x16 pixels has 1x2 windows"),
        (np.zeros((2, 2), int), "2x2 regions: a canvas of 8x16 pixels has 1x2 windows"),
    ],
)
def test_regions_that_cannot_be(labels: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says) as caught:
        sample(Canvas(PerPixel(), SIDE, 16, "tile"), seeds=range(3), labels=labels, steps=2)
    assert "\n" not in str(caught.value)


def test_regions_need_a_canvas() -> None:
    with pytest.raises(ArgumentError, match="regions need a Canvas"):
        sample(PerPixel(), seeds=[0], labels=np.zeros((1, 1, 2), int), steps=2)
    with pytest.raises(ArgumentError, match="1x2 regions"):
        sample(Canvas(PerPixel(multiple=1), SIDE, 16, "whole"), seeds=[0], labels=np.zeros((1, 2), int), steps=2)


# ---- models in torch --------------------------------------------------------------------------------------------


def model(**options: Any) -> Model:
    torch.manual_seed(0)
    config = Stoic.Config(size=SIDE, width=32, depth=1, heads=1, stride=4, num_classes=3, **options)
    built = Model(config.build(), Edm(), EdmF(), Pixels()).eval().requires_grad_(False)
    for weight in built.parameters():  # fresh ones give 0 for every picture
        weight.copy_(torch.randn(weight.shape) * 0.1)
    return built


@pytest.mark.parametrize("mode", MODES)
def test_a_model_of_squares_draws_on_any_canvas(mode: str) -> None:
    canvas = Canvas(model(), 13, 22, mode)
    draw: dict[str, Any] = {"seeds": range(3), "labels": [0, 1, 2], "steps": 3, "guidance": 2.0}
    pictures = sample(canvas, **draw)
    assert pictures.shape == (3, 13, 22, 3)
    assert len(np.unique(pictures)) > 10
    apart = sample(canvas, **draw, batch_size=1).astype(int) - pictures
    assert np.abs(apart).max() <= 1


def test_the_canvas_of_a_model_s_size_is_the_model() -> None:
    square, draw = model(), {"seeds": range(2), "labels": 1, "steps": 3}
    for mode in MODES:
        assert torch.equal(sample_x0(Canvas(square, SIDE, SIDE, mode), **draw), sample_x0(square, **draw))


@pytest.mark.parametrize("options", [{"position": "learned"}, {"decoder": "linear_tokens"}])
def test_a_table_ties_a_model_to_its_size(options: dict[str, Any]) -> None:
    tied = model(**options)
    assert capabilities_of(tied).multiple is None
    with pytest.raises(ArgumentError, match="'whole': this model takes images of its own size alone; take one of tile"):
        Canvas(tied, 16, 16, "whole")
    sample(Canvas(tied, 9, 16), seeds=[0], steps=1)
    assert capabilities_of(Guided(model(), 2.0)).multiple == 4


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Canvas(PerPixel(), 0, 8), "canvas height 0: it must be a whole number of pixels, at least 1"),
        (lambda: Canvas(PerPixel(), 8, -3), "canvas width -3"),
        (lambda: Canvas(PerPixel(), 8, 2.5), "canvas width 2.5"),  # pyright: ignore[reportArgumentType]
        (lambda: Canvas(PerPixel(), True, 8), "canvas height True"),
        (lambda: Canvas(PerPixel(), 8, 8, chunk=0), "canvas chunk 0: it must be a whole number of windows"),
        (lambda: Windows(overlap=1.0), "overlap 1.0"),
        (lambda: Windows(overlap=-0.1), "overlap -0.1"),
        (lambda: Windows(overlap=np.nan), "overlap nan"),
        (lambda: Canvas(PerPixel(), 16, 8)(*noise(Canvas(PerPixel(), 8, 16))), r"x of \(2, 8, 16\)"),
    ],
)
def test_refusals_say_value_rule_and_way_out(make: Callable[[], object], says: str) -> None:
    with pytest.raises(BrickworkError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_mode_by_a_wrong_name() -> None:
    with pytest.raises(UnknownNameError, match="no canvas mode named 'overlaps'; did you mean overlap"):
        Canvas(PerPixel(), 16, 16, "overlaps")
