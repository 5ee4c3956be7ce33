"""Schedulers of diffusers drive our denoisers.

A scheduler of diffusers keeps a sample alpha * x0 + sigma * noise and wants, at a timestep, what its
``prediction_type`` names. Three families differ in alpha and sigma: variance-preserving ones (DDIM, Euler,
DPM-Solver, ...), flow matching, and EDM's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from brickwork.diffusion.denoiser import Condition, Denoiser, levels_like
from brickwork.diffusion.gaussian import Seed, Seeds, as_seeds, normals
from brickwork.diffusion.prediction import X0, EdmF, Eps, Prediction, V, Velocity
from brickwork.diffusion.process import Coefficients
from brickwork.doors import door
from brickwork.errors import ArgumentError, ConfigError
from brickwork.files.pictures import Pictures
from brickwork.sampling.conditions import Labels, Texts, as_condition, on_device, seeds_for
from brickwork.sampling.guidance import Guided
from brickwork.sampling.loop import decoded
from brickwork.sampling.sampler import Sampler

PREDICTIONS: Mapping[str, Prediction] = {
    "epsilon": Eps(),
    "sample": X0(),
    "v_prediction": V(),
    "flow_prediction": Velocity(),
}
"""Predictions by the names of diffusers."""


class Scheduler(Protocol):
    """Scheduler of diffusers, as far as it is used here; some have no ``scale_model_input``."""

    @property
    def config(self) -> Any:
        """Settings."""
        ...

    @property
    def timesteps(self) -> Any:
        """Timesteps of a run."""
        ...

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Choose the timesteps of a run."""
        ...

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        """Return the sample at the next timestep, as the attribute ``prev_sample``."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Stand:
    """Place of a scheduler at one timestep.

    Attributes:
        coefficients: Its sample is alpha * x0 + sigma * noise.
        scale: Factor by which the network sees the sample, beyond those.
        prediction: Quantity that it wants from the network.
        sign: -1 where it wants that quantity with the other sign.
    """

    coefficients: Coefficients
    scale: float
    prediction: Prediction
    sign: float = 1.0


def stand_of(scheduler: Any, timestep: Tensor | float) -> Stand:
    """Return where a scheduler stands at a timestep that it named.

    Raises:
        ConfigError: It is of no known family, or wants an unknown quantity.
    """
    config, time = scheduler.config, float(torch.as_tensor(timestep).reshape(-1)[0])
    wanted = config.get("prediction_type", "flow_prediction" if is_flow(scheduler) else "epsilon")
    if is_flow(scheduler):
        share = time / config.get("num_train_timesteps", 1000)
        return Stand(coefficients=_mix(1 - share, share, -1.0, 1.0), scale=1.0, prediction=Velocity())
    if (size := config.get("sigma_data")) is not None:
        level = _level(scheduler, time)
        scale = 1 / np.sqrt(level**2 + size**2)
        sign = -1.0 if wanted == "v_prediction" else 1.0
        return Stand(coefficients=_mix(1.0, level), scale=float(scale), prediction=EdmF(sigma_data=size), sign=sign)
    if wanted not in PREDICTIONS or not hasattr(scheduler, "alphas_cumprod"):
        raise ConfigError(
            f"scheduler {type(scheduler).__name__} with prediction_type {wanted}: known are variance-preserving ones, "
            f"flow matching and EDM's, with {', '.join(PREDICTIONS)}"
        )
    alpha = 1 / np.sqrt(1 + _level(scheduler, time) ** 2)
    mix = _mix(float(alpha), float(np.sqrt(1 - alpha**2)))
    return Stand(coefficients=mix, scale=1.0, prediction=PREDICTIONS[wanted])


def is_flow(scheduler: Any) -> bool:
    """Return True for a scheduler of flow matching."""
    flow = scheduler.config.get("use_flow_sigmas") or scheduler.config.get("prediction_type") == "flow_prediction"
    return bool(flow) or "FlowMatch" in type(scheduler).__name__


def _mix(alpha: float, sigma: float, d_alpha: float = 0.0, d_sigma: float = 0.0) -> Coefficients:
    return Coefficients(alpha=alpha, sigma=sigma, d_alpha=d_alpha, d_sigma=d_sigma)  # pyright: ignore[reportArgumentType]


def _level(scheduler: Any, time: float) -> float:
    """Return the noise level sigma / alpha at a timestep: the scheduler's own, else by its table of alphas."""
    near = (torch.as_tensor(scheduler.timesteps).double() - time).abs() < 1e-4
    levels: Any = getattr(scheduler, "sigmas", ())
    places = near.nonzero().flatten().tolist()
    between = hasattr(scheduler, "sigmas_interpol")  # its timesteps are not those of its sigmas
    if places and len(levels) > len(near) and not between:
        now = getattr(scheduler, "step_index", None)
        return float(levels[now if now in places else places[0]])
    logs = 0.5 * (torch.log1p(-scheduler.alphas_cumprod.double()) - scheduler.alphas_cumprod.double().log())
    return float(np.exp(np.interp(time, np.arange(len(logs)), logs.numpy())))


