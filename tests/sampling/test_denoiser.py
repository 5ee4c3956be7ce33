from dataclasses import dataclass, field
from math import inf

import numpy as np
import pytest
import torch

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.process import Edm, NoiseProcess
from brickwork.sampling.guidance import Guided


@dataclass
class Classes:
    """D = x / (1 + sigma) + label, and it remembers what it was asked."""

    process: NoiseProcess = field(default_factory=Edm)
    shape: tuple[int, int, int] = (1, 2, 2)
    num_classes: int = 10
    text_shape: tuple[int, int] | None = None
    asked: list[int] = field(default_factory=list)

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        self.asked.append(len(x))
        assert sigma.shape == (len(x),)
        shift = 0 if condition.labels is None else condition.labels[:, None, None, None]
        return x / (1 + sigma[:, None, None, None]) + shift

    def asarray(self, values: np.ndarray) -> Array:
        return values

    def decode(self, x0: Array) -> np.ndarray:
        return np.zeros((len(x0), 2, 2, 1), dtype=np.uint8)


def batch(kind: str, sigma: float = 1.0) -> tuple[Array, Array, Condition]:
    x = np.random.default_rng(0).standard_normal((3, 1, 2, 2)).astype(np.float32)
    s, labels = np.full(3, sigma, dtype=np.float32), np.array([2, 5, 9])
    if kind == "torch":
        return torch.from_numpy(x), torch.from_numpy(s), Condition(labels=torch.from_numpy(labels))
    return x, s, Condition(labels=labels)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_guidance_extrapolates_in_one_batch(kind: str) -> None:
    model = Classes()
    x, sigma, condition = batch(kind)
    got = Guided(model, 3.0)(x, sigma, condition)
    assert model.asked == [6]
    assert condition.labels is not None
    # without a class the label is -1: -1 + 3 (label - -1)
    np.testing.assert_allclose(got, x / 2 - 1 + 3.0 * (condition.labels + 1)[:, None, None, None], rtol=1e-6)
    assert namespace(got) is namespace(x)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("scale", "interval", "sigma"), [(1.0, (0.0, inf), 1.0), (4.0, (0.0, 0.5), 1.0), (4.0, (1.0, 9.0), 1.0)]
)
def test_off_is_the_conditional_call(kind: str, scale: float, interval: tuple[float, float], sigma: float) -> None:
    model = Classes()
    x, s, condition = batch(kind, sigma)
    np.testing.assert_array_equal(Guided(model, scale, interval)(x, s, condition), Classes()(x, s, condition))
    assert model.asked == [3]


def test_the_upper_end_is_inside() -> None:
    model = Classes()
    Guided(model, 2.0, (0.5, 1.0))(*batch("numpy", 1.0))
    assert model.asked == [6]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_mixed_levels_are_guided_row_by_row(kind: str) -> None:
    x, s, condition = batch(kind)
    s[1] = 7.0
    got = Guided(Classes(), 2.0, (0.0, 2.0))(x, s, condition)
    np.testing.assert_array_equal(got[1], Classes()(x, s, condition)[1])
    np.testing.assert_allclose(got[0], Guided(Classes(), 2.0)(x, s, condition)[0])


def test_nothing_to_ask_for_costs_one_call() -> None:
    model = Classes(num_classes=0)
    x, s, _ = batch("numpy")
    Guided(model, 5.0)(x, s, Condition())
    assert model.asked == [3]


def test_guided_is_a_denoiser() -> None:
    model = Classes()
    guided = Guided(model, 2.0)
    assert (guided.process, guided.shape, guided.num_classes, guided.text_shape) == (Edm(), (1, 2, 2), 10, None)
    assert guided.asarray(np.ones(2)).tolist() == [1, 1]
    assert guided.decode(np.zeros((4, 1, 2, 2))).shape == (4, 2, 2, 1)
    twice = Guided(guided, 2.0)  # guides what is guided already
    x, s, condition = batch("numpy")
    assert twice(x, s, condition).shape == x.shape


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_condition_drops_joins_and_slices(kind: str) -> None:
    labels, text = np.array([4, -1, 2]), np.ones((3, 2, 5), dtype=np.float32)
    if kind == "torch":
        labels, text = torch.from_numpy(labels), torch.from_numpy(text)
    condition = Condition(labels=labels, text=text)
    none = condition.dropped()
    assert len(condition) == len(none) == 3
    assert none.labels is not None
    assert none.text is not None
    assert none.labels.tolist() == [-1, -1, -1]
    assert none.labels.dtype == labels.dtype
    assert float(abs(none.text).sum()) == 0
    both = condition.joined(none)
    assert both.labels is not None
    assert both.labels.tolist() == [4, -1, 2, -1, -1, -1]
    assert len(both) == 6
    part = both[2:4]
    assert part.labels is not None
    assert part.text is not None
    assert part.labels.tolist() == [2, -1]
    assert part.text.shape == (2, 2, 5)
    assert len(Condition()) == 0
    assert Condition()[0:2] == Condition()
    assert len(Condition(text=text)) == 3
