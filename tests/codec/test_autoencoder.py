"""The autoencoder's network: shapes, how far a latent reaches, codes, and errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brickwork.codec.autoencoder import HIGHEST, LOWEST, Autoencoder
from brickwork.errors import ConfigError
from brickwork.files.schema import TOML


def small(**changes: object) -> Autoencoder:
    """A small one, in double precision, in which no weight is zero."""
    values = {"width": 6, "channels": 3, "encoder_depth": 1, "decoder_depth": 2, "codes": 16} | changes
    torch.manual_seed(0)
    network = Autoencoder.Config(**values).build()  # pyright: ignore[reportArgumentType]
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.double()


def box(changed: Tensor) -> tuple[int, int, int, int]:
    """First row, last row, first column, last column of what is true."""
    rows, columns = (torch.nonzero(changed.any(dim=axis)).flatten().tolist() for axis in (1, 0))
    return rows[0], rows[-1], columns[0], columns[-1]


@pytest.mark.parametrize("kind", ["kl", "vq"])
@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_shapes(factor: int, kind: str) -> None:
    network = small(factor=factor, kind=kind, picture_channels=1).float()
    mean, std = network.posterior(torch.rand(2, 1, 2 * factor, 3 * factor))
    assert mean.shape == (2, 3, 2, 3)
    assert (std is None) == (kind == "vq")
    assert network.decode(mean).shape == (2, 1, 2 * factor, 3 * factor)


@pytest.mark.parametrize(
    ("factor", "depth", "reach", "halo"),
    [(2, 2, 8, 4), (4, 2, 16, 4), (4, 4, 24, 6), (8, 2, 36, 5), (8, 4, 60, 8), (16, 1, 48, 3)],
)
def test_reach_counted_by_hand(factor: int, depth: int, reach: int, halo: int) -> None:
    # f4: 3x3 in, a block each, 3x3 out = depth + 2 places of 4 pixels. f8: ((1 + d) 2 + d + 1) of 4 pixels.
    network = small(factor=factor, decoder_depth=depth)
    assert (network.decoder.reach, network.halo) == (reach, halo)


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_one_latent_changes_exactly_the_pixels_within_reach(factor: int) -> None:
    network = small(factor=factor)
    reach, halo = network.decoder.reach, network.halo
    side = 2 * halo + 3
    z = torch.zeros(1, 3, side, side, dtype=torch.float64)
    touched = z.clone()
    touched[:, :, halo + 1, halo + 1] = 1
    with torch.no_grad():
        changed = (network.decode(touched) != network.decode(z))[0].any(dim=0)
    first, last = (halo + 1) * factor - reach, (halo + 2) * factor - 1 + reach
    assert box(changed) == (first, last, first, last)


def test_one_pixel_changes_only_latents_nearby() -> None:
    network = small(factor=4, encoder_depth=2)
    pixels = torch.zeros(1, 3, 44, 44, dtype=torch.float64)
    touched = pixels.clone()
    touched[:, :, 22, 22] = 1
    with torch.no_grad():
        changed = (network.posterior(touched)[0] != network.posterior(pixels)[0])[0].any(dim=0)
    assert box(changed) == (3, 7, 3, 7)  # place 5, and one more each way for each of two blocks


def test_blocks_begin_as_nothing() -> None:
    network = Autoencoder.Config(width=8).build()
    z = torch.randn(1, 8, 3, 3)
    straight = nn.functional.pixel_shuffle(network.decoder.straight(z), 4)
    assert torch.equal(network.decode(z), straight)


def test_deviation_is_that_of_a_clamped_log_variance() -> None:
    network = small(factor=2)
    with torch.no_grad():
        network.encoder.leave.bias[3:] = torch.tensor([-1e9, 0.0, 1e9])  # pyright: ignore[reportOptionalSubscript]
        _, std = network.posterior(torch.zeros(1, 3, 4, 4, dtype=torch.float64))
    assert std is not None
    assert float(std[0, 0, 0, 0]) == pytest.approx(np.exp(LOWEST / 2))
    assert float(std[0, 2, 0, 0]) == pytest.approx(np.exp(HIGHEST / 2))


def test_codes_are_the_nearest() -> None:
    network = small(kind="vq", codes=50).float()
    z = torch.randn(2, 3, 4, 5)
    book = network.codebook
    assert book is not None
    distances = ((z.permute(0, 2, 3, 1)[:, :, :, None] - book) ** 2).sum(dim=-1)
    assert torch.equal(network.nearest(z), distances.argmin(dim=-1))
    codes = book[distances.argmin(dim=-1)].permute(0, 3, 1, 2)
    torch.testing.assert_close(network.decode(z), network.decoder(codes))


def test_of_equal_codes_the_first_is_chosen() -> None:
    network = small(kind="vq", codes=4).float()
    assert network.codebook is not None
    with torch.no_grad():
        network.codebook.zero_()
    assert int(network.nearest(torch.ones(1, 3, 2, 2)).max()) == 0


def test_many_places_choose_as_few_do() -> None:
    network = small(kind="vq", codes=64).float()
    z = torch.randn(1, 3, 80, 80)
    parts = [network.nearest(z[:, :, row : row + 7]) for row in range(0, 80, 7)]
    assert torch.equal(network.nearest(z), torch.cat(parts, dim=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factor": 3}, "factor is 3: it must be 2 or 4 or 8 or 16"),
        ({"channels": 0}, "channels is 0: it must be a whole number, at least 1"),
        ({"decoder_depth": 0}, "decoder_depth is 0"),
    ],
)
def test_what_no_network_can_be(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        TOML.config(Autoencoder.Config, changes)
    assert "\n" not in str(caught.value)
