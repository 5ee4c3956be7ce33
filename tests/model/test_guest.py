"""A trained model as the brick before the first: what the bricks are told, what stays as it is, and its file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from brickwork.backbone.lego import Lego
from brickwork.backbone.stoic import Stoic
from brickwork.cli import main
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.prediction import EdmF, Eps
from brickwork.diffusion.process import Edm, Vp
from brickwork.errors import ArgumentError, CheckpointError, ConfigError
from brickwork.files.tensors import read_tensors
from brickwork.model.checkpoint import backbone_config, digest_of, load, named_weights, read_header, save
from brickwork.model.cost import cost, plan_macs
from brickwork.model.header import HEADER
from brickwork.model.hosted import HostedConfig
from brickwork.model.model import Model
from brickwork.sampling.loop import sample
from brickwork.sampling.plan import Plan
from brickwork.sampling.planned import Planned
from brickwork.training.denoiser.loss import EdmWeight, denoising_loss

BRICKS = (
    Lego.Brick(window=4, patch=2, width=16, heads=2, depth=1),
    Lego.Brick(window=0, patch=4, width=16, heads=2, depth=1),
)
CLASSES = ("cat", "dog", "owl")


def shaken(model: Model, seed: int = 0) -> Model:
    """All weights random: no output of a fresh one is zero after that."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.own_backbone.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval().requires_grad_(False)


def stoic(num_classes: int = 3, **fields: Any) -> Model:
    """A guest of noise and target unlike its host's."""
    sizes: dict[str, Any] = {"width": 32, "depth": 2, "heads": 2, "size": 8, "channels": 1, "num_classes": num_classes}
    config = Stoic.Config(**sizes | fields)
    codec = Pixels(num_channels=config.channels)
    return shaken(Model(config.build(), Vp(), Eps(), codec, CLASSES[:num_classes], {"images": 7}), 1)


def brick(side: int) -> Model:
    """A guest that takes multiples of a side."""
    bricks = (Lego.Brick(window=side, patch=8, width=16, heads=2, depth=1),)
    config = Lego.Config(bricks=bricks, size=side, channels=1, vector_width=16)
    return shaken(Model(config.build(), Edm(), EdmF(), Pixels(num_channels=1)))


def host(before: Model | None, **fields: Any) -> Model:
    options: dict[str, Any] = {"size": 8, "channels": 1, "num_classes": 3, "vector_width": 16, "guest": True}
    config = Lego.Config(bricks=BRICKS, **options | fields)
    codec, classes = Pixels(num_channels=config.channels), CLASSES[: config.num_classes]
    return shaken(Model(config.build(), Edm(), EdmF(), codec, classes, guest=before))


def inputs() -> tuple[Tensor, Tensor, Condition]:
    generator, sigma = torch.Generator().manual_seed(2), torch.tensor([0.02, 0.7, 50.0])
    x = torch.randn(3, 1, 8, 8, generator=generator) * (0.25 + sigma**2).sqrt()[:, None, None, None]
    return x, sigma, Condition(labels=torch.tensor([2, -1, 0]))


