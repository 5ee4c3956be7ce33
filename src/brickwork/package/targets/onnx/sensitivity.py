"""The cost of fewer bits in each layer of a network: each layer is quantised alone, and the held-out loss measured.

It uses ONNX Runtime, whose graphs can be changed and run in memory. Results hold for other runtimes as far as these
round alike. Rises of layers add up only roughly; the bound is checked on the whole package.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from brickwork.errors import ConfigError, UnknownNameError
from brickwork.files.bars import Bar
from brickwork.model.model import Model
from brickwork.package import graph as graphs
from brickwork.package.check.calibrate import Encoding, calibration, real_images
from brickwork.package.check.quality import loss_rise
from brickwork.package.graph import block_lists
from brickwork.package.precision import Precision
from brickwork.package.targets.onnx.export import TOOLKIT, to_onnx
from brickwork.package.targets.onnx.quantize import layer_of, layers_of, quantized, unfold_gemms
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
    """The cost of fewer bits in one layer of the network.

    Attributes:
        name: The layer, as --fp32-layers takes it.
        weights: Number of its weights that would be quantised.
        loss_increase: Rise of the held-out loss with this layer alone quantised: 0.01 is one percent.
    """

    name: str
    weights: int
    loss_increase: float

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)


def sensitivity(
    model: Model,
    precision: str,
    data: str | Path | Reference,
    *,
    num_images: int = NUM_IMAGES,
    progress: bool = False,
) -> tuple[Sensitivity, ...]:
    """Measure the cost of fewer bits in every layer of a network.

    Args:
        model: A model in fp32.
        precision: int8, int8-static or int4.
        data: Path or name of real images with a held-out part.
        num_images: Held-out images for the loss, at most.
        progress: Show a bar.

    Returns:
        The layers, the most sensitive first; the last entry, named "", is all of them together.

    Raises:
        UnknownNameError: Another precision.
        ConfigError: The network has nothing to quantise.
        MissingExtraError: The extra "onnx" is not installed.
    """
    if precision not in QUANTIZED:
        raise UnknownNameError("precision of few bits", precision, QUANTIZED)
    TOOLKIT.versions()
    reference = real_images(model, data, "the sensitivity of layers")
    places, _ = compare_classes(model, reference)
    held_out = relabelled(reference.held_out, places)
    samples = calibration(model, reference, lambda line: None) if precision == "int8-static" else []
    spec = graphs.denoiser(model, *model.shape[1:], min(BATCH, num_images))
    plain = to_onnx(spec)
    sizes = sizes_of(plain, spec)
    if not sizes:
        raise ConfigError(f"{precision}: this network has no products in blocks, and all of it stays fp32")

    def loss_of(fp32_layers: tuple[str, ...], name: str = precision) -> Any:
        changed = quantized(_copy(plain), spec, Precision(name=name, samples=samples, fp32_layers=fp32_layers))
        denoise: Any = Encoding(Trial(changed, spec), model)
        return held_out_loss(denoise, held_out, num_images=num_images, labelled=places is not None)

    fp32, found = loss_of((), "fp32"), []
    tried = {name: tuple(other for other in sizes if other != name) for name in sizes} | {"": ()}
    for name, rest in Bar(tried.items(), desc="sensitivity", unit="layer", disable=not progress):
        rise = float(np.mean(loss_rise(loss_of(rest), fp32)))
        weights = sizes[name] if name else sum(sizes.values())
        found.append(Sensitivity(name=name, weights=weights, loss_increase=rise))
    *each, whole = found
    return (*sorted(each, key=lambda layer: -layer.loss_increase), whole)


def sizes_of(model: Any, spec: graphs.GraphSpec) -> dict[str, int]:
    """Return the number of weights of each layer of a graph that gets few bits, by its name, in order."""
    model, lists = _copy(model), block_lists(spec)
    unfold_gemms(model)
    sizes = {layer.names: layer.weight.size for layer in layers_of(model, spec)}
    found: dict[str, int] = {}
    for names, size in sizes.items():
        name = layer_of(names[0], lists)
        found[name] = found.get(name, 0) + size
    return found


def _copy(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy
