"""Graphs to be exported: the whole denoiser, and beside it the decoder and the text encoder.

x, sigma and the estimate are fp32 at a graph's ends; everything between is the model's own forward, traced by
torch.export at one shape. So the loop on a device is the solver's arithmetic and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from brickwork.codec.latents import Latents
from brickwork.diffusion.denoiser import Condition
from brickwork.files.manifest import CONDITION_PORTS, Graph, Port, Role
from brickwork.files.suppressed import suppressed
from brickwork.model.model import Model
from brickwork.text.small import SmallEncoder

DOORS = {"denoiser": ("model.", ""), "text": ("encoder.", "text.")}
"""Prefixes of modules' names in a graph, and in the model, by role."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class GraphSpec:
    """A graph to be exported: a module and the shapes at which it is traced.

    Attributes:
        role, parts, height, width, batch: See ``brickwork.files.manifest.Graph``.
        module: Takes the inputs in order, returns one tensor or, for a stem, several.
        inputs, outputs: Ports, in order.
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
        """Name of its file without suffix, as in denoiser-p8-32x32-b2."""
        words = [self.role]
        if self.parts:
            words.append(f"p{self.parts}")
        if self.height:
            words.append(f"{self.height}x{self.width}")
        return "-".join([*words, f"b{self.batch}"])

    def entry(self, file: str, ops: dict[str, int], weights: tuple[str, ...] = ()) -> Graph:
        """Return its entry in the manifest, once it is written.

        Args:
            file: Its own file's name.
            ops: Number of times that each operator occurs.
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
        """Return inputs to trace with: noise levels of 1, everything else zeros."""
        kinds = {"float32": torch.float32, "int64": torch.int64}
        return tuple(
            (torch.ones if p.name == "sigma" else torch.zeros)(p.shape, dtype=kinds[p.dtype]) for p in self.inputs
        )

    def export(self) -> ExportedProgram:
        """Trace the module and return the program of torch.export."""
        with torch.no_grad(), suppressed():
            return torch.export.export(self.module.eval(), self.arguments(), strict=False)


@final
class DenoiserDoor(nn.Module):
    """A model's D(x, sigma, ...) with its conditions as further arguments, in the order of their ports."""

    def __init__(self, model: Model, told: Sequence[Port]) -> None:
        super().__init__()
        fields = {port: field for field, port in CONDITION_PORTS.items()}
        self.model, self.told = model, tuple(fields[port.name] for port in told)

    def forward(self, x: Tensor, sigma: Tensor, *told: Tensor) -> Tensor:
        """Estimate x0, fp32."""
        return self.model(x, sigma, Condition(**dict(zip(self.told, told, strict=True))))


@final
class DecoderDoor(nn.Module):
    """An autoencoder's decoder: x0 in model space → pixels in [-1, 1], not clamped."""

    def __init__(self, codec: Latents) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x0: Tensor) -> Tensor:
        """Decode (B, Z, h, w) to (B, C, H, W)."""
        return self.codec.autoencoder.decode(x0 * self.codec.std + self.codec.mean)


@final
class TextDoor(nn.Module):
    """A text encoder: token numbers → embedded tokens."""

    def __init__(self, encoder: SmallEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens: (B, M) int64 → (B, M, E) fp32."""
        return self.encoder(tokens)


def condition_ports(model: Model, height: int, width: int, batch: int) -> tuple[Port, ...]:
    """Return the inputs that a model's denoiser has besides x and sigma."""
    ports = []
    if model.num_classes:
        ports.append(Port(name="labels", dtype="int64", shape=(batch,)))
    if model.text_shape is not None:
        ports.append(Port(name="text", dtype="float32", shape=(batch, *model.text_shape)))
    if model.condition_channels:
        ports.append(
            Port(name=CONDITION_PORTS["image"], dtype="float32", shape=(batch, model.condition_channels, height, width))
        )
    return tuple(ports)


def denoiser(model: Model, height: int, width: int, batch: int) -> GraphSpec:
    """Return the graph of the whole denoiser for images of one size and a batch of rows."""
    told = condition_ports(model, height, width, batch)
    x = Port(name="x", dtype="float32", shape=(batch, model.shape[0], height, width))
    sigma = Port(name="sigma", dtype="float32", shape=(batch,))
    return GraphSpec(
        role="denoiser",
        parts=model.num_parts,
        height=height,
        width=width,
        batch=batch,
        module=DenoiserDoor(model, told),
        inputs=(x, sigma, *told),
        outputs=(Port(name="x0", dtype="float32", shape=x.shape),),
    )


def decoder(model: Model, height: int, width: int) -> GraphSpec | None:
    """Return the graph of the decoder for one image of (height, width) latents; None for a model of pixels."""
    codec = model.codec
    if not isinstance(codec, Latents):
        return None
    pixels = (1, codec.picture_channels, height * codec.factor, width * codec.factor)
    return GraphSpec(
        role="decoder",
        height=height,
        width=width,
        module=DecoderDoor(codec),
        inputs=(Port(name="x0", dtype="float32", shape=(1, codec.channels, height, width)),),
        outputs=(Port(name="pixels", dtype="float32", shape=pixels),),
    )


def text(model: Model) -> GraphSpec | None:
    """Return the graph of the text encoder for one caption; None without one, or for a published one kept outside."""
    if not isinstance(model.text, SmallEncoder):
        return None
    config = model.text.config
    return GraphSpec(
        role="text",
        module=TextDoor(model.text),
        inputs=(Port(name="tokens", dtype="int64", shape=(1, config.num_tokens)),),
        outputs=(Port(name="embedded", dtype="float32", shape=(1, config.num_tokens, config.token_width)),),
    )


def graphs_of(
    model: Model, models: Iterable[Model], sizes: Iterable[tuple[int, int]], batches: Iterable[int]
) -> tuple[GraphSpec, ...]:
    """Return the whole graphs of a package.

    Args:
        model: The model whose decoder and text encoder are packed.
        models: Denoisers: the model, and models of its first blocks.
        sizes: (height, width) of x in model space.
        batches: Rows that a denoiser takes at once.
    """
    found: list[GraphSpec | None] = []
    models, batches = tuple(models), tuple(batches)
    for height, width in sizes:
        found += [denoiser(one, height, width, batch) for one in models for batch in batches]
        found.append(decoder(model, height, width))
    return tuple(spec for spec in (*found, text(model)) if spec is not None)


def block_lists(spec: GraphSpec) -> list[str]:
    """Return the model's names of its lists of blocks."""
    return [own_name(name, spec) for name, module in spec.module.named_modules() if isinstance(module, nn.ModuleList)]


def own_name(name: str, spec: GraphSpec) -> str:
    """Translate a module's name in a graph into its name in the model."""
    theirs, ours = DOORS.get(spec.role, ("", ""))
    return ours + name.removeprefix(theirs)
