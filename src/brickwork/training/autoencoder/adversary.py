"""A small patch discriminator and the hinge losses: an optional adversary that makes reconstructions sharper."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn import functional


@final
class Adversary(nn.Module):
    """Patch discriminator: scores every patch of about 20x20 pixels, above 0 for real, below for reconstructed.

    The idea is Isola et al. 2017 (arXiv 1611.07004), section 3.2.2; convolutions without normalisation.

    Args:
        channels: Channels of the pictures.
        width: Channels of the first layer; the second has twice as many.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(channels, width, 4, stride=2, padding=1),
                nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
                nn.Conv2d(2 * width, 1, 3, padding=1),
            ]
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Score every patch: (B, C, H, W) in [-1, 1] → (B, 1, H/4, W/4)."""
        x = pixels
        for layer in list(self.layers)[:-1]:
            x = functional.leaky_relu(layer(x), 0.2)
        return self.layers[-1](x)


def judging_loss(real: Tensor, made: Tensor) -> Tensor:
    """Return the adversary's loss: ``(mean max(0, 1 - D(real)) + mean max(0, 1 + D(made))) / 2``.

    Hinge loss; Lim & Ye 2017 (arXiv 1705.02894).
    """
    return 0.5 * (functional.relu(1 - real.float()).mean() + functional.relu(1 + made.float()).mean())


def deceiving_loss(made: Tensor) -> Tensor:
    """Return the autoencoder's loss against the adversary: ``-mean D(made)``."""
    return -made.float().mean()
