"""Contract of every backbone, as checks that the tests of a new design can run on tiny configs.

    from brickwork.backbone.contract import check_backbone

    @pytest.mark.parametrize("config", [Conv.Config(size=8, width=16), Conv.Config(size=8, num_classes=5)])
    def test_contract(config):
        check_backbone(config)

A check builds the network and gives every weight a random value of noticeable size, so that nothing hides behind a
zero. It raises AssertionError with the broken promise. Configs should be tiny: checks run on the CPU.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig
from brickwork.backbone.bricks import Bricks
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, BrickworkError, ConfigError
from brickwork.nn.attention import use_kernel

Inputs = tuple[Tensor, Tensor, Condition]
Check = Callable[[BackboneConfig], None]


def check_backbone(config: BackboneConfig, *, idle: str = "") -> None:
    """Check everything that is promised of a backbone, on one config.

    Args:
        config: A network small enough for a CPU.
        idle: Regular expression for names of parameters that cannot change the output, such as keys of a softmax over
            one entry; they need a gradient as well, but it may be zero.

    Raises:
        AssertionError: A promise is broken; the message says which.
    """
    for check in CHECKS:
        if check is check_gradients:
            check_gradients(config, idle)
        else:
            check(config)


def check_shape(config: BackboneConfig) -> None:
    """Check that outputs are finite and have x's shape, from a fresh network and with random weights."""
    torch.manual_seed(0)
    fresh = config.build()
    assert fresh.config == config, f"built from {config}, its config is {fresh.config}"
    for network in (fresh, random_network(config)):
        x, c_noise, condition = inputs_of(config)
        output = network(x, c_noise, condition)
        assert output.shape == x.shape, f"x of {tuple(x.shape)} gives {tuple(output.shape)}"
        assert output.isfinite().all(), "an output is not finite"
    assert fresh(*inputs_of(config)).abs().max() < 10, "a fresh network's outputs are not of the size of noise"


def check_gradients(config: BackboneConfig, idle: str = "") -> None:
    """Check that every parameter gets a finite, nonzero gradient."""
    network = random_network(config)
    output = network(*inputs_of(config))
    (output * torch.randn(output.shape, generator=_generator(1))).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
        assert parameter.grad.isfinite().all(), f"{name} gets a gradient that is not finite"
        if not (idle and re.search(idle, name)):
            assert parameter.grad.any(), f"{name} gets a gradient of zero"


def check_inputs_count(config: BackboneConfig) -> None:
    """Check that the output depends on x, c_noise, labels, text and the image condition."""
    network = random_network(config)
    x, c_noise, condition = inputs_of(config)
    output = network(x, c_noise, condition)
    others = {
        "x": (1e-3, network(-x, c_noise, condition)),
        "c_noise": (1e-4, network(x, c_noise + 100, condition)),
    }
    if condition.labels is not None:
        others["labels"] = 1e-4, network(x, c_noise, replace(condition, labels=condition.labels * 0 - 1))
    if condition.text is not None:
        others["text"] = 1e-4, network(x, c_noise, replace(condition, text=-condition.text))
    if condition.image is not None:
        others["image"] = 1e-4, network(x, c_noise, replace(condition, image=-condition.image))
    for name, (least, other) in others.items():
        assert largest(output[:1], other[:1]) > least, f"{name} changes nothing"


def check_nothing_asked(config: BackboneConfig) -> None:
    """Check that a missing condition equals label -1, a text of zeros and an image condition of zeros."""
    network = random_network(config)
    x, c_noise, condition = inputs_of(config)
    nothing = Condition(
        labels=None if condition.labels is None else torch.full((len(x),), -1),
        text=None if condition.text is None else torch.zeros_like(condition.text),
        image=None if condition.image is None else torch.zeros_like(condition.image),
    )
    expected = network(x, c_noise, nothing)
    assert torch.equal(network(x, c_noise, Condition()), expected), "an empty condition asks for something"


