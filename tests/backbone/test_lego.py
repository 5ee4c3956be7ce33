"""LEGO bricks as a network: prefixes, windows that do not see each other, canvases, options, errors."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from tiny_backbones import IMAGE, MIDDLE, SMALL, STACKS
from tiny_backbones import LEGO_BASE as BASE
from torch import Tensor

from brickwork.backbone.bricks import estimate_of, output_of
from brickwork.backbone.lego import Lego
from brickwork.codec.base import Pixels
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.preconditioning import Preconditioning
from brickwork.diffusion.prediction import EdmF, Eps
from brickwork.diffusion.process import Edm, Vp
from brickwork.errors import ArgumentError, ConfigError
from brickwork.model.cost import cost
from brickwork.model.model import Model
from brickwork.nn.layers import window_positions


def network(stack: str = "pg", **options: Any) -> Lego:
    """All weights random, so that no output is zero."""
    torch.manual_seed(0)
    lego = Lego.Config(**BASE | {"bricks": STACKS[stack]} | options).build()
    for parameter in lego.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return lego.eval()


def unchecked(make: Any, **options: Any) -> None:
    """Make it as outside the tests, where nothing checks the types first."""
    config = make.__new__(make)
    for item in fields(make):
        object.__setattr__(config, item.name, options.get(item.name, item.default))
    config.__post_init__()


def inputs(height: int = 16, width: int = 16) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, height, width, generator=generator)
    return x, torch.tensor([-1.0, 0.2, 1.0]), Condition(labels=torch.tensor([0, -1, 4]))


@pytest.mark.parametrize("stack", STACKS)
def test_every_prefix_is_the_element_of_the_list_that_training_sees(stack: str) -> None:
    lego = network(stack).train()
    outputs = lego.outputs(*inputs())
    assert len(outputs) == lego.num_parts == lego.config.num_outputs
    for n, output in enumerate(outputs, 1):
        part = lego.first(n)
        assert part.config == lego.config.first(n)
        assert torch.equal(part(*inputs()), output)
        assert {id(p) for p in part.parameters()} <= {id(p) for p in lego.parameters()}
    assert torch.equal(lego(*inputs()), outputs[-1])


def test_a_fresh_model_puts_out_nothing() -> None:
    torch.manual_seed(0)
    assert all(not output.any() for output in Lego.Config(**BASE, bricks=STACKS["pg"]).build().outputs(*inputs()))


def test_windows_of_a_brick_do_not_see_each_other() -> None:
    lego = network(bricks=(SMALL, MIDDLE))
    x, number, condition = inputs()
    other = x.clone()
    other[:, :, 8:, 8:] += 1  # one window of the second brick, four of the first
    before, after = lego.outputs(x, number, condition), lego.outputs(other, number, condition)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[:, :, :8], b[:, :, :8])
        assert torch.equal(a[:, :, :, :8], b[:, :, :, :8])
        assert not torch.equal(a[:, :, 8:, 8:], b[:, :, 8:, 8:])
    lone = other.clone()
    lone[:, :, :4, :4] += 1
    assert torch.equal(lego.first(1)(lone, number, condition)[:, :, 4:], after[0][:, :, 4:])


def test_a_brick_of_the_whole_image_sees_all_of_it() -> None:
    lego = network("one")
    x, number, condition = inputs()
    other = x.clone()
    other[:, :, 15, 15] += 1
    assert (lego(x, number, condition) != lego(other, number, condition)).all(dim=1).float().mean() > 0.9


def test_labels_are_a_row_plus_the_bias_and_none_is_the_bias_alone() -> None:
    lego = network()
    assert lego.label is not None
    vector = lego.label(torch.tensor([2, -1]))
    assert torch.equal(vector[0], lego.label.weight[2] + lego.label.bias)
    assert torch.equal(vector[1], lego.label.bias)
    x, number, _ = inputs()
    nothing = Condition(labels=torch.tensor([-1, -1, -1]))
    assert torch.equal(lego(x, number, nothing), lego(x, number, Condition()))


@pytest.mark.parametrize(("height", "width"), [(16, 48), (32, 8), (24, 40)])
def test_other_canvases(height: int, width: int) -> None:
    assert network().config.multiple == 8
    assert network()(*inputs(height, width)).shape == (3, 3, height, width)


def test_explicit_windows_tile_a_larger_canvas_as_the_released_code_does() -> None:
    """Same coordinates, same pixels: each tile is as if alone, except for what the coordinates tell."""
    whole, tiled = network("one"), network(bricks=(Lego.Brick(window=16, patch=4, width=32, heads=4, depth=1),))
    tiled.load_state_dict(whole.state_dict())
    assert torch.equal(whole(*inputs()), tiled(*inputs()))
    x, number, condition = inputs(16, 32)
    other = x.clone()
    other[..., 16:] += 1
    assert torch.equal(tiled(x, number, condition)[..., :16], tiled(other, number, condition)[..., :16])
    assert not torch.equal(whole(x, number, condition)[..., :16], whole(other, number, condition)[..., :16])


def test_positions_of_another_grid_are_spread_over_the_trained_one() -> None:
    table = window_positions((4, 4), (4, 4), 16).view(4, 4, 16)
    assert torch.equal(table[0, :, :8], table[3, :, :8])  # the first half tells the column
    assert torch.equal(table[:, 0, 8:], table[:, 3, 8:])
    assert torch.allclose(table[0, 2, :2], torch.stack([torch.tensor(2.0).sin(), torch.tensor(0.2).sin()]))
    finer = window_positions((4, 12), (4, 4), 16).view(4, 12, 16)
    assert torch.allclose(finer[:, 1::3], table, atol=1e-6)


def test_chosen_windows_get_gradients_and_the_rest_the_same_numbers() -> None:
    lego = network().train()
    x, number, condition = inputs()
    chosen = [torch.tensor([0, 17, 40]), torch.tensor([2, 3, 11]), torch.tensor([1])]
    full, some = lego.outputs(x, number, condition), lego.outputs(x, number, condition, chosen=chosen)
    assert torch.allclose(full[0], some[0], atol=1e-5)
    assert torch.allclose(full[1], some[1], atol=1e-5)
    assert torch.allclose(full[2][1], some[2][1], atol=1e-5)
    assert not some[2][0].any()  # nothing follows the last brick: what is not looked at is not run
    held = [torch.autograd.grad(some[0].sum(), list(lego.bricks[0].parameters()), retain_graph=True)]
    by_hand = lego.outputs(x, number, condition)[0]
    mask = torch.zeros(48)
    mask[chosen[0]] = 1
    mask = mask.view(3, 1, 4, 1, 4, 1).expand(-1, 3, -1, 4, -1, 4).reshape(3, 3, 16, 16)
    held.append(torch.autograd.grad((by_hand * mask).sum(), list(lego.bricks[0].parameters())))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(*held, strict=True))


def test_detached_bricks_get_no_gradient_from_later_ones() -> None:
    for detach in (False, True):
        lego = network(detach=detach).train()
        lego(*inputs()).square().sum().backward()
        assert (next(lego.bricks[0].parameters()).grad is None) == detach


def test_the_denoised_image_as_what_a_brick_is_told() -> None:
    lego = network(previous="denoised")
    x, number, condition = inputs()
    with pytest.raises(ArgumentError, match="give the preconditioning"):
        lego(x, number, condition)
    one = torch.ones(3)
    skip, out = torch.tensor([0.5, 0.2, 1.0]), torch.tensor([1.0, 2.0, 3.0])
    c = Preconditioning(sigma=one, skip=skip, out=out, in_=one, noise=number)
    told = []
    lego.bricks[1].register_forward_pre_hook(lambda _, given: told.append(given[0][:, :3]))
    first = lego.outputs(x, number, condition, preconditioning=c)[0]
    assert torch.equal(told[0], skip[:, None, None, None] * x + out[:, None, None, None] * first)


@pytest.mark.parametrize(("process", "target"), [(Edm(), EdmF()), (Vp(), Eps())])
def test_an_output_is_the_image_that_the_waist_says(process: Any, target: Any) -> None:
    model = Model(network(previous="denoised"), process, target, Pixels())
    sigma = torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)
    at, c = process.at(process.t_of(sigma)).expand(4), model.preconditioning(sigma)
    x, output = torch.randn(3, 3, 16, 16).double(), torch.randn(3, 3, 16, 16).double()
    own = c.expand(4).in_ * x
    image = estimate_of(output, own, c)
    assert torch.allclose(image, target.x0(output, at.alpha * x, at))
    assert torch.allclose(output_of(image, own, c), output)
    assert model(x.float(), sigma.float(), Condition()).isfinite().all()


def test_a_depthwise_convolution_stays_inside_its_window() -> None:
    """A change in one window of 4 pixels reaches no other; and the convolution is felt inside it."""
    deep = [replace(SMALL, depthwise=True, depth=2)]
    lego = network(bricks=tuple(deep))
    x, number, condition = inputs()
    other = x.clone()
    other[:, :, 4:8, 8:12] += 1
    changed = (lego(x, number, condition) != lego(other, number, condition)).any(dim=1)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:8, 8:12] = True
    assert not (changed & ~inside).any()
    assert changed[:, 4:8, 8:12].all()
    plain, whole = cost(Lego.Config(**BASE, bricks=(SMALL,))), cost(Lego.Config(**BASE, bricks=(deep[0],)))
    once = cost(Lego.Config(**BASE, bricks=(replace(SMALL, depthwise=True),)))
    assert once.parameters - plain.parameters == 10 * 16
    assert once.macs - plain.macs == 64 * 9 * 16
    assert whole.parameters > once.parameters


def test_cost_by_hand() -> None:
    config = Lego.Config(**BASE, bricks=(SMALL, IMAGE))
    result, macs, params, repeated = cost(config), 0, 0, 0
    D, L = 32, 3
    for k, (tokens, span, width, patch, windows) in enumerate([(64, 4, 16, 2, 16), (16, 16, 32, 4, 1)]):
        into, out = patch**2 * (L + 2 + L * k), patch**2 * L
        macs += tokens * (into * width + width * out + 12 * width**2 + 2 * span * width)
        modulation = (6 + 2) * D * width
        macs += modulation
        repeated += (windows - 1) * modulation
        params += into * width + width + 12 * width**2 + (3 + 1 + 4 + 1) * width
        params += modulation + 8 * width + width * out + out
    macs += 256 * D + D * D
    params += 256 * D + D + D * D + D + 5 * D + D
    assert result.macs == macs
    assert result.published_macs == macs + repeated
    assert result.parameters == params
    assert result.parameters_with_tables == params + 4 * 16 + 16 * 32
    assert result.parts["bricks.0"].parameters + result.parts["bricks.1"].parameters == params - (257 + 33 + 6) * D


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bricks": ()}, "at least one brick"),
        ({"size": 12}, "size 12 is not divisible by window 8 of brick 2"),
        ({"size": 14, "bricks": (IMAGE,)}, "size 14 is not divisible by patch 4 of brick 1"),
        ({"previous": "x0"}, "previous 'x0': must be one of output, denoised"),
        ({"vector_width": 0}, "vector_width 0: must be at least 1"),
        ({"text_length": 3}, "text_length 3 with text_width 0"),
    ],
)
def test_impossible_stacks_say_value_rule_and_way_out(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        unchecked(Lego.Config, **BASE | {"bricks": STACKS["pg"]} | options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": 6, "patch": 4}, "window 6 is not divisible by its patch 4"),
        ({"width": 30}, "multiple of 4"),
        ({"width": 32, "heads": 5}, "not divisible by heads 5: take heads 4"),
        ({"depth": 0}, "depth 0: must be from 1 to 1024"),
        ({"window": -4}, "window -4: must be at least 0"),
    ],
)
def test_impossible_bricks(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Lego.Brick(**options)


def test_impossible_images_and_parts() -> None:
    lego = network()
    _, number, condition = inputs()
    with pytest.raises(ArgumentError, match="12x16 pixels: 8 must divide both"):
        lego(torch.zeros(3, 3, 12, 16), number, condition)
    with pytest.raises(ArgumentError, match="takes 3"):
        lego(torch.zeros(3, 1, 16, 16), number, condition)
    with pytest.raises(ArgumentError, match="from 1 to 3"):
        lego.first(4)
    with pytest.raises(ConfigError, match="each needs the output of the one before"):
        lego.keep([0, 2])


def test_builders() -> None:
    config = Lego.Config.u(64, (1, 2, 3, 4, 5), size=32)
    assert [(b.window, b.patch, b.depth, b.heads) for b in config.bricks] == [
        (0, 2, 1, 1), (16, 8, 2, 1), (4, 2, 3, 1), (16, 8, 4, 1), (0, 2, 5, 1)]  # fmt: skip
    assert Lego.Config.pg(64, (1, 2, 3)).bricks == Lego.Config.pr(64, (3, 2, 1)).bricks[::-1]
    with pytest.raises(ConfigError, match="there are 3 bricks"):
        Lego.Config.pg(64, (1, 2))
