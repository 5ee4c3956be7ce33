"""What denoisers declare, and wrappers pass on; levels as numbers; no second row where nothing is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.denoiser import Capabilities, Condition, EmbedsText, Encodes, capabilities_of, levels_like
from brickwork.diffusion.process import Edm
from brickwork.errors import ArgumentError
from brickwork.model.checkpoint import load
from brickwork.sampling.canvas import Canvas
from brickwork.sampling.conditions import as_labels, seeds_for
from brickwork.sampling.guidance import Guided
from brickwork.sampling.levels import evaluated_levels
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.planned import Planned, planned
from brickwork.sampling.sampler import Sampler
from brickwork.sampling.wrapper import Wrapper, ability, innermost


class Own:
    """Somebody's own denoiser, with the members that one must have and no more: D = x / 2 + 1 + label."""

    process, shape, num_classes, text_shape = Edm(), (1, 2, 2), 3, None

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        self.rows.append(len(x))
        assert sigma.shape == (len(x),)
        assert condition.labels is not None
        return x / 2 + 1 + condition.labels[:, None, None, None]

    def asarray(self, values: np.ndarray) -> Array:
        return np.asarray(values, np.float32)

    def decode(self, x0: Array) -> np.ndarray:
        return np.clip(np.rint(x0), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


@dataclass
class Texts:
    """D = x / 2 + the text's mean."""

    process: Edm = field(default_factory=Edm)
    shape: tuple[int, int, int] = (1, 2, 2)
    num_classes: int = 0
    text_shape: tuple[int, int] | None = (2, 3)
    rows: list[int] = field(default_factory=list)

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        self.rows.append(len(x))
        assert condition.text is not None
        return x / 2 + condition.text.mean(axis=(1, 2))[:, None, None, None]

    def embed_text(self, captions: list[str]) -> np.ndarray:
        return np.stack([np.full((2, 3), float(len(caption)), np.float32) for caption in captions])

    asarray, decode = Own.asarray, Own.decode


# ---- declarations -----------------------------------------------------------------------------------------------


def test_an_own_denoiser_needs_no_declaration() -> None:
    assert capabilities_of(Own()) == Capabilities(shape=(1, 2, 2), num_classes=3, classes=("0", "1", "2"))
    assert capabilities_of(Texts()).reads_text
    assert sample(Own(), seeds=[0, 1], labels=[0, 2], steps=2, guidance=2.0).shape == (2, 2, 2, 1)
    assert sample(Guided(Texts(), 2.0), seeds=0, text=["a", "bcd"], steps=2).shape == (2, 2, 2, 1)


def test_wrappers_pass_declarations_on() -> None:
    model = load("digits")
    own = model.capabilities
    assert own.classes == model.classes == tuple("0123456789")
    for wrapped in (Guided(model, 2.0), Planned.of(model, "pg:0.3"), Guided(Planned.of(model, "pg:0.3"), 2.0)):
        assert wrapped.capabilities == own
        assert (wrapped.process, wrapped.num_classes, wrapped.text_shape) == (model.process, 10, None)
        assert innermost(wrapped) is model
        assert ability(wrapped, Encodes) is model
        assert ability(Guided(Own(), 2.0), Encodes) is ability(Own(), EmbedsText) is None
    canvas = Canvas(Guided(model, 2.0), 12, 16).capabilities
    assert (canvas.shape, canvas.takes_regions, canvas.num_classes) == ((1, 12, 16), True, 10)


def test_a_plan_goes_inside_other_wrappers() -> None:
    model = load("digits")
    inside = planned(Guided(Canvas(model, 8, 8), 2.0), Sampler(plan="pg:0.3").plan)
    assert isinstance(inside, Guided)
    assert isinstance(inside.inner, Canvas)
    assert isinstance(inside.inner.inner, Planned)
    assert planned(model, None) is model
    how: dict[str, Any] = {"seeds": [3], "labels": 1, "steps": 5}
    by_how = sample_x0(model, how=Sampler(plan="3@1,2"), **how)
    assert torch.equal(by_how, sample_x0(Planned.of(model, "3@1,2"), **how))
    assert torch.equal(sample_x0(model, plan="2", **how), sample_x0(model.first(2), **how))
    with pytest.raises(ArgumentError, match=r"plan pg:0\.3 for a model under plan 3@1,2: give one of them"):
        sample_x0(Planned.of(model, "3@1,2"), plan="pg:0.3", **how)
    with pytest.raises(ArgumentError, match="Own has no parts to leave out"):
        sample_x0(Own(), seeds=0, plan="pg:0.3")


# ---- levels as numbers, conditions left out ---------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: Guided(m, 3.0), lambda m: Planned.of(m, "3@1,2"),
                                  lambda m: Canvas(m, 8, 8)])  # fmt: skip
