"""Held-out loss against denoisers whose error is known."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from brickwork.data.dataset import Dataset
from brickwork.diffusion.process import Edm, LinearFlow, NoiseProcess
from brickwork.errors import ArgumentError
from brickwork.quality.heldout import LEVELS, chosen, held_out_loss

SPREAD = 30.0  # of the pixels around 127.5
STD = SPREAD / 127.5


def gaussian_pixels(num: int = 300, size: int = 8) -> Dataset:
    noise = np.random.default_rng(0).normal(size=(num, size, size, 1))
    images = np.clip(np.rint(127.5 + SPREAD * noise), 0, 255).astype(np.uint8)
    labels = np.arange(num) % 3
    return Dataset(
        name="gaussian",
        images=images,
        labels=labels,
        classes=("a", "b", "c"),
        captions=None,
        skipped=(),
        flip=False,
        digest="0",
    )


@dataclass
class Wiener:
    """The best denoiser of independent pixels N(0, STD²): D = x STD² / (STD² + sigma²)."""

    torch: bool = False
    process: NoiseProcess = Edm()  # noqa: RUF009 - frozen
    num_classes: int = 0
    text_shape: tuple[int, int] | None = None
    shape: tuple[int, int, int] = (1, 8, 8)
    labels: list = field(default_factory=list)
    text: list = field(default_factory=list)

    def __call__(self, x, sigma, condition):
        self.labels.append(None if condition.labels is None else condition.labels.tolist())
        self.text.append(None if condition.text is None else condition.text.shape)
        return x * (STD**2 / (STD**2 + sigma**2))[:, None, None, None]

    def asarray(self, values):
        return torch.from_numpy(values) if self.torch else values

    def encode(self, images):
        return self.asarray((images.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32))

    def decode(self, x0):
        return np.clip(np.rint((np.asarray(x0) + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_perfect_denoiser_has_the_analytic_loss(kind: str):
    """E (D - x0)² = STD² sigma² / (STD² + sigma²); 300 images of 64 pixels give it to about 1 %."""
    found = held_out_loss(Wiener(torch=kind == "torch"), gaussian_pixels(), num_images=300)
    assert [row.sigma for row in found] == list(LEVELS)
    for row in found:
        exact = STD**2 * row.sigma**2 / (STD**2 + row.sigma**2)
        assert row.x0_error == pytest.approx(exact, rel=0.03)
        assert row.eps_error == pytest.approx(row.x0_error / row.sigma**2)
        assert row.log_snr == pytest.approx(np.log(1 / row.sigma**2))
        assert row.num_images == 300


def test_doing_nothing_has_the_error_of_the_noise():
    class Nothing(Wiener):
        def __call__(self, x, sigma, condition):
            return x

    for row in held_out_loss(Nothing(), gaussian_pixels(), num_images=200):
        assert row.eps_error == pytest.approx(1, rel=0.03)


def test_same_triples_whatever_the_batch_and_the_kind_of_array():
    data = gaussian_pixels(50)
    reference = [row.x0_error for row in held_out_loss(Wiener(), data)]
    assert reference == [row.x0_error for row in held_out_loss(Wiener(), data)]
    for model, batch in ((Wiener(), 7), (Wiener(torch=True), 64)):
        assert [row.x0_error for row in held_out_loss(model, data, batch_size=batch)] == pytest.approx(
            reference, rel=1e-5
        )


def test_levels_out_of_the_process_are_left_out():
    narrow = Wiener(process=LinearFlow(t_min=0.15, t_max=0.7))  # levels 0.18 to 2.3
    assert [row.sigma for row in held_out_loss(narrow, gaussian_pixels(4))] == [0.2, 0.4, 0.8, 1.6]


def test_labels_are_told_or_not():
    data = gaussian_pixels(12)
    told, untold = Wiener(num_classes=3, text_shape=(2, 4)), Wiener(num_classes=3)
    held_out_loss(told, data)
    held_out_loss(untold, data, labelled=False)
    assert told.labels[0] == (np.arange(12) % 3).tolist()
    assert told.text[0] == (12, 2, 4)
    assert untold.labels[0] == [-1] * 12
    without = replace(data, labels=None, classes=())
    unlabelled = Wiener(num_classes=3)
    held_out_loss(unlabelled, without)
    assert unlabelled.labels[0] == [-1] * 12


def test_the_choice_is_fixed_and_spread():
    rows = chosen(1000, 100)
    assert np.array_equal(rows, chosen(1000, 100))
    assert len(set(rows.tolist())) == 100
    assert 20 < (rows < 300).sum() < 40
    assert chosen(5, 100).tolist() == [0, 1, 2, 3, 4]


def test_no_images_are_refused():
    with pytest.raises(ArgumentError, match="take at least 1"):
        held_out_loss(Wiener(), gaussian_pixels(4), num_images=0)


def test_the_best_guess_from_size_alone_has_a_share_of_one() -> None:
    """A Wiener filter of size s on white data of size s; here s is STD, so the share is scaled to it by hand."""
    for row in held_out_loss(Wiener(), gaussian_pixels(), num_images=300):
        own = row.x0_error * (row.sigma**-2 + STD**-2)
        assert own == pytest.approx(1, rel=0.05)
        assert row.share == pytest.approx(own * (row.sigma**-2 + 4) / (row.sigma**-2 + STD**-2), rel=1e-9)