def first_input(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the first brick is told, call by call: its image channels before the noisy image and the coordinates."""
    brick, told = model.own_backbone.get_submodule("bricks.0"), []
    forward = brick.forward
    monkeypatch.setattr(brick, "forward", lambda x, vector: (told.append(x[:, :-3]), forward(x, vector))[1])
    return told


# ---- what bricks are told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("previous", ["output", "denoised"])
def test_the_first_brick_is_told_the_guests_estimate(previous: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D0 by EDM's own formulas (2206.00364, Table 1, sigma_data = 0.5), as F or as itself."""
    guest = stoic()
    model = host(guest, previous=previous)
    x, sigma, condition = inputs()
    told = first_input(model, monkeypatch)
    model(x, sigma, condition)
    s, x0 = sigma[:, None, None, None], guest(x, sigma, condition)
    F = (x0 - 0.25 / (s**2 + 0.25) * x) * (s**2 + 0.25).sqrt() / (0.5 * s)
    assert len(told) == 1
    assert float((x0 - guest(x, sigma, Condition())).abs().max()) > 1e-3  # it was told the labels
    torch.testing.assert_close(told[0], F if previous == "output" else x0, rtol=1e-4, atol=2e-5)


def test_an_unconditional_guest_is_told_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = stoic(num_classes=0)
    model = host(guest, previous="denoised")
    x, sigma, condition = inputs()
    told = first_input(model, monkeypatch)
    model(x, sigma, condition)
    torch.testing.assert_close(told[0], guest(x, sigma, Condition()), rtol=1e-4, atol=2e-5)


def test_its_output_counts_and_labels_may_be_left_out() -> None:
    model, other = host(stoic()), host(shaken(stoic(), 5))
    x, sigma, condition = inputs()
    assert not torch.equal(model(x, sigma, condition), other(x, sigma, condition))
    nothing = Condition(labels=torch.tensor([-1, -1, -1]))
    torch.testing.assert_close(model(x, sigma, Condition()), model(x, sigma, nothing), rtol=1e-5, atol=1e-5)


def test_training_asks_the_guest_at_the_waist(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the network's own input, which is all that the loss makes, it gets the same x and sigma."""
    guest, given = stoic(), inputs()[2]
    model, asked = host(guest), []
    forward = guest.forward
    monkeypatch.setattr(guest, "forward", lambda *words: (asked.append(words), forward(*words))[1])
    sigma = torch.tensor([0.01, 1.0, 70.0], dtype=torch.float64)
    x0, noise = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    denoising_loss(model, x0, noise, sigma.numpy(), given, EdmWeight(), (0.5, 0.5))
    x, level, condition = asked[0]
    torch.testing.assert_close(level, sigma.float())
    torch.testing.assert_close(x, x0 + sigma.float()[:, None, None, None] * noise, rtol=1e-5, atol=1e-5)
    assert condition is given


# ---- a model of parts -----------------------------------------------------------------------------------------------


def test_the_first_part_is_the_guest_bit_for_bit() -> None:
    guest = stoic()
    model = host(guest)
    x, sigma, condition = inputs()
    assert model.num_parts == 3
    assert torch.equal(model.first(1)(x, sigma, condition), guest(x, sigma, condition))
    assert model.first(3) is model
    c = model.preconditioning(sigma)
    given = c.expand().in_ * x, c.noise, condition, c
    outputs = model.outputs(*given)
    assert len(outputs) == 2  # the guest is not compared with anything
    part = model.first(2)
    assert part.num_parts == 2
    assert torch.equal(part.outputs(*given)[-1], outputs[0])
    assert torch.equal(model.keep([0, 1])(x, sigma, condition), part(x, sigma, condition))
    for parts in ([1], [1, 2], [0, 2]):
        with pytest.raises(ConfigError, match=r"guest's output|one before"):
            model.keep(parts)
    for n in (0, 4):
        with pytest.raises(ArgumentError, match="from 1 to 3"):
            model.first(n)
    with pytest.raises(ArgumentError, match="from 0 to 2"):
        model.keep([0, 3])


def test_a_plan_runs_the_guest_alone_where_it_says_so() -> None:
    guest = stoic()
    model = host(guest)
    planned = Planned.of(model, "1@5,3")
    x, sigma, condition = inputs()
    drawn = planned(x, sigma, condition)
    assert torch.equal(drawn[2:], guest(x[2:], sigma[2:], condition[[2]]))
    assert torch.equal(drawn[:2], model(x[:2], sigma[:2], condition[[0, 1]]))
    assert sample(planned, seeds=[0], labels=[1], steps=3, guidance=2.0).shape == (1, 8, 8, 1)


def test_precision_is_the_models() -> None:
    guest, (x, sigma, condition) = stoic(), inputs()
    model = host(guest)
    model(x, sigma, condition)
    assert guest.precision == "fp32"
    model.precision = "bf16"
    rounded = model(x, sigma, condition)
    assert guest.precision == "bf16"
    assert model.first(1).precision == model.first(2).precision == "bf16"
    model.precision = "fp32"
    assert model.first(1).precision == "fp32"
    assert 0 < float((rounded - model(x, sigma, condition)).norm() / rounded.norm()) < 0.1


def test_sides_must_suit_both() -> None:
    assert host(None, guest=False).multiple == 4
    assert host(stoic(stride=1, position="learned")).multiple is None  # a guest that takes its own size alone
    assert host(brick(8)).multiple == 8
    assert host(brick(8), size=16).shape == (1, 16, 16)  # trained at 8, it takes 16


def test_nothing_thaws_a_guest() -> None:
    model = host(stoic()).train().requires_grad_(True)
    assert model.guest is not None
    assert not model.guest.training
    assert not any(p.requires_grad for p in model.guest.parameters())
    assert all(p.requires_grad for p in model.own_backbone.parameters())
    x, sigma, condition = inputs()
    model(x, sigma, condition).square().sum().backward()
    assert all(p.grad is None for p in model.guest.parameters())
    assert [name for name, p in model.own_backbone.named_parameters() if p.grad is None] == []


# ---- its file -------------------------------------------------------------------------------------------------------


def test_one_file_holds_both(tmp_path: Path) -> None:
    model = host(stoic())
    save(model, tmp_path / "a.safetensors")
    again, (x, sigma, condition) = load(tmp_path / "a.safetensors"), inputs()
    assert again.guest is not None
    assert torch.equal(again(x, sigma, condition), model(x, sigma, condition))
    assert torch.equal(again.first(1)(x, sigma, condition), model.first(1)(x, sigma, condition))
    assert (again.guest.process, again.guest.prediction, again.guest.classes) == (Vp(), Eps(), CLASSES)
    assert again.guest.facts == {"images": 7}
    assert backbone_config(read_header(tmp_path / "a.safetensors")) == again.backbone.config == model.backbone.config
    names = set(named_weights(model))
    assert {n for n in names if n.startswith("guest.")} == {f"guest.{n}" for n in stoic().backbone.state_dict()}
    assert digest_of(again) == digest_of(model) != digest_of(host(shaken(stoic(), 5)))


def test_a_guest_may_have_a_guest(tmp_path: Path) -> None:
    """Grown twice: parts are the whole of what came before, then the new bricks."""
    model = host(host(stoic()))
    save(model, tmp_path / "a.safetensors")
    again, (x, sigma, condition) = load(tmp_path / "a.safetensors"), inputs()
    assert torch.equal(again(x, sigma, condition), model(x, sigma, condition))
    assert torch.equal(again.first(1).first(1)(x, sigma, condition), stoic()(x, sigma, condition))
    config = again.backbone.config
    assert isinstance(config, HostedConfig)
    assert isinstance(config.guest, HostedConfig)
    assert config.guest.guest == stoic().backbone.config
    assert again.num_parts == 3


def test_a_model_without_a_guest_is_written_as_before(tmp_path: Path) -> None:
    save(stoic(), tmp_path / "a.safetensors")
    assert "guest" not in read_header(tmp_path / "a.safetensors")
    assert read_tensors(tmp_path / "a.safetensors")[0].keys() == stoic().backbone.state_dict().keys()


def nested(header: dict[str, Any], depth: int) -> None:
    for _ in range(depth):
        header["guest"] = json.loads(json.dumps(header | {"guest": None}))
        header = header["guest"]
    header.pop("guest", None)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda h: h.pop("guest"), "give a trained model as guest"),
        (lambda h: h["backbone"][1].update(guest=False), "set backbone.guest = true"),
        (lambda h: h.update(guest=3), "no format"),
        (lambda h: h["guest"].update(format=99), "upgrade"),
        (lambda h: h["guest"].pop("process"), "lacks process"),
        (lambda h: h["guest"].update(classes=["a", "b", "c"]), "classes"),
        (lambda h: h["guest"]["backbone"][1].update(width=64), "different networks"),
        (
            lambda h: h["guest"]["backbone"][1].update(depth=10**9),
            "depth is 1000000000: it must be",
        ),
        (
            lambda h: h["backbone"][1]["bricks"][1].update(depth=10**9),
            "depth is 1000000000: it must be",
        ),
        (lambda h: nested(h, 40), "more than 16 guests"),
    ],
)
def test_a_header_that_lies_about_its_guest(change: Any, word: str, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save(host(stoic()), file)
    tensors, metadata = read_tensors(file)
    header = json.loads(metadata[HEADER])
    change(header)
    save_file(tensors, file, {HEADER: json.dumps(header)})
    with pytest.raises(CheckpointError) as error:
        load(file)
    assert word in str(error.value)
    assert "\n" not in str(error.value)
    if word in ("give a trained model as guest", "no format", "lacks process", "more than 16 guests"):
        with pytest.raises(CheckpointError, match=word):  # info and macs read the header alone
            read_header(file)


# ---- what does not go together --------------------------------------------------------------------------------------


def test_what_does_not_go_together_is_refused() -> None:
    for guest, word in [
        (None, "give a trained model as guest"),
        (stoic(channels=3), "pictures must mean the same"),
        (stoic(num_classes=2), "2 classes (cat, dog) in a model of 3 classes (cat, dog, owl)"),
        (stoic(size=16, position="learned"), "16x16 pixels in a model of 8x8: it takes this alone"),
        (brick(16), "16x16 pixels in a model of 8x8: it takes multiples of 16"),
        (stoic(text_length=2, text_width=4), "takes text"),
    ]:
        with pytest.raises(ConfigError) as error:
            host(guest)
        assert word in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"a guest of 3 classes .* in a model of no classes"):
        host(stoic(), num_classes=0)
    with pytest.raises(ConfigError, match=r"backbone\.guest = true"):
        host(stoic(), guest=False)
    with pytest.raises(ConfigError, match="take a LEGO backbone"):
        stoic().backbone.config.with_guest()


