"""Autoencoders of diffusers behind our door: their numbers, their files, and how far a latent reaches."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from brickwork.codec.file import load_codec, save_codec
from brickwork.codec.latents import Latents
from brickwork.codec.published import Published
from brickwork.errors import CheckpointError, ConfigError

LEVELS = {"block_out_channels": (8, 16), "norm_num_groups": 4, "sample_size": 16}
BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
DEEP = {"encoder_block_out_channels": (8, 16), "decoder_block_out_channels": (8, 16), "attention_head_dim": 8}
DEEP |= {"encoder_layers_per_block": (1, 1), "decoder_layers_per_block": (1, 1)}
DEEP |= {f"{side}_block_types": ("ResBlock", "EfficientViTBlock") for side in ("encoder", "decoder")}
DEEP |= {f"{side}_qkv_multiscales": ((), (5,)) for side in ("encoder", "decoder")}
TINY = {f"{side}_block_out_channels": (8, 8, 8) for side in ("encoder", "decoder")}
TINY |= {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 2, 1)}
KINDS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {**LEVELS, **BLOCKS},
    "VQModel": {**LEVELS, **BLOCKS, "num_vq_embeddings": 16, "vq_embed_dim": 3, "latent_channels": 4},
    "AutoencoderDC": {**DEEP, "latent_channels": 4},
    "AutoencoderTiny": TINY,
}


def net_of(design: str, seed: int = 0, **changes: Any) -> Any:
    import diffusers

    torch.manual_seed(seed)
    return getattr(diffusers, design)(**KINDS[design] | changes).eval()


def pixels(size: int = 16) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def pictures(size: int = 16, count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture(params=KINDS)
def design(request: pytest.FixtureRequest) -> str:
    return request.param


def test_same_numbers_as_diffusers(design: str, tmp_path: Path) -> None:
    net = net_of(design)
    net.save_pretrained(tmp_path)
    ours = Published.open(tmp_path)
    c = ours.config
    x = pixels()
    with torch.no_grad():
        mean, std = ours.posterior(x)
        out = net.encode(x)
        theirs = out.latent_dist.mean if design == "AutoencoderKL" else next(iter(out.values()))
        assert torch.equal(mean, theirs)
        if design == "AutoencoderKL":
            assert std is not None
            assert torch.equal(std, out.latent_dist.std)
        else:
            assert std is None
        back = ours.decode(mean)
        assert torch.equal(back, net.decode(theirs).sample)
    assert back.shape == x.shape
    factor = {"AutoencoderTiny": 4}.get(design, 2)
    assert (c.factor, c.channels, c.picture_channels) == (factor, {"VQModel": 3}.get(design, 4), 3)
    assert mean.shape == (2, c.channels, 16 // factor, 16 // factor)


def test_a_file_of_ours_needs_nothing_else(design: str, tmp_path: Path) -> None:
    net_of(design).save_pretrained(tmp_path / "theirs")
    codec = Latents.measure(Published.open(tmp_path / "theirs"), [pictures()])
    save_codec(codec, tmp_path / "ours.safetensors")
    again = load_codec(tmp_path / "ours.safetensors")
    assert again.config == codec.config
    assert again.digest == codec.digest
    images = torch.from_numpy(pictures())
    z = codec.encode(images)
    assert torch.equal(again.encode(images), z)
    assert torch.equal(again.decode(z), codec.decode(z))
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(codec.channels), atol=1e-5, rtol=0)


def test_vq_is_quantised_in_decoding_alone(tmp_path: Path) -> None:
    net = net_of("VQModel")
    net.save_pretrained(tmp_path)
    ours = Published.open(tmp_path)
    with torch.no_grad():
        z, _ = ours.posterior(pixels())
        codes = net.quantize(z)[0]
        assert (z - codes).abs().max() > 1e-3
        torch.testing.assert_close(ours.decode(z), ours.decode(codes))


@pytest.mark.parametrize(
    ("blocks", "halo"),
    [((1, 1, 1), 8), ((1, 2, 1), 9), ((0, 0), 2), ((2,), 8), ((3, 3, 3, 1), 19)],
)
def test_halo_is_what_a_latent_reaches(blocks: tuple[int, ...], halo: int) -> None:
    """Weights of 1 and no bias: a latent of 1 among zeros moves just those pixels that depend on it, by 1 or more."""
    levels: dict[str, Any] = {f"{side}_block_out_channels": (2,) * len(blocks) for side in ("encoder", "decoder")}
    net = net_of("AutoencoderTiny", **levels, num_decoder_blocks=blocks, num_encoder_blocks=(0,) * len(blocks))
    settings = json.dumps({k: v for k, v in net.config.items() if not k.startswith("_")})
    ours = Published(Published.Config(design="AutoencoderTiny", settings=settings), net.double())
    assert ours.halo == halo
    side, f = 2 * halo + 5, ours.config.factor
    with torch.no_grad():
        for parameter in net.decoder.parameters():
            parameter.fill_(parameter.ndim > 1)
        z = torch.zeros(1, 4, side, side, dtype=torch.float64)
        moved = z.clone()
        moved[:, :, side // 2, side // 2] += 1
        changed = (ours.decode(moved) != ours.decode(z)).any(dim=1)[0]
    places = changed.unflatten(0, (side, f)).unflatten(2, (side, f)).any(dim=3).any(dim=1)
    reached = places.nonzero()
    assert reached.amin(dim=0).tolist() == [side // 2 - halo] * 2
    assert reached.amax(dim=0).tolist() == [side // 2 + halo] * 2


def test_tiles_of_the_tiny_one_are_exact(tmp_path: Path) -> None:
    net_of("AutoencoderTiny").save_pretrained(tmp_path)
    codec = Latents.measure(Published.open(tmp_path), [pictures()])
    z = torch.randn(1, 4, 30, 23, generator=torch.Generator().manual_seed(1))
    tiled = Latents(replace(codec.config, tile=8), codec.autoencoder)
    assert (codec.decode(z).int() - tiled.decode(z).int()).abs().max() <= 1


@pytest.mark.parametrize("design", ["AutoencoderKL", "VQModel", "AutoencoderDC"])
def test_no_halo_where_everything_depends_on_everything(design: str, tmp_path: Path) -> None:
    net_of(design).save_pretrained(tmp_path)
    ours = Published.open(tmp_path)
    assert ours.halo is None
    with torch.no_grad():
        z = torch.randn(1, ours.config.channels, 24, 24, generator=torch.Generator().manual_seed(1))
        moved = z.clone()
        moved[:, :, 0, 0] += 2
        assert (ours.decode(moved) != ours.decode(z))[:, :, -2:, -2:].any()


def test_old_names_of_attention_are_known(tmp_path: Path) -> None:
    """As in the files that Stable Diffusion's autoencoders were published in."""
    from safetensors.torch import load_file, save_file

    net_of("AutoencoderKL").save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    olds = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    weights = load_file(file)
    for new, old in olds.items():
        weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
    x = pixels()
    with torch.no_grad():
        before = Published.open(tmp_path).posterior(x)[0]
        save_file(weights, file)
        assert torch.equal(Published.open(tmp_path).posterior(x)[0], before)


