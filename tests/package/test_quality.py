"""What fewer bits cost, and what is refused: on the shipped model and the images that it was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brickwork.cli import main
from brickwork.data.dataset import Dataset
from brickwork.device.runner import open_package
from brickwork.diffusion.gaussian import MEASURE, normals
from brickwork.diffusion.schedule import Karras
from brickwork.errors import ArgumentError, ParityError, UnknownNameError
from brickwork.model.checkpoint import load, save
from brickwork.model.model import Model
from brickwork.package.check.calibrate import DRAW, calibration, real_images
from brickwork.package.check.quality import check_quality, loss_rise
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.package.precision import Inputs
from brickwork.package.spec import read_packing
from brickwork.package.targets.onnx import integers
from brickwork.package.targets.onnx.sensitivity import sensitivity
from brickwork.quality.heldout import LevelLoss, chosen, held_out_loss
from brickwork.quality.reference import Reference

SMALL: dict[str, Any] = {"batches": (16,), "steps": 4, "quality_images": 32, "quality_pictures": 64}


@pytest.fixture(scope="module")
def model() -> Model:
    return load("digits")


@pytest.fixture(scope="module")
def reference(model: Model) -> Reference:
    return real_images(model, "digits", "a test")


@pytest.fixture(scope="module")
def rows(model: Model, reference: Reference) -> list[Inputs]:
    return calibration(model, reference, lambda line: None, num_samples=64, num_levels=8)


def silent(line: str) -> None:
    """Say nothing."""


def test_calibration_visits_every_level_of_the_sampler(model: Model, rows: list[Inputs]) -> None:
    levels = Karras().positive(model.process, 8).astype(np.float32)
    assert sorted(float(row["sigma"][0]) for row in rows) == sorted(float(s) for s in levels for _ in range(8))
    for row in rows:
        assert {name: (value.shape, value.dtype.name) for name, value in row.items()} == {
            "x": ((1, 1, 8, 8), "float32"),
            "sigma": ((1,), "float32"),
            "labels": ((1,), "int64"),
        }


def test_calibration_is_of_training_images(model: Model, reference: Reference, rows: list[Inputs]) -> None:
    """Without its noise, each row is the training image with the row's label, in model space."""
    train = reference.train
    assert train.labels is not None
    for row, place in zip(rows, chosen(len(train), 64), strict=True):
        x0 = row["x"] - row["sigma"][:, None, None, None] * normals([int(place)], DRAW, (1, 8, 8), stream=MEASURE)
        image = model.encode(train.batch(np.array([place]))).numpy()
        assert np.allclose(x0, image, atol=1e-5 * (1 + row["sigma"][0]))
        assert row["labels"][0] in (train.labels[place], -1)
    alone = [float(row["sigma"][0]) for row in rows if row["labels"][0] == -1]
    assert len(alone) == len(rows) / 4
    assert len(set(alone)) == 8  # at every level


def test_without_images_there_is_nothing_to_go_by(model: Model, tmp_path: Path) -> None:
    for precision in ("int8", "int8-static", "int4"):
        with pytest.raises(ArgumentError, match="--data"):
            pack(model, tmp_path / "a", Packing(precision=precision), say=silent)
    assert not list(tmp_path.iterdir())


def test_images_of_another_size_are_refused(model: Model) -> None:
    images = np.zeros((20, 9, 9, 1), np.uint8)
    kinds: dict[str, Any] = {"labels": None, "classes": (), "captions": None, "skipped": (), "flip": False}
    data = Dataset(name="nine", images=images, digest="", **kinds)
    with pytest.raises(ArgumentError, match="9, 9"):
        calibration(model, Reference(data, data), silent)


def test_rises_are_shares_by_level() -> None:
    def losses(*errors: float) -> tuple[LevelLoss, ...]:
        return tuple(LevelLoss(sigma=1, log_snr=0, eps_error=0, x0_error=error, num_images=1) for error in errors)

    assert loss_rise(losses(0.11, 3.0), losses(0.1, 4.0)) == pytest.approx((0.1, -0.25))


