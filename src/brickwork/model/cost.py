"""Cost of a backbone: parameters, MACs and activation bytes, counted on tensors without memory.

Rules of counting. 1 MAC = one multiplication with its addition = 2 FLOP. MACs are those of matrix products and
convolutions (padding included, as usual); norms, activations, biases, softmax and additions are not counted.
Attention is the two products q k^T and (softmax) v, 2·rows²·width per block; the projections belong to the rest.
Activation bytes are for one image in float32 and eager execution with attention written as two matrix products: every
result is held from the operation that makes it until the last one that needs it; weights and tables are not counted.
The total is the largest amount held at once. The bytes of a row of the table are those of all results that its
operations make in one evaluation, each counted once and views not at all; so the rows add up to more than the total.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from brickwork.backbone.base import Backbone, BackboneConfig
from brickwork.backbone.bricks import Bricks
from brickwork.backbone.unet import HeadProducts
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.preconditioning import Preconditioning
from brickwork.doors import door
from brickwork.files.notebook import table_html
from brickwork.model.hosted import HostedConfig
from brickwork.nn.floats import float32_default
from brickwork.nn.layers import Attention, CrossAttention
from brickwork.sampling.plan import Plan

# Row of the table for a module's path without numbers; the longest prefix wins, other modules keep their own name.
PARTS = {
    "blocks.attention": "blocks.attention",
    "blocks.attention.qkv": "blocks.qkv",
    "blocks.attention.proj": "blocks.proj",
    "blocks.norm_attention": "blocks.norms",
    "blocks.norm_cross": "blocks.norms",
    "blocks.norm_mlp": "blocks.norms",
    "classes": "embed",
    "network.down_blocks": "down",
    "network.mid_block": "middle",
    "network.time_embedding": "embed",
    "network.up_blocks": "up",
    "position": "embed",
    "text": "embed",
    "time": "embed",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One row of the table, for one evaluation of one image.

    Attributes:
        parameters: Number of trainable parameters.
        macs: MACs; the row of attention includes its two products.
        activation_bytes: Bytes of all results that its operations make.
    """

    parameters: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one evaluation for one image.

    Attributes:
        size: Height and width of the counted image, in pixels.
        parameters: Number of trainable parameters; includes a guest's, although they stay frozen.
        parameters_with_tables: The same, with fixed tables (position sinusoids, rotations).
        macs: MACs of one evaluation.
        macs_without_attention: The same without the two products of each attention.
        published_macs: MACs as the design's authors count: larger where our code avoids a repetition, as LEGO's
            modulation, which is computed once per image and not once per window.
        activation_bytes: Largest number of bytes live at once while one image passes without gradients.
        training_bytes: Bytes kept for the backward pass, per image.
        score_bytes: Bytes of one block's rows² scores of all heads: a fused attention kernel holds none of them, the
            matrix form up to two copies at once.
        parts: Rows by name; parameters and MACs add up to the totals. ``blocks`` is what blocks do themselves,
            their residual additions, ``other`` what the backbone does around its modules, and ``guest`` all of a guest.
    """

    size: int
    parameters: int
    parameters_with_tables: int
    macs: int
    macs_without_attention: int
    published_macs: int
    activation_bytes: int
    training_bytes: int
    score_bytes: int
    parts: dict[str, Part]

    def macs_per_image(self, evaluations: int, *, guided: bool = False) -> int:
        """Return the MACs of one image: evaluations (steps · calls of the solver), doubled by guidance."""
        return evaluations * (2 if guided else 1) * self.macs

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a table for people: rows, then totals."""
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3, 4))]).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, *self._totals()])

    def _repr_html_(self) -> str:
        """Return the same table for a notebook."""
        head, *rows = self._rows()
        return table_html(head, rows) + "<br>".join(map(escape, self._totals()))

    def _rows(self) -> list[tuple[str, ...]]:
        """Return titles, table rows, and their sums."""
        rows: list[tuple[str, ...]] = [("part", "parameters", "MMAC", "share", "MB made")]
        for name, part in self.parts.items():
            share = f"{part.macs / self.macs:.1%}" if self.macs else ""
            rows.append(
                (name, f"{part.parameters:,}", f"{part.macs / 1e6:,.2f}", share, megabytes(part.activation_bytes))
            )
        made = sum(part.activation_bytes for part in self.parts.values())
        return [*rows, ("total", f"{self.parameters:,}", f"{self.macs / 1e6:,.2f}", "", megabytes(made))]

    def _totals(self) -> list[str]:
        """Return the lines below the table."""
        lines = []
        if self.published_macs != self.macs:
            lines.append(f"in the authors' way of computing: {self.published_macs / 1e9:.4g} GMAC")
        return [
            *lines,
            f"one evaluation at {self.size}x{self.size}: {self.macs / 1e9:.4g} GMAC "
            f"({self.macs_without_attention / 1e9:.4g} without attention); 1 MAC = 2 FLOP",
            f"parameters: {self.parameters / 1e6:.4g} M trainable, "
            f"{self.parameters_with_tables / 1e6:.4g} M with fixed tables",
            f"activations of one image, fp32: {self.activation_bytes / 1e6:.4g} MB at most at once, "
            f"{self.training_bytes / 1e6:.4g} MB kept for training",
        ]


