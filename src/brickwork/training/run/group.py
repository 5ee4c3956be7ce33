"""The processes that train one model together; today a run has one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from brickwork.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True)
class Group:
    """One process among those that train one model: each computes its share of every batch.

    A group of one changes nothing, to the bit.
    """

    rank: int = 0
    """Number of this process, 0 to world - 1."""
    world: int = 1
    """Number of processes."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ConfigError(f"rank {self.rank} of {self.world} processes: ranks go from 0 to {self.world - 1}")

    @property
    def writes(self) -> bool:
        """True for the one process that writes the run folder and has observers."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Return the rows of a batch that this process computes.

        Args:
            batch: Images in a step of the whole group.

        Raises:
            ConfigError: The number of processes does not divide the batch.
        """
        if batch % self.world:
            raise ConfigError(f"batch {batch} for {self.world} processes: let their number divide the batch")
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the group; torch.distributed must be initialised for more than one."""
        if self.world == 1:
            return
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)
            tensor /= self.world
