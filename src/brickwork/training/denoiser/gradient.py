"""Loss and gradient of one step."""

from __future__ import annotations

import torch

from brickwork.training.denoiser.batches import Batch
from brickwork.training.denoiser.loss import denoising_loss
from brickwork.training.denoiser.parts import output_shares
from brickwork.training.denoiser.state import TrainState


def accumulate_gradient(state: TrainState, batch: Batch) -> torch.Tensor:
    """Compute the gradient of the batch's mean loss, chunk by chunk; return that loss, detached."""
    count, total = state.recipe.accumulation, torch.zeros_like(state.loss_sum)
    for chunk in batch.chunks(count):
        loss = mean_loss(state, chunk) / count
        loss.backward()
        total += loss.detach()
    return total


def mean_loss(state: TrainState, chunk: Batch) -> torch.Tensor:
    """Return the mean denoising loss of one accumulation chunk, over the blocks that this step trains."""
    network, recipe = state.network(), state.recipe
    shares = output_shares(recipe.parts, network.backbone.config.num_outputs)
    losses = denoising_loss(
        network, chunk.x0, chunk.noise, chunk.t, chunk.condition, recipe.weighting, shares, chunk.windows
    )
    return losses.mean()


def try_out(state: TrainState, chunk: Batch) -> None:
    """Run one forward and backward pass that changes nothing."""
    try:
        mean_loss(state, chunk).backward()
    finally:
        state.optimizer.zero_grad(set_to_none=True)
