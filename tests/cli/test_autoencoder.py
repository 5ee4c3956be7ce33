"""`brickwork autoencoder` as a user calls it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brickwork.cli import main
from brickwork.codec.file import load_codec
from brickwork.training.run.trainer import Trainer

TINY = ["--width", "8", "--batch", "4", "--warmup", "1", "--report.sheet-images", "2", "--precision", "fp32"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("images") / "set", np.random.default_rng(0)
    folder.mkdir()
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    words = ["--data", str(images), "--size", "16", "--out", str(out), "--factor", "4", "--channels", "3"]
    assert main(["autoencoder", "train", *words, "--data.holdout", "0.3", "--steps", "3", *TINY]) == 0
    return out


def test_train(run: Path) -> None:
    codec = load_codec(run)
    assert (codec.factor, codec.channels, codec.picture_channels) == (4, 3, 3)
    assert {"recipe.toml", "state.safetensors", "log.jsonl", "curve.png", "samples"} <= {p.name for p in run.iterdir()}


def test_info(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["autoencoder", "info", str(run)]) == 0
    text = capsys.readouterr().out
    assert "channels 3, factor 4, kind kl, width 8" in text
    assert main(["autoencoder", "info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"]["steps"] == 3


def test_a_run_is_a_recipe(run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (run, run / "recipe.toml"):
        words = ["autoencoder", "train", str(name), "--data", str(images), "--out", str(tmp_path / "b"), "--dry-run"]
        assert main([*words, "--kind", "vq", "--codes", "32"]) == 0
        text = capsys.readouterr().out
        assert "steps = 3\n" in text
        assert 'kind = "vq"' in text
        assert "a pixel depends on latents up to 6 places away" in text
    assert not (tmp_path / "b").exists()


def test_an_interrupted_run_says_so(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_step = Trainer.after_step

    def stopping(self: Trainer[Any]) -> None:
        after_step(self)
        if self.state.counters.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    words = ["autoencoder", "train", "--data", str(images), "--data.size", "16", "--out", str(tmp_path / "c")]
    words += ["--steps", "2", *TINY]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", stopping)
        assert main(words) == 130
    assert main(words) == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["foo"], 2, "no autoencoder verb named 'foo'"),
        (["train", "foo", "--data", "x"], 1, "autoencoder train foo: the first word may be a recipe"),
        (["train", "foo.toml", "--data", "x", "--out", "y"], 1, "cannot read the recipe foo.toml"),
        (["train", "--data", "nowhere", "--out", "y"], 1, "no budget"),
        (["train", "--data", "nowhere", "--out", "y", "--steps", "1"], 1, "nowhere"),
        (
            ["train", "--data", "nowhere", "--out", "y", "--factor", "5"],
            2,
            "invalid choice '5' for argument '--factor'",
        ),
        (["info", "nowhere"], 1, "nowhere"),
    ],
)
def test_each_misuse_has_one_line(words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["autoencoder", *words]) == code
    text = capsys.readouterr().err
    assert says in text
    assert text.startswith("brickwork autoencoder")
    assert text.count("\n") == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["autoencoder"]) == 0
    assert "autoencoder train" in capsys.readouterr().out
    assert main(["autoencoder", "train", "--help-all"]) == 0
    assert "--factor" in capsys.readouterr().out
