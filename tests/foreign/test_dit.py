"""Published DiT weights in ours, from files of the published names that these tests make."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from brickwork.backbone.dit import Dit
from brickwork.cli import main
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import Eps, V
from brickwork.diffusion.process import DiscreteVp
from brickwork.errors import CheckpointError
from brickwork.foreign import dit as foreign
from brickwork.foreign.formats import Stated, read_network
from brickwork.model.checkpoint import load
from brickwork.model.model import Model

CONFIG = Dit.Config(size=8, channels=4, num_classes=6, width=32, heads=4, depth=2, variance=True)


def places(side: int, width: int) -> Tensor:
    """The published table in float64: half the width for the column, half for the row; sines, then cosines."""
    omega = 10000.0 ** (-np.arange(width // 4) / (width // 4))
    along = np.outer(np.arange(side), omega)
    waves = np.concatenate([np.sin(along), np.cos(along)], axis=1)
    rows = [np.concatenate([waves[column], waves[row]]) for row in range(side) for column in range(side)]
    return torch.from_numpy(np.stack(rows)).float()[None]


def published(network: Dit) -> dict[str, Tensor]:
    """A network's weights under the names of the released files."""
    pairs = {"patchify.conv": "x_embedder.proj", "time.first": "t_embedder.mlp.0", "time.second": "t_embedder.mlp.2"}
    pairs |= {"classes.table": "y_embedder.embedding_table", "head.linear": "final_layer.linear"}
    pairs |= {"head.modulation": "final_layer.adaLN_modulation.1"}
    for k in range(network.config.depth):
        pairs |= {f"blocks.{k}.attention.{part}": f"blocks.{k}.attn.{part}" for part in ("qkv", "proj")}
        pairs |= {f"blocks.{k}.mlp.widen": f"blocks.{k}.mlp.fc1", f"blocks.{k}.mlp.narrow": f"blocks.{k}.mlp.fc2"}
        pairs |= {f"blocks.{k}.modulation": f"blocks.{k}.adaLN_modulation.1"}
    state = {}
    for name, value in network.state_dict().items():
        ours, _, kind = name.rpartition(".")
        state[f"{pairs[ours]}.{kind}"] = value.clone()
    return state | {"pos_embed": places(network.config.grid[0], network.config.width)}


def network(config: Dit.Config = CONFIG) -> Dit:
    model, generator = config.build(), torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5
        nn.init.normal_(parameter, std=scale, generator=generator)
    return model.eval()


def saved(path: Path, tree: object) -> Path:
    torch.save(tree, path)
    return path


