"""Published LEGO weights in ours, from a file of the published structure that these tests make."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lego_transcription import BrickShape, SelfAttention, Transcription, randomize
from torch import Tensor, nn

import brickwork
from brickwork.backbone.lego import Lego
from brickwork.cli import main
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import EdmF
from brickwork.diffusion.process import Edm
from brickwork.errors import CheckpointError
from brickwork.foreign.formats import import_weights, read_network
from brickwork.model.checkpoint import load
from brickwork.model.model import Model

SOURCE = "raise SystemExit('the source code in the file was run')"
SHAPES = [BrickShape(4, 2, 2), BrickShape(8, 4, 1), BrickShape(16, 4, 3)]


class Wrapping(nn.Module):
    """Throw-away: EDM's scalings around a network, as the released files have them. Karras et al. 2022, Table 1."""

    def __init__(self, network: Transcription, classes: int) -> None:
        super().__init__()
        self.model, self.label_dim, self.sigma_data, self.use_fp16 = network, classes, 0.5, False
        self._init_kwargs = {"label_dim": classes}

    def forward(self, x: Tensor, sigma: Tensor, one_hot: Tensor | None) -> Tensor:
        s, d = sigma[:, None, None, None], self.sigma_data
        output = self.model(x / (s**2 + d**2).sqrt(), sigma.log() / 4, one_hot)[-1]
        return d**2 / (s**2 + d**2) * x + s * d / (s**2 + d**2).sqrt() * output

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": "Wrapping", "state": self.__dict__}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


