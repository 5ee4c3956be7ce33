"""Ours against the published forward with the same weights; benchmarks/lego_transcription.py knows nothing of ours."""

from collections.abc import Sequence

import pytest
import torch
from lego_transcription import BrickShape, Transcription, randomize, to_brickwork
from torch import Tensor

from brickwork.backbone.lego import Lego
from brickwork.diffusion.denoiser import Condition
from brickwork.nn.attention import KERNELS, use_kernel

STACKS = {
    "pg": [(4, 2, 2), (8, 4, 1), (16, 2, 2)],
    "pr": [(16, 2, 2), (8, 4, 1), (4, 2, 2)],
    "u": [(16, 2, 1), (8, 4, 2), (4, 2, 1), (8, 4, 1), (16, 2, 1)],
    "patch is window": [(4, 4, 1), (16, 4, 1)],
}
WIDTH, HEADS, SIZE = 48, 3, 16


def pair(
    shapes: Sequence[tuple[int, int, int]], num_classes: int, channels: int = 3, dtype: torch.dtype = torch.float32
) -> tuple[Transcription, Lego]:
    """Theirs and ours with the same weights, none of them zero."""
    bricks = [BrickShape(*shape) for shape in shapes]
    theirs = Transcription(bricks, width=WIDTH, heads=HEADS, channels=channels, num_classes=num_classes)
    randomize(theirs, seed=1)
    config = Lego.Config(
        # The whole image is called 0, as in our presets.
        bricks=tuple(
            Lego.Brick(window=b.window % SIZE, patch=b.patch, width=WIDTH, heads=HEADS, depth=b.depth) for b in bricks
        ),
        vector_width=WIDTH,
        size=SIZE,
        channels=channels,
        num_classes=num_classes,
    )
    ours = config.build()
    ours.load_state_dict(to_brickwork(theirs.state_dict()))  # strict: no weight is left over on either side
    return theirs.to(dtype), ours.to(dtype)


def inputs(num_classes: int, channels: int, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
    """A batch: images over several noise levels, and labels of which one is dropped."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, channels, size, size, generator=generator, dtype=dtype)
    labels = torch.tensor([num_classes - 1, -1, 0]) if num_classes else None
    return x, torch.tensor([-1.5, 0.1, 1.1], dtype=dtype), labels


def one_hot(labels: Tensor | None, num_classes: int, dtype: torch.dtype) -> Tensor | None:
    """Rows of the unit matrix; of zeros for label -1."""
    return None if labels is None else (labels[:, None] == torch.arange(num_classes)).to(dtype)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest error over the largest value."""
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.3  # the comparison is not of zeros
    return float(((ours - theirs).abs().max() / theirs.abs().max()).detach())


@pytest.mark.parametrize("num_classes", [0, 5])
@pytest.mark.parametrize("stack", STACKS)
def test_every_brick_gives_the_published_output(stack: str, num_classes: int) -> None:
    theirs, ours = pair(STACKS[stack], num_classes)
    x, number, labels = inputs(num_classes, 3, SIZE, torch.float32)
    expected = theirs(x, number, one_hot(labels, num_classes, x.dtype))
    got = ours.outputs(x, number, Condition(labels=labels))
    assert len(got) == len(expected) == len(STACKS[stack])
    assert max(difference(a, b) for a, b in zip(got, expected, strict=True)) < 1e-5
    assert torch.equal(ours(x, number, Condition(labels=labels)), got[-1])


@pytest.mark.parametrize("stack", STACKS)
def test_in_double_precision_nothing_is_left_but_the_tables(stack: str) -> None:
    """Frequencies and positions are float32 numbers in ours."""
    theirs, ours = pair(STACKS[stack], 5, channels=4, dtype=torch.float64)
    x, number, labels = inputs(5, 4, SIZE, torch.float64)
    expected = theirs(x, number, one_hot(labels, 5, x.dtype))
    got = ours.outputs(x, number, Condition(labels=labels))
    assert max(difference(a, b) for a, b in zip(got, expected, strict=True)) < 1e-7


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_attention_kernel_agrees(kernel: str) -> None:
    theirs, ours = pair(STACKS["u"], 0)
    x, number, _ = inputs(0, 3, SIZE, torch.float32)
    with use_kernel(kernel):
        got = ours.outputs(x, number, Condition())
    assert max(difference(a, b) for a, b in zip(got, theirs(x, number), strict=True)) < 1e-5


def test_no_label_at_all_is_a_row_of_zeros() -> None:
    theirs, ours = pair(STACKS["pg"], 5)
    x, number, _ = inputs(5, 3, SIZE, torch.float32)
    expected = theirs(x, number, torch.zeros(3, 5))[-1]
    for condition in (Condition(), Condition(labels=torch.full((3,), -1))):
        assert difference(ours(x, number, condition), expected) < 1e-5


def test_gradients_of_every_weight() -> None:
    """Of one scalar of all outputs: the modulation's gradient is summed over windows in theirs, over rows in ours."""
    theirs, ours = pair(STACKS["u"], 5, dtype=torch.float64)
    x, number, labels = inputs(5, 3, SIZE, torch.float64)
    for outputs in (
        theirs(x, number, one_hot(labels, 5, x.dtype)),
        ours.outputs(x, number, Condition(labels=labels)),
    ):
        torch.stack(outputs).square().sum().backward()
    grads = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert all(grad is not None for grad in grads.values())
    expected = to_brickwork({name: grad for name, grad in grads.items() if grad is not None})
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        scale = expected[name].abs().max()
        assert (parameter.grad - expected[name]).abs().max() < 1e-6 * scale, name


@torch.no_grad()
def test_autocast_stays_near() -> None:
    """bf16 rounds differently in the two, each about as far from fp32 as the other."""
    theirs, ours = pair(STACKS["pg"], 0)
    x, number, _ = inputs(0, 3, SIZE, torch.float32)
    exact = theirs(x, number)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = ours(x, number, Condition()), theirs(x, number)[-1]
    errors = [float((out - exact).square().mean().sqrt() / exact.std()) for out in rounded]
    assert errors[0] < 2 * errors[1] < 0.05, errors
