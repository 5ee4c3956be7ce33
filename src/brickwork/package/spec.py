"""The package to be written: the words of a packing as values, read once and checked against one model."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import final

from brickwork.errors import ArgumentError, ConfigError, UnknownNameError
from brickwork.model.model import Model
from brickwork.package.graph import GraphSpec, graphs_of
from brickwork.package.packing import LAYOUTS, Packing
from brickwork.package.precision import PRECISIONS, Precision, QualityBound
from brickwork.package.targets.base import Target
from brickwork.package.targets.table import choose_target
from brickwork.sampling.sampler import Sampler

DRAWING = ("steps", "solver", "grid", "guidance", "guidance_interval", "plan")
"""Fields of a packing that make its sampler."""


@final
@dataclass(frozen=True, kw_only=True)
class PackageSpec:
    """A package to be written for one model.

    Attributes:
        target: Kind of device runtime.
        layout: "whole", "stack" or "scan", see ``Packing``.
        precision: Arithmetic inside, its samples not yet drawn.
        graphs: Whole graphs of every size, number of blocks and batch, and those of decoder and text encoder.
        sampler: Sampler that the manifest states.
        bound: Quality that a package of few bits must keep.
        licence: Licence of the weights that the packer states.
        beside: Folder of the user's own that the target takes further files from; "" for none.
    """

    target: Target
    layout: str
    precision: Precision
    graphs: tuple[GraphSpec, ...]
    sampler: Sampler
    bound: QualityBound
    licence: str
    beside: str

    @property
    def title(self) -> str:
        """Target and precision for messages, as in "onnx in fp16"."""
        return f"{self.target.name} in {self.precision.name}"


def read_packing(packing: Packing, model: Model, out: Path, how: Sampler | None = None) -> PackageSpec:
    """Read a packing for one model and place.

    Args:
        packing: Options, in words.
        model: Model that is packed.
        out: Place of the package, whose suffix may name the target.
        how: Sampler, in place of the packing's words for it.

    Raises:
        BrickworkError: A word without meaning for its option, numbers out of range, options that do not go together, or
            that the target or the model does not have.
    """
    target = choose_target(packing.target, out)
    layout = _known("layout", packing.layout, LAYOUTS, target.layouts, target)
    precision = _precision(packing, model, target)
    if layout != "whole" and precision.name != "fp32":
        raise ConfigError(f"precision {precision.name} with layout {layout}: stacked layouts are fp32")
    bound = _bound(packing)
    sampler = _sampler(packing, model, how)
    models = _models(packing, model, sampler)
    return PackageSpec(
        target=target,
        layout=layout,
        precision=precision,
        graphs=graphs_of(model, models, _places(packing, model), _whole_numbers("batches", packing.batches)),
        sampler=sampler,
        bound=bound,
        licence=packing.licence,
        beside=packing.ort_web,
    )


def _known(name: str, value: str, words: tuple[str, ...], known: tuple[str, ...], target: Target) -> str:
    """Return a word after checking that the target has it."""
    if value not in words:
        raise UnknownNameError(name, value, known)
    if value not in known:
        raise ConfigError(f"{name} {value!r}: {target.name} packages have {', '.join(known)}; take one of these")
    return value


def _precision(packing: Packing, model: Model, target: Target) -> Precision:
    """Return the precision, after checking it and the names of the layers that stay fp32."""
    name = _known("precision", packing.precision, PRECISIONS, target.precisions, target)
    modules = [module for module, _ in model.named_modules() if module]
    for layer in packing.fp32_layers:
        if layer not in modules:
            raise UnknownNameError("layer of the network", layer, modules)
    if packing.fp32_layers and name == "fp32":
        raise ConfigError(
            "fp32 layers with precision fp32: everything stays fp32; leave them out, or take another precision"
        )
    return Precision(name=name, fp32_layers=packing.fp32_layers)


def _bound(packing: Packing) -> QualityBound:
    """Return the bound on quality, after checking its numbers."""
    if not 0 <= packing.max_loss_increase < inf:
        raise ArgumentError(f"max loss increase {packing.max_loss_increase}: give a share, as 0.02, or 0 for none")
    if packing.quality_images < 1 or packing.quality_pictures < 2:
        raise ArgumentError(
            f"quality on {packing.quality_images} images and {packing.quality_pictures} pictures: at least 1 and 2"
        )
    return QualityBound(
        max_loss_increase=packing.max_loss_increase,
        num_images=packing.quality_images,
        num_pictures=packing.quality_pictures,
    )


def _whole_numbers(name: str, values: tuple[int, ...], *, least: int = 1) -> tuple[int, ...]:
    """Return whole numbers after checking that each is 1 or more, and that there are enough of them."""
    if len(values) < least or any(value < 1 for value in values):
        raise ArgumentError(f"{name} {values}: give whole numbers from 1 on")
    return values


def _sampler(packing: Packing, model: Model, how: Sampler | None) -> Sampler:
    """Return the sampler that the manifest will state, after checking it against the model."""
    if how is not None and (said := [name for name in DRAWING if getattr(packing, name) != getattr(Packing(), name)]):
        raise ArgumentError(f"{said[0]} {getattr(packing, said[0])}: how says it too; give one of them")
    words = {"schedule" if name == "grid" else name: getattr(packing, name) for name in DRAWING}
    sampler = (Sampler(**words) if how is None else how).for_parts(model.num_parts)
    if sampler.guidance != 1 and not model.num_classes and model.text_shape is None:
        raise ArgumentError(f"guidance {sampler.guidance}: this model has neither classes nor text to follow")
    return sampler


def _models(packing: Packing, model: Model, sampler: Sampler) -> tuple[Model, ...]:
    """Return the models of the first n blocks that get graphs, rising: those asked for, and those of the plan."""
    asked = _whole_numbers("parts", packing.parts, least=0) or (model.num_parts,)
    plan = () if sampler.plan is None else sampler.plan.of_parts(model.num_parts).counts
    return tuple(model.first(count) for count in sorted({*asked, *plan}))


def _places(packing: Packing, model: Model) -> tuple[tuple[int, int], ...]:
    """Return (height, width) in model space of every size, in order; the model's own where none are asked for."""
    factor, (_, height, width) = model.codec.factor, model.shape
    for size in _whole_numbers("sizes", packing.sizes, least=0):
        side = size // factor
        if size % factor or ((side, side) != (height, width) and (model.multiple is None or side % model.multiple)):
            fits = "its own size alone" if model.multiple is None else f"multiples of {model.multiple * factor}"
            raise ArgumentError(f"size {size}: this model, of {height * factor} pixels, takes {fits}")
    places = tuple((size // factor, size // factor) for size in packing.sizes)
    return tuple(dict.fromkeys(places)) or ((height, width),)
