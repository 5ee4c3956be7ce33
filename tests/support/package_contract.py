"""What packages for every runtime must do: the tests of a target are a class of these, and tests of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tiny_models import latent_model, text_model, tiny_model

from brickwork.backbone.lego import Lego
from brickwork.device.runner import Runner, open_package
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import PackageError
from brickwork.model.model import Model
from brickwork.package.check.parity import psnr
from brickwork.package.pack import pack
from brickwork.package.packing import Packing
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.planned import Planned

GUIDED: dict[str, Any] = {"labels": [0, 4, 2], "guidance": 2.0}


def draw(model: Any, **how: Any) -> np.ndarray:
    """Three estimates before rounding, by seeds that packing does not look at."""
    drawn = sample_x0(model, seeds=[7, 8, 9], steps=6, **how)
    return drawn.numpy() if isinstance(drawn, torch.Tensor) else drawn


def packed(model: Model, target: str, folder: Path, **options: Any) -> Runner:
    """A package in a folder."""
    how = {"target": target, "batches": (2,), "steps": 4, **options}
    return pack(model, folder / f"a.{target}", Packing(**how), say=lambda line: None)


class PackageContract:
    """Tests of one target.

    Attributes:
        target: Its name.
        ops: Of the graph of ``CONFIGS["stoic"]``. A device is built for these operators: a change must be meant.
            Pinned with the versions of the constraints files.
        suffixes: Of the files of graphs and weights.
        least_db: How near fp32 pictures must be.
    """

    target: ClassVar[str]
    ops: ClassVar[dict[str, int]]
    suffixes: ClassVar[tuple[str, ...]]
    least_db: ClassVar[float] = 85

    @pytest.fixture(scope="class")
    @classmethod
    def stoic(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Runner]:
        """A STOIC and its package, for one row and for two."""
        model = tiny_model("stoic")
        folder = tmp_path_factory.mktemp("stoic")
        return model, packed(model, cls.target, folder, batches=(1, 2), guidance=2.0)

    @pytest.mark.parametrize("name", ["stoic adaln", "tldm", "uvit", "dit"])
    def test_the_same_picture_from_the_same_seed(self, name: str, tmp_path: Path) -> None:
        model = tiny_model(name)
        package = packed(model, self.target, tmp_path, guidance=2.0)
        assert psnr(draw(model, **GUIDED), draw(package, **GUIDED)) > self.least_db
        assert package.manifest.parity["db"] > self.least_db

    def test_a_plan_of_fewer_bricks(self, tmp_path: Path) -> None:
        bricks = tuple(Lego.Brick(window=window, patch=2, width=32, heads=2, depth=1) for window in (4, 0))
        model, plan = tiny_model(Lego.Config(bricks=bricks, vector_width=32, size=8, num_classes=5)), "2@1.5,1"
        package = packed(model, self.target, tmp_path, plan=plan)
        assert package.counts == (1, 2)
        assert psnr(draw(model, **GUIDED), draw(package, **GUIDED)) > self.least_db
        ours, theirs = Planned.of(package, plan), Planned.of(model, plan)
        assert psnr(draw(theirs, **GUIDED), draw(ours, **GUIDED)) > self.least_db
        assert psnr(draw(model, **GUIDED), draw(package.first(1), **GUIDED)) < 45  # parts matter

    def test_the_picture_and_the_operators(self, stoic: tuple[Model, Runner]) -> None:
        model, package = stoic
        how: dict[str, Any] = {"seeds": [5, 6], "labels": [1, 3], "guidance": 2.0, "steps": 5}
        ours, theirs = sample(package, **how), sample(model, **how)
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
        assert package.manifest.parity["db"] > self.least_db
        assert package.manifest.graph("denoiser", batch=2).ops == self.ops

    @pytest.mark.parametrize("count", [1, 2, 3, 5])
    def test_any_number_of_rows(self, stoic: tuple[Model, Runner], count: int) -> None:
        """Labels come as int64, -1 for none."""
        model, package = stoic
        x = np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype(np.float32)
        sigma, labels = np.linspace(0.1, 5, count).astype(np.float32), np.arange(count) - 1
        ours = package(x, sigma, Condition(labels=labels))
        told = Condition(labels=torch.from_numpy(labels))
        theirs = model(torch.from_numpy(x), torch.from_numpy(sigma), told)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=2e-5)
        assert [port.dtype for port in package.manifest.graph("denoiser").inputs] == ["float32", "float32", "int64"]

    def test_a_changed_byte_is_refused(self, stoic: tuple[Model, Runner], tmp_path: Path) -> None:
        _, package = stoic
        for suffix in self.suffixes:
            for path in package.files.folder.iterdir():
                data = bytearray(path.read_bytes())
                if path.suffix == suffix:
                    data[len(data) // 2] ^= 1
                (tmp_path / path.name).write_bytes(data)
            with pytest.raises(PackageError, match=rf"{suffix}: its bytes are not those that were packed"):
                sample(open_package(tmp_path), seeds=[0, 1, 2], steps=1)

    def test_latents_are_decoded_in_the_package(self, tmp_path: Path) -> None:
        model = latent_model()
        package = packed(model, self.target, tmp_path)
        assert package.manifest.factor == 2
        how: dict[str, Any] = {"seeds": [3, 4], "labels": 1, "steps": 4}
        ours, theirs = sample(package, **how), sample(model, **how)
        assert ours.shape == (2, 8, 8, 3)
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
        assert theirs.std() > 20

    def test_prompts_are_read_in_the_package(self, tmp_path: Path) -> None:
        model = text_model()
        package = packed(model, self.target, tmp_path)
        for caption in ("red square", "Blue  CIRCLE!", "an unknown word", ""):
            np.testing.assert_allclose(package.embed_text([caption]), model.embed_text([caption]), atol=1e-5)
        how: dict[str, Any] = {"text": ["red square", "blue", "circle"], "guidance": 3.0, "negative": "square"}
        assert psnr(draw(model, **how), draw(package, **how)) > self.least_db
