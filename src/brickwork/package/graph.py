"""A model as static graphs: the whole denoiser at the waist, and beside it the decoder and the text encoder.

x, sigma and the estimate are fp32 at the door; everything between is the model's own forward, traced by torch.export
at one shape. So the loop on a device is the solver's arithmetic and nothing else.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from brickwork.codec.latents import Latents
from brickwork.diffusion.denoiser import Condition
from brickwork.files.manifest import Graph, Port, Role
from brickwork.model.model import Model
from brickwork.text.small import SmallEncoder

DOORS = {"denoiser": ("model.", ""), "text": ("encoder.", "text.")}
"""Prefix of modules' names in a graph, and in the model, by role."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within the context toolkits that export keep to themselves what is news to their own authors alone."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A graph to be written: a module and the shapes it is to be traced at.

    Attributes:
        role, parts, height, width, batch: As in ``brickwork.files.manifest.Graph``.
        module: Takes the inputs in order, gives one tensor or, of a stem, several.
        inputs, outputs: In order.
    """

    role: Role
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    parts: int = 0
    height: int = 0
    width: int = 0
    batch: int = 1

    @property
    def stem(self) -> str:
        """Its file's name without suffix, as in denoiser-p8-32x32-b2."""
        words = [self.role]
        if self.parts:
            words.append(f"p{self.parts}")
        if self.height:
            words.append(f"{self.height}x{self.width}")
        return "-".join([*words, f"b{self.batch}"])

    def entry(self, file: str, ops: dict[str, int], weights: tuple[str, ...] = ()) -> Graph:
        """What the manifest says of it, once it is written.

        Args:
            file: Its own file's name.
            ops: How often each operator occurs.
            weights: Other files that it reads.
        """
        return Graph(
            role=self.role,
            file=file,
            parts=self.parts,
            height=self.height,
            width=self.width,
            batch=self.batch,
            inputs=self.inputs,
            outputs=self.outputs,
            weights=weights,
            ops=ops,
        )

    def arguments(self) -> tuple[Tensor, ...]:
        """Inputs to trace with: levels of 1, everything else zeros."""
        kinds = {"float32": torch.float32, "int64": torch.int64}
        return tuple(
            (torch.ones if p.name == "sigma" else torch.zeros)(p.shape, dtype=kinds[p.dtype]) for p in self.inputs
        )

    def export(self) -> ExportedProgram:
        """The graph."""
        with torch.no_grad(), quiet():
            return torch.export.export(self.module.eval(), self.arguments(), strict=False)


@final
class DenoiserDoor(nn.Module):
    """D(x, sigma, ...) of a model with what it is told as further arguments, by the names of ``Condition``."""

    def __init__(self, model: Model, told: Sequence[str]) -> None:
        super().__init__()
        self.model, self.told = model, tuple(told)

    def forward(self, x: Tensor, sigma: Tensor, *told: Tensor) -> Tensor:
        """The estimate of x0, fp32."""
        return self.model(x, sigma, Condition(**dict(zip(self.told, told, strict=True))))


@final
class DecoderDoor(nn.Module):
    """x0 in model space → pixels in [-1, 1], not clamped, of an autoencoder's decoder."""

    def __init__(self, codec: Latents) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x0: Tensor) -> Tensor:
        """(B, Z, h, w) → (B, C, H, W)."""
        return self.codec.autoencoder.decode(x0 * self.codec.std + self.codec.mean)


@final
class TextDoor(nn.Module):
    """Token numbers → embedded tokens."""

    def __init__(self, encoder: SmallEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, M) int64 → (B, M, E) fp32."""
        return self.encoder(tokens)


def told_ports(model: Model, height: int, width: int, batch: int) -> tuple[Port, ...]:
    """What a model's denoiser is told besides x and sigma."""
    ports = []
    if model.num_classes:
        ports.append(Port(name="labels", dtype="int64", shape=(batch,)))
    if model.text_shape is not None:
        ports.append(Port(name="text", dtype="float32", shape=(batch, *model.text_shape)))
    if model.given_channels:
        ports.append(Port(name="given", dtype="float32", shape=(batch, model.given_channels, height, width)))
    return tuple(ports)


def denoiser(model: Model, height: int, width: int, batch: int) -> Source:
    """The whole of D for images of one size and so many rows."""
    told = told_ports(model, height, width, batch)
    x = Port(name="x", dtype="float32", shape=(batch, model.shape[0], height, width))
    sigma = Port(name="sigma", dtype="float32", shape=(batch,))
    return Source(
        role="denoiser",
        parts=model.num_parts,
        height=height,
        width=width,
        batch=batch,
        module=DenoiserDoor(model, [port.name for port in told]),
        inputs=(x, sigma, *told),
        outputs=(Port(name="x0", dtype="float32", shape=x.shape),),
    )


def decoder(model: Model, height: int, width: int) -> Source | None:
    """The decoder for one image of so many places; None for a model of pixels."""
    codec = model.codec
    if not isinstance(codec, Latents):
        return None
    pixels = (1, codec.picture_channels, height * codec.factor, width * codec.factor)
    return Source(
        role="decoder",
        height=height,
        width=width,
        module=DecoderDoor(codec),
        inputs=(Port(name="x0", dtype="float32", shape=(1, codec.channels, height, width)),),
        outputs=(Port(name="pixels", dtype="float32", shape=pixels),),
    )


def text(model: Model) -> Source | None:
    """The text encoder for one caption; None where there is none, or a published one that stays outside."""
    if not isinstance(model.text, SmallEncoder):
        return None
    config = model.text.config
    return Source(
        role="text",
        module=TextDoor(model.text),
        inputs=(Port(name="tokens", dtype="int64", shape=(1, config.num_tokens)),),
        outputs=(Port(name="embedded", dtype="float32", shape=(1, config.num_tokens, config.token_width)),),
    )


def block_lists(source: Source) -> list[str]:
    """The model's names of its lists of blocks."""
    return [own_name(name, source) for name, part in source.module.named_modules() if isinstance(part, nn.ModuleList)]


def own_name(name: str, source: Source) -> str:
    """Translate a module's name in a graph into its name in the model."""
    theirs, ours = DOORS.get(source.role, ("", ""))
    return ours + name.removeprefix(theirs)
