from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brickwork.backbone.presets import preset
from brickwork.backbone.stoic import Stoic
from brickwork.codec.image_condition import Coarse
from brickwork.data.dataset import DataConfig, Dataset
from brickwork.diffusion.prediction import PREDICTIONS, Eps
from brickwork.diffusion.process import PROCESSES, Vp
from brickwork.errors import ConfigError, UnknownNameError
from brickwork.files.proposed import proposals
from brickwork.training.denoiser.loss import WEIGHTINGS
from brickwork.training.denoiser.recipe import Recipe, Report, fit_to_data
from brickwork.training.denoiser.recipe_file import load_recipe, parse_recipe, to_toml
from brickwork.training.denoiser.times import TIMES, LogNormal
from brickwork.training.run.recipe import differing_fields

RECIPES = Path(__file__).parents[2] / "recipes"


def test_round_trip_of_everything() -> None:
    recipe = Recipe(
        backbone=Stoic.Config(width=64, depth=2, heads=4, kernel=5, time="adaln"),
        process=Vp(beta_max=10.0),
        prediction=Eps(),
        times=LogNormal(mean=-0.3, stratified=True),
        weighting=WEIGHTINGS["min-snr"](),
        data=DataConfig(size=16, box=(1, 2, 30, 40), flip=False, strict=True),
        lr=1e-5,
        betas=(0.5, 0.75),
        conditional=False,
        seed=2**63 - 1,
        minutes=0.1,
        report=Report(log_every=3, save_minutes=0.25),
    )
    assert parse_recipe(to_toml(recipe)) == recipe


@pytest.mark.parametrize(
    ("section", "registry"),
    [("process", PROCESSES), ("prediction", PREDICTIONS), ("times", TIMES), ("weighting", WEIGHTINGS)],
)
def test_round_trip_of_every_name(section: str, registry: dict[str, Any]) -> None:
    for name, kind in registry.items():
        recipe = replace(Recipe(backbone=Stoic.Config()), **{section: kind()})
        text = to_toml(recipe)
        assert f'name = "{name}"' in text
        assert parse_recipe(text) == recipe


def test_preset_with_fields_beside() -> None:
    recipe = parse_recipe('lr = 1\n[backbone]\npreset = "stoic-tiny"\nsize = 20\n')
    assert recipe.backbone == replace(preset("stoic-tiny"), size=20)
    assert recipe.lr == 1.0


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_our_recipes(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.steps or recipe.images or recipe.minutes
    assert parse_recipe(to_toml(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = 1", r"needs a table \[backbone\]"),
        ("lr = ", "not a TOML file"),
        ("wramup = 3\n", "no setting named 'wramup'; did you mean warmup"),
        ("[process]\nname = 'vp'\nbeta_maxi = 3.0\n", r"'process\.beta_maxi'; did you mean beta_max"),
        ("[process]\nbeta_max = 3.0\n", r"\[process\] needs name"),
        ("[report]\nlog_evry = 3\n", r"'report\.log_evry'; did you mean log_every"),
        ("lr = 'fast'\n", "lr is 'fast': it must be a number"),
        ("steps = 1.5\n", "steps is 1.5: it must be a whole number"),
        ("compile = 1\n", "compile is 1: it must be true or false"),
        ("precision = 'fp8'\n", "precision is 'fp8': it must be 'auto' or 'fp32' or 'bf16'"),
        ("betas = [0.9]\n", "betas is .* a list of 2"),
        ("data = 3\n", r"data is 3: write it as a table, \[data\]"),
        ("batch = 10\naccumulation = 4\n", "let accumulation divide batch"),
        ("label_dropout = 2.0\n", "from 0 to 1"),
        ("lr = -1.0\n", r"lr is -1\.0: it must be a number, at least 0"),
        ("betas = [0.9, 1.0]\n", r"betas\[1\] is 1\.0: it must be a number, from 0 up to, not including, 1"),
        (
            "[given]\nname = 'grey'\n[image_condition]\nname = 'grey'\n",
            "given and image_condition: they are the former",
        ),
        ("[target]\nname = 'eps'\n[prediction]\nname = 'eps'\n", "target and prediction: .* leave out the former"),
        ("[report]\nlog_every = 0\n", r"report\.log_every is 0: it must be a whole number, at least 1"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text if "needs a table" in message else text + "\n[backbone]\npreset = 'stoic-tiny'\n")
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


OLD = """
steps = 5

[backbone]
kind = "stoic"
given_channels = 3
width = 64
proposed = ["given_channels"]

[target]
name = "velocity"

[given]
name = "coarse"
scale = 2
"""


def test_recipes_with_the_words_of_0_1() -> None:
    recipe = parse_recipe(OLD)
    assert recipe.image_condition == Coarse(scale=2)
    assert recipe.prediction == PREDICTIONS["velocity"]()
    assert recipe.backbone.condition_channels == 3
    assert "condition_channels" in proposals(recipe.backbone)
    text = to_toml(recipe)
    assert "given" not in text
    assert "[image_condition]" in text
    assert parse_recipe(text) == recipe
    with pytest.raises(ConfigError, match=r"backbone\.given_channels and backbone\.condition_channels: they are"):
        parse_recipe(OLD.replace("width = 64", "condition_channels = 3"))
    around_preset = parse_recipe("[backbone]\npreset = 'stoic-tiny'\ngiven_channels = 1\n").backbone
    assert around_preset.condition_channels == 1


def test_unknown_names_have_neighbours(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean flow"):
        parse_recipe("[backbone]\npreset = 'stoic-tiny'\n[process]\nname = 'flwo'\n")
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load_recipe(tmp_path / "none.toml")


def test_fit_to_data(make_recipe: Callable[..., Recipe], make_data: Callable[..., Dataset]) -> None:
    data = make_data(5, 8, channels=3)
    backbone = fit_to_data(make_recipe(), data).backbone
    assert (backbone.size, backbone.channels, backbone.num_classes) == (8, 3, 3)
    assert fit_to_data(make_recipe(conditional=False), data).backbone.num_classes == 0
    assert fit_to_data(make_recipe(), make_data(5, 8, classes=())).backbone.num_classes == 0
    with pytest.raises(ConfigError, match="no budget"):
        fit_to_data(make_recipe(steps=0), data)
    text = Stoic.Config(text_length=2, text_width=3)
    with pytest.raises(ConfigError, match="text tokens"):
        fit_to_data(make_recipe(backbone=text), data)


def test_differing_fields(make_recipe: Callable[..., Recipe]) -> None:
    old = make_recipe(process=Vp())
    assert differing_fields(old, replace(old, lr=0.5)) == ["lr: 0.001 → 0.5"]
    assert differing_fields(old, replace(old, process=Vp(beta_max=10.0))) == ["process.beta_max: 20.0 → 10.0"]
    assert differing_fields(old, replace(old, report=Report())) == []
    assert differing_fields(old, replace(old, steps=7)) == ["steps: 6 → 7"]
    constant = replace(old, schedule="constant")
    assert differing_fields(constant, replace(constant, steps=7)) == []
    assert differing_fields(old, make_recipe())[0] == "process: Vp → LinearFlow"
