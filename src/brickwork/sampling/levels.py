"""Calls of the denoiser in a run: their noise levels and numbers of rows, on which the cost of a plan depends."""

from __future__ import annotations

from typing import NamedTuple, Unpack, final

import numpy as np

from brickwork.diffusion.arrays import Array
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.process import NoiseProcess
from brickwork.sampling.loop import sample_x0
from brickwork.sampling.sampler import Changes, Sampler


class Evaluation(NamedTuple):
    """One call of the denoiser for one picture.

    Attributes:
        sigma: Noise level, rounded to float32 as the denoiser gets it.
        rows: Number of rows: 1, or 2 if guidance evaluates with and without the condition.
    """

    sigma: float
    rows: int


def evaluated_levels(
    process: NoiseProcess, how: Sampler = Sampler(), *, asks: bool = True, **changes: Unpack[Changes]
) -> list[Evaluation]:
    """List every call that drawing one picture makes, in order; exact, since a picture of one pixel is drawn.

    Args:
        process: Noise process of the model.
        how: Sampler; its plan, which changes no level, is ignored.
        asks: True if a class or a text is given; without one, guidance takes no second row.
        **changes: Fields of ``how`` to replace.

    Raises:
        ArgumentError: The options are refused, as by ``sample``.
    """
    recorder = _Recorder(process)
    sample_x0(recorder, seeds=[0], labels=0 if asks else -1, how=how.but(**changes | {"plan": None}))
    return recorder.calls


@final
class _Recorder:
    """Denoiser whose every estimate is 0, and which records its calls."""

    shape, num_classes, text_shape = (1, 1, 1), 1, None

    def __init__(self, process: NoiseProcess) -> None:
        self.process = process
        self.calls: list[Evaluation] = []

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """Return 0, in x's shape."""
        self.calls.append(Evaluation(float(sigma[0]), len(x)))
        return np.zeros_like(x)

    def asarray(self, values: np.ndarray) -> Array:
        """Return the values as float32."""
        return np.asarray(values, dtype=np.float32)

    def decode(self, x0: Array) -> np.ndarray:
        """Return black pictures."""
        return np.zeros((len(x0), 1, 1, 1), dtype=np.uint8)
