"""What several verbs take: a model, a way of drawing, names with options, seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from tyro.conf import arg

import brickwork
from brickwork.errors import ArgumentError, UnknownNameError

if TYPE_CHECKING:
    from brickwork.model import Model
    from brickwork.sampling.canvas import Canvas
    from brickwork.sampling.denoiser import Denoiser
    from brickwork.sampling.plan import Planned

ModelName = Annotated[str, arg(metavar="MODEL", help="Run folder, model file, or a shipped model by name.")]

MAX_SEEDS = 100_000
MAX_PIXELS = 1 << 26
"""Of one picture: 8192x8192."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How pictures are drawn; shared by every verb that draws."""

    steps: int = 50
    """Steps of the solver."""
    solver: str = "dpm2m"
    """Solver, with its options behind a colon: ddim, ddim:eta=1, heun:churn=10, dpm3m, euler-maruyama."""
    grid: str = "karras"
    """Noise levels: karras, log-snr, linear."""
    guidance: float = 1.0
    """Classifier-free guidance; 1 is off."""
    guidance_interval: tuple[float, float] = (0.0, float("inf"))
    """Guide only where the noise level lies in this interval."""
    plan: str | None = None
    """Parts of the model that run by noise level: pg:0.3, pr:0.4, or 3@5.84,2@0.31,1; all when left out."""
    batch_size: int = 64
    """Images drawn at once; never changes a picture."""
    precision: str = "fp32"
    """fp32 or bf16, for the network alone."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``brickwork.sample``."""
        from brickwork.sampling.grid import GRIDS
        from brickwork.sampling.solvers import SOLVERS

        return {
            "steps": self.steps,
            "solver": choose("solver", self.solver, SOLVERS),
            "grid": choose("grid", self.grid, GRIDS),
            "guidance": self.guidance,
            "guidance_interval": self.guidance_interval,
            "batch_size": self.batch_size,
        }

    def facts(self, name: str, model: Model) -> dict[str, Any]:
        """What a PNG says of how it was drawn, so that it can be drawn again."""
        return {
            "model": str(name),
            "sha256": model.digest,
            "version": brickwork.__version__,
            "steps": self.steps,
            "solver": self.solver,
            "grid": self.grid,
            "guidance": self.guidance,
            "guidance_interval": [str(x) for x in self.guidance_interval],
            "plan": None if self.plan is None else str(self.planned(model).plan),  # pyright: ignore[reportAttributeAccessIssue]
            "precision": self.precision,
        }

    def open(self, name: str) -> Model:
        """Load a model at the precision and on the device asked."""
        from brickwork.checkpoint import load
        from brickwork.model import choose_device

        if self.precision not in ("fp32", "bf16"):
            raise ArgumentError(f"precision {self.precision!r}: it must be fp32 or bf16")
        model = load(name, choose_device(self.device))
        model.precision = self.precision
        return model

    def planned(self, model: Model) -> Model | Planned:
        """What draws: the model under the plan asked, or the model."""
        from brickwork.sampling.plan import Planned

        return model if self.plan is None else Planned.of(model, self.plan)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What pictures are drawn on, where that is not the model's own square."""

    height: int | None = None
    """Height of the pictures in pixels, any from 1; the model's when left out."""
    width: int | None = None
    """Width of the pictures in pixels, any from 1; the model's when left out."""
    canvas: str | None = None
    """How the model's squares are joined: tile, overlap, overlap:overlap=0.6, shift, overlap+shift, or whole."""
    regions: str | None = None
    """Classes of equal parts of the picture, by number or name: 3,7,5 from left to right, 3,7/5,1 for two rows."""
    chunk: int = 8
    """Squares evaluated at once: memory against speed."""

    def around(self, denoise: Denoiser) -> Canvas | None:
        """A canvas drawn by a denoiser; None where none was asked for."""
        from brickwork.sampling.canvas import DEFAULT_MODE, MODES, Canvas
        from brickwork.sampling.denoiser import core_of

        if self.height is self.width is self.canvas is self.regions is None:
            return None
        (_, high, wide), factor = denoise.shape, getattr(getattr(core_of(denoise), "codec", None), "factor", 1)
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
        """The regions' class numbers, row by row; nothing where none were asked for."""
        if self.regions is None:
            return []
        found = [[model.class_index(word.strip()) for word in row.split(",")] for row in self.regions.split("/")]
        if len({len(row) for row in found}) > 1:
            counts = ", ".join(str(len(row)) for row in found)
            raise ArgumentError(f"regions {self.regions!r}: rows of {counts} classes; give every row as many")
        canvas.check_regions(len(found), len(found[0]))
        return found


def check_png(out: Path) -> None:
    """Refuse a file name of another kind of picture.

    Raises:
        ArgumentError: With one line.
    """
    if out.suffix.lower() in (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"):
        raise ArgumentError(f"out {out}: pictures are written as PNG; name a .png file or a folder")


def parse_seeds(texts: Sequence[str]) -> list[int]:
    """Seeds from words such as "3", "0-7" or "1,2".

    Raises:
        ArgumentError: A word is no seed and no rising range.
    """
    seeds: list[int] = []
    for word in (w for text in texts for w in text.split(",") if w):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(last) >= int(first))):
            raise ArgumentError(f"seed {word!r}: give a number from 0 to 2^64-1 or a rising range such as 0-7")
        wanted = range(int(first), int(last or first) + 1)
        if int(last or first) - int(first) + 1 + len(seeds) > MAX_SEEDS:
            raise ArgumentError(f"seed {word!r}: at most {MAX_SEEDS:,} seeds at once; draw the rest in another call")
        seeds.extend(wanted)
    return seeds


def choose(kind: str, text: str, registry: Mapping[str, Callable[..., Any]]) -> Any:
    """What a registry holds under a name, with options behind a colon: "heun:churn=10,churn_noise=1.003".

    Raises:
        UnknownNameError: No such name.
        ArgumentError: An option it does not have, or a value of another type.
    """
    name, _, words = text.partition(":")
    if name not in registry:
        raise UnknownNameError(kind, name, registry)
    known, values = _options(registry[name]), {}
    for key, _, value in (word.partition("=") for word in words.split(",") if word):
        if key not in known:
            there = f"its options are {', '.join(known)}" if known else "it has no options"
            raise ArgumentError(f"{kind} {text!r}: no option {key!r}; {there}")
        try:
            values[key] = _READERS[known[key]](value)
        except (KeyError, ValueError):
            raise ArgumentError(f"{kind} {text!r}: {key!r} is {value!r}; it must be {_KINDS[known[key]]}") from None
    return registry[name](**values)


_READERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: {"1": True, "true": True, "0": False, "false": False}[text.lower()],
    int: int,
    float: float,
    str: str,
}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _options(make: Callable[..., Any]) -> dict[str, type]:
    """Fields that a word can set, true or false, numbers and texts, but for those that the registry sets itself."""
    fixed = make.keywords if isinstance(make, partial) else {}
    config: Any = make.func if isinstance(make, partial) else make
    hints = get_type_hints(config)
    return {f.name: hints[f.name] for f in fields(config) if hints[f.name] in _READERS and f.name not in fixed}
