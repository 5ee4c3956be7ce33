"""The doctor of runs: each fault of a small run folder is found, the gravest first; a healthy run has none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from tiny_models import tiny_model

from brickwork.cli import main
from brickwork.errors import ConfigError
from brickwork.files.picture import save_png, sheet
from brickwork.model.checkpoint import save
from brickwork.quality.symptoms import Symptom, symptoms
from brickwork.training.denoiser.doctor import examine_run, pictures_on
from brickwork.training.denoiser.recipe import Recipe
from brickwork.training.denoiser.recipe_file import to_toml


def pictures(kind: str, count: int = 6, side: int = 32) -> np.ndarray:
    """Pictures of blobs, or with one fault."""
    generator = np.random.default_rng(0)
    if kind == "noise":
        return generator.integers(0, 256, (count, side, side, 3), np.uint8)
    found = []
    for k in range(1 if kind == "alike" else count):
        coarse = generator.integers(30, 220, (8, 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        if kind == "blurred":
            picture = picture.filter(ImageFilter.GaussianBlur(side / 4))
        pixels = np.asarray(picture).astype(int)
        if kind == "flat":
            pixels = np.full_like(pixels, 40 * k)
        if kind == "grey":
            pixels = pixels[:, :, :1].repeat(3, 2)
        if kind == "clipped":
            pixels = np.where(pixels > 125, 255, 0)
        found.append(pixels.astype(np.uint8))
    return np.stack(found * (count if kind == "alike" else 1))


@pytest.mark.parametrize("kind", ["noise", "flat", "clipped", "grey", "alike", "blurred", "fine"])
def test_faults_are_seen_on_pictures(kind: str) -> None:
    assert symptoms(pictures(kind)) == ([] if kind == "fine" else [kind])


@pytest.mark.parametrize("captions", [None, ["cat", "a longer name"]])
@pytest.mark.parametrize("side", [8, 32])
def test_pictures_are_found_on_their_sheet(side: int, captions: list[str] | None) -> None:
    some = pictures("fine", 6, side)
    laid = sheet(some, 3, scale=max(1, 64 // side), row_captions=captions)
    assert np.array_equal(pictures_on(np.asarray(laid), side, 3), some)
    with pytest.raises(ValueError, match="another size"):
        pictures_on(np.asarray(laid), side, 50)


def healthy(steps: int = 1000) -> list[dict[str, Any]]:
    """The log of a run that learned: loss and held-out loss fall."""
    lines: list[dict[str, Any]] = []
    for k in range(1, 11):
        at = {"step": steps * k // 10, "images": 16 * steps * k // 10}
        lines.append({**at, "loss": 1.0 / k, "gradient_norm": 0.3, "lr": 1e-3, "images_per_second": 20.0})
        if k in (5, 10):
            lines.append({**at, "held_out": {"0.4": 1.0 / k, "1.6": 2.0 / k}, "held_out_images": 8})
    return lines


@pytest.fixture
def run(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> Callable[..., Path]:
    """Make a run folder of a recipe, a log, a sheet and facts of a model."""

    def make(
        lines: list[dict[str, Any]], show: str | None = "fine", facts: dict[str, Any] | None = None, **settings: Any
    ) -> Path:
        recipe = make_recipe(**{"batch": 16, "steps": 1000, "warmup": 0.05, **settings})
        folder = tmp_path / "a run"
        (folder / "samples").mkdir(parents=True)
        (folder / "recipe.toml").write_text(to_toml(recipe))
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if show is not None:
            some = pictures(show, 6, recipe.backbone.size)
            laid = sheet(some, 3, scale=max(1, 64 // recipe.backbone.size))
            save_png(laid, folder / "samples" / "step_00001000.png", {"seeds": [0, 1, 2]})
        if facts is not None:
            model = tiny_model("stoic")
            model.facts = facts
            save(model, folder / "model.safetensors")
        return folder

    return make


def test_a_healthy_run_has_no_findings(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(healthy(), facts={"finished": True, "steps": 1000, "images": 16000, "device": "cpu"})
    assert examine_run(folder)[1] == []
    assert main(["doctor", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("steps 1,000, images 16,000, 20 images/s on cpu; loss 1, at last 0.1; held-out loss 0.141")
    assert said[1] == "last sheet: no fault to see"
    assert said[2].startswith("Nothing wrong was found")


def changed(lines: list[dict[str, Any]], **columns: Callable[[int, float], float]) -> list[dict[str, Any]]:
    """Return a log in which numbers are functions of the line's place and their value."""
    return [
        {name: columns[name](k, value) if name in columns else value for name, value in line.items()}
        for k, line in enumerate(lines)
    ]


