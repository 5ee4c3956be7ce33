"""Position tables for the rows of an image: learned ones and sinusoids, also for a grid other than the trained one."""

from __future__ import annotations

import warnings
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.errors import ArgumentError
from brickwork.nn.layers import Grid, grid_sinusoid, window_positions
from brickwork.nn.shapes import Tokens


@final
class LearnedPosition(nn.Module):
    """Learned position table, one row per place; ties the model to its grid."""

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.empty(1, grid[0] * grid[1], width))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        """Add the table to x.

        Raises:
            ArgumentError: The grid is not the table's.
        """
        require_grid(grid, self.grid, "position 'learned'")
        return x + self.table.to(x.dtype)


@final
class RowPosition(nn.Module):
    """Learned position table of all rows, condition rows included; its image part is interpolated for another grid.

    Args:
        grid: Image rows, as height and width.
        num_extra: Number E of condition rows in front of them.
        width: Width L of a row, in channels.
    """

    def __init__(self, grid: Grid, num_extra: int, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.warned = False
        self.table = nn.Parameter(torch.empty(1, grid[0] * grid[1], width))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.extra = nn.Parameter(torch.empty(1, num_extra, width)) if num_extra else None
        if self.extra is not None:
            nn.init.trunc_normal_(self.extra, std=0.02)

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        """Add the table of this grid to x, which has E + T rows."""
        table = self.table if grid == self.grid else self.between(grid)
        return x + (table if self.extra is None else torch.cat([self.extra, table], dim=1)).to(x.dtype)

    def between(self, grid: Grid) -> Float[Tensor, "1 T D"]:
        """Interpolate the image part for another grid, bicubic; warns the first time."""
        if not self.warned:
            self.warned = True
            warnings.warn(
                f"an image of {grid[0]}x{grid[1]} tokens for a model of {self.grid[0]}x{self.grid[1]}: its learned "
                "positions are interpolated, and it has not seen this size in training",
                stacklevel=2,
            )
        places = self.table[0].unflatten(0, self.grid).permute(2, 0, 1)[None]
        # antialias=True also selects Keys' kernel with a = -1/2, the one that keeps slopes.
        places = F.interpolate(places, size=grid, mode="bicubic", antialias=True)
        return places.flatten(2).mT


@final
class FixedPosition(nn.Module):
    """Sinusoids of row and column; computed again for a grid other than the trained one."""

    table: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.width = width
        self.register_buffer("table", grid_sinusoid(grid, width), persistent=False)

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        """Add the table of this grid to x."""
        table = self.table if grid == self.grid else grid_sinusoid(grid, self.width).to(x.device)
        return x + table.to(x.dtype)


@final
class SpreadPosition(nn.Module):
    """Fixed sinusoids of column and row; those of another grid are spread over the trained places."""

    table: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.grid, self.width = grid, width
        self.register_buffer("table", window_positions(grid, grid, width), persistent=False)

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        """Add the table of this grid to x."""
        table = self.table if grid == self.grid else window_positions(grid, self.grid, self.width).to(x.device)
        return x + table.to(x.dtype)


def require_grid(grid: Grid, own: Grid, reason: str) -> None:
    """Refuse a grid that a table was not made for.

    Raises:
        ArgumentError: The grids differ; the message has both.
    """
    if grid != own:
        raise ArgumentError(
            f"image of {grid[0]}x{grid[1]} tokens: {reason} ties this model to {own[0]}x{own[1]}; "
            "use that image size, or a position and decoder without a table"
        )