def check_rows(config: BackboneConfig) -> None:
    """Check that images of a batch do not affect each other, and that c_noise may be one number, expanded."""
    network = random_network(config).eval()
    x, c_noise, condition = inputs_of(config)
    with torch.no_grad():
        together = network(x, c_noise, condition)
        for k in range(len(x)):
            alone = network(x[k : k + 1], c_noise[k : k + 1], condition[k : k + 1])
            difference = largest(together[k : k + 1], alone) / size_of(alone)
            assert difference < 2e-5, f"row {k} of a batch differs by {difference:.2g} from itself alone"
        same = torch.full_like(c_noise, 20.0)
        once = network(x, same[:1].expand(len(x)), condition)
        assert torch.equal(once, network(x, same, condition)), "c_noise expanded from one number gives another output"


def check_weights_come_back(config: BackboneConfig) -> None:
    """Check that a state dict restores a network completely."""
    first, second = random_network(config, seed=0), random_network(config, seed=1)
    second.load_state_dict(first.state_dict())
    same = torch.equal(first(*inputs_of(config)), second(*inputs_of(config)))
    assert same, "a network with another's state dict gives another output"


def check_parts(config: BackboneConfig) -> None:
    """Check that the first n blocks share the weights and are the network of their config, or are refused."""
    network, n_all = random_network(config).eval(), config.num_parts
    assert network.num_parts == n_all
    assert network.first(n_all) is network
    assert config.first(n_all) == config
    for n in (0, n_all + 1):
        for first in (config.first, network.first):
            with _refused(ArgumentError, f"the first {n} of {n_all} parts"):
                first(n)
    for n in range(1, n_all):
        try:
            part = network.first(n)
        except ConfigError:
            with _refused(ConfigError, f"the first {n} parts"):
                config.first(n)
            continue
        assert part.config == config.first(n)
        assert part.num_parts == n
        own = {id(parameter) for parameter in network.parameters()}
        assert {id(parameter) for parameter in part.parameters()} <= own, "parts have weights of their own"
        assert not any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers())), "a part has no memory"
        assert not part.training, "parts of a network in evaluation are in training"
        alone = part.config.build().eval()
        alone.load_state_dict({name: network.state_dict()[name] for name in alone.state_dict()})
        assert torch.equal(part(*inputs_of(config)), alone(*inputs_of(config))), f"the first {n} parts are no network"


def check_bricks(config: BackboneConfig) -> None:
    """Check that each brick's output equals that of the network that ends with it."""
    network = random_network(config).eval()
    if not isinstance(network, Bricks):
        assert (config.num_outputs, config.num_windows) == (1, ()), "outputs or windows without bricks"
        return
    outputs = network.outputs(*inputs_of(config))
    assert len(outputs) == config.num_outputs
    for n, output in enumerate(outputs, 1):
        assert torch.equal(network.first(n)(*inputs_of(config)), output), f"brick {n} is not the first {n}'s output"