def test_a_package_in_fp32_costs_nothing(model: Model, reference: Reference, packed_digits: Path) -> None:
    """The whole way, of a package whose pictures are the model's: all differences are rounding."""
    packing = Packing(parts=(2, 3), batches=(1,), steps=4, quality_images=24, quality_pictures=32, guidance=2.0)
    spec = read_packing(packing, model, packed_digits)
    found = check_quality(model, open_package(packed_digits), spec, reference, silent)
    assert abs(found["loss_increase"]) < 1e-4
    assert abs(found["distance_increase"]) < 1e-3
    theirs = held_out_loss(model, reference.held_out, num_images=24)
    assert [level["fp32_x0_error"] for level in found["loss"]["levels"]] == [level.x0_error for level in theirs]
    assert found["loss"]["images"] == 24
    assert found["distance"]["pictures"] == 32
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("parts", [2, 3])
def test_a_package_of_fewer_parts_is_compared_with_these(
    parts: int, model: Model, reference: Reference, packed_digits: Path
) -> None:
    packing = Packing(steps=2, quality_images=8, quality_pictures=16)
    spec = read_packing(packing, model, packed_digits)
    found = check_quality(model, open_package(packed_digits).first(parts), spec, reference, silent)
    assert abs(found["loss_increase"]) < 1e-4


def test_int8_of_the_shipped_model_keeps_the_bound(model: Model, reference: Reference, tmp_path: Path) -> None:
    said: list[str] = []
    package = pack(model, tmp_path / "a", Packing(precision="int8", **SMALL), data=reference, say=said.append)
    found = package.manifest.quality
    assert found["max_loss_increase"] == 0.02
    assert found["max_distance_increase"] == pytest.approx(0.1)
    assert -0.005 < found["loss_increase"] < 0.01  # measured 0.0002 on 90 images, at batch 1 and 2
    assert abs(found["distance_increase"]) < 0.05
    assert package.manifest.files["weights.bin"].length < 0.36 * 1_513_920  # the stem stays fp32
    assert any("held-out loss +" in line or "held-out loss -" in line for line in said)


def test_four_bits_are_refused_where_nothing_may_be_lost(model: Model, reference: Reference, tmp_path: Path) -> None:
    packing = Packing(precision="int4", max_loss_increase=0, **SMALL)
    with pytest.raises(
        ParityError, match=r"held-out loss \+0\.\d+%.* at most \+0.00%.*--fp32-layers.*--max-loss-increase"
    ):
        pack(model, tmp_path / "a", packing, data=reference, say=silent)
    assert not list(tmp_path.iterdir())


def test_a_block_without_weights_is_refused(
    model: Model, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier package in the same place stays as it was."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "manifest.json").write_text("an earlier package")
    honest = integers.columns
    monkeypatch.setattr(integers, "columns", lambda weight: tuple(0 * part for part in honest(weight)))
    with pytest.raises(ParityError, match=r"held-out loss \+\d+.*Fréchet distance [+-]\d+.*nothing was kept"):
        pack(model, tmp_path / "a", Packing(precision="int8", **SMALL), data=reference, say=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "manifest.json").read_text() == "an earlier package"


def fragile(model: Model, block: int) -> None:
    """The same function, hard to round: a channel that an attention hands on is 1000 times larger, its weight less."""
    attention: Any = model.get_submodule(f"backbone.blocks.{block}.attention")
    width = attention.proj.in_features
    with torch.no_grad():
        attention.qkv.weight[2 * width + 5] *= 1000
        attention.proj.weight[:, 5] /= 1000


def test_the_layer_that_was_made_fragile_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoilt = load("digits")
    fragile(spoilt, 1)
    save(spoilt, tmp_path / "fragile.safetensors")
    words = ["sensitivity", str(tmp_path / "fragile.safetensors"), "--data", "digits", "--num-images", "16", "--json"]
    assert main(words) == 0
    *parts, whole = json.loads(capsys.readouterr().out)
    assert {part["name"] for part in parts} == {
        f"backbone.blocks.{k}.{n}" for k in range(3) for n in ("attention", "mlp")
    }
    assert parts[0]["name"] == "backbone.blocks.1.attention"
    assert parts[0]["loss_increase"] > 5 * abs(parts[1]["loss_increase"])
    assert {part["weights"] for part in parts} == {4 * 96 * 96, 8 * 96 * 96}
    assert (whole["name"], whole["weights"]) == ("", 36 * 96 * 96)


def test_sensitivity_is_of_few_bits(model: Model) -> None:
    with pytest.raises(UnknownNameError, match="int8"):
        sensitivity(model, "fp16", "digits")