@pytest.mark.parametrize(
    ("lines", "settings", "reason", "change"),
    [
        ([*healthy(), {"step": 900, "event": "rolled back"}], {}, "not finite 1 times", "--lr 0.0003"),
        (changed(healthy(), loss=lambda k, x: math.nan if k > 9 else x), {}, "not finite", "--clip 1"),
        (healthy(50), {}, "made 50 steps", "smaller"),
        (healthy(), {"warmup": 2500}, "warm-up takes 2500 steps", "--warmup 0.05"),
        (healthy(), {"ema_half_life": 5e5, "ema_rampup": 0.0}, "still holds much of the start", "--ema-half-life 800"),
        (changed(healthy(), loss=lambda k, x: 0.3 + 0.1 * abs(k - 4)), {}, "loss rose again", "--lr 0.0003"),
        (changed(healthy(), loss=lambda k, x: 0.8), {}, "hardly fell", "--lr 0.0003"),
        (changed(healthy(), loss=lambda k, x: 0.8), {"lr": 1e-5}, "too low", "--lr 0.001"),
        (changed(healthy(), gradient_norm=lambda k, x: 30.0), {}, "clipped to 1", "--lr"),
        (
            [*healthy(), {"step": 1001, "images": 16016, "held_out": {"0.4": 0.2, "1.6": 0.4}, "held_out_images": 8}],
            {},
            "held-out loss rose",
            "more pictures",
        ),
        ([*healthy(), {"step": 1000, "nearest_ratio": 0.1}], {}, "copies of training pictures", "more pictures"),
        (
            [{"step": 900, "images": 14400, "held_out": {"0.4": 0.66}, "held_out_images": 8}],
            {},
            "0.66 after 14,400 images",
            "--more-minutes",
        ),
        ([line for line in healthy() if "held_out" not in line], {}, "no held-out loss", "--holdout"),
        (changed(healthy(), images_per_second=lambda k, x: 20 if k < 6 else 5), {}, "speed fell", "this machine"),
    ],
)
def test_each_fault_is_found(
    run: Callable[..., Path], lines: list[dict[str, Any]], settings: dict[str, Any], reason: str, change: str
) -> None:
    _, remedies = examine_run(run(lines, lr=settings.pop("lr", 1e-3), **settings))
    assert reason in remedies[0].reason
    assert change in remedies[0].change


@pytest.mark.parametrize(
    ("facts", "cuda", "reason"),
    [
        ({"finished": False}, False, "not finished, it was saved at step 1,000"),
        ({"finished": True, "device": "cpu"}, True, "this machine has cuda"),
        ({"finished": True, "data_images": 40}, False, "40 pictures were seen 400 times each"),
    ],
)
def test_facts_of_the_model_tell_faults(
    run: Callable[..., Path], facts: dict[str, Any], cuda: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert reason in examine_run(run(healthy(), facts=facts))[1][0].reason


@pytest.mark.parametrize("kind", ["noise", "flat", "clipped", "alike"])
def test_a_fault_of_the_sheet_that_nothing_explains_has_advice(run: Callable[..., Path], kind: Symptom) -> None:
    case, remedies = examine_run(run(healthy(), kind))
    assert case.seen == (kind,)
    assert len(remedies) == 1
    assert remedies[0].reason.startswith("the last sheet shows")


def test_the_most_important_comes_first(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = run([*healthy(50), {"step": 40, "event": "rolled back"}], "noise", {"finished": False}, warmup=250)
    assert main(["doctor", str(folder)]) == 0
    said = [line[:24] for line in capsys.readouterr().out.splitlines() if line[1:2] == "."]
    assert said == [f"{n}. {text}"[:24] for n, text in enumerate(FIRST, 1)]
    assert main(["doctor", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sheet"] == ["noise"]


FIRST = ["The loss was not finite", "The warm-up takes 250", "The run made 50 steps", "The run is not finished"]


def test_odd_folders(run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no recipe\.toml: give a folder"):
        examine_run(tmp_path)
    odd = [{"step": 5, "images": math.inf}, {"step": 9, "images": "many", "loss": "low", "held_out": {"0.4": "x"}}]
    folder = run([*odd, {"step": 9, "images": 9, "held_out": {"0.4": 1.0}, "held_out_images": "all"}], None)
    (folder / "samples" / "step_9.png").write_bytes(b"no picture")
    (folder / "model.safetensors").write_bytes(b"no model")
    case, _ = examine_run(folder)
    assert (case.steps, case.images, case.seen) == (9, 9, None)
    (folder / "log.jsonl").unlink()
    assert examine_run(folder)[0].steps == 0