def output_for(
    scheduler: Any, denoise: Denoiser, sample: Tensor, timestep: Tensor | float, condition: Condition
) -> Tensor:
    """Return what a scheduler wants from a network at a timestep, made of a denoiser's estimate of the image.

    Args:
        scheduler: Scheduler of diffusers whose ``set_timesteps`` was called.
        denoise: Any denoiser.
        sample: The scheduler's sample as its ``scale_model_input`` returns it, (B, C, H, W).
        timestep: One of its timesteps.
        condition: Conditions of the batch.

    Raises:
        ConfigError: The scheduler is of no known family.
    """
    stand = stand_of(scheduler, timestep)
    alpha, sigma = float(stand.coefficients.alpha), float(stand.coefficients.sigma)
    level = min(sigma / alpha if alpha else np.inf, denoise.process.sigma_max)
    own = sample.float() / stand.scale
    x = denoise.asarray((own * (level / sigma)).cpu().numpy())
    x0 = torch.as_tensor(denoise(x, levels_like(level, x), condition)).to(own)
    return stand.sign * stand.prediction.of(x0, (own - alpha * x0) / sigma, stand.coefficients).to(sample.dtype)


@door("drawing", "give fewer seeds")
def draw_by_scheduler(
    model: Denoiser,
    scheduler: Scheduler,
    *,
    seeds: Seed | Seeds,
    labels: Labels | None = None,
    text: Texts | None = None,
    negative: Texts | None = None,
    guidance: float = 1.0,
    steps: int = 25,
    progress: bool = False,
) -> Pictures:
    """Draw pictures by a scheduler of diffusers, uint8 (N, H, W, C).

    Noise is the seeds' own, as in ``sample``; a scheduler that adds noise draws it from torch's generators, one for
    each seed.

    Args:
        model: Any denoiser without an image condition.
        scheduler: Variance-preserving, flow-matching or EDM scheduler, as DDIMScheduler; its settings are used as they
            are, and should name the noise levels that the model was trained at.
        seeds: Seeds, one per picture; a single number is the seed of every picture.
        labels: As in ``sample``.
        text: As in ``sample``.
        negative: As in ``sample``.
        guidance: Guidance scale; 1 is off.
        steps: Steps of the scheduler.
        progress: Show a bar.

    Raises:
        ArgumentError: The model does not take one of them.
        ConfigError: The scheduler is of no known family.
    """
    if steps < 1:
        raise ArgumentError(f"steps {steps}: give at least 1")
    keys = as_seeds(seeds_for(seeds, labels, text, None))
    if len(keys) == 0:
        raise ArgumentError("seeds []: there is nothing to draw; give one seed per image")
    condition = as_condition(
        model, len(keys), labels=labels, text=text, negative=negative, image=None, guidance=guidance
    )
    denoise = model if guidance == 1.0 else Guided(model, guidance)
    scheduler.set_timesteps(steps)
    x = torch.from_numpy(normals(keys, 0, model.shape)).float() * float(getattr(scheduler, "init_noise_sigma", 1.0))
    condition = on_device(condition, model.asarray(x[:1].numpy()))
    extra: dict[str, Any] = {}
    if "generator" in signature(scheduler.step).parameters:
        extra["generator"] = [torch.Generator().manual_seed(int(key) & (2**63 - 1)) for key in keys]
    with torch.no_grad():
        for timestep in _shown(scheduler.timesteps, progress):
            seen = getattr(scheduler, "scale_model_input", lambda sample, _: sample)(x, timestep)
            output = output_for(scheduler, denoise, seen, timestep, condition)
            x = scheduler.step(output, timestep, x, **extra).prev_sample
    return decoded(model, model.asarray(x.numpy()), Sampler())


def _shown(timesteps: Any, progress: bool) -> Any:
    """Return timesteps, with a bar if it is asked for."""
    if not progress:
        return timesteps
    from brickwork.files.bars import Bar

    return Bar(timesteps, unit="step", desc="sampling")
