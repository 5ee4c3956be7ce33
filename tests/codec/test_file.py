"""One file is one autoencoder: what is written comes back, and what is not whole is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.codec.file import AUTOENCODER_FILE, HEADER, load_codec, read_codec_header, save_codec
from brickwork.codec.latents import Latents
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import LinearFlow
from brickwork.errors import CheckpointError
from brickwork.model.checkpoint import load, save
from brickwork.model.model import Model

MakeCodec = Callable[..., Latents]


def latent_model(codec: Latents) -> Model:
    config = Stoic.Config(width=32, depth=1, stride=1, size=4, channels=codec.channels)
    return Model(config.build(), LinearFlow(), Velocity(), codec)


def same(one: Latents, other: Latents) -> None:
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8))
    assert one.config == other.config
    assert one.digest == other.digest
    torch.testing.assert_close(one.encode(images), other.encode(images), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_there_and_back(kind: str, make_codec: MakeCodec, tmp_path: Path) -> None:
    codec = make_codec(kind=kind)
    save_codec(codec, tmp_path / AUTOENCODER_FILE, {"psnr": 30.5})
    same(load_codec(tmp_path), codec)
    assert read_codec_header(tmp_path)["training"] == {"psnr": 30.5}


def test_a_model_file_holds_its_autoencoder(make_codec: MakeCodec, tmp_path: Path) -> None:
    codec = make_codec()
    save(latent_model(codec), tmp_path / "model.safetensors")
    same(load_codec(tmp_path), codec)
    model = load(tmp_path)
    assert isinstance(model.codec, Latents)
    same(model.codec, codec)
    assert model.decode(torch.zeros(1, 4, 4, 4)).shape == (1, 16, 16, 3)


def test_statistics_of_other_weights_are_refused(make_codec: MakeCodec, tmp_path: Path) -> None:
    codec, other = make_codec(), make_codec(seed=1)
    half = Latents(codec.config, other.autoencoder)
    save_codec(half, tmp_path / "half.safetensors")
    with pytest.raises(CheckpointError, match="latents would be half scaled"):
        load_codec(tmp_path / "half.safetensors")
    save(latent_model(half), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="latents would be half scaled"):
        load(tmp_path / "model.safetensors")


def test_a_header_that_lies(make_codec: MakeCodec, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    codec = make_codec()
    save_codec(codec, path)
    header = read_codec_header(path)

    def written(**changes: object) -> Path:
        entry = ["latents", {**header["codec"][1], **changes}]
        save_file(load_file(path), tmp_path / "b.safetensors", {HEADER: json.dumps(header | {"codec": entry})})
        return tmp_path / "b.safetensors"

    with pytest.raises(CheckpointError, match="std of 3 channels"):
        load_codec(written(std=[1.0, 1.0, 1.0]))
    with pytest.raises(CheckpointError, match=r"std 0\.0: latents are divided by it"):
        load_codec(written(std=[1.0, 1.0, 1.0, 0.0]))
    wider = ["conv", {**header["codec"][1]["autoencoder"][1], "width": 16}]
    with pytest.raises(CheckpointError, match="header and weights are of different networks"):
        load_codec(written(autoencoder=wider))
    with pytest.raises(CheckpointError, match="no autoencoder named 'cnov'; did you mean conv"):
        load_codec(written(autoencoder=["cnov", {}]))
    with pytest.raises(CheckpointError, match="autoencoder is 3"):
        load_codec(written(autoencoder=3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 4096}, "promises decoder.enter.bias of shape"),
        ({"encoder_depth": 1024}, "more than 1,"),
        ({"decoder_depth": 10_000_000}, "decoder_depth is 10000000: it must be a whole number, from 1 to 1024"),
        ({"kind": "vq", "codes": 4096}, "promises codebook of shape"),
        ({"channels": 2**63 - 1}, "channels: 9223372036854775807 finite numbers"),
    ],
)
def test_a_network_is_compared_before_it_takes_memory(
    changes: dict[str, object], said: str, make_codec: MakeCodec, tmp_path: Path
) -> None:
    save_codec(make_codec(), tmp_path / "a.safetensors")
    codec = read_codec_header(tmp_path / "a.safetensors")["codec"]
    codec[1]["autoencoder"][1] |= changes
    header = {"format": 1, "codec": codec, "training": {}}
    save_file(load_file(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", {HEADER: json.dumps(header)})
    start = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        load_codec(tmp_path / "b.safetensors")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 5


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file"):
        load_codec(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match=f"holds no {AUTOENCODER_FILE}"):
        load_codec(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no header of brickwork"):
        load_codec(tmp_path / "foreign.safetensors")
    config = Stoic.Config(width=32, depth=1, stride=1, size=4, channels=3)
    save(Model(config.build(), LinearFlow(), Velocity(), Pixels()), tmp_path / "pixels.safetensors")
    with pytest.raises(CheckpointError, match="a model of pixels, which has no autoencoder"):
        load_codec(tmp_path / "pixels.safetensors")


def test_tiles_do_not_change_what_latents_mean(make_codec: MakeCodec) -> None:
    codec = make_codec()
    assert Latents(replace(codec.config, tile=7), codec.autoencoder).digest == codec.digest
    assert Latents(replace(codec.config, mean=(0.5, 0.0, 0.0, 0.0)), codec.autoencoder).digest != codec.digest
