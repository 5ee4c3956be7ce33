"""Training of a network's bricks or blocks: those that run in a step, the outputs in the loss, the compared windows.

Bricks have outputs of their own and can all be supervised at once, one after the other, or the last alone (LEGO, Zheng
et al. 2024, arXiv 2310.06389). Blocks have none; a network of blocks becomes elastic when some of them are left out at
random while it is trained (as layers are in Fan et al. 2020, arXiv 1909.11556): then fewer of them are a model as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from brickwork.backbone.base import BackboneConfig
from brickwork.diffusion.gaussian import PARTS, WINDOWS, uniform
from brickwork.errors import ConfigError

Supervision = Literal["joint", "sequential", "last"]
Drop = Literal["none", "prefix", "each"]


@dataclass(frozen=True, kw_only=True)
class PartsConfig:
    """Training of a network's bricks or blocks."""

    supervision: Supervision = "joint"
    """Outputs that are compared with the target: every brick's; one brick's after the other, each with the earlier ones
    frozen and an equal share of the budget; or the last one's alone."""
    weights: tuple[float, ...] = ()
    """Weights of the bricks' outputs under joint supervision, scaled to a sum of 1; equal by default."""
    window_share: float = 1.0
    """Share of every brick's windows whose loss counts in a step, chosen at random; above 0, to 1."""
    drop: Drop = "none"
    """Blocks left out at random, for a model of any depth: all after a random one (prefix), or each by itself."""
    drop_share: float = 0.5
    """Share of steps that leave blocks out with drop prefix; with each, every block's chance to be left out."""
    drop_least: float = 0.5
    """Least share of the blocks that run, with drop prefix."""

    def __post_init__(self) -> None:
        for name, known in {
            "supervision": ("joint", "sequential", "last"),
            "drop": ("none", "prefix", "each"),
        }.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"parts.{name} is {getattr(self, name)!r}: it must be {' or '.join(known)}")
        if not all(0 <= weight < math.inf for weight in self.weights) or (self.weights and not any(self.weights)):
            raise ConfigError(f"parts.weights are {self.weights}: they must be 0 or more, and not all 0")
        if not 0 < self.window_share <= 1:
            raise ConfigError(f"parts.window_share is {self.window_share}: it is a share, above 0 and up to 1")
        if not 0 <= self.drop_share < 1:
            raise ConfigError(f"parts.drop_share is {self.drop_share}: it is a share, from 0 up to, not including, 1")
        if not 0 < self.drop_least <= 1:
            raise ConfigError(f"parts.drop_least is {self.drop_least}: it is a share, above 0 and up to 1")


def check_parts_config(config: PartsConfig, backbone: BackboneConfig) -> None:
    """Refuse settings that a backbone cannot follow.

    Raises:
        ConfigError: An option about bricks for a network without, weights for another number of them, or blocks to be
            left out of a network that needs them all.
    """
    bricks = backbone.num_outputs
    if bricks == 1 and (config.supervision == "sequential" or config.weights) and not backbone.num_windows:
        raise ConfigError(
            "parts.supervision 'sequential' and parts.weights are for bricks: this network has one output"
        )
    if config.weights and len(config.weights) != bricks:
        raise ConfigError(f"parts.weights are {len(config.weights)} numbers for {bricks} bricks: give one for each")
    if config.weights and config.supervision != "joint":
        raise ConfigError(f"parts.weights with supervision {config.supervision!r}: they are for supervision 'joint'")
    if config.window_share < 1 and not backbone.num_windows:
        raise ConfigError(f"parts.window_share is {config.window_share}: this network has no windows; set it to 1")
    if config.drop != "none":
        if bricks > 1:
            raise ConfigError(
                f"parts.drop is {config.drop!r}: bricks have outputs of their own, and any first bricks are a model "
                "without it; set it to 'none'"
            )
        if backbone.num_parts == 1:
            raise ConfigError(f"parts.drop is {config.drop!r}: this network is one block; set it to 'none'")
        backbone.first(1)  # raises an error that says why a network cannot be cut


def stage_of(config: PartsConfig, num_parts: int, spent: float) -> tuple[int, float]:
    """Return the brick that sequential supervision trains, from 0, and the share of its own budget that is spent.

    Other supervision has one stage, -1, with the whole budget.
    """
    if config.supervision != "sequential":
        return -1, spent
    stage = min(int(spent * num_parts), num_parts - 1)
    return stage, spent * num_parts - stage


def output_shares(config: PartsConfig, num_outputs: int) -> tuple[float, ...]:
    """Return the weight of each output in a step's loss; they add up to 1."""
    if config.supervision != "joint":
        return (*(0.0,) * (num_outputs - 1), 1.0)
    weights = config.weights or (1.0,) * num_outputs
    return tuple(weight / sum(weights) for weight in weights)


def kept_parts(config: PartsConfig, num_parts: int, seed: int, step: int, shift: int = 0) -> tuple[int, ...]:
    """Return the blocks that run in a step, at least one: a pure function of seed and step.

    Args:
        config: Says how blocks are left out.
        num_parts: Number of blocks.
        seed: The run's seed.
        step: The run's step.
        shift: Added to the random stream after a rollback.
    """
    every = tuple(range(num_parts))
    if config.drop == "none" or config.drop_share == 0:
        return every
    chance = uniform(seed, step, num_parts + 2, stream=PARTS + shift)
    if config.drop == "prefix":
        if chance[0] >= config.drop_share:
            return every
        least = max(1, math.ceil(config.drop_least * num_parts))
        return every[: least + int(chance[1] * (num_parts - least))]
    return tuple(k for k in every if chance[2 + k] >= config.drop_share) or (int(chance[0] * num_parts),)


def chosen_windows(
    config: PartsConfig, num_windows: Sequence[int], batch: int, seed: int, step: int, shift: int = 0
) -> tuple[np.ndarray, ...]:
    """Return for each brick the windows whose loss counts in a step, bool (B, N); nothing where all do.

    Exactly the asked share of a batch's windows is chosen, one at least; a pure function of seed and step.
    """
    if config.window_share == 1:
        return ()
    chance = uniform(seed, step, batch * sum(num_windows), stream=WINDOWS + shift)
    masks, start = [], 0
    for count in num_windows:
        total = batch * count
        rank = np.argsort(np.argsort(chance[start : start + total], kind="stable"), kind="stable")
        masks.append((rank < max(1, round(config.window_share * total))).reshape(batch, count))
        start += total
    return tuple(masks)
