from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import latent_model, text_model, tiny_model
from torch import nn

from brickwork.diffusion.arrays import Array
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.gaussian import normal, normals
from brickwork.diffusion.process import Edm, NoiseProcess, Vp
from brickwork.diffusion.schedule import LinearTime, LogSnr
from brickwork.errors import ArgumentError
from brickwork.sampling.conditions import as_labels, as_text
from brickwork.sampling.loop import noise_source, sample, sample_x0
from brickwork.sampling.solvers import SOLVERS, Ddim, EulerMaruyama, Heun


@dataclass
class Toy:
    """The exact denoiser of images N(label / 10, 0.5²), pixel by pixel, on numpy or torch."""

    process: NoiseProcess = field(default_factory=Edm)
    shape: tuple[int, int, int] = (2, 3, 4)
    num_classes: int = 10
    text_shape: tuple[int, int] | None = None
    kind: str = "numpy"
    asked: list[tuple[int, float]] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        assert sigma.shape == (len(x),)
        assert sigma.dtype == x.dtype
        self.asked.append((len(x), float(sigma[0])))
        self.conditions.append(condition)
        mean = 0.0 if condition.labels is None else condition.labels.astype(x.dtype)[:, None, None, None] * 0.1
        s2 = (sigma * sigma)[:, None, None, None]
        return (0.25 * x + s2 * mean) / (0.25 + s2)

    def asarray(self, values: np.ndarray) -> Array:
        return np.asarray(values, dtype=np.float32)

    def decode(self, x0: Array) -> np.ndarray:
        return (np.clip(np.asarray(x0) * 50 + 128, 0, 255)).astype(np.uint8).transpose(0, 2, 3, 1)


@dataclass
class TorchToy(Toy):
    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        assert isinstance(x, torch.Tensor)
        assert isinstance(sigma, torch.Tensor)
        assert isinstance(condition.labels, torch.Tensor)
        s2 = (sigma * sigma)[:, None, None, None]
        return (0.25 * x + s2 * condition.labels[:, None, None, None] * 0.1) / (0.25 + s2)

    def asarray(self, values: np.ndarray) -> Array:
        return torch.from_numpy(np.asarray(values, dtype=np.float32))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_picture_does_not_know_its_batch(name: str) -> None:
    seeds, labels = [0, 1, 2, 3, 99, 2**64 - 1, 5, 0], [0, 1, 2, 3, 4, 5, -1, 0]
    options: dict[str, Any] = {"eta": 0.7} if name == "ddim" else {"churn": 10.0} if name == "heun" else {}

    def draw(batch_size: int) -> np.ndarray:
        return sample_x0(
            Toy(process=Vp()),
            seeds=seeds,
            labels=labels,
            steps=12,
            solver=SOLVERS[name](**options),
            guidance=1.5,
            batch_size=batch_size,
        )

    one, three, eight = draw(1), draw(3), draw(8)
    assert one.shape == (8, 2, 3, 4)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(one, eight)
    np.testing.assert_array_equal(one[0], one[7])
    assert not np.array_equal(one[0], one[1])


def test_torch_draws_the_same_pictures() -> None:
    ours = sample_x0(Toy(), seeds=range(4), labels=3, steps=10, solver=Heun(churn=5.0))
    theirs = sample_x0(TorchToy(), seeds=range(4), labels=3, steps=10, solver=Heun(churn=5.0))
    assert isinstance(theirs, torch.Tensor)
    np.testing.assert_allclose(theirs.numpy(), ours, atol=2e-5)


def test_samples_have_the_data_s_mean_and_spread() -> None:
    x0 = sample_x0(Toy(), seeds=range(500), labels=7, steps=30)
    assert x0.mean() == pytest.approx(0.7, abs=4 * 0.5 / np.sqrt(x0.size))
    assert x0.std() == pytest.approx(0.5, abs=0.02)


def test_pictures_are_decoded() -> None:
    pictures = sample(Toy(), seeds=range(5), labels=range(5), steps=3, batch_size=2)
    assert pictures.shape == (5, 3, 4, 2)
    assert pictures.dtype == np.uint8
    x0 = sample_x0(Toy(), seeds=range(5), labels=range(5), steps=3)
    np.testing.assert_array_equal(pictures, Toy().decode(x0))


def test_starts_from_the_seed_s_first_draw() -> None:
    first: list[np.ndarray] = []

    class Watching(Toy):
        def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
            first.append(x)
            return super().__call__(x, sigma, condition)

    sample_x0(Watching(), seeds=[11, 12], steps=2)
    np.testing.assert_allclose(first[0], 80.0 * normals([11, 12], 0, (2, 3, 4)), rtol=1e-6)


def test_noise_comes_from_later_draws() -> None:
    x = np.zeros((2, 2, 3, 4), dtype=np.float64)
    noise = noise_source([11, 12], x)
    for draw in (1, 2, 3):
        z = noise()
        assert z.dtype == np.float64
        np.testing.assert_array_equal(z[1], normal(12, draw, (2, 3, 4)))


