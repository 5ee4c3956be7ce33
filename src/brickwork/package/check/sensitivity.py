"""What fewer bits cost in each part of a network: every part is quantised alone, and the held-out loss taken.

For ONNX Runtime, whose graphs can be changed and run in memory. What it says of a layer holds for other runtimes as far
as these round alike. Rises of parts add up only roughly; the bound is checked on the whole package.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from tqdm import tqdm

from brickwork.errors import ConfigError, UnknownNameError
from brickwork.model.model import Model
from brickwork.package import graph as graphs
from brickwork.package.check.quality import Encoding, calibration, loss_rise, real_images
from brickwork.package.graph import block_lists
from brickwork.package.precision import Precision
from brickwork.package.targets.onnx.quantize import layers_of, part_of, quantized, unfold_gemms
from brickwork.package.targets.onnx.target import PRECISIONS, to_onnx, versions
from brickwork.package.targets.onnx.trial import Trial
from brickwork.quality.evaluate import compare_classes, relabelled
from brickwork.quality.heldout import held_out_loss
from brickwork.quality.reference import Reference

NUM_IMAGES = 64
BATCH = 16
QUANTIZED = ("int8", "int8-static", "int4")


@final
@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What fewer bits in one part of the network do.

    Attributes:
        name: The part, as --keep takes it.
        weights: How many it has that would be quantised.
        loss_increase: By how much the held-out loss rises with this part alone quantised: 0.01 is one percent.
    """

    name: str
    weights: int
    loss_increase: float

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


def sensitivity(
    model: Model,
    precision: str,
    data: str | Path | Reference,
    *,
    num_images: int = NUM_IMAGES,
    progress: bool = False,
) -> tuple[Sensitivity, ...]:
    """Every part of a network by what its fewer bits cost, the most sensitive first; and last all of them together.

    Args:
        model: In fp32.
        precision: int8, int8-static or int4.
        data: Path or name of real images with a held-out part.
        num_images: Held-out images for the loss, at most.
        progress: Show a bar.

    Returns:
        The parts; the last entry, named "", is the whole network.

    Raises:
        UnknownNameError: Another precision.
        ConfigError: The network has nothing to quantise.
        MissingExtraError: The extra "onnx" is not installed.
    """
    if precision not in QUANTIZED or precision not in PRECISIONS:
        raise UnknownNameError("precision of few bits", precision, QUANTIZED)
    versions()
    reference = real_images(model, data, "the sensitivity of layers")
    places, _ = compare_classes(model, reference)
    held_out = relabelled(reference.held_out, places)
    samples = calibration(model, reference, lambda line: None) if precision == "int8-static" else []
    source = graphs.denoiser(model, *model.shape[1:], min(BATCH, num_images))
    plain = to_onnx(source)
    parts = parts_of(plain, source)
    if not parts:
        raise ConfigError(f"{precision}: this network has no products in blocks, and all of it stays fp32")

    def loss_of(keep: tuple[str, ...], name: str = precision) -> Any:
        changed = quantized(_copy(plain), source, Precision(name=name, samples=samples, keep=keep))
        denoise: Any = Encoding(Trial(changed, source), model)
        return held_out_loss(denoise, held_out, num_images=num_images, labelled=places is not None)

    fp32, found = loss_of((), "fp32"), []
    tried = {name: tuple(other for other in parts if other != name) for name in parts} | {"": ()}
    for name, keep in tqdm(tried.items(), desc="sensitivity", unit="part", disable=not progress):
        rise = float(np.mean(loss_rise(loss_of(keep), fp32)))
        weights = parts[name] if name else sum(parts.values())
        found.append(Sensitivity(name=name, weights=weights, loss_increase=rise))
    *each, whole = found
    return (*sorted(each, key=lambda part: -part.loss_increase), whole)


def parts_of(model: Any, source: graphs.Source) -> dict[str, int]:
    """The parts of a graph that few bits are for, in order, and how many weights each has."""
    model, lists = _copy(model), block_lists(source)
    unfold_gemms(model)
    sizes = {layer.names: layer.weight.size for layer in layers_of(model, source)}
    found: dict[str, int] = {}
    for names, size in sizes.items():
        part = part_of(names[0], lists)
        found[part] = found.get(part, 0) + size
    return found


def _copy(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy
