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
    """A backbone whose every part, a brick, makes an image of its own."""

    @property
    def needs_preconditioning(self) -> bool:
        """Whether ``outputs`` must be given the coefficients of the batch."""
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
            x: The network's own input, as in ``forward``.
            c_noise: As in ``forward``.
            condition: As in ``forward``.
            preconditioning: The coefficients of this batch, in x's precision or a higher one, where
                ``needs_preconditioning``.
            chosen: For each brick the windows of the batch that get gradients, int (n,); empty for all windows.
            before: Raw output of a brick before the first, where the config says that there is one.

        Raises:
            ArgumentError: Something that the bricks need is missing, or an image of a wrong shape.
        """

    def forward(self, x: Image, c_noise: Sigma, condition: Condition) -> Image:
        """Return the last brick's output; see Backbone."""
        return self.outputs(x, c_noise, condition)[-1]

    @abstractmethod
    def train_only(self, part: int) -> None:
        """Let gradients reach one brick alone, and with the first one what all bricks share; -1 for everything."""


def estimate_of(output: Image, x: Image, c: Preconditioning) -> Image:
    """Return the clean image that a raw output stands for, given the network's own input x = c_in·(the waist's x)."""
    skip, out = _at_the_input(c, x)
    return skip * x + out * output


def output_of(estimate: Image, x: Image, c: Preconditioning) -> Image:
    """Return the raw output that stands for a clean image, given the network's own input x."""
    skip, out = _at_the_input(c, x)
    return (estimate - skip * x) / out


def needed(c: Preconditioning | None, reason: str) -> Preconditioning:
    """Return the coefficients, or refuse to go on without them.

    Raises:
        ArgumentError: There are none.
    """
    if c is None:
        raise ArgumentError(f"{reason}: give the preconditioning of the noise levels; call the model, not the backbone")
    return c


def _at_the_input(c: Preconditioning, x: Image) -> tuple[Tensor, Tensor]:
    """Return c_skip / c_in and c_out, shaped to meet x. They are rounded to x's precision once, at the end."""
    c = c.expand(x.ndim)
    return (c.skip / c.in_).to(x), c.out.to(x)
