"""The state that an autoencoder's training needs to resume exactly; one atomic file."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.file import AUTOENCODER_FILE
from brickwork.model.model import Precision
from brickwork.training.autoencoder.adversary import Adversary
from brickwork.training.autoencoder.recipe import AutoencoderRecipe, autoencoder_toml, parse_autoencoder_recipe
from brickwork.training.run.ema import ema_rate, move_average
from brickwork.training.run.folder import RunKind
from brickwork.training.run.statefile import (
    MOMENTS,
    Counters,
    StateHeader,
    StateKind,
    all_finite,
    check_tensors,
    write_state,
)

STATE: StateKind = "brickwork-autoencoder-state"
AUTOENCODER = RunKind[AutoencoderRecipe](
    state=STATE,
    model_file=AUTOENCODER_FILE,
    headline="PSNR {psnr:.2f} dB",
    to_toml=autoencoder_toml,
    parse=parse_autoencoder_recipe,
)


@final
class AutoencoderState:
    """An autoencoder in training, its moving average, its adversary if it has one, optimizers and counters.

    Args:
        recipe: The settings of the run; its seed alone decides the fresh weights.
        device: The device that trains.

    Attributes:
        average: The autoencoder that is kept: same network, averaged weights.
        adversary: The discriminator; None if its loss has no weight.
        idle: Steps in which no latent chose each code, int64 (codes,); empty unless the kind is vq.
        loss_sum: Loss summed over the steps since the last line of the log, on the device; square_sum is the same for
            the mean squared error. A sum that is not finite reveals a step that was not.
    """

    def __init__(self, recipe: AutoencoderRecipe, device: torch.device) -> None:
        self.recipe, self.counters = recipe, Counters()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.network = recipe.autoencoder.build().to(device)
            adversary = Adversary(recipe.autoencoder.picture_channels, recipe.adversary_width)
        self.average: Autoencoder = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.adversary = adversary.to(device) if recipe.adversarial else None
        codes = 0 if self.network.codebook is None else len(self.network.codebook)
        self.idle = torch.full((codes,), recipe.revive_after, device=device)  # so the first batch sets all codes
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay
        )
        self.judging = (
            torch.optim.AdamW(self.adversary.parameters(), lr=recipe.adversary_lr, betas=(0.5, 0.9), weight_decay=0.0)
            if self.adversary
            else None
        )
        self.loss_sum = torch.zeros((), device=device)
        self.square_sum = torch.zeros((), device=device)

    @property
    def device(self) -> torch.device:
        """The device that trains."""
        return self.loss_sum.device

    @property
    def spent(self) -> float:
        """Share of the budget that is spent."""
        now = self.counters
        return self.recipe.spent(step=now.step, images_seen=now.images_seen, seconds=now.seconds)

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self.recipe.learning_rate(self.recipe.lr, self.counters, self.spent)

    @property
    def deceives(self) -> bool:
        """True where the adversary takes part in the next step."""
        return self.adversary is not None and self.counters.step >= self.recipe.adversarial_start

    def update(self, loss: Tensor, square: Tensor) -> None:
        """Take one step from the autoencoder's gradients at hand: clip, AdamW, average, count.

        Args:
            loss: The batch's loss, kept for the log.
            square: Its mean squared error, kept for the log.
        """
        r, now = self.recipe, self.counters
        descend(self.network, self.optimizer, self.lr, r.clip)
        rate = ema_rate(images_seen=now.images_seen, batch=r.batch, half_life=r.ema_half_life, rampup=r.ema_rampup)
        move_average(list(self.average.parameters()), list(self.network.parameters()), rate)
        self.loss_sum += loss
        self.square_sum += square
        now.step += 1
        now.images_seen += r.batch
        now.since_log += 1

    def update_adversary(self) -> None:
        """Take one step from the adversary's gradients at hand."""
        assert self.adversary is not None
        assert self.judging is not None
        rate = self.recipe.learning_rate(self.recipe.adversary_lr, self.counters, self.spent)
        descend(self.adversary, self.judging, rate, self.recipe.clip)

    def set_precision(self, precision: Precision) -> None:
        """Train in this precision from now on, and record it in the recipe."""
        self.recipe = replace(self.recipe, precision=precision)

    def set_batch(self, batch: int) -> None:
        """Train with so many images a step from now on, and record it in the recipe."""
        self.recipe = replace(self.recipe, batch=batch)

    def gauges(self) -> dict[str, float]:
        """Return mean loss and PSNR in dB since the last sums began."""
        steps = max(self.counters.since_log, 1)
        loss, square = (float(total) / steps for total in (self.loss_sum, self.square_sum))
        return {"loss": loss, "psnr": 10 * math.log10(4 / max(square, 1e-12))}

    def begin_sums(self) -> None:
        """Forget the losses so far."""
        self.loss_sum.zero_()
        self.square_sum.zero_()
        self.counters.since_log = 0

    def is_finite(self) -> bool:
        """Return True if every loss since the last sums began was finite."""
        return bool(torch.isfinite(self.loss_sum))

    def holds_finite(self) -> bool:
        """Return True if all weights, averages and moments are finite."""
        return all_finite(self._tensors().values())

    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the whole state as one file, atomically.

        Raises:
            OutputError: The place cannot be written; the previous file is whole.
        """
        write_state(path, STATE, self._tensors(), self.counters, record)

    def restore(self, tensors: Mapping[str, Tensor], header: StateHeader) -> None:
        """Load a saved state, to resume exactly.

        Raises:
            CheckpointError: The tensors are not those of this recipe's autoencoder.
        """
        own = self._weights()
        check_tensors(own, self._moments(), tensors)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])
        for name, optimizer in self._optimizers().items():
            _restore_moments(optimizer, f"adamw.{name}", tensors)
        self.counters = replace(header.counters)

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"network": self.optimizer, **({"adversary": self.judging} if self.judging else {})}

    def _weights(self) -> dict[str, Tensor]:
        parts: dict[str, nn.Module | None] = {
            "network": self.network,
            "average": self.average,
            "adversary": self.adversary,
        }
        weights = {f"{k}.{n}": t for k, part in parts.items() if part for n, t in part.state_dict().items()}
        return weights | {"idle": self.idle, "loss_sum": self.loss_sum, "square_sum": self.square_sum}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = self._weights()
        for name, optimizer in self._optimizers().items():
            for i, parameter in enumerate(optimizer.param_groups[0]["params"]):
                if moments := optimizer.state.get(parameter):
                    tensors[f"adamw.{name}.step.{i}"] = moments["step"]
                    tensors |= {f"adamw.{name}.{m}.{i}": moments[m] for m in MOMENTS}
        return tensors

    def _moments(self) -> list[dict[str, Tensor]]:
        """Return for each parameter tensors of the shapes of its step and moments, by their names in a saved state."""
        return [
            {f"adamw.{name}.step.{i}": self.loss_sum, **{f"adamw.{name}.{m}.{i}": parameter for m in MOMENTS}}
            for name, optimizer in self._optimizers().items()
            for i, parameter in enumerate(optimizer.param_groups[0]["params"])
        ]


def descend(network: nn.Module, optimizer: torch.optim.Optimizer, rate: float, clip: float) -> None:
    """Take one optimizer step: clip the gradients at hand to a norm, step, and clear them."""
    if clip:
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.param_groups[0]["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _restore_moments(optimizer: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    optimizer.state.clear()
    for i, parameter in enumerate(optimizer.param_groups[0]["params"]):
        if f"{prefix}.step.{i}" in tensors:
            moments = {m: tensors[f"{prefix}.{m}.{i}"].to(parameter.device) for m in MOMENTS}
            optimizer.state[parameter] = {"step": tensors[f"{prefix}.step.{i}"].clone(), **moments}