def test_steps_grid_and_calls() -> None:
    model = Toy(process=Vp())
    sample_x0(model, seeds=[0], steps=4, solver=Ddim(), schedule=LinearTime())
    assert [s for _, s in model.asked] == pytest.approx(list(LinearTime().sigmas(Vp(), 4)[:-1]), rel=1e-6)
    model = Toy(process=Vp())
    sample_x0(model, seeds=range(5), steps=4, solver=Heun(), schedule=LogSnr(), batch_size=2)
    assert [size for size, _ in model.asked] == [2] * 7 + [2] * 7 + [1] * 7
    sample_x0(Toy(process=Vp()), seeds=[0], steps=4, solver=EulerMaruyama(), schedule=LinearTime())


def test_guidance_only_doubles_inside_its_interval() -> None:
    model = Toy()
    sample_x0(model, seeds=range(3), labels=2, steps=20, solver=Ddim(), guidance=2.0, guidance_interval=(0.2, 5.0))
    assert len(model.asked) == 20
    for size, sigma in model.asked:
        assert size == (6 if 0.2 < sigma <= 5.0 else 3)
    assert {size for size, _ in model.asked} == {3, 6}
    off = sample_x0(Toy(), seeds=range(3), labels=2, steps=20, guidance=3.0, guidance_interval=(1e9, inf))
    np.testing.assert_array_equal(off, sample_x0(Toy(), seeds=range(3), labels=2, steps=20))


def test_hook_and_bar(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def watch(i: int, x: Array, denoised: Array) -> None:
        assert x.shape == denoised.shape
        seen.append((i, x.shape))

    sample(Toy(), seeds=range(3), steps=4, batch_size=2, on_step=watch, progress=True)
    assert [i for i, _ in seen] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [shape[0] for _, shape in seen] == [2] * 4 + [1] * 4
    assert "8/8" in capsys.readouterr().err
    sample(Toy(), seeds=range(3), steps=4)
    assert capsys.readouterr().err == ""


def test_last_estimate_is_the_picture() -> None:
    last: list[Array] = []
    x0 = sample_x0(Toy(), seeds=[4], steps=6, on_step=lambda i, x, denoised: last.append(denoised))
    np.testing.assert_array_equal(last[-1], x0)


def test_what_is_asked_for_reaches_the_model() -> None:
    text = np.arange(24, dtype=np.float64).reshape(3, 2, 4)
    model = Toy(text_shape=(2, 4))
    sample_x0(model, seeds=range(3), labels=[4, 5, 6], text=text, steps=1, batch_size=2)
    labels, texts = model.conditions[0].labels, model.conditions[0].text
    assert labels is not None
    assert texts is not None
    assert labels.tolist() == [4, 5]
    assert texts.dtype == np.float32
    np.testing.assert_array_equal(texts, text[:2])
    model = Toy(text_shape=(2, 4))
    sample_x0(model, seeds=range(3), steps=1)
    assert model.conditions[0].labels is not None
    assert model.conditions[0].text is not None
    assert model.conditions[0].labels.tolist() == [-1, -1, -1]
    assert not model.conditions[0].text.any()
    model = Toy(num_classes=0)
    sample_x0(model, seeds=range(3), steps=1)
    assert model.conditions[0] == Condition()


def test_one_label_or_text_serves_all() -> None:
    assert as_labels(4, 3, 10).tolist() == as_labels([4], 3, 10).tolist() == [4, 4, 4]  # pyright: ignore[reportOptionalMemberAccess]
    assert as_labels(None, 2, 0) is None
    one = as_text(np.ones((2, 4)), 3, Toy(text_shape=(2, 4)))
    assert one is not None
    assert one.shape == (3, 2, 4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"labels": [3, 12]}, "label 12: this model knows classes 0 to 9"),
        ({"labels": -2}, "label -2: this model knows classes 0 to 9"),
        ({"labels": [1, 2, 3]}, "3 labels for 2 seeds"),
        ({"labels": [1.5, 2]}, "whole numbers"),
        ({"labels": []}, "labels"),
        ({"seeds": [0, -1]}, "seed -1"),
        ({"seeds": [0, 2**64]}, "seed 18446744073709551616"),
        ({"seeds": []}, "nothing to draw"),
        ({"steps": 0}, "steps 0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"text": np.zeros((2, 4))}, "takes no text"),
        ({"model": Toy(num_classes=0), "labels": [1]}, r"labels \[1\]: this model has no classes"),
        ({"model": Toy(num_classes=0), "guidance": 2.0}, "guidance 2.0"),
        ({"model": Toy(text_shape=(2, 4)), "text": np.zeros((5, 2, 4))}, "text of shape"),
        ({"model": Toy(text_shape=(2, 4)), "text": np.zeros((2, 5))}, "text of shape"),
    ],
)
def test_refusals_say_value_rule_and_way_out(options: dict[str, Any], says: str) -> None:
    asked: dict[str, Any] = {"model": Toy(), "seeds": [0, 1], "steps": 2, **options}
    with pytest.raises(ArgumentError, match=says) as caught:
        sample(**asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("guidance", [np.nan, inf, -inf])
def test_guidance_is_a_finite_number(guidance: float) -> None:
    with pytest.raises(ArgumentError, match=r"guidance .*finite"):
        sample(Toy(), seeds=[0], steps=1, guidance=guidance)


@pytest.mark.parametrize("interval", [(np.nan, 1.0), (0.0, np.nan), (1.0, 1.0), (2.0, 1.0)])
def test_a_guidance_interval_rises(interval: tuple[float, float]) -> None:
    with pytest.raises(ArgumentError, match=r"guidance.interval"):
        sample(Toy(), seeds=[0], steps=1, guidance=2.0, guidance_interval=interval)


@pytest.mark.parametrize("latent", [False, True])
def test_no_graph_is_kept_of_a_model_that_could_learn(latent: bool) -> None:
    model = latent_model() if latent else tiny_model("stoic")
    codec = model.codec.parameters() if isinstance(model.codec, nn.Module) else ()
    for weight in (*model.backbone.parameters(), *codec):
        weight.requires_grad_()
    seen: list[bool] = []
    x0 = sample_x0(model, seeds=[0], steps=2, on_step=lambda _, x, latest: seen.append(x.requires_grad))
    assert seen == [False, False]
    assert not x0.requires_grad
    assert sample(model, seeds=[0], steps=2).shape == (1, 8, 8, 3)


def test_the_largest_seed_and_those_beyond() -> None:
    one, listed = (sample(Toy(), seeds=seeds, steps=2) for seeds in (2**64 - 1, [2**64 - 1]))
    np.testing.assert_array_equal(one, listed)
    for seed in (2**64, -1, True, 1.0):
        with pytest.raises(ArgumentError, match=r"a whole number from 0 to 2\^64 - 1"):
            sample(Toy(), seeds=seed, steps=2)  # pyright: ignore[reportArgumentType]


ODD_TEXTS: list[Any] = [
    *(range(3), bytearray(b"ab"), memoryview(b"ab"), [], [1, "a"], np.zeros(2, "i4,i4"), np.array([1, "a"], object)),
    *(np.full((6, 16), bad) for bad in (np.nan, np.inf, 1e300, 1j)),
]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: type(text).__name__)
@pytest.mark.parametrize("word", ["text", "negative"])
def test_a_text_that_is_none_is_one_line(text: Any, word: str) -> None:
    told = {"text": "red", "guidance": 2.0, "steps": 1, word: text}
    with pytest.raises(ArgumentError, match="text"):
        sample(text_model(), seeds=0, **told)