def test_a_level_is_a_number_and_a_condition_may_be_left_out(wrap: Any) -> None:
    model = load("digits")
    denoise = wrap(model)
    x = torch.randn(3, *denoise.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        asked = denoise(x, torch.full((3,), 1.5), Condition(labels=torch.full((3,), -1)))
        assert torch.equal(denoise(x, 1.5), asked)
        assert torch.equal(denoise(x, 1.5, Condition(labels=torch.full((3,), -1))), asked)


def test_a_level_of_any_kind_is_a_batch() -> None:
    x = np.zeros((3, 1, 2, 2), np.float32)
    for sigma in (1.5, np.float32(1.5), np.array(1.5), np.full(3, 1.5, np.float32)):
        assert levels_like(sigma, x).tolist() == [1.5, 1.5, 1.5]
    assert levels_like(2, torch.zeros(2, 1, 1, 1)).dtype == torch.float32


def test_an_image_condition_cannot_be_left_out() -> None:
    with pytest.raises(ArgumentError, match="no condition: this denoiser needs an image condition"):
        Capabilities(shape=(1, 2, 2), condition_channels=1).nothing(np.zeros((1, 1, 2, 2)))


# ---- guidance asks twice only where something is asked ----------------------------------------------------------


@pytest.mark.parametrize("labels", [-1, None])
def test_nothing_asked_for_is_the_conditional_call(labels: int | None) -> None:
    guided, plain = Own(), Own()
    drawn = sample_x0(guided, seeds=[0, 1, 2], labels=labels, steps=4, guidance=3.0)
    np.testing.assert_array_equal(drawn, sample_x0(plain, seeds=[0, 1, 2], labels=labels, steps=4))
    assert guided.rows == plain.rows == [3, 3, 3, 3]


def test_only_rows_that_ask_are_evaluated_twice() -> None:
    model, how = Own(), Sampler(steps=4, guidance=3.0)
    drawn = sample_x0(model, seeds=[0, 1, 2], labels=[-1, 2, -1], how=how)
    assert model.rows == [4, 4, 4, 4]
    for row, (seed, label) in enumerate(((0, -1), (1, 2), (2, -1))):
        np.testing.assert_array_equal(drawn[row], sample_x0(Own(), seeds=[seed], labels=label, how=how)[0])
    model.rows.clear()
    sample_x0(model, seeds=[0, 1, 2], labels=[0, 2, 1], how=how)
    assert model.rows == [6, 6, 6, 6]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_what_asks(kind: str) -> None:
    def array(values: Any) -> Any:
        return torch.tensor(values) if kind == "torch" else np.array(values)

    labels, text = array([-1, 3]), array([[[0.0, 0.0]], [[0.0, 0.5]]])
    assert Condition(labels=labels).asking.tolist() == [False, True]
    assert Condition(text=text).asking.tolist() == [False, True]
    assert Condition(text=text * 0, negative=text).asking.tolist() == [False, True]
    assert Condition(labels=array([[[-1, -1]], [[-1, 4]]])).asking.tolist() == [False, True]
    assert Condition(labels=labels, text=array([[[1.0, 0.0]], [[0.0, 0.0]]])).asking.tolist() == [True, True]
    assert Condition().asking.tolist() == []


def test_text_that_says_nothing_and_negative_text() -> None:
    model = Texts()
    sample_x0(model, seeds=[0, 1], steps=1, guidance=2.0)
    sample_x0(model, seeds=[0, 1], text=["ab", ""], steps=1, guidance=2.0)
    sample_x0(model, seeds=[0, 1], negative="no", steps=1, guidance=2.0)
    assert model.rows == [2, 3, 4]  # the empty caption is embedded as zeros


def test_levels_count_rows_as_drawing_does() -> None:
    for labels, asks in ((1, True), (-1, False)):
        model = Own()
        sample_x0(model, seeds=[0], labels=labels, steps=5, guidance=2.0, guidance_interval=(0.1, 9.0))
        calls = evaluated_levels(Edm(), steps=5, guidance=2.0, guidance_interval=(0.1, 9.0), asks=asks)
        assert model.rows == [call.rows for call in calls]


# ---- labels by name, one seed -----------------------------------------------------------------------------------

CLASSES = ("T-shirt", "Bag", "Sandal", "Ankle boot")


def test_classes_by_name() -> None:
    def numbers(labels: Any, count: int, **more: Any) -> Any:
        found = as_labels(labels, count, 4, classes=CLASSES, **more)
        assert found is not None
        return found.tolist()

    assert numbers("Bag", 2) == [1, 1]
    assert numbers(["Bag", "Sandal"], 2) == [1, 2]
    assert numbers(["Sandal", 3, "0"], 3) == [2, 3, 0]
    assert numbers(np.array(["Bag", "Bag"]), 2) == [1, 1]
    assert numbers([["Bag", "Sandal"]], 2, regions=True) == [[[1, 2]], [[1, 2]]]
    with pytest.raises(ArgumentError, match=r"label 'bag': .* did you mean Bag\?"):
        numbers("bag", 1)
    with pytest.raises(ArgumentError, match=r"label 'Sandle': .* did you mean Sandal"):
        numbers(["Bag", "Sandle"], 2)


def test_a_single_seed_is_the_seed_of_all() -> None:
    assert seeds_for(4, None, None, None) == [4]
    assert seeds_for(4, ["a", "b"], None, None) == [4, 4]
    assert seeds_for(4, None, ["a", "b", "c"], None) == [4, 4, 4]
    assert seeds_for(4, [[1, 2], [3, 4]], None, None) == [4]  # regions of one picture
    assert seeds_for(4, None, np.zeros((2, 2, 3)), np.zeros((2, 1, 4, 4))) == [4, 4]
    assert seeds_for(range(2), ["a"], None, None) == range(2)
    drawn = sample_x0(Own(), labels=[0, 2], seeds=7, steps=3)
    np.testing.assert_array_equal(drawn, sample_x0(Own(), labels=[0, 2], seeds=[7, 7], steps=3))


def test_the_call_of_the_readme() -> None:
    model = load("digits")
    drawn = sample(model, labels=["3", "7"], seeds=0, solver="heun", steps=4)
    assert drawn.shape == (2, 8, 8, 1)
    np.testing.assert_array_equal(drawn[:1], sample(model, labels=3, seeds=[0], how=Sampler(solver="heun", steps=4)))


def test_wrappers_of_somebody_else() -> None:
    @dataclass(frozen=True)
    class Doubled(Wrapper):
        inner: Any

        def estimate(self, x: Array, sigma: Array, condition: Condition) -> Array:
            return 2 * self.inner(x, sigma, condition)

    x = np.ones((1, 1, 2, 2), np.float32)
    assert Doubled(Own())(x, 1.0)[0, 0, 0, 0] == 2 * (0.5 + 1 - 1)
    assert namespace(Doubled(Own())(x, 1.0)) is np
    assert isinstance(Doubled(Own()).around(Texts()).inner, Texts)
