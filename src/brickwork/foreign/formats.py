"""Import of other projects' networks: one row for each design, recognised by the names of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brickwork.backbone.base import Backbone
from brickwork.codec.base import Pixels
from brickwork.codec.latents import Latents
from brickwork.diffusion.prediction import Prediction
from brickwork.diffusion.process import NoiseProcess
from brickwork.doors import door
from brickwork.errors import BrickworkError, CheckpointError, UnknownNameError
from brickwork.files.digest import file_digest
from brickwork.foreign import dit, lego, uvit
from brickwork.foreign.pickles import quote
from brickwork.foreign.weights import Assumed, Weights, read_weights
from brickwork.model.model import Model


@dataclass(frozen=True)
class Format:
    """Format of one project's weights.

    Attributes:
        source: The design and its paper, as text.
        recognises: Tells whether the names are those of this design.
        convert: Returns the backbone with the weights, its noise process and its prediction; raises BrickworkError
            where a tensor is missing, left over or of another shape.
        assumed: Returns what the file does not say and is assumed as published.
    """

    source: str
    recognises: Callable[[Weights], bool]
    convert: Callable[[Weights], tuple[Backbone, NoiseProcess, Prediction]]
    assumed: Callable[[Weights], Assumed] = lambda _: Assumed()


FORMATS: dict[str, Format] = {
    "dit": Format("DiT (Peebles and Xie 2023, arXiv 2212.09748)", dit.recognises, dit.convert, dit.assumed),
    "sit": Format("SiT (Ma et al. 2024, arXiv 2401.08740)", dit.recognises, dit.convert_sit, dit.assumed_of_sit),
    "lego": Format("LEGO (Zheng et al. 2024, arXiv 2310.06389)", lego.recognises, lego.convert),
    "uvit": Format("U-ViT (Bao et al. 2023, arXiv 2209.12152)", uvit.recognises, uvit.convert, uvit.assumed),
}
"""Formats by name; of those that recognise a file, it is the first unless the user names another."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """Facts that the user states of a file of published weights, instead of assumed ones.

    Attributes:
        format: Name of a row of ``FORMATS``.
        process: The noise process that the network was trained with.
        prediction: What its output means.
    """

    format: str | None = None
    process: NoiseProcess | None = None
    prediction: Prediction | None = None


@dataclass(frozen=True)
class Network:
    """Published network as brickwork's, still without a codec.

    Attributes:
        format: Name of its row in ``FORMATS``.
        facts: Its file and design, JSON-like.
    """

    format: str
    backbone: Backbone
    process: NoiseProcess
    prediction: Prediction
    facts: Mapping[str, Any]


def read_network(path: str | Path, stated: Stated = Stated()) -> Network:
    """Read the network in a file of published weights, whether it draws pixels or an autoencoder's latents.

    Nothing in the file is executed. Weights become float32, on the CPU.

    Args:
        path: The file of weights.
        stated: What is known of the file and would be assumed otherwise.

    Raises:
        CheckpointError: The file is missing, truncated, of no known design, or its tensors do not fit its design.
        UnknownNameError: There is no format of the stated name.
    """
    path = Path(path)
    if stated.format is not None and stated.format not in FORMATS:
        raise UnknownNameError("format of weights", stated.format, FORMATS)
    weights = read_weights(path)
    names = [name for name, row in FORMATS.items() if row.recognises(weights)]
    if not names:
        example = quote(next(iter(weights.tensors)))
        raise CheckpointError(
            f"{path}: its tensors ({example}, ...) are of no network that is known; known are {', '.join(FORMATS)}"
        )
    if stated.format not in (None, *names):
        raise CheckpointError(f"{path}: format {stated.format}, but its tensors are named as in {', '.join(names)}")
    name = stated.format or names[0]
    try:
        backbone, process, prediction = FORMATS[name].convert(weights)
    except BrickworkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    facts = {"imported": path.name, "source_sha256": file_digest(path), "design": FORMATS[name].source}
    facts |= _told(FORMATS[name].assumed(weights), stated, [] if stated.format else names[1:])
    process, prediction = stated.process or process, stated.prediction or prediction
    return Network(name, backbone.eval().requires_grad_(False), process, prediction, facts)


def _told(assumed: Assumed, stated: Stated, others: list[str]) -> dict[str, str]:
    """Return the facts on what is assumed, and on what the user stated instead.

    Args:
        assumed: What the format assumes.
        stated: What the user stated.
        others: Further formats whose tensors have the same names.
    """
    phrases = [assumed.rest]
    if stated.prediction is None:
        phrases.insert(0, assumed.prediction)
    if stated.process is None:
        phrases.insert(0, assumed.process)
    phrases += [f"not {FORMATS[name].source}, whose files have the same names (format {name})" for name in others]
    said: dict[str, str] = {}
    if told := "; ".join(phrase for phrase in phrases if phrase):
        said["assumed"] = told
    given = {"format": stated.format, "process": stated.process, "prediction": stated.prediction}
    if any(given.values()):
        said["stated"] = ", ".join(f"{key} {value}" for key, value in given.items() if value is not None)
    return said


@door("importing weights")
def import_weights(path: str | Path, codec: Latents | None = None, *, stated: Stated = Stated()) -> Model:
    """Import a published model: a denoiser, ready to draw or to save.

    Args:
        path: The file of weights.
        codec: The autoencoder whose latents the network draws, scaled as its authors scaled them; None for pixels.
        stated: What is known of the file and would be assumed otherwise: its format, process or prediction.

    Raises:
        CheckpointError: ``read_network`` would raise it; or the codec does not fit the network's channels.
    """
    network = read_network(path, stated)
    config = network.backbone.config
    if codec is None and config.channels not in (1, 3):
        raise CheckpointError(
            f"{path}: its network draws latents, {config.channels} channels of {config.size}x{config.size}: give the "
            "autoencoder that it was trained with (--codec; brickwork autoencoder import makes the file)"
        )
    if codec is not None and config.channels != codec.channels:
        raise CheckpointError(
            f"{path}: its network draws {config.channels} channels and the autoencoder has latents of "
            f"{codec.channels}: give the one that it was trained with"
        )
    space = Pixels(num_channels=config.channels) if codec is None else codec
    return Model(network.backbone, network.process, network.prediction, space, facts=dict(network.facts)).eval()