def test_subfolder_and_variant(tmp_path: Path) -> None:
    net_of("AutoencoderKL").save_pretrained(tmp_path / "vae", variant="fp16")
    assert Published.open(tmp_path, "vae").config.channels == 4
    with pytest.raises(CheckpointError, match="give subfolder vae"):
        Published.open(tmp_path)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    net = net_of("AutoencoderKL")
    net.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(CheckpointError, match="is a pickle"):
        Published.open(tmp_path)
    next(tmp_path.glob("*.bin")).unlink()
    with pytest.raises(CheckpointError, match=r"lacks diffusion_pytorch_model\.safetensors"):
        Published.open(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(CheckpointError, match="is of UNet2DModel"):
        Published.open(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": ["AutoencoderKL"]}')
    with pytest.raises(CheckpointError, match=r"is of \['AutoencoderKL'\]"):
        Published.open(tmp_path)


def test_weights_that_are_not_whole(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    net_of("AutoencoderKL").save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({name: tensor for name, tensor in weights.items() if name != "decoder.conv_out.bias"}, file)
    with pytest.raises(CheckpointError, match=r"decoder\.conv_out\.bias and 0 other weights do not fit"):
        Published.open(tmp_path)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Published.open(tmp_path)


def test_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    net_of("AutoencoderTiny").save_pretrained(tmp_path / "vae")
    asked: list[Any] = []

    def fetch(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns[0]))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert Published.open("owner/name", "vae").halo == 9
    assert asked == [("owner/name", "vae/config.json")]
    with pytest.raises(CheckpointError, match="no folder nowhere"):
        Published.open("nowhere")


def changed(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda settings: json.dumps({k: v for k, v in (settings | changes).items() if v is not None})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: "[]", "a JSON object"),
        (lambda _: "{", "no JSON"),
        (changed(block_out_channels=None), "without block_out_channels"),
        (changed(out_channels=1), "3 channels in and 1 out"),
        (changed(layers_per_block=10**9), "layers_per_block 1000000000: at most 256"),
        (changed(block_out_channels=[8, 10**9]), "at most 65536"),
        (changed(block_out_channels=[]), "a list of channels"),
        (changed(latent_channels="4"), "a whole number"),
        (changed(act_fn="no such"), "make no AutoencoderKL"),
        (changed(norm_num_groups=3), "make no AutoencoderKL"),
    ],
)
def test_settings_are_checked(make: Callable[[dict[str, Any]], str], message: str) -> None:
    settings = {k: v for k, v in net_of("AutoencoderKL").config.items() if not k.startswith("_")}
    with pytest.raises(ConfigError, match=message):
        Published.Config(design="AutoencoderKL", settings=make(settings)).build()
