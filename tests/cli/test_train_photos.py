"""`brickwork train photos/` as a whole command: choices, folders, words for budgets, the lines at its end."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brickwork.cli import main
from brickwork.cli.places import Names, data_of, names_of, new_run
from brickwork.errors import ArgumentError
from brickwork.model.checkpoint import load
from brickwork.training.denoiser.recipe_file import load_recipe
from brickwork.training.run.trainer import Trainer

TINY = ["--backbone.width", "32", "--backbone.depth", "1", "--backbone.heads", "1", "--batch", "4"]
TINY += ["--report.sheet-steps", "2", "--report.sheet-seeds", "2"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty JPEGs of mixed sizes and orientations."""
    folder = tmp_path_factory.mktemp("pictures") / "my photos"
    folder.mkdir()
    for i in range(20):
        shape = [(24, 40), (40, 24), (30, 30), (64, 48)][i % 4]
        exif = Image.Exif()
        exif[274] = 1 + i % 8
        pixels = np.random.default_rng(i).integers(0, 256, (*shape, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"IMG {i}.jpg", exif=exif)
    return folder


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail, and return its one line."""

    def fail(*words: str | Path) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) != 0
        errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("brickwork ")]
        assert len(errors) == 1, errors
        return errors[0]

    return fail


def words(*parts: str | Path | Sequence[str]) -> list[str]:
    return [str(word) for part in parts for word in ([part] if isinstance(part, str | Path) else part)]


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of a run by pictures alone, and what it wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("home"))
        import io
        from contextlib import redirect_stderr, redirect_stdout

        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            assert main(words("train", photos, "--epochs", "1", TINY)) == 0
        return Path.cwd() / "runs" / "my photos", out.getvalue(), err.getvalue()


def test_pictures_alone_are_a_whole_command(run: tuple[Path, str, str], photos: Path) -> None:
    folder, _, said = run
    assert "19 pictures of 30x30 to 64x48 → squares of 16: the size that nine of ten of them have" in said
    assert "stoic-tiny with stride 2, for 1 epochs" in said
    assert "trains on 19 images of 16x16x3, 1 held out" in said
    assert "into runs/my photos" in said
    recipe = load_recipe(folder)
    assert (recipe.data.size, recipe.images, recipe.epochs, recipe.minutes) == (16, 19, 0, 0)
    assert data_of(folder) == str(photos)
    assert "nearest training picture at" in run[1]


def test_the_last_line_is_a_command_that_works(run: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, said, _ = run
    monkeypatch.chdir(folder.parent.parent)
    program, *rest = shlex.split(said.splitlines()[-1])
    assert (program, rest[:2]) == ("brickwork", ["sample", "runs/my photos"])
    assert main([*rest, "--steps", "1"]) == 0
    assert Path("my photos.png").exists()
    sheet = next(text for text in said.splitlines() if text.startswith("pictures: "))
    assert Path(sheet.removeprefix("pictures: ").partition(";")[0]).exists()


def test_a_run_goes_on_by_its_name_and_for_more_minutes(
    run: tuple[Path, str, str], capsys: pytest.CaptureFixture[str], line: Callable[..., str]
) -> None:
    folder, *_ = run
    assert main(words("train", folder)) == 0
    steps = load(folder).facts["steps"]
    assert "--seed beside --more-minutes" in line("train", folder, "--more-minutes", "0.01", "--seed", "3")
    assert main(words("train", folder, "--more-minutes", "0.005")) == 0
    assert "goes on for 0.005 minutes" in capsys.readouterr().err
    facts = load(folder).facts
    assert facts["finished"]
    assert facts["steps"] > steps


def test_a_new_run_gets_a_new_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_run("photos/") == Path("runs/photos")
    Path("runs/photos").mkdir(parents=True)
    Path("runs/photos-2").mkdir()
    assert new_run("photos") == Path("runs/photos-3")
    assert new_run("hf:owner/name:config@main") == Path("runs/name")
    assert new_run("a/photos.zip") == Path("runs/photos-3")
    assert new_run(".") == Path("runs") / tmp_path.name
    assert new_run("/") == Path("runs/run")


def test_what_a_word_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: tuple[Path, str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("stoic-small", "fashion-mnist", "photos"):
        Path(name).mkdir()
    for name in ("mine.toml", "a.zip", "b.npz", "train-images-idx3-ubyte", "recipe"):
        Path(name).write_text("")
    found = {word: names_of(word) for word in ("stoic-small", "fashion-mnist", "mine.toml", "recipe", "nothing")}
    assert set(found.values()) == {Names.RECIPE}
    images = ("./stoic-small", "photos", "photos/", "a.zip", "b.npz", "train-images-idx3-ubyte", "hf:owner/name")
    assert {names_of(word) for word in images} == {Names.IMAGES}
    assert names_of(str(run[0])) is Names.RUN
    assert names_of("digits") is Names.RECIPE


def test_a_preset_takes_mixed_pictures_too(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = words("train", "stoic-tiny", "--data", photos, "--out", tmp_path / "a", "--steps", "1", TINY)
    assert main(preset) == 0
    assert "squares of 28: the size of the network" in capsys.readouterr().err
    assert load(tmp_path / "a").shape == (3, 28, 28)
    assert main(preset) == 0, "and resumes"


def test_a_dry_run_of_pictures_writes_nothing(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words("train", photos, "--size", "8", "--dry-run")) == 0
    captured = capsys.readouterr()
    assert "minutes = 30.0" in captured.out
    assert "squares of 8: as you say" in captured.err
    assert not list(tmp_path.iterdir())
    assert main(words("train", "--data", photos, "--size", "8", "--dry-run")) == 0, "the flag names images as well"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--steps", "3", "--epochs", "2"], "--steps 3 and --epochs 2 both say how long to train"),
        (["--images", "3", "--epochs", "2", "--minutes", "1"], "--images 3 and --epochs 2"),
        (["--data", "digits"], "both name images"),
        (["--more-minutes", "3"], "a finished run goes on; name its folder"),
        (["--minuts", "3"], "did you mean --minutes"),
        (["--size", "97"], "take 96"),
    ],
)
def test_contradictions_are_one_line(photos: Path, line: Callable[..., str], more: list[str], says: str) -> None:
    assert says in line("train", photos, *more)


def test_words_that_name_nothing(line: Callable[..., str], tmp_path: Path, run: tuple[Path, str, str]) -> None:
    assert "no images are named: give --data" in line("train", "stoic-tiny", "--steps", "1")
    assert "no such folder or file" in line("train", tmp_path / "nowhere")
    assert "the first word must be images" in line("train", "--steps", "1")
    with pytest.raises(ArgumentError, match="name them with --data"):
        data_of(tmp_path)


def test_a_budget_of_the_command_line_replaces_the_recipe_s(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.toml").write_text('images = 80000\n[backbone]\npreset = "stoic-tiny"\n[data]\nsize = 8\n')
    assert main(words("train", tmp_path / "a.toml", "--data", photos, "--minutes", "2", "--dry-run")) == 0
    said = capsys.readouterr().out
    assert "images = 0" in said
    assert "minutes = 2.0" in said


def test_a_stopped_run_names_the_command_that_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    after_step = Trainer.after_step

    def then_stop(self: Trainer[Any]) -> None:
        after_step(self)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", then_stop)
        assert main(words("train", photos, "--steps", "2", "--size", "8", TINY)) == 130
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "brickwork train 'runs/my photos'"
    assert "not finished" in _line_of(words("train", "runs/my photos", "--more-minutes", "1"), capsys)
    assert main(shlex.split(last)[1:]) == 0
    assert load("runs/my photos").facts["steps"] == 2


def _line_of(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(command) == 1
    return capsys.readouterr().err.splitlines()[-1]
