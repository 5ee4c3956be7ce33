"""What several verbs take: a model, a way of drawing, names with options, seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from brickwork.errors import ArgumentError, UnknownNameError

if TYPE_CHECKING:
    from brickwork.model import Model

ModelName = Annotated[str, arg(metavar="MODEL", help="Run folder, model file, or a shipped model by name.")]


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

    def open(self, name: str) -> Model:
        """Load a model at the precision and on the device asked."""
        from brickwork.checkpoint import load
        from brickwork.model import choose_device

        if self.precision not in ("fp32", "bf16"):
            raise ArgumentError(f"precision {self.precision!r}: it must be fp32 or bf16")
        model = load(name, choose_device(self.device))
        model.precision = self.precision
        return model


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
        seeds.extend(range(int(first), int(last or first) + 1))
    return seeds


def choose(kind: str, text: str, registry: Mapping[str, Callable[..., Any]]) -> Any:
    """What a registry holds under a name, with numbers behind a colon: "heun:churn=10,churn_noise=1.003".

    Raises:
        UnknownNameError: No such name.
        ArgumentError: An option it does not have, or one that is no number.
    """
    name, _, options = text.partition(":")
    if name not in registry:
        raise UnknownNameError(kind, name, registry)
    values: dict[str, float] = {}
    for key, _, value in (option.partition("=") for option in options.split(",") if option):
        try:
            values[key] = float(value)
            registry[name](**values)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{kind} {text!r}: {key!r} must be one of its options and a number") from error
    return registry[name](**values)