def test_the_network_alone_says_what_it_needs() -> None:
    model, (x, _, condition) = host(stoic()), inputs()
    for network in (model.backbone, model.own_backbone):
        with pytest.raises(ArgumentError, match="call the model"):
            network(x, torch.zeros(3), condition)
    with pytest.raises(ArgumentError, match="preconditioning"):
        model.outputs(x, torch.zeros(3), condition)
    alone = host(None, guest=False).backbone
    assert isinstance(alone, Lego)
    with pytest.raises(ArgumentError, match="guest = true"):
        alone.outputs(x, torch.zeros(3), condition, before=x)


# ---- its cost -------------------------------------------------------------------------------------------------------


def test_cost_is_the_guests_and_the_bricks() -> None:
    guest, alone = stoic(), host(None, guest=False)
    config = host(guest).backbone.config
    whole, before, bricks = cost(config), cost(guest.backbone.config), cost(alone.backbone.config)
    told = 16 * 4 * 16  # tokens times pixels of a patch times width: the first brick embeds one channel more
    assert whole.parts["guest"].macs == before.macs
    assert whole.macs == sum(part.macs for part in whole.parts.values()) == before.macs + bricks.macs + told
    assert whole.parameters == before.parameters + bricks.parameters + 4 * 16
    assert whole.parameters == sum(p.numel() for p in host(guest).parameters())
    assert whole.training_bytes < before.training_bytes + bricks.training_bytes
    calls = [(9.0, 2), (1.0, 1)]
    every = plan_macs(config, Plan(counts=(3,)), calls)
    assert every == 3 * whole.macs
    early = plan_macs(config, Plan(thresholds=(5.0,), counts=(1, 2)), calls)
    assert early == 2 * before.macs + cost(config.first(2)).macs
    with pytest.raises(ArgumentError, match="from 1 to 3"):
        plan_macs(config, Plan(counts=(4,)), calls)
    denoised = host(None, guest=False, previous="denoised").backbone.config
    assert cost(denoised).macs == bricks.macs


