"""Bricks: backbones made of networks in a row, each of which puts out an estimate like that of the whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from brickwork.backbone.base import Backbone
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.preconditioning import Preconditioning
from brickwork.errors import ArgumentError
from brickwork.nn.shapes import Image, Sigma


class Bricks(Backbone):
    """Backbone made of bricks, each of which puts out an image of its own."""

    @property
    def needs_preconditioning(self) -> bool:
        """True if ``outputs`` needs the preconditioning coefficients of the batch."""
        return False

    @abstractmethod
    def outputs(
        self,
        x: Image,
        c_noise: Sigma,
        condition: Condition,
        *,
        preconditioning: Preconditioning | None = None,
        chosen: Sequence[Tensor] = (),
        before: Image | None = None,
    ) -> list[Image]:
        """Return the raw output of every brick; the last one's is the network's.

        Args:
            x: Input of the network, as in ``forward``.
            c_noise: Noise level, as in ``forward``.
            condition: Condition, as in ``forward``.
            preconditioning: Coefficients of this batch, in x's precision or a higher one; required if
                ``needs_preconditioning``.
            chosen: Windows of the batch that get gradients, for each brick, int (n,); empty for all windows.
            before: Raw output of the guest before the first brick, if the config has one.

        Raises:
            ArgumentError: A required argument is missing, or an image has a wrong shape.
        """

    def forward(self, x: Image, c_noise: Sigma, condition: Condition) -> Image:
        """Return the last brick's output; see ``Backbone.forward``."""
        return self.outputs(x, c_noise, condition)[-1]

    @abstractmethod
    def train_only(self, part: int) -> None:
        """Let gradients reach one brick alone; the first includes the layers that all share. -1 for everything."""


def estimate_of(output: Image, x: Image, c: Preconditioning) -> Image:
    """Convert a raw output into an estimate of x0, from the network's input x = c_in·(x0 + sigma noise)."""
    skip, out = _at_the_input(c, x)
    return skip * x + out * output


def output_of(estimate: Image, x: Image, c: Preconditioning) -> Image:
    """Convert an estimate of x0 into the raw output that stands for it, from the network's input x."""
    skip, out = _at_the_input(c, x)
    return (estimate - skip * x) / out


def needed(c: Preconditioning | None, reason: str) -> Preconditioning:
    """Return the coefficients, or refuse to go on without them.

    Raises:
        ArgumentError: The coefficients are missing.
    """
    if c is None:
        raise ArgumentError(f"{reason}: give the preconditioning of the noise levels; call the model, not the backbone")
    return c


def _at_the_input(c: Preconditioning, x: Image) -> tuple[Tensor, Tensor]:
    """Return c_skip / c_in and c_out, shaped to broadcast with x, rounded to x's precision once, at the end."""
    c = c.expand(x.ndim)
    return (c.skip / c.in_).to(x), c.out.to(x)
