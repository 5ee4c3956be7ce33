"""A small network that tells which caption belongs to an emoji: the judge of text-to-image.

Pictures by convolutions, captions by the sum of their words and of the words' letters three to five at a time, so that
a word that training never saw still says something; trained with InfoNCE (van den Oord et al. 2018, arXiv 1807.03748)
in both directions, as CLIP. It shares no weights, no vocabulary and no code with the text encoders that are judged.
"""

from __future__ import annotations

import json
import math
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brickwork.files.tensors import read_tensors, write_tensors

SIDE = 64
LETTERS = 16_384
"""Rows of the table that parts of words are hashed into; row 0 is nothing."""
MOST_WORDS, MOST_PARTS = 16, 24
WIDTHS, WIDTH, SHARED = (32, 64, 128, 256), 128, 128
BATCH, RATE, DECAY, WARM_UP = 256, 2e-3, 0.05, 0.1
DROPPED, HIDDEN, NOISE = 0.15, 0.2, 0.2
"""Shares, in training, of words that are left out, of words known by their letters alone, and of numbers set to 0."""


@dataclass(frozen=True)
class Emoji:
    """One split: uint8 (N, H, W, 3), captions, and the rows of the file that they stand in."""

    images: np.ndarray
    captions: list[str]
    rows: np.ndarray


def read(path: Path) -> dict[str, Emoji]:
    with np.load(path, allow_pickle=False) as file:
        images, captions, split = file["images"], file["captions"], file["split"]
    rows = {name: np.flatnonzero(split == code) for name, code in (("train", 0), ("held-out", 2))}
    return {name: Emoji(images[some], captions[some].tolist(), some) for name, some in rows.items()}


# ---- captions ---------------------------------------------------------------------------------------------------


def words_of(caption: str) -> list[str]:
    return re.findall(r"[^\W_]+", caption.lower())


def tokens_of(captions: Sequence[str], vocabulary: Mapping[str, int]) -> tuple[Tensor, Tensor]:
    """Of each caption its words (N, 16) and their parts (N, 16, 24); 0 for nothing, 1 for a word never seen."""
    words = np.zeros((len(captions), MOST_WORDS), np.int64)
    parts = np.zeros((len(captions), MOST_WORDS, MOST_PARTS), np.int64)
    for i, caption in enumerate(captions):
        for j, word in enumerate(words_of(caption)[:MOST_WORDS]):
            words[i, j] = vocabulary.get(word, 1)
            bounded = f"<{word}>"
            pieces = [bounded[k : k + n] for n in (3, 4, 5) for k in range(len(bounded) - n + 1)][:MOST_PARTS]
            parts[i, j, : len(pieces)] = [1 + zlib.crc32(piece.encode()) % (LETTERS - 1) for piece in pieces]
    return torch.from_numpy(words), torch.from_numpy(parts)


class Captions(nn.Module):
    """Words and letters to a unit vector."""

    def __init__(self, num_words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words + 2, WIDTH, padding_idx=0)
        self.letters = nn.Embedding(LETTERS, WIDTH, padding_idx=0)
        nn.init.normal_(self.words.weight, std=WIDTH**-0.5)
        nn.init.zeros_(self.words.weight[0])
        nn.init.zeros_(self.letters.weight)  # letters that training never saw stay silent
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, SHARED)

    def forward(self, words: Tensor, parts: Tensor) -> Tensor:
        present = words > 0
        if self.training:
            present = present & (torch.rand(words.shape) > DROPPED)
            words = torch.where(torch.rand(words.shape) < HIDDEN, 1, words)
        count = (parts > 0).sum(-1, keepdim=True).clamp_min(1)
        each = self.words(words) + self.letters(parts).sum(2) / count.sqrt()
        each = F.dropout(each, NOISE, self.training) * present[..., None]
        mean = each.sum(1) / present.sum(1, keepdim=True).clamp_min(1).sqrt()
        return F.normalize(self.out(self.norm(mean)), dim=1)


# ---- pictures ---------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """``relu(h + norm(conv(relu(norm(conv(h))))))``; He et al. 2016, figure 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        last = self.second[1]
        assert isinstance(last, nn.BatchNorm2d)
        nn.init.zeros_(last.weight)  # every block starts as the identity

    def forward(self, h: Tensor) -> Tensor:
        return F.relu(h + self.second(F.relu(self.first(h))))