def test_captions_may_be_an_array() -> None:
    listed, arrays = (
        sample(text_model(), seeds=[1, 2], text=make(["red", "blue"]), steps=1) for make in (list, np.array)
    )
    np.testing.assert_array_equal(listed, arrays)


def test_ragged_labels_of_one_seed_are_one_line() -> None:
    with pytest.raises(ArgumentError, match="every row of regions must have as many"):
        sample(tiny_model("stoic"), seeds=0, labels=[[1], [1, 2]])


def test_pictures_that_are_not_finite_are_refused() -> None:
    model = tiny_model("stoic")
    for guidance in (1e38, 1e308):
        with pytest.raises(ArgumentError, match="the pictures came out as NaN or infinity at guidance 1e"):
            sample(model, seeds=0, labels=1, steps=2, guidance=guidance)
    next(model.backbone.parameters()).fill_(torch.nan)
    with pytest.raises(ArgumentError, match="NaN or infinity at guidance 1: weights are not finite"):
        sample(model, seeds=0, steps=1)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, "meta"])
def test_weights_of_another_kind_are_one_line(kind: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^weights (of torch|without numbers).*call model\.float\(\)"):
        sample(tiny_model("stoic").to(kind), seeds=0, steps=1)


@pytest.mark.parametrize("pictures", [np.zeros((1, 8, 8, 3), dtype) for dtype in ("O", "U1", ">u2", "f4")])
@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (0, 8, 8, 3)])
def test_pictures_of_another_kind_are_not_encoded(pictures: np.ndarray, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"^pictures of .*: give uint8"):
        latent_model().encode(pictures if shape[0] else np.zeros(shape, np.uint8))


def test_rho_near_0_is_one_line() -> None:
    with pytest.raises(ArgumentError, match=r"^rho 1e-300: it is too near 0"):
        sample(tiny_model("stoic"), seeds=0, steps=3, schedule="karras:rho=1e-300")