def wrapping(shapes: list[BrickShape] = SHAPES, *, channels: int = 3, classes: int = 5, width: int = 32) -> Wrapping:
    network = Transcription(shapes, width=width, heads=2, channels=channels, num_classes=classes)
    randomize(network, seed=0)
    for part in network.modules():
        if isinstance(part, SelfAttention):
            vars(part)["num_heads"] = part.heads  # as the published attention calls it
    return Wrapping(network, classes).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def _persistence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the files name; each test takes it away before it reads."""

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Any:
        raise AssertionError("a function that the file names was called")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module = types.ModuleType("torch_utils.persistence")
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)


def snapshot(path: Path, published: nn.Module, protocol: int = 4) -> Path:
    """A file like the released ones; what it names is gone once it is written."""
    with path.open("wb") as file:
        pickle.dump({"ema": published, "loss_fn": None, "augment_pipe": None, "dataset_kwargs": {}}, file, protocol)
    sys.modules.pop("torch_utils.persistence", None)
    sys.modules.pop("torch_utils", None)
    return path


def saved(path: Path, tree: object, *, legacy: bool = False) -> Path:
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    return path


def inputs(channels: int = 3, size: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(4, channels, size, size, generator=generator),
        torch.tensor([0.01, 0.5, 3, 60]),
        torch.tensor([0, 4, 2, -1]),
    )


def one_hot(labels: Tensor, classes: int = 5) -> Tensor:
    return (labels[:, None] == torch.arange(classes)).float()


def error(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        import_weights(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


# ---- what comes out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_released_file_becomes_the_same_denoiser(tmp_path: Path, protocol: int) -> None:
    published = wrapping()
    model = import_weights(snapshot(tmp_path / "a.pkl", published, protocol))
    x, sigma, labels = inputs()
    ours, theirs = model(x, sigma, Condition(labels=labels)), published(x, sigma, one_hot(labels))
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
    assert (model.process, model.prediction) == (Edm(sigma_data=0.5), EdmF(sigma_data=0.5))
    assert "torch_utils" not in sys.modules


def test_every_output_of_the_stack_is_the_same(tmp_path: Path) -> None:
    published = wrapping()
    model = import_weights(snapshot(tmp_path / "a.pkl", published))
    x, number, labels = inputs()
    assert isinstance(model.backbone, Lego)
    ours = model.backbone.outputs(x, number, Condition(labels=labels))
    for mine, theirs in zip(ours, published.model(x, number, one_hot(labels)), strict=True):
        assert (mine - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_sizes_are_read_from_shapes(tmp_path: Path) -> None:
    config = import_weights(snapshot(tmp_path / "a.pkl", wrapping())).backbone.config
    bricks = (
        Lego.Brick(window=4, patch=2, width=32, heads=2, depth=2),
        Lego.Brick(window=8, patch=4, width=32, heads=2, depth=1),
        Lego.Brick(window=0, patch=4, width=32, heads=2, depth=3),
    )
    assert config == Lego.Config(bricks=bricks, size=16, channels=3, num_classes=5, vector_width=32)


def test_weights_are_equal_to_the_bit(tmp_path: Path) -> None:
    published = wrapping()
    state = import_weights(snapshot(tmp_path / "a.pkl", published)).backbone.state_dict()
    theirs = published.model.state_dict()
    embed = theirs["model.1.x_embedder.proj.weight"]
    assert torch.equal(state["bricks.1.embed.weight"], embed.flatten(1))
    assert torch.equal(state["label.weight"], theirs["y_embedder.embedding_table.weight"].T)
    assert torch.equal(state["bricks.2.blocks.1.mlp.widen.bias"], theirs["model.2.blocks.1.mlp.fc1.bias"])
    tables = sum(brick.pos_embed.numel() for brick in published.model.model)  # pyright: ignore
    assert sum(value.numel() for value in state.values()) == sum(value.numel() for value in theirs.values()) - tables


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    published = wrapping().half()
    model = import_weights(snapshot(tmp_path / "a.pkl", published))
    published = published.float()
    assert all(weight.dtype == torch.float32 for weight in model.backbone.state_dict().values())
    x, sigma, labels = inputs()
    ours, theirs = model(x, sigma, Condition(labels=labels)), published(x, sigma, one_hot(labels))
    # The table of places was rounded in the file; ours is not.
    assert (ours - theirs).abs().max() < 1e-3 * theirs.abs().max()


@pytest.mark.parametrize("shapes", [SHAPES[::-1], [*SHAPES[::-1], *SHAPES[1:]], SHAPES[2:]], ids=["pr", "u", "one"])
def test_any_stack_is_read(tmp_path: Path, shapes: list[BrickShape]) -> None:
    published = wrapping(shapes, classes=0, channels=1)
    model = import_weights(snapshot(tmp_path / "a.pkl", published))
    x, sigma, _ = inputs(channels=1)
    assert model.num_classes == 0
    theirs = published(x, sigma, None)
    assert (model(x, sigma, Condition()) - theirs).abs().max() < 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True], ids=["network", "wrapping"])
def test_a_state_dict_of_published_width_needs_no_attributes(tmp_path: Path, legacy: bool, wrapped: bool) -> None:
    network = Transcription([BrickShape(4, 2, 1)], width=384, heads=6, channels=3)
    randomize(network, seed=0)
    tree = {"ema": (Wrapping(network, 0) if wrapped else network).state_dict(), "step": 7}
    model = import_weights(saved(tmp_path / "a.pt", tree, legacy=legacy))
    x, sigma, _ = inputs(size=4)
    theirs = Wrapping(network, 0)(x, sigma, None)
    assert (model(x, sigma, Condition()) - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_augmentation_is_left_out(tmp_path: Path) -> None:
    published = wrapping()
    published.model.map_augment = nn.Linear(9, 32)
    assert import_weights(snapshot(tmp_path / "a.pkl", published)).num_classes == 5


def test_latents_come_as_a_network_and_not_as_a_model(tmp_path: Path) -> None:
    published = wrapping(channels=4)
    path = snapshot(tmp_path / "a.pkl", published)
    assert "latents, 4 channels of 16x16" in error(path)
    network = read_network(path)
    x, number, labels = inputs(channels=4)
    theirs = published.model(x, number, one_hot(labels))[-1]
    ours = network.backbone(x, number, Condition(labels=labels))
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_the_public_name_reads(tmp_path: Path) -> None:
    assert isinstance(brickwork.import_weights(snapshot(tmp_path / "a.pkl", wrapping())), Model)


# ---- what is refused ------------------------------------------------------------------------------------------------


def changed(path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """A state dict with something wrong; the heads of its width are known."""
    network = Transcription([BrickShape(4, 2, 2)], width=384, heads=6, channels=3, num_classes=2)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    change(state)
    return saved(path, state)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("model.t_embedder.mlp.2.bias"), "it lacks t_embedder.mlp.2.bias"),
        (lambda s: s.pop("model.model.0.blocks.1.attn.qkv.weight"), "it lacks model.0.blocks.1.attn.qkv.weight"),
        (lambda s: s.pop("model.model.0.pos_embed"), "it lacks model.0.pos_embed"),
        (
            lambda s: s.update({"model.model.0.blocks.1.norm1.weight": torch.ones(384)}),
            "norm1.weight' is none of a LEGO",
        ),
        (lambda s: s.update({"head.weight": torch.ones(3)}), "'head.weight' is none of a LEGO"),
        (lambda s: s.update({"model.t_embedder.mlp.2.bias": torch.ones(383)}), "it must make"),
        (lambda s: s.update({"model.t_embedder.mlp.2.bias": torch.ones(384, 1)}), "it must be of 1 axes"),
        (lambda s: s.update({"model.t_embedder.mlp.2.bias": torch.ones(384).long()}), "real numbers"),
        (lambda s: s.update({"model.model.0.pos_embed": torch.zeros(1, 4, 384)}), "not the table of sines"),
        (lambda s: s.update({"model.model.0.pos_embed": torch.zeros(1, 5, 384)}), "windows are squares"),
        (lambda s: s.update({"model.model.0.pos_embed": torch.zeros(1, 4, 380)}), "pos_embed is of shape"),
        (lambda s: s.update({"model.model.0.x_embedder.proj.weight": torch.zeros(384, 2, 2, 2)}), "channels 0"),
        (lambda s: s.update({"model.model.0.x_embedder.proj.weight": torch.zeros(384, 5, 2, 3)}), "must make"),
        (lambda s: s.update({"model.model.0.x_embedder.proj.weight": torch.zeros(100, 5, 2, 2)}), "says its heads"),
        (lambda s: s["model.model.0.final_layer.linear.bias"].fill_(torch.nan), "infinite or none"),
        (
            lambda s: s.pop("model.t_embedder.mlp.0.weight"),
            "known are dit, sit, lego, uvit",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Any, reason: str) -> None:
    assert reason in error(changed(tmp_path / "a.pt", change))


def test_heads_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    published = wrapping()
    published.model.model[0].blocks[0].attn.num_heads = 5  # pyright: ignore
    assert "not divisible by heads 5" in error(snapshot(tmp_path / "a.pkl", published))


def test_a_network_of_another_design_says_which_are_known(tmp_path: Path) -> None:
    assert "known are dit, sit, lego, uvit" in error(saved(tmp_path / "a.pt", nn.Linear(2, 2).state_dict()))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "0.5"])
def test_a_data_size_that_none_can_have_is_refused(tmp_path: Path, value: Any) -> None:
    published = wrapping()
    published.sigma_data = value
    assert "sigma_data" in error(snapshot(tmp_path / "a.pkl", published))


# ---- the verb -------------------------------------------------------------------------------------------------------


def test_the_verb_writes_a_model_that_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = snapshot(tmp_path / "a.pkl", wrapping()), tmp_path / "new folder" / "lego.safetensors"
    assert main(["import", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "LEGO (Zheng et al. 2024" in said
    assert "3 parts, 16x16x3, 5 classes" in said
    assert f"brickwork sample '{out}'" in said
    model, direct = load(out), import_weights(path)
    x, sigma, labels = inputs()
    assert torch.equal(model(x, sigma, Condition(labels=labels)), direct(x, sigma, Condition(labels=labels)))
    assert (
        model.facts
        == direct.facts
        == {
            "imported": "a.pkl",
            "source_sha256": model.facts["source_sha256"],
            "design": "LEGO (Zheng et al. 2024, arXiv 2310.06389)",
        }
    )
    assert SOURCE.encode() not in out.read_bytes()
    draw = ["sample", str(out), "--seeds", "0", "--labels", "4", "--steps", "2", "--out", str(tmp_path / "a.png")]
    assert main(draw) == 0


def test_the_verb_knows_the_published_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from brickwork.backbone import presets

    config = import_weights(path := snapshot(tmp_path / "a.pkl", wrapping())).backbone.config
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "lego-known", replace(config))
        assert main(["import", str(path), "--out", str(tmp_path / "a.safetensors")]) == 0
    assert "with the sizes of lego-known" in capsys.readouterr().out


def test_the_verb_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = snapshot(tmp_path / "a.pkl", wrapping())
    (tmp_path / "text.pkl").write_text("hello")
    for name, out, reason in [
        (path, path, "it is the file to import"),
        (tmp_path / "none.pkl", tmp_path / "b", "no file"),
        (tmp_path / "text.pkl", tmp_path / "b", "begins with b'hello'"),
        (path, tmp_path / "text.pkl" / "b", "cannot be written"),
        (path, tmp_path, "cannot be written"),
    ]:
        assert main(["import", str(name), "--out", str(out)]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("brickwork import: ")
        assert reason in lines[0]


def test_a_pickle_given_to_other_verbs_points_here(tmp_path: Path) -> None:
    file = io.BytesIO()
    torch.save({"a": torch.ones(1)}, file)
    (tmp_path / "a.pth").write_bytes(file.getvalue())
    with pytest.raises(CheckpointError, match="brickwork import"):
        load(tmp_path / "a.pth")
