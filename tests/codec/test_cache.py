"""Latents of a data set: computed once, taken up again, and refused for another codec or other data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brickwork.codec.cache import AT_ONCE, open_latents
from brickwork.codec.latents import Latents
from brickwork.data.dataset import Dataset
from brickwork.errors import ArgumentError, BrickworkWarning, ConfigError, OutputError

MakePictures = Callable[..., Dataset]
MakeCodec = Callable[..., Latents]


def test_it_holds_what_the_codec_encodes(make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path) -> None:
    data, codec = make_pictures(9, flip=True), make_codec()
    cache = open_latents(data, codec, tmp_path)
    rows, mirrored = np.array([3, 8, 3]), np.array([False, True, True])
    mean, deviation = cache.batch(rows, mirrored)
    wanted = codec.encode(torch.from_numpy(data.batch(rows, mirrored)))
    assert deviation is None
    np.testing.assert_allclose(mean, wanted.numpy(), atol=1e-5)
    assert not np.allclose(mean[0], mean[2]), "a mirror image has latents of its own"


def test_it_is_computed_once(
    make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, codec = make_pictures(5), make_codec()
    first = open_latents(data, codec, tmp_path).batch(np.arange(5), None)[0]
    monkeypatch.setattr(Latents, "posterior", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(open_latents(data, codec, tmp_path).batch(np.arange(5), None)[0], first)


def test_a_stopped_computation_goes_on(
    make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, codec = make_pictures(AT_ONCE + 6), make_codec()
    seen: list[int] = []
    whole = Latents.posterior

    def stopping(self: Latents, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(len(images))
        return whole(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(Latents, "posterior", stopping)
        with pytest.raises(KeyboardInterrupt):
            open_latents(data, codec, tmp_path)
    counted: list[int] = []
    monkeypatch.setattr(Latents, "posterior", lambda self, x: (counted.append(len(x)), whole(self, x))[1])
    cache = open_latents(data, codec, tmp_path)
    assert counted == [6]
    mean = cache.batch(np.arange(len(data)), None)[0]
    np.testing.assert_allclose(mean, codec.encode(torch.from_numpy(data.images)).numpy(), atol=1e-5)


def test_sampled_latents_keep_their_deviation(
    make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path
) -> None:
    data, codec = make_pictures(5), make_codec(posterior="sample")
    mean, deviation = open_latents(data, codec, tmp_path).batch(np.arange(5), None)
    assert deviation is not None
    assert deviation.shape == mean.shape
    assert (deviation > 0).all()


@pytest.mark.parametrize(
    ("other", "says"),
    [("codec", r"latents of something else \(codec: "), ("data", r"latents of something else \(data: ")],
)
def test_latents_of_something_else_are_refused(
    other: str, says: str, make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path
) -> None:
    open_latents(make_pictures(5), make_codec(), tmp_path)
    data = make_pictures(5, seed=1) if other == "data" else make_pictures(5)
    codec = make_codec(seed=1) if other == "codec" else make_codec()
    with pytest.raises(ConfigError, match=says):
        open_latents(data, codec, tmp_path)
    with pytest.raises(ConfigError, match=r"something else \(shape: "):
        open_latents(replace(make_pictures(5), flip=True), make_codec(), tmp_path)


def test_half_scaled_latents_are_refused(make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path) -> None:
    codec = make_codec()
    wide = replace(codec.config, std=tuple(9 * s for s in codec.config.std))
    with pytest.raises(ConfigError, match=r"standard deviation 0\.1.* after scaling, which must be near 0 and 1"):
        open_latents(make_pictures(5), Latents(wide, codec.autoencoder), tmp_path)


def test_errors_of_one_line(make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="factor 4 must divide both"):
        open_latents(make_pictures(5, 18), make_codec(), tmp_path)
    (tmp_path / "latents.npy").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"holds latents\.npy without cache\.json"):
        open_latents(make_pictures(5), make_codec(), tmp_path)
    with pytest.raises(OutputError, match="cannot keep latents here"):
        open_latents(make_pictures(5), make_codec(), tmp_path / "latents.npy")


def test_a_flipped_latent_is_encoded_again(make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path) -> None:
    data, codec = make_pictures(AT_ONCE + 6, flip=True), make_codec(posterior="sample")
    rows = np.arange(len(data))
    first = open_latents(data, codec, tmp_path).batch(rows, rows % 2 == 0)
    whole = bytearray((tmp_path / "latents.npy").read_bytes())
    whole[-9] ^= 64
    (tmp_path / "latents.npy").write_bytes(whole)
    with pytest.warns(BrickworkWarning, match=f"latents kept there: rows {AT_ONCE} to {AT_ONCE + 5} are damaged"):
        again = open_latents(data, codec, tmp_path).batch(rows, rows % 2 == 0)
    for one, other in zip(first, again, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one, other)


def test_a_cache_of_an_earlier_version_is_made_anew(
    make_pictures: MakePictures, make_codec: MakeCodec, tmp_path: Path
) -> None:
    (tmp_path / "cache.json").write_text('{"format": 1, "data": "", "codec": "", "shape": [], "done": 5}')
    for name in ("latents.npy", "deviations.npy"):
        np.save(tmp_path / name, np.zeros((1, 5, 4, 4, 4), np.float32))
    with pytest.warns(BrickworkWarning, match="of an earlier version; all is made anew"):
        open_latents(make_pictures(5), make_codec(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"cache.json", "latents.npy", "latents.sums"}