def megabytes(count: int) -> str:
    """Format bytes for the table."""
    return f"{count / 1e6:,.3f}"


@door("counting")
@float32_default()
def cost(config: BackboneConfig, *, size: int | None = None) -> Cost:
    """Count a backbone of this config without allocating its weights.

    Args:
        config: Config of the network, with channels, classes and text, which all count; so does a guest in it.
        size: Height and width of the image in pixels; by default the config's own.

    Raises:
        ConfigError: The config, or a guest's, cannot take the size.
    """
    if isinstance(config, HostedConfig):
        size = size or config.size
        return _joined(cost(config.guest, size=size), cost(config.bricks, size=size))
    config = config if size is None else config.at_size(size)
    with torch.device("meta"):
        backbone = config.build()
        inputs = _inputs(config)
    counted = _Watch(backbone)
    with torch.no_grad(), counted, _current_module(backbone, counted.path):
        _run(backbone, *inputs)
    kept = _Watch(backbone)
    with torch.enable_grad(), kept:
        output = _run(backbone, *inputs)
    training_bytes = kept.live_bytes  # while ``output`` still holds the graph
    del output

    parameters: Counter[str] = Counter()
    for name, parameter in backbone.named_parameters():
        parameters[_part(name)] += parameter.numel()
    macs: Counter[str] = Counter()
    for path, count in counted.macs.items():
        macs[_part(path)] += count
    made: Counter[str] = Counter()
    for path, count in counted.made.items():
        made[_part(path)] += count
    tables = sum(buffer.numel() for buffer in backbone.buffers())
    order = dict.fromkeys([*macs, *parameters, *made])
    return Cost(
        size=config.size,
        parameters=parameters.total(),
        parameters_with_tables=parameters.total() + tables,
        macs=macs.total(),
        macs_without_attention=macs.total() - counted.attention_macs,
        published_macs=macs.total() + config.repeated_macs,
        activation_bytes=counted.peak_bytes,
        training_bytes=training_bytes,
        score_bytes=counted.score_bytes,
        parts={name: Part(parameters=parameters[name], macs=macs[name], activation_bytes=made[name]) for name in order},
    )


def _joined(guest: Cost, own: Cost) -> Cost:
    """Add a guest's cost and that of the backbone after it. Of the guest, the backward pass keeps only the output."""
    made = sum(part.activation_bytes for part in guest.parts.values())
    part = Part(parameters=guest.parameters, macs=guest.macs, activation_bytes=made)
    sums = ("parameters", "parameters_with_tables", "macs", "macs_without_attention", "published_macs")
    most = ("activation_bytes", "score_bytes")
    return dataclasses.replace(
        own,
        parts={"guest": part, **own.parts},
        **{name: getattr(guest, name) + getattr(own, name) for name in sums},
        **{name: max(getattr(guest, name), getattr(own, name)) for name in most},
    )


