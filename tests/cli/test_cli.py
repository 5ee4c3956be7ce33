"""Every verb as a user calls it; every bad input is one clear line and exit code 1, or 2 for wrong words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from brickwork.cli import main
from brickwork.cli.names import PRESETS
from brickwork.cli.verbs import Verb
from brickwork.cli.words import call
from brickwork.data.opening import open_source
from brickwork.diffusion.schedule import SCHEDULES, Karras
from brickwork.errors import ArgumentError, UnknownNameError
from brickwork.files.picture import read_facts
from brickwork.model.checkpoint import load
from brickwork.model.cost import cost
from brickwork.sampling.canvas import DEFAULT_MODE
from brickwork.sampling.options import choose, parse_seeds
from brickwork.sampling.solvers import SOLVERS, Ddim, DpmSolverPP
from brickwork.training.denoiser.times import TIMES, LogitNormal
from brickwork.training.run.trainer import Trainer

TINY = ["--backbone.width", "32", "--backbone.depth", "1", "--backbone.heads", "1", "--batch", "8", "--warmup", "1"]
TINY += ["--report.sheet-steps", "2"]


def folder_of_images(path: Path, sizes: tuple[int, ...] = (8,), count: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for kind in ("bright", "dark"):
        (path / kind).mkdir(parents=True)
        for i in range(count):
            size = sizes[i % len(sizes)]
            pixels = rng.integers(128 if kind == "bright" else 0, 256 if kind == "bright" else 128, (size, size, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(path / kind / f"{i}.png")
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_images(tmp_path_factory.mktemp("images") / "set")


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    assert main(["train", "stoic-tiny", "--data", str(images), "--out", str(out), "--steps", "3", *TINY]) == 0
    return out


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail, and return its one line."""

    def fail(*words: str | Path, code: int = 1) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("brickwork ")]
        assert len(errors) == 1, errors
        assert "Traceback" not in errors[0]
        return errors[0]

    return fail


# ---- the verbs --------------------------------------------------------------------------------------------------


def test_train_has_help_with_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "stoic-tiny", "--help-all"]) == 0
    out = capsys.readouterr().out
    for flag in ("--lr", "--backbone.width", "--strict", "--ema-half-life", "--dry-run", "--init", "--minutes"):
        assert flag in out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("stoic-12x512-s1 ... (16 stoic)", "dpm3m", "karras", "discrete-vp", "velocity", "hub"):
        assert name in out


def test_list_of_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "presets"]) == 0
    assert capsys.readouterr().out.splitlines() == list(PRESETS)