class Pictures(nn.Module):
    """B 3 64 64 in [-1, 1] to a unit vector."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2, bias=False)]
        layers += [nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
        for a, b in pairwise(WIDTHS):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), Residual(b)]
        self.net = nn.Sequential(*layers)
        self.out = nn.Linear(WIDTHS[-1], SHARED)

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x.contiguous(memory_format=torch.channels_last)).float().mean((2, 3))
        return F.normalize(self.out(F.dropout(h, NOISE, self.training)), dim=1)


def changed(x: Tensor) -> Tensor:
    """Turned, scaled, moved, brightened, blurred and made noisy a little, and a third of them covered in one place.

    A generated picture is a little blurred and noisy too, and shall not be judged by that.
    """
    n = len(x)
    scale, angle = 1 + (torch.rand(n) * 2 - 1) * 0.12, (torch.rand(n) * 2 - 1) * 0.12
    move, cos, sin = (torch.rand(n, 2) * 2 - 1) * (8 / SIDE), scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([cos, -sin, move[:, 0], sin, cos, move[:, 1]], 1).reshape(n, 2, 3)
    x = F.grid_sample(x, F.affine_grid(theta, list(x.shape), False), padding_mode="border", align_corners=False)
    x = 1 - (1 - x) * (1 + (torch.rand(n, 1, 1, 1) * 2 - 1) * 0.1) + (torch.rand(n, 3, 1, 1) * 2 - 1) * 0.04
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, blurred(x), x)
    x = x + 0.05 * torch.rand(n, 1, 1, 1) * torch.randn(x.shape)
    place, covered = torch.arange(SIDE), torch.rand(n, 1) < 0.3
    down, across = ((place - torch.randint(0, SIDE, (n, 1))).abs() * 2 < 20 for _ in range(2))
    return x.masked_fill(((down & covered)[:, :, None] & across[:, None, :])[:, None], 1.0)


def blurred(x: Tensor) -> Tensor:
    """By the kernel 1 2 1 in both directions."""
    row = torch.tensor([0.25, 0.5, 0.25])
    kernel = (row[:, None] * row).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def as_numbers(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) to N 3 64 64 in [-1, 1]; another size is resized."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if x.shape[-1] == SIDE:
        return x
    return F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


# ---- the head ---------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """Pictures and captions in one space; the words are those of the training captions."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.vocabulary = {word: number for number, word in enumerate(words, 2)}
        self.pictures, self.captions = Pictures(), Captions(len(words))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @torch.no_grad()
    def similarity(self, images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """(N, K): of each picture, uint8 (N, H, W, 3), with each of K captions."""
        self.eval()
        found = [self.pictures(as_numbers(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
        return (torch.cat(found) @ self.captions(*tokens_of(captions, self.vocabulary)).T).numpy()

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        write_tensors(path, self.state_dict(), {"head": json.dumps({"words": list(self.vocabulary), **facts})})

    @classmethod
    def load(cls, path: Path) -> tuple[Head, dict[str, Any]]:
        """The head in a file, and how it was trained."""
        tensors, metadata = read_tensors(path)
        facts = json.loads(metadata["head"])
        head = cls(facts.pop("words"))
        head.load_state_dict(tensors)
        return head.eval(), facts


def train(data: Emoji, num_images: int, seed: int) -> tuple[Head, dict[str, Any]]:
    """A head, and how it was trained."""
    torch.manual_seed(seed)
    known = sorted({word for caption in data.captions for word in words_of(caption)})
    head = Head(known).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    kernels = [p for p in head.parameters() if p.ndim > 1]
    others = [p for p in head.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    words, parts = tokens_of(data.captions, head.vocabulary)
    batches, steps, began, mean = shuffled(len(data.captions), seed), num_images // BATCH, time.process_time(), 0.0
    for step in range(1, steps + 1):
        done = step / steps
        fall = 0.5 * (1 + math.cos(math.pi * max(0.0, done - WARM_UP) / (1 - WARM_UP)))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(done / WARM_UP, fall)
        rows = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pictures = head.pictures(changed(as_numbers(data.images[rows])))
        scores = head.log_scale.exp().clamp(max=100) * (pictures.float() @ head.captions(words[rows], parts[rows]).T)
        own = torch.arange(len(rows))
        loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step} of {steps}  loss {mean:.3f}  {time.process_time() - began:.0f} s", flush=True)
    seconds = round(time.process_time() - began)
    return head.eval(), {"images": steps * BATCH, "processor_seconds": seconds, "loss": mean, "seed": seed}


def shuffled(count: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of batches without end, each epoch in a new order."""
    rng, left = np.random.default_rng(seed), np.zeros(0, np.int64)
    while True:
        if len(left) < BATCH:
            left = rng.permutation(count)
        yield left[:BATCH]
        left = left[BATCH:]
