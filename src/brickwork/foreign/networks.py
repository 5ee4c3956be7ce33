"""Networks of diffusers as denoisers, so that our solvers drive them."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from brickwork.codec.base import Codec, Pixels
from brickwork.diffusion.denoiser import Capabilities, Condition
from brickwork.diffusion.process import DiscreteVp, LinearFlow, NoiseProcess
from brickwork.errors import ArgumentError, ConfigError
from brickwork.foreign.schedulers import PREDICTIONS, Scheduler, is_flow


def process_of(scheduler: Any) -> NoiseProcess:
    """Return the noise process that a scheduler's network was trained with.

    Raises:
        ConfigError: No process of brickwork has its noise levels.
    """
    config = scheduler.config
    if is_flow(scheduler):
        return LinearFlow()
    curves = {"linear": "beta", "scaled_linear": "sqrt-beta"}
    curve = config.get("beta_schedule")
    odd = config.get("trained_betas") is not None or config.get("rescale_betas_zero_snr")
    if curve not in curves or odd:
        raise ConfigError(
            f"scheduler {type(scheduler).__name__} with beta_schedule {curve}: they are of no process of brickwork; "
            f"known are {', '.join(curves)} and flow matching"
        )
    return DiscreteVp(
        beta_start=config["beta_start"],
        beta_end=config["beta_end"],
        even=curves[curve],  # pyright: ignore[reportArgumentType]
        first_number=0.0,
        t_max=float(config["num_train_timesteps"]),
    )


@final
class DiffusersDenoiser:
    """A network of diffusers as a denoiser, which ``sample``, ``edit`` and ``evaluate`` take like any other.

    Args:
        network: UNet2DModel, UNet2DConditionModel, DiTTransformer2DModel or another network that is called with a
            sample, a timestep, and ``class_labels`` or ``encoder_hidden_states``.
        scheduler: Scheduler that it was trained with; it says what the network predicts, at which levels.
        codec: Codec of its pictures; for a network of latents ``Latents(Published.open(FOLDER), ...)``.
        no_class: Number that stands for no class, as 1000 for DiT; None where the network knows none.
        no_text: Embedded empty text, (M, E), for a network that takes text.

    Raises:
        ConfigError: The scheduler's levels are of no process of brickwork.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        scheduler: Scheduler,
        codec: Codec | None = None,
        *,
        no_class: int | None = None,
        no_text: np.ndarray | None = None,
    ) -> None:
        self.network: Any = network.eval().requires_grad_(False)
        self.config: Any = network.config
        self.codec = codec or Pixels(num_channels=self.config.in_channels)
        self._process = process_of(scheduler)
        self._numbers = 1.0 if not is_flow(scheduler) else float(scheduler.config.get("num_train_timesteps", 1000))
        self._prediction = PREDICTIONS[
            "flow_prediction" if is_flow(scheduler) else scheduler.config.get("prediction_type", "epsilon")
        ]
        self._no_class, self._no_text = no_class, no_text

    @property
    def process(self) -> NoiseProcess:
        """Noise process that the network was trained with."""
        return self._process

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one x."""
        side = self.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        return self.config.in_channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for none."""
        count = self.config.get("num_class_embeds") or self.config.get("num_embeds_ada_norm") or 0
        return count - (self._no_class == count - 1)

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """Shape (M, E) of one text, or None."""
        return None if self._no_text is None else (self._no_text.shape[0], self._no_text.shape[1])

    @property
    def capabilities(self) -> Capabilities:
        """Declaration of the inputs that the network takes."""
        return Capabilities(
            shape=self.shape,
            num_classes=self.num_classes,
            classes=tuple(map(str, range(self.num_classes))),
            text_shape=self.text_shape,
            factor=self.codec.factor,
        )

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Estimate x0; see ``Denoiser``.

        Raises:
            ArgumentError: No class is asked for, and the network knows no number for none.
        """
        time = self._process.t_of(sigma)
        c = self._process.at(time).expand(x.ndim)
        asked = self._asked(condition, x)
        numbers = time * self._numbers if self._numbers != 1.0 else self._process.c_noise(time)
        own = x * c.alpha
        output = self.network(own, numbers, **asked).sample[:, : x.shape[1]]  # some learn variances behind
        return self._prediction.x0(output, own, c)

    def _asked(self, condition: Condition, x: Tensor) -> dict[str, Tensor]:
        """Return a condition as arguments of the network."""
        asked: dict[str, Tensor] = {}
        if self.num_classes:
            labels = torch.as_tensor(condition.labels, device=x.device)
            if self._no_class is None and bool((labels < 0).any()):
                raise ArgumentError("no class: this network knows no number for none; give labels, and guidance 1")
            asked["class_labels"] = labels if self._no_class is None else labels.where(labels >= 0, self._no_class)
        if self._no_text is not None:
            text = torch.as_tensor(condition.text, device=x.device)
            nothing = torch.as_tensor(self._no_text, device=x.device).to(text)
            absent = (text == 0).all(-1).all(-1)
            asked["encoder_hidden_states"] = torch.where(absent[:, None, None], nothing, text)
        return asked

    def asarray(self, values: np.ndarray) -> Tensor:
        """Convert numbers into tensors on the network's device; floats become float32."""
        tensor = torch.from_numpy(np.ascontiguousarray(values)).to(next(self.network.parameters()).device)
        return tensor.float() if tensor.is_floating_point() else tensor

    def decode(self, x0: Tensor) -> np.ndarray:
        """Decode model space into pictures, uint8 (B, H, W, C)."""
        return self.codec.decode(x0).cpu().numpy()
