"""The network does what its config says, for every option."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brickwork.backbone.stoic import Stoic
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError
from brickwork.nn.attention import use_kernel


def network(config: Stoic.Config, seed: int = 0) -> Stoic:
    """Every weight random and of a size that matters: nothing hides behind a zero or a small start."""
    model = config.build()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5
        nn.init.normal_(parameter, std=scale, generator=generator)
    return model


def inputs(config: Stoic.Config, seed: int = 0, size: int | None = None) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(seed)
    side = size or config.size
    x = torch.randn(2, config.channels, side, side, generator=generator)
    text = torch.randn(2, config.text_length, config.text_width, generator=generator) if config.text_length else None
    labels = torch.tensor([3, -1]) if config.num_classes else None
    return x, torch.tensor([20.0, 700.0]), Condition(labels=labels, text=text)


def unchecked(options: dict) -> None:
    """What __init__ does where the annotations are not checked, as they are in these tests: a header, a recipe."""
    config = object.__new__(Stoic.Config)
    for field in dataclasses.fields(Stoic.Config):
        object.__setattr__(config, field.name, options.get(field.name, field.default))
    config.__post_init__()


def largest(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def test_shape_kept_finite_and_every_parameter_learns(tiny: Stoic.Config) -> None:
    model = network(tiny)
    x, number, condition = inputs(tiny)
    out = model(x, number, condition)
    assert out.shape == x.shape
    assert out.isfinite().all()
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_fresh_network_is_finite_and_small(tiny: Stoic.Config) -> None:
    torch.manual_seed(0)
    model = tiny.build()
    out = model(*inputs(tiny))
    assert out.isfinite().all()
    assert out.abs().max() < 10


def test_depends_on_image_number_and_condition(tiny: Stoic.Config) -> None:
    model = network(tiny)
    x, number, condition = inputs(tiny)
    out = model(x, number, condition)
    assert largest(out, model(-x, number, condition)) > 1e-3
    assert largest(out, model(x, number + 100, condition)) > 1e-4
    if tiny.num_classes or tiny.text_length:
        assert largest(out[:1], model(x, number, condition.dropped())[:1]) > 1e-4


def test_state_dict_round_trip(tiny: Stoic.Config) -> None:
    first, second = network(tiny, seed=0), network(tiny, seed=1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*inputs(tiny)), second(*inputs(tiny)))


def test_config_is_plain_and_rebuilds(tiny: Stoic.Config) -> None:
    plain = dataclasses.asdict(tiny)
    assert all(value is None or isinstance(value, int | str | bool) for value in plain.values())
    assert Stoic.Config(**plain) == tiny
    assert tiny.build().config == tiny


class Flat(nn.Module):
    """Tensors in, tensor out: what a graph can take."""

    def __init__(self, model: Stoic) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, number: Tensor, labels: Tensor | None, text: Tensor | None) -> Tensor:
        return self.model(x, number, Condition(labels=labels, text=text))


def test_exports_and_agrees(tiny: Stoic.Config) -> None:
    model = network(tiny).eval()
    x, number, condition = inputs(tiny)
    arguments = (x, number, condition.labels, condition.text)
    with torch.no_grad():
        graph = torch.export.export(Flat(model), arguments)
        expected = model(x, number, condition)
        assert largest(graph.module()(*arguments), expected) < 1e-5 * expected.abs().max().item()


def test_bf16_autocast_is_close(tiny: Stoic.Config) -> None:
    torch.manual_seed(0)
    model = tiny.build()
    exact = model(*inputs(tiny))
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*inputs(tiny))
    assert (rough.float() - exact).norm() < 0.03 * exact.norm()


def test_other_sizes_work_unless_a_table_ties_the_model(tiny: Stoic.Config) -> None:
    model = network(tiny)
    tied = tiny.position == "learned" or tiny.decoder == "linear_tokens"
    arguments = inputs(tiny, size=2 * tiny.size)
    if tied:
        with pytest.raises(ArgumentError, match="ties this model"):
            model(*arguments)
    else:
        assert model(*arguments).shape == arguments[0].shape


def test_images_of_other_height_than_width() -> None:
    config = Stoic.Config(size=8, width=32, depth=2, stride=2, position="rope", depthwise=True)
    x = torch.randn(1, 3, 4, 12)
    assert network(config)(x, torch.ones(1), Condition()).shape == x.shape


def test_label_minus_one_is_the_null_row() -> None:
    config = Stoic.Config(size=8, width=32, depth=2, num_classes=5, num_class_tokens=2)
    model = network(config)
    x, number, _ = inputs(config)
    null = model(x, number, Condition(labels=torch.tensor([-1, -1])))
    assert torch.equal(null, model(x, number, Condition()))
    assert model.classes is not None
    with torch.no_grad():
        model.classes.table.weight[2] = model.classes.table.weight[5]
    assert torch.equal(null, model(x, number, Condition(labels=torch.tensor([2, 2]))))


def test_no_text_is_zeros() -> None:
    config = Stoic.Config(size=8, width=32, depth=2, text_length=3, text_width=7)
    model = network(config)
    x, number, _ = inputs(config)
    zeros = Condition(text=torch.zeros(2, 3, 7))
    assert torch.equal(model(x, number, zeros), model(x, number, Condition()))
    with pytest.raises(ArgumentError, match=r"\(3, 7\)"):
        model(x, number, Condition(text=torch.zeros(2, 4, 7)))


@pytest.mark.parametrize("stride", [1, 2])
def test_circular_without_positions_cannot_tell_place(stride: Any) -> None:
    """Translation by whole strides commutes with the network; with zero padding it does not."""
    moves = []
    for padding_mode in ("circular", "zeros"):
        config = Stoic.Config(size=8, width=32, depth=2, stride=stride, padding_mode=padding_mode, stem_layers=2)
        model = network(config)
        x, number, condition = inputs(config)
        shift = (2 * stride, -stride)
        moved = model(x.roll(shift, (2, 3)), number, condition)
        still = model(x, number, condition).roll(shift, (2, 3))
        moves.append(largest(moved, still) / still.abs().max().item())
    assert moves[0] < 1e-5
    assert moves[1] > 1e-3


def test_patches_without_positions_are_a_set() -> None:
    """Kernel = stride: permuting the patches of the input permutes those of the output."""
    config = Stoic.Config(size=8, width=32, depth=2, stride=2, kernel=2, final_conv=False)
    model = network(config)
    x, number, condition = inputs(config)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))

    def shuffled(image: Tensor) -> Tensor:
        patches = image.unflatten(3, (4, 2)).unflatten(2, (4, 2)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        return patches[:, order].unflatten(1, (4, 4)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)

    out = shuffled(model(x, number, condition))
    assert largest(model(shuffled(x), number, condition), out) < 1e-5 * out.abs().max().item()


@pytest.mark.parametrize("options", [{"position": p} for p in ("learned", "sincos", "rope", "coordinates")]
                         + [{"depthwise": True}])  # fmt: skip
def test_carriers_of_layout_break_the_set(options: dict) -> None:
    config = Stoic.Config(size=8, width=32, depth=2, stride=2, kernel=2, final_conv=False, **options)
    model = network(config)
    x, number, condition = inputs(config)
    out = model(x, number, condition).roll(2, 3)
    assert largest(model(x.roll(2, 3), number, condition), out) > 1e-3 * out.abs().max().item()


def test_checkpointing_changes_nothing() -> None:
    config = Stoic.Config(size=8, width=32, depth=3, num_classes=5, depthwise=True, long_skip="concat")
    gradients = []
    for checkpointing in (False, True):
        model = network(dataclasses.replace(config, checkpointing=checkpointing))
        with use_kernel("matmul"):
            out = model(*inputs(config))
            out.square().sum().backward()
        gradients.append([out, *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_skips_pair_first_with_last() -> None:
    """With all blocks the identity, adding the skips of N = 5 gives 2^2 times the input of the decoder."""
    seen = []
    for long_skip in ("none", "add"):
        config = Stoic.Config(size=4, width=32, depth=5, stride=1, long_skip=long_skip, decoder="slice_channels")
        torch.manual_seed(0)
        model = config.build()
        for block in model.blocks:
            for name, parameter in block.named_parameters():
                if name.startswith(("attention.proj", "mlp.narrow")):
                    nn.init.zeros_(parameter)
        hidden = []
        model.decoder.register_forward_hook(lambda _, args, out, hidden=hidden: hidden.append(args[0]))
        model(*inputs(config))
        seen.append(hidden[0])
    # The kept outputs of blocks 0 and 1 are the input h itself: h + h = 2h enters block 3, 2h + h = 3h block 4.
    assert torch.allclose(seen[1], 3 * seen[0])


def test_shared_weights_equal_copied_weights() -> None:
    config = Stoic.Config(size=8, width=32, depth=3, share_weights=True)
    shared = network(config)
    copied = dataclasses.replace(config, share_weights=False).build()
    state = shared.state_dict()
    for name in copied.state_dict():
        if name.startswith("blocks."):
            state[name] = state["blocks.0." + name.split(".", 2)[2]]
    copied.load_state_dict(state)
    assert torch.equal(shared(*inputs(config)), copied(*inputs(config)))


def test_fixed_positions_of_another_grid_extend_the_table() -> None:
    config = Stoic.Config(size=8, width=32, depth=1, position="sincos")
    larger = dataclasses.replace(config, size=12)
    model, same = network(config), network(larger)
    x, number, condition = inputs(config, size=12)
    assert torch.equal(model(x, number, condition), same(x, number, condition))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 30, "stride": 4}, "size 30 is not divisible by stride 4: take 28"),
        ({"kernel": 2, "stride": 1}, "kernel 2 at stride 1"),
        ({"kernel": 3, "stride": 4}, "kernel 3 at stride 4 skips pixels: take kernel 4 or more"),
        ({"kernel": 1, "stride": 2}, "skips pixels"),
        ({"kernel": 0, "stride": 1}, "skips pixels"),
        ({"stride": 3}, "stride 3: must be one of 1, 2, 4"),
        ({"padding_mode": "mirror"}, "padding_mode 'mirror': must be one of zeros, reflect, circular"),
        ({"size": 4, "kernel": 9, "padding_mode": "reflect"}, "pads 4 pixels"),
        ({"size": 4, "stride": 4, "stem_layers": 2, "padding_mode": "reflect"}, "stem_layers 2 on 1x1 tokens"),
        ({"width": 100, "heads": 3}, "width 100 is not divisible by heads 3: take heads 2"),
        ({"width": 30}, "width 30: must be a multiple of 4"),
        ({"width": 36, "heads": 6, "position": "rope"}, "multiple of 4 channels, not 6"),
        ({"heads": 0}, "heads 0"),
        ({"depth": 0}, "depth 0"),
        ({"stem_layers": 7}, "stem_layers 7: must be from 1 to 6"),
        ({"decoder": "slice_channels", "stride": 4, "width": 32}, "= 48 of width 32: widen to 48"),
        ({"num_classes": -1}, "num_classes -1"),
        ({"text_length": 4}, "text_length 4 with text_width 0"),
        ({"time": "film"}, "time 'film'"),
        ({"channels": 0}, "channels 0"),
    ],
)
def test_impossible_configs_say_value_rule_and_way_out(options: dict, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        unchecked(options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_impossible_images_are_refused() -> None:
    config = Stoic.Config(size=8, width=32, depth=1)
    model = config.build()
    with pytest.raises(ArgumentError, match="stride 2 must divide both"):
        model(torch.zeros(1, 3, 7, 8), torch.zeros(1), Condition())
    with pytest.raises(ArgumentError, match="1 channels: this model takes 3"):
        model(torch.zeros(1, 1, 8, 8), torch.zeros(1), Condition())


STEMS = [(1, 1), (1, 3), (1, 7), (2, 2), (2, 3), (2, 4), (2, 5), (4, 4), (4, 7), (4, 8)]


@pytest.mark.parametrize(("stride", "kernel"), STEMS)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "circular"])
def test_every_allowed_stem_keeps_the_grid(stride: Any, kernel: int, padding_mode: Any) -> None:
    config = Stoic.Config(size=16, width=32, depth=1, stride=stride, kernel=kernel, padding_mode=padding_mode)
    assert config.build().stem(torch.zeros(1, 3, 16, 16)).shape == (1, 32, 16 // stride, 16 // stride)


@pytest.mark.parametrize(
    ("width", "heads"), [(512, 8), (768, 12), (1536, 24), (160, 5), (96, 3), (64, 1), (32, 1), (48, 1)]
)
def test_default_heads(width: int, heads: int) -> None:
    assert Stoic.Config(width=width).num_heads == heads
