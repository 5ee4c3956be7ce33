"""Names in a file are those of the state dict, however its modules were pickled; averaged weights come first."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from brickwork.errors import CheckpointError
from brickwork.foreign.weights import MAX_DEPTH, MAX_NAME, Weights, read_state_dict, read_weights


class Net(nn.Module):
    """Throw-away: parameters, buffers of both kinds, nested and shared modules, plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2))])
        self.again = self.blocks[0]
        self.register_buffer("kept", torch.arange(4))
        self.register_buffer("temporary", torch.zeros(9), persistent=False)
        self.heads, self.rate, self.kind, self._secret = 6, 0.5, "net", 7


def zipped(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def legacy(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def old_plain(value: object) -> bytes:
    return pickle.dumps(value, 3)


WRITERS = [pickle.dumps, old_plain, zipped, legacy]


def weights_in(path: Path, data: bytes) -> Weights:
    path.write_bytes(data)
    return read_weights(path)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")  # torch's own, of legacy files
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"ema": net, "step": 3}], ids=["bare", "table"])
def test_a_pickled_module_is_its_state_dict(
    write: Callable[[object], bytes], wrap: Callable[[nn.Module], object], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = Net()
    weights = weights_in(tmp_path / "net.pkl", write(wrap(net)))
    found = {name: stored.read() for name, stored in weights.tensors.items()}
    assert found.keys() == net.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())
    assert (weights.attributes["heads"], weights.attributes["rate"], weights.attributes["kind"]) == (6, 0.5, "net")
    assert weights.attributes["blocks.0.in_features"] == 3
    assert not any("_secret" in name for name in weights.attributes)


def test_no_class_of_the_file_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, count = pickle.dumps(Net()), len(Net().state_dict())
    monkeypatch.delattr(sys.modules[Net.__module__], "Net")
    with pytest.raises(AttributeError):
        pickle.loads(data)
    assert len(weights_in(tmp_path / "net.pkl", data).tensors) == count


@pytest.mark.parametrize("write", WRITERS)
def test_a_state_dict_of_any_file_is_read(write: Callable[[object], bytes], tmp_path: Path) -> None:
    state = Net().half().state_dict()
    (tmp_path / "net.pth").write_bytes(write(state))
    found = read_state_dict(tmp_path / "net.pth")
    assert list(found) == list(state)
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in state.items())


@pytest.mark.parametrize(
    ("tree", "key", "value"),
    [
        ({"model": {"w": torch.zeros(1)}, "ema": {"w": torch.ones(1)}, "opt": {"state": {}}}, "ema", 1),
        ({"epoch": 3, "state_dict": {"w": torch.ones(1)}}, "state_dict", 1),
        ({"state_dict": {"ema": {"w": torch.ones(1)}, "net": {"w": torch.zeros(1)}}}, "state_dict.ema", 1),
        ({"ema": 0.999, "model": {"w": torch.ones(1)}}, "model", 1),
        ({"w": torch.ones(1), "ema": {"w": torch.zeros(1)}}, "", 1),
    ],
)
def test_averaged_weights_come_first(tree: object, key: str, value: float, tmp_path: Path) -> None:
    weights = weights_in(tmp_path / "a.pt", zipped(tree))
    assert weights.key == key
    assert weights.tensors["w"].read().item() == value


@pytest.mark.parametrize("tree", [{}, [], 3, {"a": 1}, {"ema": {}}, [torch.ones(1)], "text"])
def test_a_file_without_named_tensors_says_so(tree: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no tensors by name"):
        weights_in(tmp_path / "a.pt", zipped(tree))


# ---- trees that blow up ---------------------------------------------------------------------------------------------


def refused(path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        weights_in(path, data)
    assert "\n" not in str(caught.value)


def test_a_tree_in_itself_is_refused(tmp_path: Path) -> None:
    tree: dict[str, object] = {"w": torch.ones(1)}
    tree["again"] = tree
    refused(tmp_path / "a.pkl", pickle.dumps(tree), "nests modules deeper")


def test_a_small_tree_of_many_leaves_is_refused(tmp_path: Path) -> None:
    tree: dict[str, object] = {"w": torch.ones(1)}
    for _ in range(MAX_DEPTH - 2):
        tree = {"a": tree, "b": tree}
    refused(tmp_path / "a.pkl", pickle.dumps(tree), "parts")


def test_a_wide_module_under_many_names_is_refused(tmp_path: Path) -> None:
    inner = Net()
    for i in range(3000):
        setattr(inner, f"_private{i}", None)
    net = Net()
    for i in range(3000):
        net._modules[f"m{i}"] = inner
    refused(tmp_path / "a.pkl", pickle.dumps(net), "parts")


def test_bytes_between_a_tensors_numbers_count(tmp_path: Path) -> None:
    ends = torch.zeros(30_000)[::29_999]
    refused(tmp_path / "a.pt", zipped({f"w{i}": ends.view(2) for i in range(50)}), "four times what it holds")


def test_names_without_end_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "a.pkl", pickle.dumps({"n" * (MAX_NAME + 1): torch.ones(1)}), "letters")
    deep = {"n" * 100: {"n" * 100: {"n" * 100: {"n" * 100: {"n" * 110: torch.ones(1)}}}}}
    refused(tmp_path / "b.pkl", pickle.dumps(deep), "letters")


def test_a_storage_under_many_names_is_refused(tmp_path: Path) -> None:
    one = torch.ones(10_000)
    data = pickle.dumps({str(k): one for k in range(1000)})
    assert len(data) < 100_000
    refused(tmp_path / "a.pkl", data, "add up to 40 MB")
