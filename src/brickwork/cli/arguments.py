"""Options that several verbs share: a model, a sampler, a canvas, names with options."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

import brickwork
from brickwork.diffusion.denoiser import Denoiser, capabilities_of
from brickwork.errors import ArgumentError
from brickwork.files.choices import one_of
from brickwork.sampling.canvas import DEFAULT_MODE, MODES, Canvas
from brickwork.sampling.choices import ScheduleWord, SolverWord, named_in
from brickwork.sampling.options import choose
from brickwork.sampling.sampler import Sampler

if TYPE_CHECKING:
    from brickwork.model.model import Model

MODEL = "Run folder, model file, a shipped model by name, or hf:owner/name"
ModelName = Annotated[str, arg(metavar="MODEL", help=f"{MODEL}.")]
SizeName = Annotated[str, arg(metavar="MODEL", help=f"Preset, as in `brickwork list presets`; or {MODEL.lower()}.")]

DeviceName = Annotated[str, one_of("device", ("auto", "cpu", "cuda", "mps"), then=":N")]
"""Device of this machine, of several of a kind with its number."""

MAX_PIXELS = 1 << 26
"""Largest size of one picture, in pixels: 8192x8192."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Solver, steps, noise levels and guidance."""

    steps: int = 50
    """Steps of the solver; with custom levels, one less than their number."""
    solver: SolverWord = "dpm2m"
    """Solver, with its options behind a colon, as in ddim:eta=1 or heun:churn=10."""
    schedule: Annotated[ScheduleWord, arg(aliases=["--grid"])] = "karras"
    """Noise levels, as in karras:rho=5, or custom ones as in levels:80,10,1,0."""
    guidance: float = 1.0
    """Classifier-free guidance; 1 is off."""
    guidance_interval: tuple[float, float] = (0.0, float("inf"))
    """Guide only at noise levels in this interval."""
    plan: Annotated[str | None, arg(metavar="PLAN")] = None
    """Blocks or bricks that run by noise level: pg:0.3, pr:0.4, or 3@5.84,2@0.31,1; all when left out."""

    def sampler(self) -> Sampler:
        """Read the options into a sampler.

        Raises:
            BrickworkError: A word cannot be read, or a number is out of range.
        """
        words: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(Sampling)}
        words["steps"] = None if self.steps == Sampling.steps else self.steps
        return Sampler(**words)


@dataclass(frozen=True, kw_only=True)
class Drawing(Sampling):
    """Solver, steps, guidance, batch size, precision and device."""

    batch_size: int = 64
    """Images drawn at once; changes no picture."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network."""
    device: DeviceName = "auto"
    """Device that draws; auto takes the first accelerator."""

    def sampler_of(self, model: Model) -> Sampler:
        """Read the options into a sampler for a model.

        Raises:
            BrickworkError: ``sampler`` refuses, or the model cannot follow the plan.
        """
        return self.sampler().but(batch_size=self.batch_size).for_parts(model.num_parts)

    def facts(self, name: str, model: Model) -> dict[str, Any]:
        """Return the facts for a PNG with which it can be drawn again."""
        facts = {"model": str(name), "sha256": model.digest, "version": brickwork.__version__}
        return facts | self.sampler_of(model).to_facts() | {"precision": self.precision}

    def open(self, name: str) -> Model:
        """Load a model at this precision, on this device."""
        from brickwork.nn.device import choose_device

        model = brickwork.load(name, choose_device(self.device))
        model.precision = self.precision
        return model


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Size and canvas of the pictures, if not the model's own square."""

    height: int | None = None
    """Height of the pictures in pixels, any from 1; the model's when left out."""
    width: int | None = None
    """Width of the pictures in pixels, any from 1; the model's when left out."""
    canvas: Annotated[str | None, named_in(MODES)] = None
    """Canvas mode, which joins the model's squares, as in overlap:overlap=0.6."""
    regions: Annotated[str | None, arg(metavar="CLASSES")] = None
    """Classes of equal regions of the picture, by number or name: 3,7,5 from left to right, 3,7/5,1 for two rows."""
    chunk: int = 8
    """Squares evaluated at once: a higher number is faster and needs more memory."""

    def around(self, denoise: Denoiser) -> Canvas | None:
        """Return a canvas around a denoiser; None if these options ask for none."""
        if self.height is self.width is self.canvas is self.regions is None:
            return None
        (_, high, wide), factor = denoise.shape, capabilities_of(denoise).factor
        for name in ("height", "width"):
            if (getattr(self, name) or 0) % factor:
                raise ArgumentError(
                    f"{name} {getattr(self, name)}: the model's autoencoder makes {factor} pixels of each place; give "
                    f"a multiple of {factor}"
                )
        height = high if self.height is None else self.height // factor
        width = wide if self.width is None else self.width // factor
        mode = choose("canvas mode", self.canvas or DEFAULT_MODE, MODES)
        canvas = Canvas(denoise, height, width, mode, self.chunk)
        if height * width * factor**2 > MAX_PIXELS:
            raise ArgumentError(
                f"canvas of {height * factor}x{width * factor} pixels: at most {MAX_PIXELS:,} of them; draw it in parts"
            )
        return canvas

    def classes(self, model: Model, canvas: Canvas) -> list[list[int]]:
        """Return the regions' class numbers, row by row; empty without regions."""
        if self.regions is None:
            return []
        found = [[model.class_index(word.strip()) for word in row.split(",")] for row in self.regions.split("/")]
        if len({len(row) for row in found}) > 1:
            counts = ", ".join(str(len(row)) for row in found)
            raise ArgumentError(f"regions {self.regions!r}: rows of {counts} classes; give every row as many")
        canvas.check_regions(len(found), len(found[0]))
        return found
