"""A setting acts, or is refused; a run holds how its images were read, and any door takes it up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import brickwork as bw
from brickwork.cli import main
from brickwork.data.dataset import Dataset, load_dataset
from brickwork.errors import ConfigError, UnknownNameError
from brickwork.files.proposed import Proposed, proposals
from brickwork.files.tensors import read_tensors
from brickwork.training.autoencoder.recipe import AutoencoderRecipe, fit_autoencoder
from brickwork.training.autoencoder.recipe import idle_settings as idle_of_autoencoder
from brickwork.training.denoiser.acting import idle_settings
from brickwork.training.denoiser.recipe import Recipe, fit_to_data
from brickwork.training.denoiser.recipe_file import load_recipe, parse_recipe, to_toml
from brickwork.training.run.acting import refuse_idle

TINY = bw.Stoic.Config(width=32, depth=1, stride=1, depthwise=True)
FLAGS = ["--batch", "4", "--precision", "fp32", "--report.sheet-steps", "0", "--report.eval-every", "0"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of mixed sizes, some in colour."""
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        pixels = rng.integers(0, 256, (10 + i % 3, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def short(**changes: Any) -> Recipe:
    values: dict[str, Any] = {"backbone": TINY, "batch": 4, "steps": 4, "warmup": 2, "precision": "fp32"}
    report = bw.Report(sheet_steps=0, eval_every=0, eval_images=4)
    return Recipe(**{**values, "report": report, **changes})


def same_state(a: Path, b: Path) -> bool:
    first, second = (read_tensors(folder / "state.safetensors")[0] for folder in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# ---- numbers from the data --------------------------------------------------------------------------------------


def test_presets_and_defaults_propose_and_users_set() -> None:
    known = bw.preset("stoic-small")
    assert set(proposals(known)) >= {"size", "channels", "num_classes"}
    assert proposals(replace(known, width=64, heads=1)) == proposals(known)
    assert "size" not in proposals(replace(known, size=32))
    assert replace(known, size=32) == known
    assert proposals(bw.Stoic.Config(size=8, num_classes=0)) == [
        "channels",
        "text_length",
        "text_width",
        "condition_channels",
    ]
    assert bw.cost(known).size == 32


@pytest.mark.parametrize(
    ("field", "value", "way"),
    [
        ("size", 64, "backbone.size is 64, and the data make it 4: .* data.size = 64"),
        ("channels", 3, "backbone.channels is 3, and the data make it 1: .* data.channels"),
        ("num_classes", 10, "backbone.num_classes is 10, and the data make it 3: .* conditional = false"),
        ("num_classes", 0, "backbone.num_classes is 0, and the data make it 3: .* conditional = false"),
        ("condition_channels", 1, "backbone.condition_channels is 1, and the data make it 0"),
    ],
)
def test_a_number_that_the_data_contradict_is_refused(data: Dataset, field: str, value: int, way: str) -> None:
    with pytest.raises(ConfigError, match=way):
        fit_to_data(short(backbone=replace(TINY, **{field: value})), data)
    fitted = fit_to_data(short(backbone=replace(TINY, **{field: Proposed(value)})), data)
    assert getattr(fitted.backbone, field) != value
    assert proposals(fitted.backbone) == []


def test_a_number_that_agrees_is_taken(data: Dataset) -> None:
    fitted = fit_to_data(short(backbone=replace(TINY, size=4, channels=1, num_classes=3)), data)
    assert (fitted.backbone.size, fitted.backbone.channels, fitted.backbone.num_classes) == (4, 1, 3)


def test_an_autoencoder_takes_its_channels_from_the_data(make_data: Callable[..., Dataset]) -> None:
    grey = make_data(5, 8)
    assert fit_autoencoder(AutoencoderRecipe(steps=1), grey).autoencoder.picture_channels == 1
    asked = AutoencoderRecipe(steps=1, autoencoder=bw.Autoencoder.Config(picture_channels=3))
    with pytest.raises(ConfigError, match=r"autoencoder.picture_channels is 3, and the data make it 1: .*channels = 3"):
        fit_autoencoder(asked, grey)


def test_toml_keeps_what_is_proposed_and_what_is_set(data: Dataset) -> None:
    recipe = short(backbone=replace(bw.preset("stoic-digits"), size=8))
    again = parse_recipe(to_toml(recipe))
    assert again == recipe
    assert proposals(again.backbone) == proposals(recipe.backbone)
    assert "size" not in proposals(again.backbone)
    fitted = fit_to_data(short(), data)
    assert proposals(parse_recipe(to_toml(fitted)).backbone) == []
    text = to_toml(recipe).replace('"channels"', '"chanels"')
    with pytest.raises(ConfigError, match=r"backbone.proposed is .*chanels.*: it lists keys of this table"):
        parse_recipe(text)
    text = to_toml(recipe).replace('"channels"', "[1]")
    with pytest.raises(ConfigError, match=r"backbone.proposed is .*\[1\].*: it lists keys of this table"):
        parse_recipe(text)


def test_flags_and_files_set_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "stoic-digits", "--data", "digits", "--out", str(tmp_path / "x"), "--steps", "1"]
    assert main([*words, "--backbone.size", "64", "--backbone.channels", "3"]) == 1
    assert "backbone.size is 64, and the data make it 8" in capsys.readouterr().err
    path = tmp_path / "r.toml"
    path.write_text('steps = 1\n[backbone]\npreset = "stoic-digits"\nnum_classes = 5\n')
    assert main(["train", str(path), *words[2:6]]) == 1
    assert "backbone.num_classes is 5" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


# ---- settings that do nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_dropout": 0.2, "conditional": False}, r"label_dropout is 0.2, and the model learns no classes"),
        ({"text_dropout": 0.2}, r"text_dropout is 0.2, and the model reads no captions.*leave it out \(0.1\)"),
        ({"report": bw.Report(sheet_guidance=2.0), "conditional": False}, r"report.sheet_guidance is 2.0, and there"),
        ({"report": bw.Report(sheet_steps=0, sample_every=9)}, r"report.sample_every is 9, and report.sheet_steps 0"),
        ({"ema_half_life": 0.0, "ema_rampup": 0.1}, r"ema_rampup is 0.1, and ema_half_life 0"),
        ({"data": bw.DataConfig(filter="box")}, r"data.filter is box, and no data.size"),
    ],
)
def test_a_setting_that_does_nothing_is_refused(
    data: Dataset, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        bw.train(short(**changes), data, tmp_path / "x", device="cpu", progress=False)
    assert not (tmp_path / "x").exists()


def test_latents_without_an_autoencoder_are_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"latents .*: this run learns pixels"):
        bw.train(short(), data, tmp_path / "x", latents=tmp_path, device="cpu", progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commitment": 0.5}, "commitment is 0.5, and kind 'kl' has no codes"),
        ({"autoencoder": bw.Autoencoder.Config(kind="vq"), "kl": 1e-3}, "kl is 0.001, and kind 'vq'"),
        ({"adversary_width": 8}, "adversary_width is 8, and adversarial 0 makes no adversary"),
    ],
)
def test_so_it_is_in_an_autoencoder(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse_idle(idle_of_autoencoder(AutoencoderRecipe(steps=1, **changes)))


@pytest.mark.parametrize("path", sorted(Path("recipes").glob("*.toml")), ids=lambda p: p.stem)
def test_our_recipes_say_nothing_idle(path: Path) -> None:
    """On data with classes and captions, as they are meant for."""
    recipe = load_recipe(path)
    classes = 10 if recipe.conditional else 0
    length = recipe.text.num_tokens
    sized = replace(recipe.backbone, num_classes=classes, text_length=length, text_width=recipe.text.token_width)
    refuse_idle(idle_settings(replace(recipe, backbone=sized)))


# ---- how images were read ---------------------------------------------------------------------------------------


def test_a_run_of_python_is_resumed_by_the_command_line(photos: Path, tmp_path: Path) -> None:
    read = bw.load_dataset(photos, bw.DataConfig(size=8, holdout=0.3))
    bw.train(short(steps=2, schedule="constant"), read, tmp_path / "a", device="cpu", progress=False)
    assert load_recipe(tmp_path / "a").data.size == 8
    words = ["--data", str(photos), "--device", "cpu", "--steps", "4"]
    assert main(["train", str(tmp_path / "a"), *words, "--out", str(tmp_path / "a")]) == 0
    assert main(["train", str(tmp_path / "a" / "recipe.toml"), *words, "--out", str(tmp_path / "b")]) == 0
    assert same_state(tmp_path / "a", tmp_path / "b")


def test_a_run_of_the_command_line_is_resumed_by_python(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(to_toml(short(steps=2, schedule="constant", data=bw.DataConfig(size=8, holdout=0.3))))
    assert main(["train", str(path), "--data", str(photos), "--out", str(tmp_path / "a"), "--device", "cpu"]) == 0
    longer = bw.load_recipe(tmp_path / "a", steps=4)
    bw.train(longer, photos, tmp_path / "a", device="cpu", progress=False)
    read = load_dataset(photos, bw.DataConfig(size=8, holdout=0.3))
    fresh = short(steps=4, schedule="constant")
    bw.train(fresh, read, tmp_path / "b", device="cpu", progress=False)
    assert same_state(tmp_path / "a", tmp_path / "b")
    other = short(steps=4, schedule="constant", data=bw.DataConfig(size=8, holdout=0.5))
    with pytest.raises(ConfigError, match=r"other data \(data.holdout: 0.3 → 0.5"):
        bw.train(other, photos, tmp_path / "a", device="cpu", progress=False)


def test_the_run_does_not_forget_flips(photos: Path, tmp_path: Path) -> None:
    read = bw.load_dataset(photos, bw.DataConfig(size=8, flip=False))
    bw.train(short(steps=1, schedule="constant"), read, tmp_path / "a", device="cpu", progress=False)
    with pytest.raises(ConfigError, match=r"another recipe \(data.flip: False → True"):
        bw.train(
            short(steps=2, schedule="constant"), replace(read, flip=True), tmp_path / "a", device="cpu", progress=False
        )


@pytest.mark.parametrize(
    ("asked", "read", "message"),
    [
        (bw.DataConfig(size=4), bw.DataConfig(size=8), r"data.size is 4 in the recipe.* read with 8"),
        (bw.DataConfig(size=8, crop="none"), bw.DataConfig(size=8), r"data.crop is none in the recipe.* with centre"),
        (bw.DataConfig(size=8, flip=True), bw.DataConfig(size=8, flip=False), r"data.flip is true .* with false"),
        (bw.DataConfig(size=8), bw.DataConfig(size=8), ""),
        (bw.DataConfig(), bw.DataConfig(size=8, holdout=0.2), ""),
    ],
)
def test_recipe_and_data_set_must_agree(photos: Path, asked: bw.DataConfig, read: bw.DataConfig, message: str) -> None:
    data = load_dataset(photos, read)
    if message:
        with pytest.raises(ConfigError, match=message):
            fit_to_data(short(data=asked), data)
    else:
        assert fit_to_data(short(data=asked), data).data == replace(read, flip=data.flip)


def test_arrays_by_hand_need_no_config(data: Dataset) -> None:
    assert data.config is None
    assert fit_to_data(short(data=bw.DataConfig(size=4, channels=1)), data).data == bw.DataConfig(size=4, channels=1)
    with pytest.raises(ConfigError, match=r"data.size is 5 in the recipe"):
        fit_to_data(short(data=bw.DataConfig(size=5)), data)


# ---- places in place of data, names in place of recipes ---------------------------------------------------------


def test_a_path_is_read_and_held_out_as_by_the_command_line(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(to_toml(short(data=bw.DataConfig(size=8, holdout=0.3))))
    bw.train(path, photos, tmp_path / "a", device="cpu", progress=False)
    assert main(["train", str(path), "--data", str(photos), "--out", str(tmp_path / "b"), "--device", "cpu"]) == 0
    assert same_state(tmp_path / "a", tmp_path / "b")
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in "ab"]
    assert all("held_out" in log for log in logs)
    model = bw.train(short(), str(photos), tmp_path / "c", device="cpu", progress=False)
    assert model.shape[1] == short().backbone.size, "pictures of mixed sizes get that of the network"


def test_an_autoencoder_takes_a_path(photos: Path, tmp_path: Path) -> None:
    recipe = AutoencoderRecipe(
        autoencoder=bw.Autoencoder.Config(width=8, channels=3),
        data=bw.DataConfig(size=8, holdout=0.3),
        batch=4,
        steps=2,
        warmup=1,
        precision="fp32",
    )
    bw.train_autoencoder(recipe, photos, tmp_path / "a", device="cpu", progress=False)
    assert "held_out_psnr" in (tmp_path / "a" / "log.jsonl").read_text()
    bw.train_autoencoder(tmp_path / "a", str(photos), tmp_path / "b", device="cpu", progress=False)
    assert same_state(tmp_path / "a", tmp_path / "b")


def test_recipes_by_name() -> None:
    assert load_recipe("fashion-mnist") == load_recipe("recipes/fashion-mnist.toml")
    with pytest.raises(UnknownNameError, match="no recipe or preset named 'fashion-mnst'; did you mean fashion-mnist"):
        load_recipe("fashion-mnst")
    recipe = load_recipe("lego-digits", minutes=3)
    assert recipe.minutes == 3
    assert type(recipe.process) is bw.Edm
    with pytest.raises(ConfigError, match="no setting named 'minuts'; did you mean minutes"):
        load_recipe("stoic-small", minuts=3)
    with pytest.raises(UnknownNameError, match="stoic-small"):
        load_recipe("stoic-smal")
    with pytest.raises(ConfigError, match="no budget"):
        bw.train("stoic-small", "nowhere", "x")


def test_a_dry_run_says_where_numbers_come_from(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(photos), "--size", "32", "--out", str(tmp_path / "x"), "--steps", "3", "--dry-run"]
    assert main(["train", "stoic-small", *words, "--holdout", "0.3", "--backbone.channels", "3"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["backbone.size", "32", "from", "preset,", "as", "the", "data", "are"] in lines
    assert ["backbone.channels", "3", "from", "you"] in lines
    assert ["backbone.num_classes", "0", "from", "data,", "in", "place", "of", "10"] in lines
    assert any(line[1:] == ["images", "held", "out"] for line in lines)
    assert not (tmp_path / "x").exists()
    assert main(["autoencoder", "train", *words, "--data.holdout", "0.3"]) == 0
    out = capsys.readouterr().out
    assert "autoencoder.picture_channels 3      from preset, as the data are" in out
    assert "images held out" in out
