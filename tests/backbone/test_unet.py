"""The U-Nets of diffusers behind our door: published and hand counts, conditions, and the same numbers as theirs."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tiny_backbones import ASKING, UNET_BASE
from tiny_backbones import UNET as TINY

from brickwork.backbone.contract import inputs_of, largest, random_network
from brickwork.backbone.presets import preset
from brickwork.backbone.tldm import Tldm
from brickwork.backbone.unet import Unet
from brickwork.codec.base import Pixels
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import LinearFlow
from brickwork.errors import ConfigError
from brickwork.model.checkpoint import load, save
from brickwork.model.cost import cost
from brickwork.model.model import Model
from brickwork.sampling.loop import sample

"""What asks a context, by its name in diffusers."""


def config(**options: Any) -> Unet.Config:
    return Unet.Config(**{**UNET_BASE, **options})


def network(config: Unet.Config) -> Unet:
    """Build a network with every weight random."""
    return cast(Unet, random_network(config)).eval()


@pytest.fixture(params=TINY)
def unet(request: pytest.FixtureRequest) -> Unet:
    return network(TINY[request.param])


def test_begins_at_zero(unet: Unet) -> None:
    c = unet.config
    assert not c.build()(*inputs_of(c)).any()


def test_number_is_not_rounded(unet: Unet) -> None:
    """Half a step of a thousand is another time, to float32's last digits."""
    x, number, condition = inputs_of(unet.config)
    out = [unet(x, number + shift, condition) for shift in (0.0, 0.5, 0.001)]
    assert largest(out[0], out[1]) > 1e-4
    assert 0 < largest(out[0], out[2]) < largest(out[0], out[1])


@pytest.mark.parametrize("kind", ["ldm, text", "ddpm", "adm"])
def test_our_kernels_give_diffusers_numbers(kind: str) -> None:
    from diffusers.models.attention_processor import AttnProcessor2_0

    c = TINY[kind]
    unet = network(c)
    with torch.no_grad():
        ours = unet(*inputs_of(c))
        for module in unet.modules():
            if set_processor := getattr(module, "set_processor", None):
                set_processor(AttnProcessor2_0())
        theirs = unet(*inputs_of(c))
    assert largest(ours, theirs) < 1e-5 * theirs.abs().max().item()


def test_names_are_those_of_diffusers() -> None:
    """A published U-Net's state dict fits as it is."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    theirs = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()
    ours = config(design="ddpm").build().eval()
    ours.network.load_state_dict(theirs.state_dict())
    x, number, condition = inputs_of(ours.config)
    with torch.no_grad():
        out = theirs(x, number).sample
        assert largest(ours(x, number, condition), out) < 1e-5 * out.abs().max().item()


# Published: Rombach et al. 2022, 395 M and 400 M; Ho et al. 2020, appendix B, 35.7 M; Dhariwal and Nichol 2021, 296 M
# for ImageNet at 64 pixels, which is with the class table.
@pytest.mark.parametrize(
    ("name", "table", "millions", "giga_macs"),
    [
        ("unet-ldm-f8", 1001 * 512, 395.0, 57.0),
        ("unet-ldm-f4", 1001 * 512, 400.9, 104.2),
        ("unet-ddpm-32", 0, 35.7, None),
        ("unet-adm-64", 0, 295.9, None),
    ],
)
def test_published_counts(name: str, table: int, millions: float, giga_macs: float | None) -> None:
    counted = cost(preset(name))
    assert round((counted.parameters - table) / 1e6, 1) == millions
    assert giga_macs is None or round(counted.macs / 1e9, 1) == giga_macs
    assert counted.macs_without_attention < counted.macs


def test_small_latent_unet_is_as_large_as_tldm_tiny() -> None:
    """In parameters, in those that can learn with one row of context, and nearly in MACs."""
    ours, theirs = preset("unet-small-latent"), preset("tldm-tiny")
    assert isinstance(ours, Unet.Config)
    assert isinstance(theirs, Tldm.Config)
    assert (ours.size, ours.channels, ours.num_classes) == (theirs.size, theirs.channels, theirs.num_classes)
    unet, tldm = cost(ours), cost(theirs)
    with torch.device("meta"):
        idle = [parameter.numel() for name, parameter in ours.build().named_parameters() if re.search(ASKING, name)]
    assert abs(unet.parameters / tldm.parameters - 1) < 0.05
    assert abs((unet.parameters - sum(idle)) / tldm.parameters - 1) < 0.01
    assert abs(unet.macs / tldm.macs - 1) < 0.15
    assert 5e6 < cost(preset("unet-small")).parameters < 7e6


def test_counted_equals_a_hand_count() -> None:
    """One level of 8 channels at 4x4, one block each way; every product written out."""
    counted = cost(config(size=4, channels=3, widths=(8,), attention=(0,), num_classes=5))
    L, T, E, V = 8, 16, 12, 32

    def conv(a: int, b: int, side: int = 3) -> int:
        return a * b * side * side * T

    def block(a: int) -> int:
        return conv(a, L) + conv(L, L) + V * L + (conv(a, L, 1) if a != L else 0)

    linear = 4 * T * L * L + 2 * T * L * L + 2 * E * L + T * L * 8 * L + T * 4 * L * L + 2 * conv(L, L, 1)
    products = 2 * T * T * L + 2 * T * L
    time = L * V + V * V
    blocks = 3 * block(L) + 2 * block(2 * L)  # down, two in the middle; up reads the way down beside
    macs = conv(3, L) + time + blocks + 4 * (linear + products) + conv(L, 3)
    assert counted.macs == macs
    assert counted.macs - counted.macs_without_attention == 4 * products
    assert counted.parameters == sum(
        p.numel() for p in config(size=4, widths=(8,), num_classes=5, attention=(0,)).build().parameters()
    )
    assert set(counted.parts) >= {"down", "middle", "up", "embed"}


def test_pixels_stay_fp32_in_bf16() -> None:
    """A difference that bf16 cannot tell near 1 still reaches the output."""
    c = config(num_classes=5)
    unet = network(c)
    x, number, condition = inputs_of(c)
    x = torch.ones_like(x)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert largest(unet(x, number, condition), unet(x + 2e-3, number, condition)) > 0


@pytest.mark.parametrize("kind", ["ldm", "adm"])
def test_model_is_saved_loaded_drawn_and_guided(kind: str, tmp_path: Path) -> None:
    c = TINY[kind]
    model = Model(network(c), LinearFlow(), Velocity(), Pixels(num_channels=3))
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.backbone.config == c
    pictures = [
        sample(which, seeds=[0, 1], labels=[1, 4], steps=3, guidance=guidance)
        for which, guidance in ((model, 1.0), (again, 1.0), (again, 2.0))
    ]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[1] != pictures[2]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": ()}, "at least one level"),
        ({"widths": (6, 8)}, "groups 4 must divide"),
        ({"head_width": 3}, "head_width 3 must divide"),
        ({"attention": (2,)}, "levels are 0 to 1"),
        ({"size": 7}, "multiple of 2"),
        ({"num_blocks": 0}, "num_blocks 0"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**options)
