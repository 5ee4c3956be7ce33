"""The network does what its config says, for every option."""

import dataclasses
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from brickwork.backbone.contract import inputs_of, largest, random_network
from brickwork.backbone.stoic import Stoic
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError


def network(config: Stoic.Config) -> Stoic:
    """Build a network with every weight random."""
    return cast(Stoic, random_network(config))


def unchecked(options: dict) -> None:
    """What __init__ does where the annotations are not checked, as they are in these tests: a header, a recipe."""
    config = object.__new__(Stoic.Config)
    for field in dataclasses.fields(Stoic.Config):
        object.__setattr__(config, field.name, options.get(field.name, field.default))
    config.__post_init__()


@pytest.mark.parametrize("option", [{"position": "learned"}, {"decoder": "linear_tokens"}])
def test_a_table_ties_a_network_to_its_size(option: dict[str, Any]) -> None:
    config = Stoic.Config(size=8, width=32, depth=1, **option)
    with pytest.raises(ArgumentError, match="ties this model"):
        network(config)(*inputs_of(config, 16, 16))


def test_label_minus_one_is_the_null_row() -> None:
    config = Stoic.Config(size=8, width=32, depth=2, num_classes=5, num_class_tokens=2)
    model = network(config)
    x, number, _ = inputs_of(config)
    null = model(x, number, Condition(labels=torch.tensor([-1, -1])))
    assert torch.equal(null, model(x, number, Condition()))
    assert model.classes is not None
    with torch.no_grad():
        model.classes.table.weight[2] = model.classes.table.weight[5]
    assert torch.equal(null, model(x, number, Condition(labels=torch.tensor([2, 2]))))


@pytest.mark.parametrize("stride", [1, 2])
def test_circular_without_positions_cannot_tell_place(stride: Any) -> None:
    """Translation by whole strides commutes with the network; with zero padding it does not."""
    moves = []
    for padding_mode in ("circular", "zeros"):
        config = Stoic.Config(size=8, width=32, depth=2, stride=stride, padding_mode=padding_mode, stem_layers=2)
        model = network(config)
        x, number, condition = inputs_of(config)
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
    x, number, condition = inputs_of(config)
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
    x, number, condition = inputs_of(config)
    out = model(x, number, condition).roll(2, 3)
    assert largest(model(x.roll(2, 3), number, condition), out) > 1e-3 * out.abs().max().item()


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
        model(*inputs_of(config))
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
    assert torch.equal(shared(*inputs_of(config)), copied(*inputs_of(config)))


def test_fixed_positions_of_another_grid_extend_the_table() -> None:
    config = Stoic.Config(size=8, width=32, depth=1, position="sincos")
    larger = dataclasses.replace(config, size=12)
    model, same = network(config), network(larger)
    x, number, condition = inputs_of(config, 12, 12)
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
