"""The manifest of a package whose files were just written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import brickwork
from brickwork.diffusion.process import PROCESSES
from brickwork.files.manifest import Graph, Manifest, Sampling, TextInput, described
from brickwork.files.schema import to_entry
from brickwork.files.tokenizers import TOKENIZERS
from brickwork.model.checkpoint import digest_of, header_of
from brickwork.model.header import as_stored
from brickwork.model.model import Model
from brickwork.package.layouts.blocks import pieces_of
from brickwork.package.spec import PackageSpec
from brickwork.sampling.sampler import Sampler
from brickwork.text.base import NoText
from brickwork.text.small import Bytes, SmallEncoder, Words


def manifest_of(
    model: Model, folder: Path, spec: PackageSpec, graphs: Sequence[Graph], versions: Mapping[str, str]
) -> Manifest:
    """Return the manifest of the files in a folder; parity and quality are left open.

    Args:
        model: Model that was packed.
        folder: Folder with all files of the package.
        spec: Description that they were written by.
        graphs: Entries of the graphs.
        versions: Versions of the libraries that wrote them.
    """
    pieces, backbone = pieces_of(folder), as_stored(header_of(model))["backbone"]
    return Manifest(
        brickwork=brickwork.__version__,
        target=spec.target.name,
        layout=spec.layout,  # pyright: ignore[reportArgumentType]
        precision=spec.precision.name,
        runtime=dict(versions),
        shape=model.shape,
        picture_channels=model.codec.picture_channels,
        factor=model.codec.factor,
        num_parts=model.num_parts,
        process=to_entry(PROCESSES, model.process),
        classes=model.classes,
        text=_text(model),
        condition_channels=model.condition_channels,
        sampling=_sampling(spec.sampler),
        graphs=tuple(graphs),
        files={path.name: described(folder, path.name, pieces.get(path.name, ())) for path in sorted(folder.iterdir())},
        model={
            "sha256": model.digest or digest_of(model),
            "backbone": backbone,
            "parameters": sum(weight.numel() for weight in model.parameters()),
        },
        origin=_plain(model.facts),
        licence=spec.licence,
    )


def _sampling(sampler: Sampler) -> Sampling:
    """Return a sampler as the manifest keeps it."""
    entry = sampler.to_entry()
    return Sampling(**{**entry, "guidance_interval": tuple(entry["guidance_interval"])})


def _text(model: Model) -> TextInput | None:
    """Return the package's text input, and if it can read captions; None for a model without text."""
    if model.text_shape is None:
        return None
    length, width = model.text_shape
    if isinstance(model.text, Words | Bytes):
        return TextInput(length=length, width=width, tokenizer=to_entry(TOKENIZERS, model.text.tokenizer))
    assert not isinstance(model.text, SmallEncoder)
    if isinstance(model.text_config, NoText):
        why = "the model was trained on embedded text and has no encoder"
    else:
        source = getattr(model.text_config, "source", "")
        why = f"the published encoder {type(model.text_config).__qualname__.split('.')[0]} {source} stays outside"
    return TextInput(length=length, width=width, left_out=why)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts with infinite and undefined numbers, which JSON cannot hold, as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return value if not isinstance(value, float) or np.isfinite(value) else str(value)

    return plain(facts)
