"""The state that a run needs to resume exactly: weights, average, optimizer moments, counters; one atomic file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from brickwork.backbone.bricks import Bricks
from brickwork.model.model import Model, Precision
from brickwork.nn.attention import kernel_choices, set_kernel_choices
from brickwork.training.denoiser.parts import kept_parts, stage_of
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.run.ema import ema_rate, move_average
from brickwork.training.run.group import Group
from brickwork.training.run.statefile import (
    MOMENTS,
    STREAMS,
    Counters,
    StateHeader,
    StateKind,
    all_finite,
    check_tensors,
    write_state,
)

STATE: StateKind = "brickwork-state"
STEPS = "adamw.step"
"""Name of the steps that each parameter took, float32 (number of parameters,)."""


@final
class TrainState:
    """A model in training, its moving average, its optimizer and its counters.

    Args:
        model: The start of training, on its device. A guest in it stays as it is and is not saved in the state.
        recipe: The settings of the run.
        group: The processes that train together, whose gradients are averaged.

    Attributes:
        average: The model that is kept: same network, averaged weights; the same guest.
        loss_sum: Loss summed over the steps since the last line of the log, on the device; norm_sum is the same for the
            gradient's norm. A sum that is not finite reveals a step that was not, without waiting for the device.
    """

    def __init__(self, model: Model, recipe: Recipe, group: Group = Group()) -> None:
        self.group = group
        self.model = model.train().requires_grad_(True)
        frozen = {id(part): part for part in (model.guest, model.codec)}
        self.average = copy.deepcopy(model, frozen).eval().requires_grad_(False)
        self.recipe = recipe
        self.counters = Counters()
        self._smaller: dict[
            tuple[int, ...], Model
        ] = {}  # models of fewer bricks or blocks by their numbers, sharing the model's weights
        self.parameters = [p for part in self.model.learning() for p in part.parameters()]
        self.averages = [p for part in self.average.learning() for p in part.parameters()]
        fused = model.device.type in ("cpu", "cuda", "mps")
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=fused
        )
        self.loss_sum = torch.zeros((), device=model.device)
        self.norm_sum = torch.zeros((), device=model.device)

    @property
    def device(self) -> torch.device:
        """The device that trains."""
        return self.model.device

    @property
    def spent(self) -> float:
        """Share of the budget that is spent."""
        now = self.counters
        return self.recipe.spent(step=now.step, images_seen=now.images_seen, seconds=now.seconds)

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        r = self.recipe
        _, spent = stage_of(r.parts, self.model.own_backbone.num_parts, self.spent)
        return r.learning_rate(r.lr, self.counters, spent)

    @property
    def ema_rate(self) -> float:
        """Share of the way to the weights by which the next step moves the average, 0 to 1."""
        r = self.recipe
        return ema_rate(
            images_seen=self.counters.images_seen, batch=r.batch, half_life=r.ema_half_life, rampup=r.ema_rampup
        )

    def set_precision(self, precision: Precision) -> None:
        """Set the precision of the model and its average, and record it in the recipe."""
        self.recipe = replace(self.recipe, precision=precision)
        self.model.precision = self.average.precision = precision
        self._smaller.clear()

    def set_batch(self, batch: int) -> None:
        """Train with so many images a step from now on, and record it in the recipe."""
        self.recipe = replace(self.recipe, batch=batch)

    def network(self) -> Model:
        """Return the model for the next step: the whole, or some of its bricks or blocks; the rest gets no gradient.

        AdamW leaves parameters without a gradient as they are.
        """
        now, parts, num_parts = self.counters, self.recipe.parts, self.model.own_backbone.num_parts
        stage, _ = stage_of(parts, num_parts, self.spent)
        if stage >= 0:
            assert isinstance(self.model.backbone, Bricks)  # check_parts_config made sure of it
            self.model.backbone.train_only(stage)
            if self.model.text is not None:
                self.model.text.requires_grad_(stage == 0)
        kept = (
            tuple(range(stage + 1))
            if stage >= 0
            else kept_parts(parts, num_parts, self.recipe.seed, now.step, STREAMS * now.rollbacks)
        )
        if kept not in self._smaller:
            before = self.model.num_parts - num_parts  # 1 for a guest, which runs in every step
            self._smaller[kept] = self.model.keep([*range(before), *(before + part for part in kept)])
        return self._smaller[kept]

    def update(self, loss: Tensor) -> None:
        """Take one step from the gradients at hand: clip, AdamW, average, count.

        Args:
            loss: Mean loss of the batch, kept for the log.
        """
        self.group.average([loss, *(p.grad for p in self.parameters if p.grad is not None)])
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.recipe.clip:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.recipe.clip, norm)
        self.optimizer.param_groups[0]["lr"] = self.lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        move_average(self.averages, self.parameters, self.ema_rate)
        self.loss_sum += loss
        self.norm_sum += norm
        self.counters.step += 1
        self.counters.images_seen += self.recipe.batch
        self.counters.since_log += 1

    def gauges(self) -> dict[str, float]:
        """Return mean loss and gradient norm since the last sums began."""
        steps = max(self.counters.since_log, 1)
        loss, norm = (float(total) / steps for total in (self.loss_sum, self.norm_sum))
        return {"loss": loss, "gradient_norm": norm}

    def begin_sums(self) -> None:
        """Forget the losses and gradients so far."""
        self.loss_sum.zero_()
        self.norm_sum.zero_()
        self.counters.since_log = 0

    def is_finite(self) -> bool:
        """Return True if every loss and gradient since the last sums began was finite."""
        return bool(torch.isfinite(self.loss_sum + self.norm_sum))

    def holds_finite(self) -> bool:
        """Return True if all weights, averages and moments are finite."""
        return all_finite(self._tensors().values())

    def save(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the whole state as one file, atomically.

        Args:
            path: The file.
            record: JSON-like facts to keep beside: recipe and data.

        Raises:
            OutputError: The place cannot be written; the previous file is whole.
        """
        write_state(path, STATE, self._tensors(), self.counters, {"kernels": kernel_choices(), **record})

    def restore(self, tensors: Mapping[str, Tensor], header: StateHeader) -> None:
        """Load a saved state, to resume exactly.

        Raises:
            CheckpointError: The tensors are not those of this recipe's model.
        """
        own = self._weights()
        check_tensors(own | {STEPS: torch.zeros(len(self.parameters))}, self._moments(), tensors)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])
        steps = tensors[STEPS]
        moments = {
            i: {"step": steps[i].clone(), **{m: tensors[f"adamw.{m}.{i}"] for m in MOMENTS}}
            for i in range(len(self.parameters))
            if f"adamw.exp_avg.{i}" in tensors
        }
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.counters = replace(header.counters)
        set_kernel_choices(header.kernels)

    def _weights(self) -> dict[str, Tensor]:
        models = {"model": self.model, "average": self.average}
        named = {
            f"{which}.{part}.{name}": tensor
            for which, model in models.items()
            for part, module in zip(("backbone", "text"), model.learning(), strict=False)
            for name, tensor in module.state_dict(keep_vars=True).items()
        }
        return named | {"loss_sum": self.loss_sum, "norm_sum": self.norm_sum}

    def _tensors(self) -> dict[str, Tensor]:
        steps = torch.zeros(len(self.parameters))
        tensors = self._weights()
        for i, parameter in enumerate(self.parameters):
            moments = self.optimizer.state.get(parameter)
            if moments:
                steps[i] = float(moments["step"])
                tensors |= {f"adamw.{m}.{i}": moments[m] for m in MOMENTS}
        return tensors | {STEPS: steps}

    def _moments(self) -> list[dict[str, Tensor]]:
        """Return for each parameter tensors of the shapes of its moments, by their names in a saved state."""
        return [{f"adamw.{m}.{i}": parameter for m in MOMENTS} for i, parameter in enumerate(self.parameters)]