def inputs(config: Dit.Config = CONFIG) -> tuple[Tensor, Tensor, Condition]:
    x = torch.randn(3, config.channels, config.size, config.size, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([0.0, 20.5, 999.0]), Condition(labels=torch.tensor([0, 5, -1]))


@pytest.fixture(autouse=True)
def _known_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a network of a small width had been published."""
    monkeypatch.setitem(foreign.HEADS, 32, 4)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_released_file_becomes_the_same_network(tmp_path: Path, wrapped: bool) -> None:
    original = network()
    state = published(original)
    tree = {"model": {}, "ema": {f"module.{name}": value for name, value in state.items()}} if wrapped else state
    found = read_network(saved(tmp_path / "a.pt", tree))
    assert found.backbone.config == CONFIG
    assert torch.allclose(found.backbone(*inputs()), original(*inputs()), atol=1e-6)
    assert (found.format, found.prediction) == ("dit", Eps())
    assert "latents of Stable Diffusion's autoencoder, times 0.18215" in found.facts["assumed"]
    assert found.facts["design"] == "DiT (Peebles and Xie 2023, arXiv 2212.09748)"


def test_weights_are_equal_to_the_bit_and_the_variance_is_kept(tmp_path: Path) -> None:
    state = published(network())
    found = read_network(saved(tmp_path / "a.pt", state)).backbone
    assert isinstance(found, Dit)
    assert found.config.variance
    ours = found.state_dict()
    assert torch.equal(ours["head.linear.weight"], state["final_layer.linear.weight"])
    assert ours["head.linear.weight"].shape == (2 * 16, 32)
    assert torch.equal(ours["blocks.1.modulation.bias"], state["blocks.1.adaLN_modulation.1.bias"])
    assert sum(v.numel() for v in ours.values()) == sum(v.numel() for v in state.values()) - state["pos_embed"].numel()
    assert not found.position.table.is_meta


def test_the_schedule_is_ddpms_counted_from_0(tmp_path: Path) -> None:
    process = read_network(saved(tmp_path / "a.pt", published(network()))).process
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    levels = np.sqrt(1 / alpha_bar - 1)
    t = process.t_of(levels)
    np.testing.assert_allclose(process.c_noise(t), np.arange(1000), atol=1e-6)
    np.testing.assert_allclose(process.at(t).alpha, np.sqrt(alpha_bar), rtol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"variance": False},
        {"patch": 4},
        {"size": 32, "patch": 4, "channels": 3},
        {"width": 384, "heads": 6, "depth": 1},
        {"mlp_ratio": 2},
    ],
)
def test_sizes_are_read_from_shapes(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = replace(CONFIG, **changes)
    assert read_network(saved(tmp_path / "a.pt", published(network(config)))).backbone.config == config


def test_a_file_that_is_stated_to_be_sits_draws_its_velocity(tmp_path: Path) -> None:
    """SiT's x_t is t image + (1 - t) noise, its output image minus noise: the image is x_t + (1 - t) output."""
    original = network()
    path = saved(tmp_path / "a.pt", published(original))
    found = read_network(path, Stated(format="sit"))
    model = Model(found.backbone, found.process, found.prediction, Pixels(num_channels=4)).eval()
    sigma = torch.tensor([0.1, 1.0, 9.0])
    t = 1 / (1 + sigma)
    x, _, condition = inputs()
    own = x * t[:, None, None, None]
    output = original(own, t, condition)[:, :4]
    wanted = own + (1 - t)[:, None, None, None] * output
    assert torch.allclose(model(x, sigma, condition), wanted, atol=1e-5)
    assert found.facts["design"].startswith("SiT (Ma et al. 2024")
    assert "image minus noise" in found.facts["assumed"]
    assert "not SiT (Ma et al. 2024, arXiv 2401.08740)" in read_network(path).facts["assumed"]


def test_what_the_user_states_is_not_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(CONFIG, channels=3)
    path, out = saved(tmp_path / "a.pt", published(network(config))), tmp_path / "m.safetensors"
    words = ["import", str(path), "--out", str(out)]
    assert main([*words, "--prediction", "v", "--process", "discrete-vp:even=beta,beta_end=0.015"]) == 0
    said = capsys.readouterr().out
    assert "the output is the noise" not in said
    assert "betas in even steps" not in said
    assert "assumed: latents of Stable Diffusion" in said
    model = load(out)
    assert (model.prediction, model.process) == (V(), DiscreteVp(even="beta", beta_end=0.015))
    assert main([*words, "--prediction", "w"]) == 2
    assert main([*words, "--format", "lego"]) == 1
    assert "format lego, but its tensors are named as in dit, sit" in capsys.readouterr().err


def test_safetensors_are_read_as_well(tmp_path: Path) -> None:
    state = {name: value.half() for name, value in published(network()).items()}
    save_file(state, tmp_path / "a.safetensors")
    found, wanted = (read_network(path) for path in (tmp_path / "a.safetensors", saved(tmp_path / "a.pt", state)))
    assert all(torch.equal(value, wanted.backbone.state_dict()[k]) for k, value in found.backbone.state_dict().items())


@pytest.mark.parametrize("name", ["a.pt", "a b.safetensors"])
def test_the_advice_for_a_published_file_leads_to_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    state = published(network(replace(CONFIG, channels=3)))
    save_file(state, name) if name.endswith("s") else torch.save(state, name)
    assert main(["sample", name]) == 1
    advice = re.findall("`(brickwork import .*?)`", capsys.readouterr().err)[0]
    assert main(shlex.split(advice)[1:]) == 0
    drawing = re.findall("draw: (brickwork sample .*)", capsys.readouterr().out)[0]
    assert main([*shlex.split(drawing)[1:], "--steps", "1", "--labels", "0", "--seeds", "0"]) == 0
    capsys.readouterr()
    assert main(["import", "NEW.safetensors", "--out", "again.safetensors"]) == 1
    assert "needs no import: `brickwork sample`" in capsys.readouterr().err


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    state = {name: value.half() for name, value in published(network()).items()}
    found = read_network(saved(tmp_path / "a.pt", state)).backbone
    assert all(value.dtype == torch.float32 for value in found.state_dict().values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("t_embedder.mlp.2.bias"), "it lacks t_embedder.mlp.2.bias"),
        (lambda s: s.pop("blocks.1.attn.qkv.weight"), "it lacks blocks.1.attn.qkv.weight"),
        (lambda s: s.pop("pos_embed"), "of no network that is known"),
        (lambda s: s.update({"blocks.1.norm1.weight": torch.ones(32)}), "none of a DiT network's"),
        (lambda s: s.update({"t_embedder.mlp.2.bias": torch.ones(31)}), "it must be (32,)"),
        (lambda s: s.update({"final_layer.linear.weight": torch.ones(48, 32)}), "it must be (16, 32)"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 16, 32)}), "not the table of sines"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 15, 32)}), "a DiT image is a square"),
        (lambda s: s.update({"x_embedder.proj.weight": torch.zeros(100, 4, 2, 2)}), "says its heads"),
        (lambda s: s["final_layer.linear.bias"].fill_(torch.inf), "infinite or none"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], reason: str
) -> None:
    state = published(network())
    change(state)
    path = saved(tmp_path / "a.pt", state)
    with pytest.raises(CheckpointError) as caught:
        read_network(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
