"""Features of pictures by a small network: the space in which sets of pictures are compared.

Two networks ship with the package, one for grey and one for colour images. ``docs/features.md`` tells what they were
trained on, how, and how often they are right. A distance or an accuracy in their features says nothing about another
network's, so every result carries the network's name and the sha256 of its file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any, final

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from brickwork.errors import ArgumentError, UnknownNameError
from brickwork.files.bars import Bar

NETS = {1: "grey", 3: "colour"}
"""Names of the feature networks, by channels of the image."""

SMALLEST = 8
"""Shortest side in pixels of an image."""

BATCH = 256

SIZES = {"grey": ((0, 32),), "colour": ((0, 32), (48, 64))}
"""Resizing by network: (longer side from which the rule holds, side of the resulting square); the last match wins."""


@final
class Residual(nn.Module):
    """Residual block ``relu(h + conv(relu(conv(h))))``, 3x3 convolutions of equal width (He et al. 2016, figure 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Apply the block: (B, width, H, W), shape kept."""
        return relu(h + self.second(relu(self.first(h))))


@final
class FeatureNet(nn.Module):
    """Feature network: a stem, stages of one halving convolution and one residual block, then the mean over all places.

    It has no normalisation layers: training's are folded into the convolutions, so that an image's features do not
    depend on its batch.

    Args:
        channels: Channels of the images, 1 or 3.
        widths: Channels of the stem and of each stage; the last is the number of features F.
        heads: Number of classes of each data set it was trained on, by name.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], heads: dict[str, int]) -> None:
        super().__init__()
        self.num_features = widths[-1]
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(Residual(w) for w in widths[1:])
        self.heads = nn.ModuleDict({name: nn.Linear(widths[-1], k) for name, k in heads.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Compute features: (B, C, H, W) in [-1, 1] → (B, F), none negative."""
        h = relu(self.stem(x))
        for down, block in zip(self.downs, self.blocks, strict=True):
            h = block(relu(down(h)))
        return h.mean((2, 3))


def resized(x: Tensor, net: str) -> Tensor:
    """Resize images to a size the network was trained on: bilinear in float, antialiased.

    Shapes: (B, C, H, W), any H and W from 8 up → (B, C, S, S), S by ``SIZES``. Values keep their range, unrounded.
    """
    side = max(x.shape[-2:])
    size = [s for start, s in SIZES[net] if side >= start][-1]
    if x.shape[-2:] == (size, size):
        return x
    return interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


@final
@dataclass(frozen=True, kw_only=True)
class Head:
    """Linear classifier on a network's features, trained together with it.

    Attributes:
        weight: (K, F) float64.
        bias: (K,) float64.
        classes: Names of the K classes, in order.
        accuracy: Share of right answers on images that training never saw; see ``docs/features.md``.
        num_held_out: Number of those images.
    """

    weight: np.ndarray
    bias: np.ndarray
    classes: tuple[str, ...]
    accuracy: float
    num_held_out: int


@final
@dataclass(frozen=True, kw_only=True)
class ShippedNet:
    """Feature network that ships with the package.

    Attributes:
        name: "grey" or "colour".
        digest: SHA-256 of its file, hex.
        net: The network, ready to use.
        heads: Its classifiers, by data set.
        training: Record of its training, JSON-like.
    """

    name: str
    digest: str
    net: FeatureNet
    heads: dict[str, Head]
    training: dict[str, Any]


@cache
def shipped_net(name: str) -> ShippedNet:
    """Return a feature network by name, read once.

    Raises:
        UnknownNameError: There is no such network.
    """
    if name not in NETS.values():
        raise UnknownNameError("feature network", name, NETS.values())
    content = (resources.files("brickwork.quality") / "weights" / f"{name}.safetensors").read_bytes()
    tensors = {k: v.float() for k, v in load(content).items()}
    header = metadata(content)
    heads = {
        key: Head(
            weight=tensors[f"heads.{key}.weight"].double().numpy(),
            bias=tensors[f"heads.{key}.bias"].double().numpy(),
            classes=tuple(head["classes"]),
            accuracy=head["accuracy"],
            num_held_out=head["num_held_out"],
        )
        for key, head in header["heads"].items()
    }
    net = FeatureNet(header["channels"], tuple(header["widths"]), {key: len(h.classes) for key, h in heads.items()})
    net.load_state_dict(tensors)
    net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    digest = hashlib.sha256(content).hexdigest()
    return ShippedNet(name=name, digest=digest, net=net, heads=heads, training=header["training"])


def metadata(content: bytes) -> dict[str, Any]:
    """Return the header of a network's file (safetensors: eight bytes of length, then JSON)."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["features"])


def net_for(channels: int) -> ShippedNet:
    """Return the network for images of so many channels.

    Raises:
        ArgumentError: There is no such network.
    """
    if channels not in NETS:
        raise ArgumentError(f"images of {channels} channels: feature networks look at 1 (grey) or 3 (RGB)")
    return shipped_net(NETS[channels])


def features(images: np.ndarray, progress: bool = False) -> np.ndarray:
    """Compute the features of each image, by the network for grey or for colour images.

    They are computed in float32 on the CPU, in batches of 256.

    Args:
        images: uint8 (N, H, W, C), C = 1 or 3, H and W from 8 up; ``resized`` brings any size to the network's.
        progress: Show a bar.

    Returns:
        float64 (N, F), none negative.

    Raises:
        ArgumentError: The images have another dtype or shape, or are too small.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ArgumentError(f"images of {images.dtype} {images.shape}: features are taken of uint8 (N, H, W, C)")
    shipped = net_for(images.shape[3])
    if min(images.shape[1:3]) < SMALLEST:
        raise ArgumentError(f"images of {images.shape[2]}x{images.shape[1]}: features need {SMALLEST} pixels a side")
    rows: list[np.ndarray] = [np.empty((0, shipped.net.num_features))]
    with torch.inference_mode(), Bar(total=len(images), desc="features", unit="image", disable=not progress) as bar:
        for start in range(0, len(images), BATCH):
            batch = np.ascontiguousarray(images[start : start + BATCH])
            x = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1
            x = resized(x, shipped.name).contiguous(memory_format=torch.channels_last)
            rows.append(shipped.net(x).double().numpy())
            bar.update(len(batch))
    return np.concatenate(rows)
