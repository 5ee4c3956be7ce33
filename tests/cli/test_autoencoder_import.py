"""The verb autoencoder import, from diffusers' folder to a file that trains."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from brickwork.cli import main
from brickwork.codec.file import load_codec, read_codec_header
from brickwork.codec.published import Published


@pytest.fixture
def source(tmp_path: Path) -> Path:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    torch.manual_seed(0)
    net = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    net.save_pretrained(tmp_path / "pipeline" / "vae")
    return tmp_path / "pipeline"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, split=np.array([0] * 8 + [2] * 4, np.uint8))
    return tmp_path / "data.npz"


def test_import(source: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["autoencoder", "import", str(source), "--subfolder", "vae", "--data", str(data), "--out", str(out)]
    assert main(words) == 0
    assert "AutoencoderTiny" in capsys.readouterr().out
    codec, facts = load_codec(out), read_codec_header(out)["training"]
    assert isinstance(codec.autoencoder, Published)
    assert facts["data_images"] == 8
    assert "held_out_psnr" in facts
    with np.load(data) as arrays:
        z = codec.encode(torch.from_numpy(arrays["images"][:8]))
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.square().mean(dim=(0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    assert main(["autoencoder", "info", str(out)]) == 0
    assert "published: design AutoencoderTiny" in capsys.readouterr().out


def test_misuse(source: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["autoencoder", "import", str(source), "--data", str(data), "--out", str(tmp_path / "run")]
    assert main(words) == 1
    assert "give subfolder vae" in capsys.readouterr().err
    assert main([*words, "--subfolder", "vae", "--size", "15"]) == 1
    assert "factor 2 must divide both" in capsys.readouterr().err
    assert main([*words, "--subfolder", "vae", "--posterior", "mean"]) == 2
    assert "invalid choice 'mean'" in capsys.readouterr().err


def test_published_scale(source: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["autoencoder", "import", str(source), "--subfolder", "vae", "--out", str(out)]
    assert main(words) == 1
    assert "no data to measure latents of" in capsys.readouterr().err
    config = source / "vae" / "config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "scaling_factor": None}))
    assert main([*words, "--scale", "published"]) == 1
    assert "there is no published scale" in capsys.readouterr().err
    config.write_text(json.dumps({**settings, "scaling_factor": 0.18215, "shift_factor": 0.5}))
    assert main([*words, "--scale", "published", "--data", str(data)]) == 0
    assert "brickwork import WEIGHTS --codec" in capsys.readouterr().out
    codec = load_codec(out)
    with np.load(data) as arrays:
        images = torch.from_numpy(arrays["images"][:2])
    raw, _ = codec.autoencoder.posterior(images.permute(0, 3, 1, 2) / 127.5 - 1)
    torch.testing.assert_close(codec.encode(images), (raw - 0.5) * 0.18215)
