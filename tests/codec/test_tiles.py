"""Decoding in windows: the same pixels as the whole, in memory that does not grow with the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.latents import Latents, windows


def codec(factor: Any = 4, **changes: Any) -> Latents:
    values: dict[str, Any] = {"width": 6, "channels": 3, "encoder_depth": 1, "decoder_depth": 2, "codes": 32}
    torch.manual_seed(0)
    network = Autoencoder.Config(factor=factor, **values | changes).build()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    return Latents.measure(network, [images])


def tiled(whole: Latents, tile: int) -> Latents:
    return Latents(replace(whole.config, tile=tile), whole.autoencoder)


@pytest.mark.parametrize("size", [1, 5, 12, 13, 64, 101])
@pytest.mark.parametrize(("tile", "halo"), [(12, 4), (12, 0), (1, 4), (64, 6), (13, 4)])
def test_windows_own_each_place_once_and_see_the_halo(size: int, tile: int, halo: int) -> None:
    found = windows(size, tile, halo)
    assert [place for w in found for place in range(w.own.start, w.own.stop)] == list(range(size))
    assert len({w.seen.stop - w.seen.start for w in found}) == 1
    for w in found:
        assert 0 <= w.seen.start <= max(0, w.own.start - halo)
        assert min(size, w.own.stop + halo) <= w.seen.stop <= size
        assert w.seen.stop - w.seen.start <= max(tile, 3 * halo)


@pytest.mark.parametrize(("height", "width"), [(37, 23), (16, 50), (9, 9), (40, 3)])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_tiles_are_the_whole_to_rounding(factor: int, height: int, width: int) -> None:
    whole = codec(factor)
    z = torch.randn(2, 3, height, width, dtype=torch.float64)
    network = whole.autoencoder.double()
    reference = network.decode(z)
    joined = torch.full_like(reference, torch.nan)
    halo = whole.autoencoder.halo
    assert isinstance(halo, int)
    for rows in windows(height, 16, halo):
        for columns in windows(width, 16, halo):
            part = network.decode(z[:, :, rows.seen, columns.seen])
            top, left = (w.own.start - w.seen.start for w in (rows, columns))
            high, wide = (w.own.stop - w.own.start for w in (rows, columns))
            own = part[:, :, top * factor : (top + high) * factor, left * factor : (left + wide) * factor]
            joined[
                :, :, rows.own.start * factor : rows.own.stop * factor,
                columns.own.start * factor : columns.own.stop * factor,
            ] = own  # fmt: skip
    torch.testing.assert_close(joined, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_pictures_of_tiles_are_those_of_the_whole(kind: str) -> None:
    whole = codec(kind=kind)
    z = torch.randn(3, 3, 41, 29)
    large, small = (tiled(whole, tile).decode(z).int() for tile in (64, 14))
    assert (large - small).abs().max() <= 1  # a value at the edge between two integers
    assert (large != small).float().mean() < 1e-3


def test_a_halo_one_place_short_is_seen() -> None:
    whole = codec()
    assert isinstance(whole.autoencoder.halo, int)
    z = torch.randn(1, 3, 30, 30)
    rows = windows(30, 12, whole.autoencoder.halo - 1)[1]
    with torch.no_grad():
        part = whole.autoencoder.decode(z[:, :, rows.seen])
        reference = whole.autoencoder.decode(z)[:, :, rows.seen.start * 4 : rows.seen.stop * 4]
    top = (rows.own.start - rows.seen.start) * 4
    assert not torch.allclose(part[:, :, top : top + 4], reference[:, :, top : top + 4], rtol=0, atol=1e-7)


def test_what_is_decoded_at_once_does_not_grow_with_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen = codec(), []
    decode = Autoencoder.decode

    def recording(self: Autoencoder, z: Tensor) -> Tensor:
        seen.append(tuple(z.shape))
        return decode(self, z)

    monkeypatch.setattr(Autoencoder, "decode", recording)
    assert whole.config.tile == 128  # 512 pixels
    for side in (128, 300):
        seen.clear()
        assert whole.decode(torch.zeros(1, 3, side, side)).shape == (1, 4 * side, 4 * side, 3)
        assert set(seen) == {(1, 3, 128, 128)}


def test_small_pictures_are_decoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, counts = tiled(codec(), 16), []
    decode = Autoencoder.decode

    def recording(self: Autoencoder, z: Tensor) -> Tensor:
        counts.append(len(z))
        return decode(self, z)

    monkeypatch.setattr(Autoencoder, "decode", recording)
    z = torch.randn(10, 3, 8, 8)
    together = whole.decode(z)
    assert counts == [4, 4, 2]
    alone = torch.cat([whole.decode(one[None]) for one in z])
    assert (together.int() - alone.int()).abs().max() <= 1


def test_latents_of_the_measured_pictures_have_mean_0_and_deviation_1() -> None:
    images = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    torch.manual_seed(0)
    network = Autoencoder.Config(width=8, channels=5).build()
    choices: tuple[tuple[Literal["mode", "sample"], float], ...] = (("mode", 1e-5), ("sample", 0.1))
    for posterior, tolerance in choices:
        measured = Latents.measure(network, np.split(images, 3), posterior)
        mean, std = measured.posterior(torch.from_numpy(images))
        z = mean if std is None else mean + std * torch.randn(mean.shape)
        assert z.mean(dim=(0, 2, 3)).abs().max() < tolerance
        assert (z.std(dim=(0, 2, 3)) - 1).abs().max() < tolerance + 1e-3
