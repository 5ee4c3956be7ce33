"""The verb that draws from a picture, as a user calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brickwork.backbone.stoic import Stoic
from brickwork.cli import main
from brickwork.codec.autoencoder import Autoencoder
from brickwork.codec.base import Pixels
from brickwork.codec.image_condition import Coarse, Grey, ImageCondition, Nothing
from brickwork.codec.latents import Latents
from brickwork.diffusion.prediction import V
from brickwork.diffusion.process import Vp
from brickwork.files.picture import read_facts
from brickwork.model.checkpoint import load, save
from brickwork.model.model import Model
from brickwork.sampling.loop import sample


def model_file(path: Path, image_condition: ImageCondition) -> Path:
    """An untrained model of 8x8 pixels in colour, with weights of some size."""
    torch.manual_seed(0)
    alone = isinstance(image_condition, Nothing)
    config = Stoic.Config(
        size=8,
        channels=3,
        num_classes=2 if alone else 0,
        width=32,
        depth=1,
        heads=1,
        condition_channels=0 if alone else 3,
    )
    model = Model(
        config.build(), Vp(), V(), Pixels(), ("bright", "dark") if alone else (), image_condition=image_condition
    )
    with torch.no_grad():
        for weight in model.backbone.parameters():
            weight += 0.1 * torch.randn_like(weight)
    save(model, path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_file(tmp_path_factory.mktemp("model") / "plain.safetensors", Nothing())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24x16 pixels."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24x16 pixels: the right half is white."""
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    Image.fromarray(np.repeat([[0] * 12 + [255] * 12], 16, axis=0).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail, and return its one line."""

    def fail(*words: str | Path) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 1
        errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("brickwork ")]
        assert len(errors) == 1, errors
        return errors[0]

    return fail


def test_image_to_image(model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["edit", str(model), str(photo), "--steps", "5", "--seeds", "0-2", "--labels", "dark", "0", "--out"]
    assert main([*words, str(tmp_path / "all")]) == 0
    out = capsys.readouterr().out
    assert "24x16 pixels; its centre resized to 8x8" in out
    assert "strength 0.4: the last 2 of 5 steps, from noise level" in out
    names = {f"label{label}_seed{seed}.png" for label in (0, 1) for seed in range(3)}
    assert {p.name for p in (tmp_path / "all").iterdir()} == names | {"sheet.png", "picture.png"}
    facts = read_facts(tmp_path / "all" / "label1_seed2.png")
    assert (facts["label"], facts["seed"], facts["strength"], facts["picture"]) == (1, 2, 0.4, "photo.png")
    assert len(facts["sha256"]) == 64
    assert main([*words, str(tmp_path / "one.png")]) == 0
    assert np.array_equal(pixels(tmp_path / "all" / "sheet.png"), pixels(tmp_path / "one.png"))


def test_strength_0_and_1(model: Path, photo: Path, tmp_path: Path) -> None:
    words = ["edit", str(model), str(photo), "--steps", "3", "--seeds", "4", "--out"]
    for strength in ("0", "1"):
        assert main([*words, str(tmp_path / strength), "--strength", strength]) == 0
    assert np.array_equal(pixels(tmp_path / "0" / "seed4.png"), pixels(tmp_path / "0" / "picture.png"))
    drawn = sample(load(model), seeds=[4], steps=3)[0]
    assert np.array_equal(pixels(tmp_path / "1" / "seed4.png"), drawn)


def test_a_mask_keeps_the_rest(model: Path, photo: Path, mask: Path, tmp_path: Path) -> None:
    words = ["edit", str(model), str(photo), "--mask", str(mask), "--steps", "3", "--seeds", "0-1", "--resample", "2"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    before, anew = pixels(tmp_path / "a" / "picture.png"), pixels(tmp_path / "a" / "mask.png")[..., 0] > 0
    assert anew.tolist() == [[False] * 4 + [True] * 4] * 8
    for seed in (0, 1):
        after = pixels(tmp_path / "a" / f"seed{seed}.png")
        assert np.array_equal(after[~anew], before[~anew])
        assert (after[anew] != before[anew]).mean() > 0.5
    facts = read_facts(tmp_path / "a" / "sheet.png")
    assert (facts["strength"], facts["mask"], facts["resample"]) == (1.0, "mask.png", 2)


def test_both_halves_of_a_mask_are_seen_on_the_sheet(model: Path, photo: Path, mask: Path, tmp_path: Path) -> None:
    words = ["edit", str(model), str(photo), "--mask", str(mask), "--steps", "1", "--seeds", "0", "--resample", "1"]
    assert main([*words, "--out", str(tmp_path / "sheet.png")]) == 0
    ground = int(pixels(tmp_path / "sheet.png")[0, 0, 0])
    assert min(ground, 255 - ground) > 32


def test_a_mask_of_another_size(model: Path, photo: Path, tmp_path: Path) -> None:
    """Twice as large; one white pixel is enough for the pixel that it becomes a part of."""
    large = np.zeros((32, 48), dtype=np.uint8)
    large[31, 8] = 255
    Image.fromarray(large).save(tmp_path / "large.png")
    words = ["edit", str(model), str(photo), "--steps", "1", "--seeds", "0", "--mask"]
    assert main([*words, str(tmp_path / "large.png"), "--out", str(tmp_path / "a")]) == 0
    assert np.argwhere(pixels(tmp_path / "a" / "mask.png")[..., 0]).tolist() == [[7, 0]]
    small = np.zeros((8, 8), dtype=np.uint8)  # of the model's size, after the crop
    small[2, 3] = 200
    Image.fromarray(small).save(tmp_path / "small.png")
    assert main([*words, str(tmp_path / "small.png"), "--out", str(tmp_path / "b")]) == 0
    assert np.argwhere(pixels(tmp_path / "b" / "mask.png")[..., 0]).tolist() == [[2, 3]]


@pytest.mark.parametrize("image_condition", [Coarse(scale=4), Grey()])
def test_a_model_with_an_image_condition(
    image_condition: ImageCondition, photo: Path, mask: Path, tmp_path: Path, line: Callable[..., str]
) -> None:
    path = model_file(tmp_path / "a.safetensors", image_condition)
    kind = "grey" if isinstance(image_condition, Grey) else "coarse"
    words = ["edit", str(path), str(photo), "--steps", "2", "--seeds", "0-1"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    picture = np.asarray(Image.open(photo).crop((4, 0, 20, 16)).resize((8, 8), Image.Resampling.LANCZOS))
    wanted = image_condition.degrade(torch.from_numpy(picture[None].copy())).numpy()[0]
    assert np.array_equal(pixels(tmp_path / "a" / f"{kind}.png"), wanted)
    assert not np.array_equal(pixels(tmp_path / "a" / "seed0.png"), pixels(tmp_path / "a" / "seed1.png"))
    assert read_facts(tmp_path / "a" / "sheet.png")["image_condition"] == kind
    assert f"image condition is a {kind} picture" in line(*words, "--mask", mask, "--out", tmp_path / "b.png")
    assert f"image condition is a {kind} picture" in line(*words, "--strength", "0.5", "--out", tmp_path / "b.png")
    if kind == "coarse":
        Image.new("RGB", (2, 2), (200, 10, 10)).save(tmp_path / "tiny.png")
        assert main(["edit", str(path), str(tmp_path / "tiny.png"), "--steps", "1", "--out", str(tmp_path / "c")]) == 0
        assert (pixels(tmp_path / "c" / "coarse.png") == (200, 10, 10)).all()


def test_latents_keep_the_rest(photo: Path, tmp_path: Path) -> None:
    """The real codec of latents, of 16x16 pixels in 4x4 places; the mask's border runs through places."""
    torch.manual_seed(0)
    some = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    codec = Latents.measure(Autoencoder.Config(channels=4, factor=4, width=8).build(), [some])
    config = Stoic.Config(size=4, channels=4, width=32, depth=1, stride=1, depthwise=True)
    save(Model(config.build(), Vp(), V(), codec), tmp_path / "latents.safetensors")
    Image.fromarray(np.repeat([[0] * 11 + [255] * 13], 16, axis=0).astype(np.uint8)).save(tmp_path / "mask.png")
    words = ["edit", str(tmp_path / "latents.safetensors"), str(photo), "--steps", "2", "--seeds", "0-1"]
    assert main([*words, "--mask", str(tmp_path / "mask.png"), "--out", str(tmp_path / "a")]) == 0
    before, anew = pixels(tmp_path / "a" / "picture.png"), pixels(tmp_path / "a" / "mask.png")[..., 0] > 0
    assert anew.tolist() == [[False] * 7 + [True] * 9] * 16
    for seed in (0, 1):
        after = pixels(tmp_path / "a" / f"seed{seed}.png")
        assert np.array_equal(after[~anew], before[~anew])
        assert (after[anew] != before[anew]).mean() > 0.5
    assert main([*words, "--strength", "0", "--out", str(tmp_path / "b")]) == 0
    assert np.array_equal(pixels(tmp_path / "b" / "seed1.png"), before)


def test_what_cannot_be_done_is_one_line(model: Path, photo: Path, tmp_path: Path, line: Callable[..., str]) -> None:
    out = ["--steps", "2", "--seeds", "0", "--out", tmp_path / "a.png"]
    assert "none.png: cannot be read" in line("edit", model, tmp_path / "none.png", *out)
    (tmp_path / "text.png").write_text("no picture")
    assert "text.png: not an image" in line("edit", model, tmp_path / "text.png", *out)
    Image.new("L", (16, 16)).save(tmp_path / "square.png")
    assert "16x16 pixels for a picture of 24x16" in line("edit", model, photo, "--mask", tmp_path / "square.png", *out)
    Image.new("L", (24, 16)).save(tmp_path / "black.png")
    assert "nothing is white" in line("edit", model, photo, "--mask", tmp_path / "black.png", *out)
    assert "none.png: cannot be read" in line("edit", model, photo, "--mask", tmp_path / "none.png", *out)
    for strength in ("-0.1", "1.5", "nan"):
        assert f"strength {strength}" in line("edit", model, photo, "--strength", strength, *out)
    assert "resample 0" in line("edit", model, photo, "--resample", "0", *out)
    assert "takes no text" in line("edit", model, photo, "--prompt", "a red coat", *out)
    assert "bright" in line("edit", model, photo, "--labels", "birght", *out)
    assert ".webp" in line("edit", model, photo, "--out", tmp_path / "a.gif")
    assert not (tmp_path / "a.png").exists()