def plan_macs(
    config: BackboneConfig,
    plan: Plan,
    calls: Iterable[tuple[float, int]],
    *,
    size: int | None = None,
) -> int:
    """Return the MACs of one sampled image, each evaluation with as many blocks as a plan says.

    Args:
        config: Config of the whole model.
        plan: Skipping plan; ``Plan(counts=(config.num_parts,))`` skips nothing.
        calls: Sigma and rows of each evaluation, as ``sampling.levels.evaluated_levels`` lists them.
        size: Height and width of the image in pixels; by default the config's own.

    Raises:
        ConfigError: The config cannot take the size, or its first blocks alone are no network.
        ArgumentError: The plan needs more blocks than the model has.
    """

    macs = {n: cost(config.first(n), size=size).macs for n in {*plan.counts}}
    return sum(rows * macs[plan.parts_at(sigma)] for sigma, rows in calls)


class _Watch(TorchDispatchMode):
    """Counter of MACs and bytes made, by module, and of live bytes, for everything that runs inside it."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.path: list[tuple[str, nn.Module]] = []
        self.macs: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.attention_macs = 0
        self.score_bytes = 0
        self.live_bytes = 0
        self.peak_bytes = 0
        self._known = weakref.WeakSet[torch.UntypedStorage]()
        for tensor in (*backbone.parameters(), *backbone.buffers()):
            self._known.add(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self._add(count(*args, **(kwargs or {}), out_val=out) // 2, out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return out

    def _add(self, macs: int, out: Tensor) -> None:
        name, module = self.path[-1] if self.path else ("", None)
        self.macs[name] += macs
        if isinstance(module, Attention | CrossAttention | HeadProducts):
            self.attention_macs += macs
            if out.shape[-1] == out.shape[-2]:
                self.score_bytes = max(self.score_bytes, out.nbytes)

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if tensor.device.type != "meta" or storage in self._known:
            return
        self._known.add(storage)
        self.made[self.path[-1][0] if self.path else ""] += storage.nbytes()
        self.live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._drop, storage.nbytes())

    def _drop(self, num_bytes: int) -> None:
        self.live_bytes -= num_bytes


@contextmanager
def _current_module(backbone: Backbone, path: list[tuple[str, nn.Module]]) -> Iterator[None]:
    """Keep ``path`` equal to the modules whose forward is running, outermost first."""
    handles = []
    for name, module in backbone.named_modules():
        handles.append(module.register_forward_pre_hook(lambda module, _, name=name: path.append((name, module))))
        handles.append(module.register_forward_hook(lambda *_: (path.pop(), None)[1]))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _part(path: str) -> str:
    if path.startswith("bricks."):
        return "bricks." + path.split(".")[1]
    words = [word for word in path.split(".") if word and not word.isdigit()]
    for end in range(len(words), 0, -1):
        part = PARTS.get(".".join(words[:end]))
        if part is not None:
            return part
    return ".".join(words[:2]) if words[:1] == ["blocks"] else (words[0] if words else "other")


def _run(backbone: Backbone, x: Tensor, c_noise: Tensor, condition: Condition) -> Tensor:
    """Evaluate the network once, with a preconditioning for bricks that need one."""
    if not isinstance(backbone, Bricks):
        return backbone(x, c_noise, condition)
    one = torch.ones(1, device=x.device)
    c = Preconditioning(sigma=one, skip=one, out=one, in_=one, noise=c_noise)
    before = torch.zeros_like(x) if backbone.config.takes_guest else None
    return backbone.outputs(x, c_noise, condition, preconditioning=c, before=before)[-1]


def _inputs(config: BackboneConfig) -> tuple[Tensor, Tensor, Condition]:
    """Return x, c_noise and condition of one image."""
    labels = torch.zeros(1, dtype=torch.long) if config.num_classes else None
    text = torch.zeros(1, config.text_length, config.text_width) if config.text_length else None
    x = torch.zeros(1, config.channels, config.size, config.size)
    image = torch.zeros(1, config.condition_channels, *x.shape[2:]) if config.condition_channels else None
    return x, torch.zeros(1), Condition(labels=labels, text=text, image=image)
