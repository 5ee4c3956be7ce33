from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from brickwork.backbone.stoic import Stoic
from brickwork.codec.base import Pixels
from brickwork.diffusion.prediction import Velocity
from brickwork.diffusion.process import LinearFlow
from brickwork.errors import ConfigError
from brickwork.model.model import Model
from brickwork.training.denoiser.transfer import resize_positions, transfer


def model_of(classes: tuple[str, ...] = (), **changes: Any) -> Model:
    values: dict[str, Any] = {
        "width": 32,
        "depth": 1,
        "stride": 1,
        "size": 4,
        "channels": 1,
        "num_classes": len(classes),
    }
    backbone = Stoic.Config(**values | changes).build()
    return Model(backbone, LinearFlow(), Velocity(), Pixels(num_channels=1), classes)


def test_equal_models_load_whole() -> None:
    source, model = model_of(("a", "b")), model_of(("a", "b"))
    result = transfer(source, model)
    assert result.loaded == list(model.backbone.state_dict())
    assert result.resized == result.fresh == result.unused == []
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


def test_classes_go_by_name() -> None:
    source, model = model_of(("a", "b", "c")), model_of(("x", "c"))
    fresh = model.backbone.state_dict()["classes.table.weight"][0].clone()
    result = transfer(source, model)
    old, new = (m.backbone.state_dict()["classes.table.weight"] for m in (source, model))
    assert torch.equal(new[0], fresh)
    assert torch.equal(new[1], old[2])
    assert torch.equal(new[2], old[3])
    assert result.resized == ["classes.table.weight (1 classes kept by name, fresh: x)"]


def test_swapped_classes_are_not_mistaken_for_equal_shapes() -> None:
    source, model = model_of(("a", "b")), model_of(("b", "a"))
    transfer(source, model)
    old, new = (m.backbone.state_dict()["classes.table.weight"] for m in (source, model))
    assert torch.equal(new, old[[1, 0, 2]])


def test_what_does_not_fit_is_listed() -> None:
    source, model = model_of(("a",), final_conv=True), model_of(width=64, long_skip="concat", depth=2)
    result = transfer(source, model)
    assert "final_conv.weight" in result.loaded
    assert "merges.0.weight (new)" in result.fresh
    assert "stem.0.weight (32x1x3x3 → 64x1x3x3)" in result.fresh
    assert result.unused == ["classes.table.weight"]
    text = str(result)
    assert text.startswith(f"{len(result.loaded)} tensors loaded")
    assert "unused: classes.table.weight" in text


def test_positions_are_resized() -> None:
    source, model = model_of(position="learned"), model_of(position="learned", size=8)
    result = transfer(source, model)
    assert result.resized == ["position.table (16 → 64 places)"]


def test_a_plane_of_positions_stays_a_plane() -> None:
    """Bicubic interpolation keeps a slope; only the border, where it has no neighbours, may bend."""
    across = torch.arange(8.0).expand(8, 8)
    table = torch.stack([across, across.T], dim=-1).reshape(1, 64, 2)
    resized = resize_positions(table, 256).reshape(16, 16, 2)
    expected = (torch.arange(16.0) + 0.5) / 2 - 0.5
    torch.testing.assert_close(resized[8, 5:11, 0], expected[5:11])
    torch.testing.assert_close(resized[5:11, 8, 1], expected[5:11])


def test_weights_that_are_not_finite_are_no_start() -> None:
    source = model_of()
    with torch.no_grad():
        source.backbone.get_parameter("final_conv.weight")[0] = math.nan
    with pytest.raises(ConfigError, match=r"\(init\) holds NaN or infinity in final_conv\.weight: start from another"):
        transfer(source, model_of())
