"""Train a feature network: ``python benchmarks/features/train.py grey --data ../shared/data``.

The network of ``brickwork.quality.features`` with a batch normalisation after every convolution, which is folded into
the convolution when it is saved. One thread; bf16 autocast; SGD with Nesterov momentum, a warm-up and a cosine.
What it is trained on is in ``images.py``; what came out, in ``docs/features.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from images import BATCHES, CHANNELS, Drawn, Labelled, read
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from brickwork.quality.features import FeatureNet, metadata

WIDTHS = {"grey": (32, 48, 96, 128), "colour": (32, 64, 128, 160)}
MOMENTUM, DECAY, WARM_UP = 0.9, 5e-4, 0.1
OUT = Path(__file__).parents[2] / "src" / "brickwork" / "quality" / "weights"


class Normed(nn.Module):
    """FeatureNet in its training form: every convolution without bias, then batch normalisation."""

    def __init__(self, net: FeatureNet) -> None:
        super().__init__()
        self.net = net
        self.norms = nn.ModuleDict()
        for name, conv in convolutions(net).items():
            conv.bias = None
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")
            norm = nn.BatchNorm2d(conv.out_channels)
            if name.endswith("second"):
                nn.init.zeros_(norm.weight)  # every block starts as the identity
            self.norms[name.replace(".", "_")] = norm

    def normed(self, name: str, h: Tensor) -> Tensor:
        return self.norms[name.replace(".", "_")](self.net.get_submodule(name)(h))

    def forward(self, x: Tensor) -> Tensor:
        h = relu(self.normed("stem", x))
        for i in range(len(self.net.downs)):
            h = relu(self.normed(f"downs.{i}", h))
            h = relu(h + self.normed(f"blocks.{i}.second", relu(self.normed(f"blocks.{i}.first", h))))
        return h.float().mean((2, 3))

    @torch.no_grad()
    def take(self, net: FeatureNet, x: Tensor) -> None:
        """Become the folded network `net` again, on the statistics of the images x.

        A folded layer is w * h + b. Here it is gain * (v * h - mean) / std + bias with v = s w, s such that each filter
        has the length it would start with; so gain = std / s and bias = b + mean / s.
        """
        self.net.heads.load_state_dict(net.heads.state_dict())
        folded = convolutions(net)
        hooks = []
        for name, conv in convolutions(self.net).items():
            length = conv.weight.flatten(1).norm(dim=1)
            s = length / folded[name].weight.flatten(1).norm(dim=1).clamp_min(1e-8)
            conv.weight.copy_(folded[name].weight * s[:, None, None, None])
            norm = self.norms[name.replace(".", "_")]

            def match(
                _: nn.Module, inputs: tuple[Tensor], norm: Any = norm, b: Any = folded[name].bias, s: Tensor = s
            ) -> None:
                var, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
                norm.weight.copy_((var + norm.eps).sqrt() / s)
                norm.bias.copy_(b + mean / s)
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(var)

            hooks.append(norm.register_forward_pre_hook(match))
        self(x)
        for hook in hooks:
            hook.remove()

    @torch.no_grad()
    def folded(self, net: FeatureNet) -> FeatureNet:
        """Put weight * g and bias - mean * g into `net`, with g = gain / sqrt(variance + eps)."""
        trained = convolutions(self.net)
        for name, conv in convolutions(net).items():
            norm = self.norms[name.replace(".", "_")]
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert conv.bias is not None
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            conv.weight.copy_(trained[name].weight * gain[:, None, None, None])
            conv.bias.copy_(norm.bias - norm.running_mean * gain)
        net.heads.load_state_dict(self.net.heads.state_dict())
        return net.eval()


def convolutions(net: FeatureNet) -> dict[str, nn.Conv2d]:
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv2d)}


def loss_of(model: Normed, draws: list[Drawn]) -> Tensor:
    """Mean cross-entropy over a batch, each image by the head of its set."""
    x = torch.cat([images for _, images, _ in draws]).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = model(x)
    total = torch.zeros(())
    for rows, (head, _, labels) in zip(features.split([len(y) for _, _, y in draws]), draws, strict=True):
        total = total + cross_entropy(model.net.heads[head](rows), labels, reduction="sum")
    return total / len(x)


def train(net: str, data: Path, steps: int, minutes: float, rate: float, start_from: Path | None, out: Path) -> None:
    torch.manual_seed(0)
    known = read(net, data, "train")
    classes = {head: next(iter(versions.values())).classes for head, versions in known.items()}
    sizes = {head: len(names) for head, names in classes.items()}
    model = Normed(FeatureNet(CHANNELS[net], WIDTHS[net], sizes))
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    batches = BATCHES[net](known)
    before: list[dict[str, Any]] = []
    if start_from is not None:
        content = start_from.read_bytes()
        folded = FeatureNet(CHANNELS[net], WIDTHS[net], sizes)
        folded.load_state_dict({k: v.float() for k, v in load(content).items()})
        several = [next(batches) for _ in range(4)]
        model.take(folded, torch.cat([x for draws in several for _, x, _ in draws]))
        before = metadata(content)["training"]["rounds"]
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)
    start, step, seen, mean, done = time.time(), 0, 0, 0.0, 0.0
    while done < 1:
        # the schedule ends at its last step or at the limit of the clock, whichever is nearer
        done = min(1.0, max((step + 1) / steps, (time.time() - start) / (60 * minutes)))
        fall = 0.5 * (1 + math.cos(math.pi * max(0.0, done - WARM_UP) / (1 - WARM_UP)))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(done / WARM_UP, fall)
        draws = next(batches)
        loss = loss_of(model, draws)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step, seen, mean = step + 1, seen + sum(len(y) for _, _, y in draws), mean * 0.99 + loss.item() * 0.01
        if step % 200 == 0 or done == 1:
            speed = seen / (time.time() - start)
            print(f"step {step} done {done:.3f} loss {mean:.4f} {speed:.0f} images/s", flush=True)
    this = {
        "steps": step,
        "images": seen,
        "seconds": round(time.time() - start),
        "rate": rate,
        "torch": torch.__version__,
    }
    write(net, model.folded(FeatureNet(CHANNELS[net], WIDTHS[net], sizes)), classes, data, [*before, this], out)


def write(
    net: str,
    model: FeatureNet,
    classes: dict[str, tuple[str, ...]],
    data: Path,
    rounds: list[dict[str, Any]],
    out: Path,
) -> None:
    """Half-precision weights, and everything that is needed to use them in the header."""
    model = model.half().float()  # what is measured is what is stored
    held_out = read(net, data, "test")
    scores = {h: {v: accuracy(model, h, s) for v, s in versions.items()} for h, versions in held_out.items()}
    heads = {
        head: {
            "classes": names,
            "accuracy": min(scores[head].values()),
            "num_held_out": len(next(iter(held_out[head].values())).labels),
        }
        for head, names in classes.items()
    }
    training = {"rounds": rounds, "accuracy": scores}
    header = {"channels": CHANNELS[net], "widths": WIDTHS[net], "heads": heads, "training": training}
    tensors = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    content = save(tensors, metadata={"features": json.dumps(header)})
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{net}.safetensors").write_bytes(content)
    print(f"{net}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}\n{json.dumps(header, indent=1)}")


@torch.no_grad()
def accuracy(model: FeatureNet, head: str, data: Labelled) -> float:
    """Share of right answers on images that were not trained on."""
    batches = zip(data.images.split(256), data.labels.split(256), strict=True)
    hits = sum(int((model.heads[head](model(x)).argmax(1) == y).sum()) for x, y in batches)
    return round(hits / len(data.labels), 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net", choices=sorted(WIDTHS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--start-from", type=Path, help="a network that this script wrote, to train further")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train(args.net, args.data, args.steps, args.minutes, args.rate, args.start_from, args.out)
