"""Published U-ViT weights in ours, from files of the published names that these tests make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from uvit_transcription import published, transcription

from brickwork.backbone.uvit import Uvit
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import Eps
from brickwork.diffusion.process import DiscreteVp, Vp
from brickwork.errors import CheckpointError
from brickwork.foreign import uvit as foreign
from brickwork.foreign.formats import import_weights, read_network

SMALL: dict[str, Any] = {"size": 8, "channels": 3, "width": 32, "heads": 4, "depth": 3}
KINDS = {
    "pixels": Uvit.Config(**SMALL),
    "latents": Uvit.Config(**{**SMALL, "channels": 4, "num_classes": 6, "patch": 4, "depth": 5}),
    "huge": Uvit.Config(**{**SMALL, "channels": 4, "num_classes": 6, "final_conv": False}),
    "text": Uvit.Config(**{**SMALL, "channels": 4, "text_length": 77, "text_width": 24}),
}


def saved(path: Path, tree: object) -> Path:
    torch.save(tree, path)
    return path


def inputs(config: Uvit.Config) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, config.channels, config.size, config.size, generator=generator)
    labels = torch.tensor([0, 5, -1]) if config.num_classes else None
    text = torch.randn(3, 77, config.text_width, generator=generator) if config.text_length else None
    return x, torch.tensor([1.0, 20.5, 999.0]), Condition(labels=labels, text=text)


@pytest.fixture(autouse=True)
def _known_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a network of a small width had been published."""
    monkeypatch.setitem(foreign.HEADS, 32, 4)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_released_file_becomes_the_same_network(tmp_path: Path, name: str, wrapped: bool) -> None:
    config = KINDS[name]
    weights = published(config)
    tree = {"ema": {f"module.{key}": value for key, value in weights.items()}, "step": 7} if wrapped else weights
    network = read_network(saved(tmp_path / "a.pth", tree))
    assert network.backbone.config == config
    x, t, condition = inputs(config)
    labels = None if condition.labels is None else torch.tensor([0, 5, 6])
    theirs = transcription(weights, config.num_heads, x, t, labels, condition.text)
    assert (network.backbone(x, t, condition) - theirs).abs().max() < 1e-5 * theirs.abs().max()
    in_steps = name in ("huge", "text")
    assert (network.process, network.prediction) == (DiscreteVp() if in_steps else Vp(), Eps())
    assert (network.process.c_noise(0.5) == 999 / 2) != in_steps
    assert ("Stable Diffusion's 1000 steps" in network.facts["assumed"]) == in_steps
    assert ("times 0.18215" in network.facts["assumed"]) == (config.channels == 4)
    assert ("empty caption" in network.facts["assumed"]) == (name == "text")
    assert ("last row" in network.facts["assumed"]) == (config.num_classes > 0)


def test_a_published_width_needs_no_attributes(tmp_path: Path) -> None:
    config = Uvit.Config(**{**SMALL, "width": 512, "heads": 8, "depth": 1})
    assert read_network(saved(tmp_path / "a.pth", published(config))).backbone.config == config


def test_pixels_become_the_same_denoiser(tmp_path: Path) -> None:
    """x0 = (x_t - sigma eps) / alpha, the network told 999 t."""
    weights = published(KINDS["pixels"])
    model = import_weights(saved(tmp_path / "a.pth", weights))
    x, _, condition = inputs(KINDS["pixels"])
    t = torch.tensor([0.01, 0.4, 0.9])
    c = Vp().at(t).expand()
    eps = transcription(weights, 4, c.alpha * x, 999 * t)
    x0 = (c.alpha * x - c.sigma * eps) / c.alpha
    ours = model(x, Vp().level(t), condition)
    assert ((ours - x0).flatten(1).norm(dim=1) < 1e-4 * x0.flatten(1).norm(dim=1)).all()
    assert model.facts["design"] == "U-ViT (Bao et al. 2023, arXiv 2209.12152)"


def test_a_thousand_classes_without_a_row_for_none_get_their_mean(tmp_path: Path) -> None:
    """ImageNet at 64 pixels: as many rows as classes."""
    config = Uvit.Config(**{**SMALL, "num_classes": 999})
    weights = published(config)
    network = read_network(saved(tmp_path / "a.pth", weights))
    assert network.backbone.config.num_classes == 1000
    table = network.backbone.state_dict()["classes.table.weight"]
    assert torch.equal(table[:-1], weights["label_emb.weight"])
    assert torch.allclose(table[-1], weights["label_emb.weight"].mean(0), atol=1e-6)
    assert "no row for no class" in network.facts["assumed"]


def test_a_pickled_network_says_heads_and_rows_itself(tmp_path: Path) -> None:
    """Of a width that no published network has; attributes are read, code is not."""
    config = Uvit.Config(**{**SMALL, "width": 40, "heads": 5, "text_length": 5, "text_width": 12})
    root = nn.Module()
    for name, value in published(config).items():
        *path, last = name.split(".")
        module = root
        for word in path:
            if word not in module._modules:
                module.add_module(word, nn.Module())
            module = module.get_submodule(word)
        module.register_parameter(last, nn.Parameter(value))
    vars(root.get_submodule("mid_block.attn"))["num_heads"] = 5
    vars(root)["extras"] = 6
    network = read_network(saved(tmp_path / "a.pth", root))
    assert network.backbone.config == config


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    weights = {name: value.half() for name, value in published(KINDS["pixels"]).items()}
    state = read_network(saved(tmp_path / "a.pth", weights)).backbone.state_dict()
    assert all(value.dtype == torch.float32 for value in state.values())
    assert torch.equal(state["head.norm.weight"], weights["norm.weight"].float())
    assert torch.equal(state["merges.0.weight"], weights["out_blocks.0.skip_linear.weight"].float())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("out_blocks.0.skip_linear.weight"), "it lacks out_blocks.0.skip_linear.weight"),
        (lambda s: s.pop("in_blocks.0.norm1.bias"), "it lacks in_blocks.0.norm1.bias"),
        (lambda s: s.update({"time_embed.0.weight": torch.ones(8, 2)}), "none of a U-ViT network's (1 such)"),
        (lambda s: s.update({"mid_block.attn.qkv.bias": torch.ones(96)}), "none of a U-ViT network's"),
        (
            lambda s: s.update({"pos_embed": torch.zeros(1, 18, 32)}),
            "17 places of an image: a U-ViT image is a square",
        ),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 1, 32)}), "0 places"),
        (lambda s: s.update({"norm.bias": torch.zeros(31)}), "by its other sizes it must be (32,)"),
        (lambda s: s.update({"norm.bias": torch.zeros(32).long()}), "real numbers"),
        (lambda s: s["norm.bias"].fill_(torch.nan), "infinite or none"),
        (lambda s: s.update({"patch_embed.proj.weight": torch.zeros(100, 3, 2, 2)}), "says its heads"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], reason: str
) -> None:
    weights = published(KINDS["pixels"])
    change(weights)
    path = saved(tmp_path / "a.pth", weights)
    with pytest.raises(CheckpointError) as caught:
        read_network(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