def test_macs_of_the_published_preset(capsys: pytest.CaptureFixture[str]) -> None:
    """The spec's table: 37.8 M parameters, 10.5 GMAC, 9.7 without attention, at 32x32."""
    assert main(["macs", "stoic-12x512-s2", "--json", "--steps", "10", "--solver", "heun", "--guidance", "2"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert round(out["parameters"] / 1e6, 1) == 37.8
    assert round(out["macs"] / 1e9, 1) == 10.5
    assert round(out["macs_without_attention"] / 1e9, 1) == 9.7
    assert out["size"] == 32
    assert out["image"]["macs"] == 2 * 19 * out["macs"]


def test_macs_of_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """Heun's five evaluations at the levels of the shipped digits; guided where 0.5 < sigma <= 50."""
    words = [
        "macs",
        "digits",
        "--steps",
        "3",
        "--solver",
        "heun",
        "--guidance",
        "2",
        "--guidance-interval",
        "0.5",
        "50",
    ]
    assert main([*words, "--plan", "3@1,2", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    model = load("digits")
    first, second, third = (float(s) for s in Karras().positive(model.process, 3))
    assert first > 50 >= second > 1 > third
    macs = {n: cost(model.first(n).backbone.config).macs for n in (2, 3)}
    assert out["image"]["macs"] == (1 + 2 + 2 + 1 + 1) * macs[3]
    planned = out["image"]["plan"]
    assert planned["plan"] == "3@1,2"
    assert planned["evaluations"] == {"3": 3, "2": 2}
    assert planned["macs"] == (1 + 2 + 2) * macs[3] + 2 * macs[2]
    assert planned["saved"] == pytest.approx(1 - planned["macs"] / out["image"]["macs"])
    assert main([*words, "--plan", "3@1,2"]) == 0
    assert "by plan 3@1,2: 3 parts in 3, 2 parts in 2" in capsys.readouterr().out


def test_train_leaves_a_whole_run_folder(run: Path) -> None:
    for name in ("recipe.toml", "state.safetensors", "model.safetensors", "log.jsonl", "curve.png"):
        assert (run / name).stat().st_size > 0
    assert list((run / "samples").glob("*.png"))


def test_dry_run_prints_recipe_and_cost_and_writes_nothing(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "stoic-tiny", "--data", str(images), "--out", str(tmp_path / "b"), "--steps", "3", "--dry-run"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "steps = 3" in out
    assert "GMAC" in out
    assert not (tmp_path / "b").exists()


def test_a_recipe_file_trains_like_its_flags(run: Path, images: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text((run / "recipe.toml").read_text())
    assert main(["train", str(recipe), "--data", str(images), "--out", str(tmp_path / "c")]) == 0
    first, second = (sorted((folder / "samples").glob("*.png"))[-1] for folder in (run, tmp_path / "c"))
    assert np.array_equal(pixels(first), pixels(second))


def test_parts_are_chosen_by_name(images: Path, tmp_path: Path) -> None:
    words = ["train", "stoic-tiny", "--data", str(images), "--out", str(tmp_path / "d"), "--steps", "1", *TINY]
    words += ["--process", "edm", "--prediction", "edm", "--times", "log-normal", "--weighting", "edm"]
    words += ["--process.t-max", "40"]
    assert main(words) == 0
    text = (tmp_path / "d" / "recipe.toml").read_text()
    assert 'name = "edm"' in text
    assert 'name = "log-normal"' in text


@pytest.mark.parametrize("split", ["all", "test", "heldout", "validation"])
def test_what_is_trained_on_is_never_held_out(split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, data = np.random.default_rng(0), tmp_path / "set.npz"
    arrays: dict[str, np.ndarray] = {"images": rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)}
    if split == "validation":
        arrays["split"] = np.arange(20) % 2
    np.savez(data, allow_pickle=False, **arrays)
    words = ["train", "stoic-tiny", "--data", str(data), "--out", str(tmp_path / "x"), "--steps", "1", *TINY]
    assert main([*words, "--split", split]) == 0
    assert f"no held-out loss: split '{split}'" in capsys.readouterr().err
    assert "held_out" not in (tmp_path / "x" / "log.jsonl").read_text()


def test_nothing_needs_to_be_held_out(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "alone.png")
    (tmp_path / "one").mkdir()
    (tmp_path / "alone.png").rename(tmp_path / "one" / "alone.png")
    for i, words in enumerate([["--data", str(tmp_path / "one")], ["--data", str(images), "--holdout", "0"]]):
        assert main(["train", "stoic-tiny", *words, "--out", str(tmp_path / str(i)), "--steps", "1", *TINY]) == 0
        assert "no held-out loss" in capsys.readouterr().err


def test_held_out_images_are_made_like_the_others(tmp_path: Path) -> None:
    """Nearly all grey: the one image in colour is on either side, and both sides get the channels of training."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    for k in range(2):
        (tmp_path / f"set{k}").mkdir()
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / f"set{k}" / f"{i:02}.png")
        held = open_source(tmp_path / f"set{k}", "heldout", holdout=0.2).names
        name = held[0] if k else next(n for n in (f"{i:02}.png" for i in range(30)) if n not in held)
        path = next((tmp_path / f"set{k}").glob(f"**/{Path(name).name}"))
        Image.fromarray(np.stack([pixels[0], pixels[1], pixels[2]], -1)).save(path)
        words = ["train", "stoic-tiny", "--data", str(tmp_path / f"set{k}"), "--out", str(tmp_path / f"run{k}")]
        assert main([*words, "--holdout", "0.2", "--steps", "1", *TINY]) == 0
        assert "held_out" in (tmp_path / f"run{k}" / "log.jsonl").read_text()


def test_init_says_what_it_took(run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "stoic-tiny", "--data", str(images), "--out", str(tmp_path / "e"), "--steps", "1", *TINY]
    assert main([*words, "--init", str(run)]) == 0
    assert "init" in capsys.readouterr().err


def test_sample_draws_the_same_picture_again(run: Path, tmp_path: Path) -> None:
    words = ["sample", str(run), "--steps", "3", "--guidance", "1.5"]
    assert main([*words, "--labels", "dark", "0", "--seeds", "0-2", "--out", str(tmp_path / "all")]) == 0
    picture = tmp_path / "all" / "label1_seed2.png"
    facts = read_facts(picture)
    assert facts["seed"] == 2
    assert facts["label"] == 1
    assert facts["steps"] == 3
    assert facts["guidance"] == 1.5
    assert len(facts["sha256"]) == 64
    again = ["--labels", str(facts["label"]), "--seeds", str(facts["seed"]), "--out", str(tmp_path / "one")]
    assert main([*words, *again]) == 0
    assert np.array_equal(pixels(picture), pixels(tmp_path / "one" / "label1_seed2.png"))


def test_sample_by_a_plan(tmp_path: Path) -> None:
    words = ["sample", "digits", "--labels", "3", "--seeds", "0-1", "--steps", "5", "--guidance", "2"]
    pictures = {}
    for plan in (None, "pg:0", "3@1,2", "pg:1", "2"):
        out = tmp_path / f"{plan}.png".replace(":", "")
        assert main([*words, *(["--plan", plan] if plan else []), "--out", str(out)]) == 0
        pictures[plan] = pixels(out)
        assert read_facts(out)["plan"] == {"pg:0": "3", "pg:1": "2"}.get(str(plan), plan)
    assert np.array_equal(pictures[None], pictures["pg:0"])
    assert np.array_equal(pictures["pg:1"], pictures["2"])
    assert not np.array_equal(pictures[None], pictures["2"])
    assert not np.array_equal(pictures["3@1,2"], pictures["2"])


def test_a_bad_plan_is_one_line(run: Path, line: Callable[..., str], tmp_path: Path) -> None:
    out = ["--out", tmp_path / "a.png"]
    assert "this model is of 1 part" in line("sample", run, "--plan", "pg:0.3", *out)
    assert "this model is of 1 part" in line("eval", run, "--reference", "digits", "--plan", "pg:0.3")
    assert "plan '3@1': only the last count" in line("sample", "digits", "--plan", "3@1", *out)
    assert "this model is of 3; take at most 3" in line("macs", "digits", "--plan", "4@1,2")
    assert "0 (skip nothing) to 1 (always)" in line("macs", "stoic-tiny", "--plan", "pr:2")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size_never_changes_a_picture(run: Path, tmp_path: Path, batch_size: int) -> None:
    """Through the 8-bit rounding of the pictures; test_model has the float difference."""
    words = ["sample", str(run), "--labels", "0", "--seeds", "0-7", "--steps", "4"]
    for size in (8, batch_size):
        assert main([*words, "--batch-size", str(size), "--out", str(tmp_path / str(size))]) == 0
    for seed in range(8):
        a, b = (pixels(tmp_path / str(s) / f"label0_seed{seed}.png").astype(int) for s in (8, batch_size))
        assert np.abs(a - b).max() <= 1


def test_sample_on_any_canvas(run: Path, tmp_path: Path) -> None:
    words = ["sample", str(run), "--steps", "2", "--seeds", "0-1", "--out"]
    assert main([*words, str(tmp_path / "all"), "--height", "12", "--width", "27", "--labels", "dark"]) == 0
    assert pixels(tmp_path / "all" / "label1_seed0.png").shape == (12, 27, 3)
    facts = read_facts(tmp_path / "all" / "label1_seed0.png")
    assert (facts["height"], facts["width"], facts["canvas"], facts["regions"]) == (12, 27, DEFAULT_MODE, None)
    assert main([*words, str(tmp_path / "two"), "--width", "16", "--canvas", "tile", "--regions", "bright,1"]) == 0
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["seed0.png", "seed1.png", "sheet.png"]
    facts = read_facts(tmp_path / "two" / "seed1.png")
    assert (facts["height"], facts["width"], facts["canvas"], facts["regions"]) == (8, 16, "tile", [[0, 1]])
    assert facts["label"] is None
    tiles = pixels(tmp_path / "two" / "sheet.png")
    one = pixels(tmp_path / "two" / "seed0.png").repeat(3, axis=0).repeat(3, axis=1)
    places = np.lib.stride_tricks.sliding_window_view(tiles, one.shape[:2], axis=(0, 1))
    assert (places == one.transpose(2, 0, 1)).all(axis=(2, 3, 4)).sum() == 1  # not square, and in its place, once


def test_the_model_s_own_size_is_no_canvas(run: Path, tmp_path: Path) -> None:
    words = ["sample", str(run), "--steps", "2", "--seeds", "0", "--labels", "0"]
    for name, more in (("a", []), ("b", ["--height", "8", "--canvas", "overlap+shift"])):
        assert main([*words, "--out", str(tmp_path / f"{name}.png"), *more]) == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    assert "canvas" not in read_facts(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--height", "0"], "canvas height 0"),
        (["--width", "-5"], "canvas width -5"),
        (["--height", "100000", "--width", "100000"], "at most 67,108,864"),
        (["--width", "16", "--canvas", "overlaps"], "did you mean overlap"),
        (["--canvas", "overlap:overlap=1"], "overlap 1.0"),
        (["--canvas", "tile:overlap=0.5"], "no option named 'overlap'"),
        (["--width", "16", "--chunk", "0"], "chunk 0"),
        (["--width", "16", "--regions", "0,7"], "2 classes"),
        (["--width", "16", "--regions", "0,brihgt"], "bright"),
        (["--width", "16", "--regions", "0,1/1"], "rows of 2, 1"),
        (["--regions", "0,1"], "1x2 regions"),
        (["--width", "16", "--regions", "0,1", "--labels", "0"], "one or the other"),
    ],
)
def test_bad_canvases(line: Callable[..., str], run: Path, tmp_path: Path, more: list[str], says: str) -> None:
    code = 2 if more[-2] == "--canvas" else 1  # a word that is no canvas mode is seen before the model
    assert says in line("sample", run, "--out", tmp_path / "a.png", "--steps", "1", "--seeds", "0", *more, code=code)


def test_info(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run)]) == 0
    out = capsys.readouterr().out
    assert "stoic" in out
    assert "bright, dark" in out
    assert main(["info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["bright", "dark"]


def test_eval_writes_its_report(run: Path, images: Path, tmp_path: Path) -> None:
    words = ["eval", str(run), "--reference", str(images), "--num-images", "8", "--steps", "2", "--first-seed", "100"]
    assert main([*words, "--out", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["settings"]["seeds"] == "100-107"
    assert "plan" not in report["settings"]


def test_a_log_is_not_filled_with_bars(tmp_path: Path) -> None:
    words = ["sample", "digits", "--seeds", "0-3", "--labels", "3", "--steps", "50"]
    words += ["--batch-size", "2", "--out", str(tmp_path / "a.png")]
    command = [sys.executable, "-c", f"from brickwork.cli import main; raise SystemExit(main({words}))"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    assert "sampling: 100%" in done.stderr
    assert done.stderr.count("sampling:") <= 2 + seconds / 10, "the first bar, the last, and one every ten seconds"


def test_seeds_and_ranges() -> None:
    assert parse_seeds(["0-3", "7", "9,11"]) == [0, 1, 2, 3, 7, 9, 11]
    for word in ("x", "3-1", "-2", "1-", ""):
        if word:
            with pytest.raises(ArgumentError, match="seed"):
                parse_seeds([word])


def test_options_behind_a_colon() -> None:
    assert choose("solver", "ddim:eta=0.5", SOLVERS) == Ddim(eta=0.5)
    with pytest.raises(ArgumentError, match="wings"):
        choose("solver", "ddim:wings=2", SOLVERS)
    with pytest.raises(ArgumentError, match="eta"):
        choose("solver", "ddim:eta=much", SOLVERS)
    with pytest.raises(UnknownNameError, match="ddim"):
        choose("solver", "dim", SOLVERS)


def test_options_have_the_type_of_their_field() -> None:
    assert choose("times", "uniform:stratified=1", TIMES).stratified is True
    assert choose("times", "logit-normal:stratified=false,mean=1", TIMES) == LogitNormal(mean=1.0)
    assert choose("solver", "dpm3m:half_curvature=true", SOLVERS) == DpmSolverPP(order=3, half_curvature=True)
    for text in ("uniform:stratified=2", "uniform:stratified"):
        with pytest.raises(ArgumentError, match=r"stratified is '2?': it must be true or false"):
            choose("times", text, TIMES)


@pytest.mark.parametrize("text", ["heun:steps=3", "euler-maruyama:process=1", "dpm2m:order=3"])
def test_what_a_run_sets_itself_is_no_option(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"no option .*; there are (churn, |half_curv|none)"):
        choose("solver", text, SOLVERS)


@pytest.mark.parametrize("rho", ["0", "-1", "nan", "inf"])
def test_an_impossible_rho(rho: str) -> None:
    with pytest.raises(ArgumentError, match=r"rho .* above 0"):
        choose("grid", f"karras:rho={rho}", SCHEDULES)


# ---- bad input --------------------------------------------------------------------------------------------------


def test_unknown_verb(line: Callable[..., str]) -> None:
    assert "did you mean sample" in line("sampel", code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sample", "digits", "--seds", "3"], "--seds, 3; did you mean --seeds? `brickwork sample --help`"),
        (["sample", "digits", "--steps", "many"], "--steps: invalid literal for int() with base 10: 'many'; `brick"),
        (["sample", "digits", "--steps"], "missing value for argument '--steps'"),
        (["sample"], "missing from brickwork sample: MODEL"),
        (["sample", "digits", "--seds", "3", "--stpes", "4"], "--seds, 3, --stpes, 4; did you mean --seeds, --steps?"),
        (["macs", "stoic-tiny", "spare"], "unrecognized options: spare; `brickwork macs --help`"),
        (["train", "stoic-tiny", "--data", "digits", "--out", "x", "--minuts", "1"], "did you mean --minutes?"),
        (["train", "stoic-tiny", "--data", "digits", "--out", "x", "--precision", "fp8"], "'auto', 'fp32', 'bf16'"),
        (["autoencoder", "train", "--data", "digits"], "missing from brickwork autoencoder train: --out"),
    ],
)
def test_words_that_are_no_options(words: list[str], said: str, line: Callable[..., str]) -> None:
    assert said in line(*words, code=2)


def test_what_a_verb_writes_is_not_taken_for_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    def act(number: int) -> int:
        """Write and leave."""
        print("mine", file=sys.stderr)
        if number == 2:
            raise SystemExit(2)
        return number

    assert call(act, prog="act", words=["--number", "5"]) == 5
    with pytest.raises(SystemExit) as left:
        call(act, prog="act", words=["--number", "2"])
    assert left.value.code == 2
    assert capsys.readouterr().err == "mine\nmine\n"


def test_unknown_preset(line: Callable[..., str]) -> None:
    assert "stoic-12x512-s2" in line("macs", "stoic-12x512")
    assert "stoic-tiny" in line("train", "stoic-tiney", "--data", "digits", "--out", "x")


def test_missing_recipe(line: Callable[..., str]) -> None:
    assert "none.toml" in line("train", "none.toml", "--data", "digits", "--out", "x")


def test_missing_and_empty_data(line: Callable[..., str], tmp_path: Path) -> None:
    words = ["train", "stoic-tiny", "--out", tmp_path / "x", "--steps", "1", "--data"]
    assert "nowhere" in line(*words, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty" in line(*words, tmp_path / "empty")


def test_corrupt_image_under_strict(line: Callable[..., str], tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "set")
    good = (data / "dark" / "0.png").read_bytes()
    (data / "dark" / "0.png").write_bytes(good[: len(good) // 2])
    words = ["train", "stoic-tiny", "--data", data, "--out", tmp_path / "x", "--steps", "1", *TINY]
    assert "0.png" in line(*words, "--strict")
    assert main([str(word) for word in words]) == 0  # named, counted and skipped


def test_impossible_stem(line: Callable[..., str], images: Path, tmp_path: Path) -> None:
    words = ["train", "stoic-tiny", "--data", images, "--out", tmp_path / "x", "--steps", "1"]
    assert "kernel" in line(*words, "--backbone.kernel", "1")
    assert "stride" in line(*words, "--size", "7")


def test_no_budget(line: Callable[..., str], images: Path, tmp_path: Path) -> None:
    assert "budget" in line("train", "stoic-tiny", "--data", images, "--out", tmp_path / "x")
    assert "budget" in line("train", "stoic-tiny", "--data", tmp_path / "nowhere", "--out", tmp_path / "x")


def test_unwritable_output(line: Callable[..., str], run: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    inside = tmp_path / "file" / "out"
    assert "file" in line("train", "stoic-tiny", "--data", images, "--out", inside, "--steps", "1", *TINY)
    assert "file" in line("sample", run, "--steps", "1", "--seeds", "0", "--out", inside / "a.png")


def test_another_recipe_in_the_same_folder(line: Callable[..., str], run: Path, images: Path) -> None:
    assert "lr" in line("train", "stoic-tiny", "--data", images, "--out", run, "--steps", "3", *TINY, "--lr", "9")


def test_broken_models(line: Callable[..., str], run: Path, tmp_path: Path) -> None:
    whole = (run / "model.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickle.pt")
    for verb in ("sample", "info", "eval"):
        more = ["--reference", "digits"] if verb == "eval" else []
        for name in ("half.safetensors", "foreign.safetensors", "pickle.pt", "missing.safetensors"):
            assert name in line(verb, tmp_path / name, *more)


def test_bad_drawing(line: Callable[..., str], run: Path, tmp_path: Path) -> None:
    words = ["sample", run, "--out", tmp_path / "a.png", "--steps", "1", "--seeds", "0"]
    assert "2 classes" in line(*words, "--labels", "2")
    assert "bright" in line(*words, "--labels", "birght")
    assert "x" in line("sample", run, "--seeds", "x", code=2)
    assert "step" in line(*words[:-3], "0", "--seeds", "0")
    assert "dpm2m" in line(*words, "--solver", "dpm2", code=2)
    assert "karras" in line(*words, "--grid", "karas", code=2)
    assert "fp32" in line(*words, "--precision", "fp8", code=2)
    assert "tpu" in line(*words, "--device", "tpu", code=2)


def test_missing_reference(line: Callable[..., str], run: Path, tmp_path: Path) -> None:
    assert "nowhere" in line("eval", run, "--reference", tmp_path / "nowhere", "--num-images", "4", "--steps", "1")


def test_limits(line: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="at most 100,000"):
        parse_seeds(["0-9", "0-18446744073709551615"])
    assert "2^63" in line("train", "stoic-tiny", "--data", "digits", "--out", tmp_path / "x", "--seed", str(2**63))
    assert "steps 0" in line("macs", "stoic-tiny", "--steps", "0")
    assert ".webp" in line("sample", "digits", "--out", tmp_path / "a.gif")


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Verb, "load", lambda self: stop)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "brickwork list: stopped\n"


def test_train_help_without_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    assert "stoic-tiny" in capsys.readouterr().out


def test_a_run_folder_is_a_recipe_and_parts_take_an_equals_sign(run: Path, images: Path, tmp_path: Path) -> None:
    words = ["train", str(run), "--data", str(images), "--out", str(tmp_path / "x"), "--steps", "1", "--process=vp"]
    assert main(words) == 0
    assert 'name = "vp"' in (tmp_path / "x" / "recipe.toml").read_text()


def test_a_stopped_run_is_no_success(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_step = Trainer.after_step

    def then_stop(self: Trainer[Any]) -> None:
        after_step(self)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "after_step", then_stop)
    words = ["train", "stoic-tiny", "--data", str(images), "--out", str(tmp_path / "x"), "--steps", "3", *TINY]
    assert main(words) == 130
