"""The options of packing, in the words of the command line; ``brickwork.package.spec`` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated

from tyro.conf import arg

from brickwork.files.choices import one_of
from brickwork.package.precision import PRECISIONS
from brickwork.package.targets.table import TARGETS
from brickwork.sampling.choices import ScheduleWord, SolverWord

LAYOUTS = ("whole", "stack", "scan")
"""Forms of a package's graphs."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Options of a package."""

    target: Annotated[str | None, one_of("target", TARGETS)] = None
    """Kind of device runtime; when left out, as the package's suffix says, or onnx."""
    layout: Annotated[str, one_of("layout", LAYOUTS)] = "whole"
    """whole graphs; stack: one block, weights fed to it in turn; scan: one block, weights stacked (ONNX Runtime)."""
    precision: Annotated[str, one_of("precision", PRECISIONS)] = "fp32"
    """Arithmetic inside, as far as the target has it; int8 takes its ranges anew in each call."""
    sizes: tuple[int, ...] = ()
    """Sides of pictures in pixels; the model's own when left out."""
    batches: tuple[int, ...] = (1, 2)
    """Rows that graphs take at once; guidance needs two for each picture."""
    parts: tuple[int, ...] = ()
    """Numbers of blocks or bricks that can run; all, and those of the plan, when left out."""
    steps: int = 25
    """Steps of the solver, unless the device asks for others."""
    solver: SolverWord = "dpm2m"
    """Solver, unless the device asks for another."""
    grid: Annotated[ScheduleWord, arg(aliases=["--schedule"])] = "karras"
    """Noise levels, unless the device asks for others."""
    guidance: float = 1.0
    """Guidance, unless the device asks for another; 1 is off."""
    guidance_interval: tuple[float, float] = (0.0, inf)
    """Guide only where the noise level lies in this interval."""
    plan: Annotated[str | None, arg(metavar="PLAN")] = None
    """Number of parts that run by noise level, as in pg:0.3."""
    fp32_layers: Annotated[tuple[str, ...], arg(metavar="LAYER ...")] = ()
    """Layers that stay fp32 in a package of fewer bits, by module, as in backbone.stem or backbone.blocks.0."""
    max_loss_increase: float = 0.02
    """Quantised packages: largest share by which the held-out loss may rise; five times that for the distance."""
    quality_images: int = 256
    """Quantised packages: held-out images that the loss is taken on, at most."""
    quality_pictures: int = 500
    """Quantised packages: pictures drawn for the distance."""
    licence: Annotated[str, arg(metavar="LICENCE")] = ""
    """Licence under which you may pass on the model's weights; stated in the manifest."""
    ort_web: Annotated[str, arg(metavar="FOLDER")] = ""
    """Folder with the files of onnxruntime-web, for browser; by default the pinned tarball of npm."""