def check_checkpointing(config: BackboneConfig) -> None:
    """Check that recomputing blocks in the backward pass changes no bit, if the config has that option."""
    if "checkpointing" not in {one.name for one in fields(config)}:
        return
    results = []
    for checkpointing in (False, True):
        options: dict[str, bool] = {"checkpointing": checkpointing}
        network = random_network(replace(config, **options))
        with use_kernel("matmul"):
            output = network(*inputs_of(config))
            output.square().sum().backward()
        results.append([output, *(parameter.grad for parameter in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True)), "checkpointing changes an output or gradient"


def check_sizes(config: BackboneConfig) -> None:
    """Check that sides that are multiples are accepted and others refused; without a multiple only the own size is."""
    network = random_network(config).eval()
    step = config.multiple
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # interpolated position tables warn about another size
        if step is None:
            with _refused(ArgumentError, "another size"):
                network(*inputs_of(config, 2 * config.size, 2 * config.size))
            return
        assert config.size % step == 0
        for height, width in ((2 * config.size, 2 * config.size), (config.size, config.size + step)):
            arguments = inputs_of(config, height, width)
            assert network(*arguments).shape == arguments[0].shape, f"an image of {height}x{width} changes its shape"
        if step > 1:
            with _refused(ArgumentError, "sides that are no multiples"):
                network(*inputs_of(config, config.size + step - 1, config.size))


def check_refusals(config: BackboneConfig) -> None:
    """Check that images, texts and image conditions of a wrong shape are refused in one line."""
    network = random_network(config)
    x, c_noise, condition = inputs_of(config)
    with _refused(ArgumentError, "an image of other channels"):
        network(torch.cat([x, x], dim=1), c_noise, condition)
    wrong = torch.zeros(len(x), config.condition_channels + 1, *x.shape[2:])
    with _refused(ArgumentError, "an image condition of other channels"):
        network(x, c_noise, replace(condition, image=wrong))
    if condition.text is not None:
        with _refused(ArgumentError, "a text of another length"):
            network(x, c_noise, replace(condition, text=torch.cat([condition.text, condition.text], dim=1)))


def check_autocast(config: BackboneConfig) -> None:
    """Check that bf16 stays near fp32, with random weights, since the zeros of a fresh network would hide errors."""
    torch.manual_seed(0)
    network = config.build().eval()
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    with torch.no_grad():
        exact = network(*inputs_of(config))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(*inputs_of(config)).float()
    error = float((rounded - exact).norm() / exact.norm())
    assert error < 0.05, f"bf16 is off by {error:.2g} of the output"


def check_export(config: BackboneConfig) -> None:
    """Check that torch.export can export the network, and that the graph gives the same numbers."""
    network = random_network(config).eval()
    x, c_noise, condition = inputs_of(config)
    arguments = x, c_noise, condition.labels, condition.text, condition.image
    with torch.no_grad():
        graph = torch.export.export(_Flat(network), arguments).module()
        expected = network(x, c_noise, condition)
        difference = largest(graph(*arguments), expected) / size_of(expected)
    assert difference < 1e-5, f"the exported graph differs by {difference:.2g}"


CHECKS: tuple[Check, ...] = (
    check_shape,
    check_gradients,
    check_inputs_count,
    check_nothing_asked,
    check_rows,
    check_weights_come_back,
    check_parts,
    check_bricks,
    check_checkpointing,
    check_sizes,
    check_refusals,
    check_autocast,
    check_export,
)
"""All checks, in the order in which they run."""


def random_network(config: BackboneConfig, seed: int = 0) -> Backbone:
    """Build a network whose weights are all random and of noticeable size."""
    network = config.build()
    generator = _generator(seed)
    for parameter in network.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5
        nn.init.normal_(parameter, std=scale, generator=generator)
    return network


def inputs_of(config: BackboneConfig, height: int = 0, width: int = 0, seed: int = 0) -> Inputs:
    """Return x, c_noise and condition of two images: the first with a class, the second without.

    Args:
        config: Gives channels, size and conditions.
        height: Height in pixels; 0 for the config's size.
        width: Width in pixels; 0 for the config's size.
        seed: Seed of the random numbers.
    """
    generator, side = _generator(seed), (height or config.size, width or config.size)

    def normal(*shape: int) -> Tensor | None:
        return torch.randn(2, *shape, generator=generator) if shape[0] else None

    x = torch.randn(2, config.channels, *side, generator=generator)
    text, image = normal(config.text_length, config.text_width), normal(config.condition_channels, *side)
    labels = torch.tensor([config.num_classes * 2 // 3, -1]) if config.num_classes else None
    return x, torch.tensor([20.0, 700.5]), Condition(labels=labels, text=text, image=image)


def largest(a: Tensor, b: Tensor) -> float:
    """Return the largest difference."""
    return (a - b).abs().max().item()


def size_of(a: Tensor) -> float:
    """Return the largest absolute value."""
    return a.abs().max().item()


class _Flat(nn.Module):
    """Network with tensors as its only arguments, as graphs need them."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, x: Tensor, c_noise: Tensor, labels: Tensor | None, text: Tensor | None, image: Tensor | None
    ) -> Tensor:
        """Return the network's output."""
        return self.network(x, c_noise, Condition(labels=labels, text=text, image=image))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@contextmanager
def _refused(error: type[BrickworkError], what: str) -> Iterator[None]:
    """Require that the code inside raises an error of one line."""
    text: str | None = None
    try:
        yield
    except error as caught:
        text = str(caught)
    assert text is not None, f"{what}: not refused"
    assert "\n" not in text, f"{what}: refused in more than one line"
