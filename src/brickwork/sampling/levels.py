"""At which noise levels a run calls its denoiser, and with how many rows: what the cost of a plan is made of."""

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
        sigma: Waist level, rounded to float32 as the denoiser gets it.
        rows: 1, or 2 where guidance asks with and without the condition.
    """

    sigma: float
    rows: int


def evaluated_levels(
    process: NoiseProcess, how: Sampler = Sampler(), *, asks: bool = True, **changes: Unpack[Changes]
) -> list[Evaluation]:
    """List every call that drawing one picture makes, in order: found by drawing one of a single pixel, and so exact.

    Args:
        process: The model's.
        how: How pictures are drawn; the plan, which changes no level, is left aside.
        asks: A class or a text is asked for; where nothing is, guidance takes no second row.
        **changes: Fields of ``how`` to replace.

    Raises:
        ArgumentError: As ``sample`` does.
    """
    recorder = _Recorder(process)
    sample_x0(recorder, seeds=[0], labels=0 if asks else -1, how=how.but(**changes | {"plan": None}))
    return recorder.calls


@final
class _Recorder:
    """A denoiser whose every estimate is 0, and which writes down what it is asked."""

    shape, num_classes, text_shape = (1, 1, 1), 1, None

    def __init__(self, process: NoiseProcess) -> None:
        self.process = process
        self.calls: list[Evaluation] = []

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """0, of x's shape."""
        self.calls.append(Evaluation(float(sigma[0]), len(x)))
        return np.zeros_like(x)

    def asarray(self, values: np.ndarray) -> Array:
        """As float32."""
        return np.asarray(values, dtype=np.float32)

    def decode(self, x0: Array) -> np.ndarray:
        """Black."""
        return np.zeros((len(x0), 1, 1, 1), dtype=np.uint8)
