"""The denoising loss: one number per image, for every process, prediction and weighting.

The network's output F is compared with the value that it should predict. Weightings are stated as weights on the
squared error of x0; since x0 = c_skip x + c_out F, that error is c_out^2 times the output's, and the weight on the
output's error is weight * c_out^2. This avoids forming x0, whose error at low noise is a small difference of near-equal
numbers. All coefficients are computed in float64 on the host and rounded once; the network's input is mixed directly
from x0 and noise in the network's own scale, so nothing grows at high noise, where x = x0 + sigma noise is hundreds of
times larger.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.backbone.bricks import Bricks
from brickwork.bounds import above, check_fields
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.preconditioning import precondition_at
from brickwork.diffusion.prediction import Prediction
from brickwork.diffusion.process import NoiseProcess
from brickwork.model.model import Model
from brickwork.nn.shapes import Image, Sigma
from brickwork.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Weighting(ABC):
    """Weights of the loss by noise level."""

    @abstractmethod
    def of(self, level: np.ndarray, c_out: np.ndarray) -> np.ndarray:
        """Return the weight on the squared error of the network's output, (B,).

        Args:
            level: sigma in x = x0 + sigma noise, (B,); the signal-to-noise ratio is 1 / level^2.
            c_out: d x0 / d output of the network, (B,).
        """


@final
@dataclass(frozen=True, kw_only=True)
class Plain(Weighting):
    """Mean squared error of the network's output, whatever it predicts. DDPM's simple loss for eps."""

    def of(self, level: np.ndarray, c_out: np.ndarray) -> np.ndarray:
        """Return 1 at every level."""
        return np.ones_like(level)


@final
@dataclass(frozen=True, kw_only=True)
class MinSnr(Weighting):
    """Weight min(SNR, gamma) on x0's error. Hang et al. 2023, https://arxiv.org/abs/2303.09556, section 3.4."""

    gamma: Annotated[float, above(0)] = 5.0
    """Largest weight."""

    def __post_init__(self) -> None:
        check_fields(self, "weighting.")

    def of(self, level: np.ndarray, c_out: np.ndarray) -> np.ndarray:
        """Return min(1 / level^2, gamma) * c_out^2."""
        return np.minimum(level**-2.0, self.gamma) * c_out**2


@final
@dataclass(frozen=True, kw_only=True)
class EdmWeight(Weighting):
    """Weight (level^2 + sigma_data^2) / (level sigma_data)^2 on x0's error. EDM, https://arxiv.org/abs/2206.00364.

    See Table 1.
    """

    sigma_data: Annotated[float, above(0)] = 0.5
    """Standard deviation of the data in model space."""

    def __post_init__(self) -> None:
        check_fields(self, "weighting.")

    def of(self, level: np.ndarray, c_out: np.ndarray) -> np.ndarray:
        """Return (level^2 + sigma_data^2) / (level sigma_data)^2 * c_out^2."""
        return (level**-2.0 + self.sigma_data**-2.0) * c_out**2


WEIGHTINGS = Registry[type[Weighting]]("weighting", Weighting, {"plain": Plain, "min-snr": MinSnr, "edm": EdmWeight})


def loss_coefficients(
    process: NoiseProcess, prediction: Prediction, weighting: Weighting, t: np.ndarray
) -> Float[np.ndarray, "6 B"]:
    """Return all coefficients of the loss, per image, in float64.

    Returns:
        Rows: x0 and noise in the network's input c_in x; x0 and noise in its correct output (a prediction is linear in
        both); c_noise; the weight.
    """
    t = np.asarray(t, dtype=np.float64)
    at = process.at(t)
    c = precondition_at(process, prediction, t)
    level = at.sigma / at.alpha
    target_x0, target_noise = prediction.mix(at)
    rows = (c.in_, c.in_ * level, target_x0, target_noise, c.noise, weighting.of(level, c.out))
    return np.stack([np.broadcast_to(row, t.shape) for row in rows])


def denoising_loss(
    model: Model,
    x0: Image,
    noise: Image,
    t: np.ndarray,
    condition: Condition,
    weighting: Weighting,
    shares: Sequence[float] = (),
    windows: Sequence[np.ndarray] = (),
) -> Sigma:
    """Return the weighted squared error of the network's output, mean over channels and pixels, (B,).

    Args:
        model: The model in training.
        x0: Clean images in model space.
        noise: Standard normal, like x0.
        t: float64 (B,), times of the model's process.
        condition: Labels and text.
        weighting: Weight of each noise level.
        shares: Weight of each brick's own output; by default the model's output has 1 and the others 0.
        windows: Windows of each image whose error counts, for each brick, bool (B, N); by default all.
    """
    rows = torch.from_numpy(loss_coefficients(model.process, model.prediction, weighting, t).astype(np.float32))
    rows = rows.to(x0.device, non_blocking=True)
    input_x0, input_noise, target_x0, target_noise = rows[:4, :, None, None, None]
    c = None
    if isinstance(model.backbone, Bricks) and model.backbone.needs_preconditioning:
        # In float64 on the host; bricks round what they use of it.
        c = precondition_at(model.process, model.prediction, torch.from_numpy(t))
    chosen = [torch.from_numpy(some.reshape(-1).nonzero()[0]).to(x0.device) for some in windows]
    outputs = model.outputs(input_x0 * x0 + input_noise * noise, rows[4], condition, c, chosen)
    wanted = target_x0 * x0 + target_noise * noise
    loss = torch.zeros_like(rows[5])
    for k, share in enumerate(shares or [1.0], len(outputs) - len(shares or [1.0])):
        if share:
            error = (outputs[k] - wanted).square().mean(dim=1)
            loss = loss + share * (seen(error, windows[k]) if windows else error).mean(dim=(1, 2))
    return rows[5] * loss


def seen(error: Tensor, windows: np.ndarray) -> Tensor:
    """Keep errors (B, H, W) inside the chosen windows, bool (B, N), scaled so that their mean estimates the whole."""
    (_, H, W), (_, N) = error.shape, windows.shape
    side = math.isqrt(N)
    share = max(float(windows.mean()), 1 / windows.size)
    mask = (
        (torch.from_numpy(windows).to(error) / share)
        .view(-1, side, 1, side, 1)
        .expand(-1, -1, H // side, -1, W // side)
    )
    return error * mask.reshape(error.shape)
