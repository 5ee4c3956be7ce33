"""Model files: one safetensors file holds the weights, and in its header all else that a model needs. No pickles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from brickwork.backbone.base import BackboneConfig
from brickwork.backbone.table import BACKBONES
from brickwork.codec.base import CodecConfig
from brickwork.codec.image_condition import IMAGE_CONDITIONS, ImageCondition
from brickwork.codec.latents import Latents
from brickwork.codec.table import CODECS
from brickwork.diffusion.prediction import PREDICTIONS, Prediction
from brickwork.diffusion.process import PROCESSES, NoiseProcess
from brickwork.doors import door
from brickwork.errors import ArgumentError, BrickworkError, CheckpointError, short
from brickwork.files.digest import file_digest
from brickwork.files.header import read_kinds
from brickwork.files.plain import json_text
from brickwork.files.schema import from_entry, to_entry
from brickwork.files.tensors import read_tensors, write_tensors
from brickwork.model.header import FORMAT, GUEST, HEADER, as_stored, chain, existing_model, stored_header
from brickwork.model.hosted import HostedConfig, check_hosting
from brickwork.model.model import Model
from brickwork.nn.device import choose_device
from brickwork.nn.promised import building_no_more, check_sizes, compare
from brickwork.text.base import TextConfig
from brickwork.text.table import TEXTS


@final
@dataclass(frozen=True, kw_only=True)
class Configs:
    """Configs in a header."""

    backbone: BackboneConfig
    process: NoiseProcess
    prediction: Prediction
    codec: CodecConfig
    image_condition: ImageCondition
    text: TextConfig


# ---- models -----------------------------------------------------------------------------------------------------


def header_of(model: Model) -> dict[str, Any]:
    """Return everything about a model but its weights, ready for JSON; with a guest, also the guest's."""
    header = {
        "format": FORMAT,
        "backbone": to_entry(BACKBONES, model.own_backbone.config),
        "process": to_entry(PROCESSES, model.process),
        "prediction": to_entry(PREDICTIONS, model.prediction),
        "codec": to_entry(CODECS, model.codec.config),
        "image_condition": to_entry(IMAGE_CONDITIONS, model.image_condition),
        "text": to_entry(TEXTS, model.text_config),
        "classes": list(model.classes),
        "training": model.facts,
    }
    return header if model.guest is None else header | {GUEST: header_of(model.guest)}


def named_weights(model: Model) -> dict[str, Tensor]:
    """Return a model's tensors by their names in its file; prefixes "codec.", "text." and "guest." name the owner."""
    return {prefix + name: tensor for prefix, module in _modules(model) for name, tensor in module.state_dict().items()}


def _modules(model: Model) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module with weights and the prefix of their names in a file; a guest's codec is the model's own."""
    yield "", model.own_backbone
    for prefix, module in (("codec.", model.codec), ("text.", model.text)):
        if isinstance(module, nn.Module):
            yield prefix, module
    if model.guest is not None:
        yield from ((f"{GUEST}.{prefix}", module) for prefix, module in _modules(model.guest) if prefix != "codec.")


def digest_of(model: Model) -> str:
    """Return the SHA-256 (hex) of a model's weights and their meaning, without the facts of training."""
    headers = chain(as_stored(header_of(model)))
    meaning = [{k: v for k, v in header.items() if k not in ("training", GUEST)} for header in headers]
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in named_weights(model).items()}
    return hashlib.sha256(to_bytes(tensors, {HEADER: json.dumps(meaning)})).hexdigest()


@door("saving a model")
def save(model: Model, path: str | Path) -> None:
    """Write a model as one file, atomically; sets ``model.digest``.

    Raises:
        OutputError: The place cannot be written; a previous file there stays whole.
        ArgumentError: JSON cannot hold the model's facts.
    """
    path = Path(path)
    write_tensors(path, named_weights(model), {HEADER: _header_text(path, model), "format": "pt"})
    model.digest = file_digest(path)