# ---- from the command line ------------------------------------------------------------------------------------------


RECIPE = """
batch = 8
[backbone]
kind = "lego"
vector_width = 16
bricks = [{window = 4, patch = 2, width = 16, heads = 2, depth = 1}, {patch = 4, width = 16, heads = 2, depth = 1}]
[report]
sheet_steps = 1
sheet_seeds = 1
eval_images = 4
"""


def test_the_shipped_digits_as_a_guest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    train = ["train", str(tmp_path / "tiny.toml"), "--data", "digits", "--steps", "2", "--guest", "digits"]
    assert main([*train, "--out", str(tmp_path / "x"), "--dry-run"]) == 0
    assert re.search(r"\nguest +[\d,]{7}", capsys.readouterr().out)
    assert not (tmp_path / "x").exists()
    run = str(tmp_path / "run")
    assert main([*train, "--out", run]) == 0
    guest = load(run).guest
    assert guest is not None
    assert digest_of(guest) == digest_of(load("digits"))
    capsys.readouterr()
    assert main(["info", run]) == 0
    out = capsys.readouterr().out
    assert "\nguest      stoic: size=8, " in out
    assert "\n           process flow: t_min=0.001, t_max=0.999; prediction velocity: \n" in out
    assert main(["macs", run, "--steps", "4", "--plan", "1@1,3", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    digits = cost(load("digits").backbone.config).macs
    assert counted["parts"]["guest"]["macs"] == digits
    assert counted["image"]["plan"]["macs"] == sum(
        times * {"1": digits, "3": counted["macs"]}[n] for n, times in counted["image"]["plan"]["evaluations"].items()
    )
    sheet = ["--labels", "3", "--seeds", "0", "--steps", "3"]
    assert main(["sample", run, *sheet, "--plan", "1@1,3", "--out", str(tmp_path / "a.png")]) == 0
    again = ["train", run, "--data", "digits", "--out", run, "--steps", "2"]  # its own recipe, no guest
    assert main([*again, "--dry-run"]) == 0
    assert re.search(r"\nguest +[\d,]{7}", capsys.readouterr().out)
    assert main(again) == 0


def test_guests_that_do_not_fit_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    save(host(None, guest=False), tmp_path / "lego.safetensors")
    for name, guest, says in [
        ("tiny.toml", "lego.safetensors", "3 classes (cat, dog, owl) in a model of 10 classes (0, 1, 2, 3, ...)"),
        ("tiny.toml", "none.safetensors", "no file"),
        ("stoic-digits", None, "take a LEGO backbone"),
    ]:
        recipe = str(tmp_path / name) if name.endswith(".toml") else name
        words = ["train", recipe, "--data", "digits", "--out", str(tmp_path / "x"), "--steps", "1"]
        assert main([*words, "--guest", "digits" if guest is None else str(tmp_path / guest)]) == 1
        error = capsys.readouterr().err
        assert says in error.splitlines()[-1]
        assert error.count("brickwork train: ") == 1
        assert not (tmp_path / "x").exists()
