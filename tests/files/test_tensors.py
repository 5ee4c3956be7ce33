"""A tensors' file says when it is damaged, wherever that is; weights are finite; files without digests load."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import latent_model, tiny_model

from brickwork.codec.file import load_codec, save_codec
from brickwork.codec.latents import Latents
from brickwork.errors import CheckpointError, UndigestedWarning
from brickwork.files import tensors as module
from brickwork.files.tensors import read_tensors, write_tensors
from brickwork.model.checkpoint import load, save
from brickwork.training.run.statefile import Counters, read_state, write_state

TENSORS = {
    "weight": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
    "half": torch.ones(5, dtype=torch.bfloat16),
    "step": torch.tensor(7),
    "none": torch.zeros(0, 2),
}


def test_tensors_come_back_with_their_metadata_and_equal_ones_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tensors(tmp_path / name, TENSORS, {"y": "é", "x": "{}"})
    found, metadata = read_tensors(tmp_path / "a")
    assert metadata == {"x": "{}", "y": "é"}
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_bit_of_a_file_is_guarded(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", TENSORS, {"brickwork": '{"depth": 3}'})
    data = (tmp_path / "a").read_bytes()
    for bit in range(0, 8 * len(data), 23):  # 23 and 8 have no common divisor: every place of a bit in turn
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b").write_bytes(flipped)
        try:
            found, metadata = read_tensors(tmp_path / "b", finite=False)
        except CheckpointError:
            continue
        assert metadata["brickwork"] == '{"depth": 3}', "only the key of the digests is away: the rest is as it was"
        assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def damage(path: Path) -> None:
    """Flip a bit in the first tensor."""
    data = bytearray(path.read_bytes())
    data[8 + int.from_bytes(data[:8], "little") + 1] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["model", "autoencoder", "state"])
def test_a_flipped_bit_is_one_line_that_names_file_and_tensor(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if kind == "model":
        save(tiny_model("stoic"), path)
    elif kind == "autoencoder":
        codec = latent_model().codec
        assert isinstance(codec, Latents)
        save_codec(codec, path)
    else:
        write_state(path, "brickwork-state", {"model.weight": torch.ones(3)}, Counters(), {})
    damage(path)
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors: its tensor \S+ is not what its digest says.*again"
    ) as error:
        {"model": load, "autoencoder": load_codec}.get(kind, lambda p: read_state(p, "brickwork-state"))(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_must_be_finite(value: float, tmp_path: Path) -> None:
    model = tiny_model("dit")
    name, weight = list(model.own_backbone.named_parameters())[3]
    weight.data.flatten()[-1] = value
    save(model, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=f"its tensor {name} holds NaN or infinity"):
        load(tmp_path / "a.safetensors")


def test_a_file_without_digests_loads_and_that_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_said", [])
    save_file({"a": torch.ones(2)}, tmp_path / "old", {"x": "1"})
    with pytest.warns(UndigestedWarning, match="old carries no digests.*save it again"):
        assert read_tensors(tmp_path / "old")[1] == {"x": "1"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(read_tensors(tmp_path / "old")[0]["a"], torch.ones(2))