def _header_text(path: Path, model: Model) -> str:
    """Return a model's header as JSON that can be read again."""
    header = header_of(model)
    for one in chain(header):
        if not isinstance(facts := one["training"], dict):
            raise ArgumentError(f"{path}: the model's facts are {short(facts)}: they must be a table; set model.facts")
    try:
        return json_text(as_stored(header))
    except ValueError as error:
        raise ArgumentError(
            f"{path}: JSON cannot hold the model's classes or facts ({error}); change them, and save it again"
        ) from None


def read_header(path: str | Path) -> dict[str, Any]:
    """Read a model file's header, convert it to the present format and keys, and check it against its weights' sizes.

    Raises:
        CheckpointError: The file is no model of ours, is of a later format, or its header is incomplete. The returned
            header has every key, and every value in it is of its type.
    """
    path = existing_model(path)
    header, shapes = stored_header(path)
    try:
        for one in chain(header):
            configs = _configs_of(one)
            check_hosting(configs.backbone, GUEST in one)
            for config in (configs.backbone, configs.codec, configs.text):
                check_sizes(config, shapes)
    except BrickworkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return header


def backbone_config(header: Mapping[str, Any]) -> BackboneConfig:
    """Return the config of the whole network, a guest's included, from a header of :func:`read_header`."""
    own = _configs_of(header).backbone
    return HostedConfig(bricks=own, guest=backbone_config(header[GUEST])) if GUEST in header else own


def _configs_of(header: Mapping[str, Any]) -> Configs:
    """Return the configs in a header of the present format."""
    return Configs(
        backbone=from_entry(BACKBONES, header["backbone"], "backbone"),
        process=from_entry(PROCESSES, header["process"], "process"),
        prediction=from_entry(PREDICTIONS, header["prediction"], "prediction"),
        codec=from_entry(CODECS, header["codec"], "codec"),
        image_condition=from_entry(IMAGE_CONDITIONS, header["image_condition"], "image condition"),
        text=from_entry(TEXTS, header["text"], "text"),
    )


@door("loading a model", "close other programs, or take a smaller model")
def load(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """Load a model, ready to draw, from a run folder, a file, or by the name of a shipped model.

    The header's shapes are compared with the file's before memory is allocated. Weights stored in another
    floating dtype become float32.

    Raises:
        CheckpointError: The file is missing, truncated, foreign or a pickle, or its header contradicts the weights.
        ArgumentError: The device is not on this machine.
    """
    place = choose_device(device) if isinstance(device, str) else device
    path = existing_model(path)
    header = read_header(path)
    try:
        found = read_kinds(path)
        with building_no_more(len(found)):
            dtypes = compare(named_weights(_build(header)), found)
        model = _build(header)
    except BrickworkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    weights, _ = read_tensors(path)
    for prefix, module in _modules(model):
        own = {name: weights[prefix + name].to(dtypes[prefix + name]) for name in module.state_dict()}
        module.load_state_dict(own, assign=True)
    _check_statistics(path, model)
    model.digest = file_digest(path)
    return model.to(place).eval().requires_grad_(False)


def _check_statistics(path: Path, model: Model) -> None:
    """Refuse an autoencoder whose latents' mean and deviation were measured with other weights."""
    try:
        if isinstance(model.codec, Latents):
            model.codec.check_weights()
    except BrickworkError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _build(header: Mapping[str, Any]) -> Model:
    """Build the model of a header, with fresh weights."""
    configs = _configs_of(header)
    guest = _build(header[GUEST]) if GUEST in header else None
    return Model(
        configs.backbone.build(),
        configs.process,
        configs.prediction,
        configs.codec.build(),
        tuple(header["classes"]),
        header["training"],
        guest,
        text=configs.text,
        image_condition=configs.image_condition,
    )


# ---- the Hub ----------------------------------------------------------------------------------------------------
