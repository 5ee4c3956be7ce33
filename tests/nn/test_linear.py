"""Both libraries compute the same layer; which one does is measured, and no row knows its company."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brickwork.errors import UnknownNameError
from brickwork.nn import linear as products
from brickwork.nn.linear import HAS_ONEDNN, LIBRARIES, Gelu, Linear, library, product, use_library


@pytest.fixture(autouse=True)
def _forget() -> None:
    products.set_choices({})


def layer(gelu: Gelu | None = None, *, bias: bool = True) -> Linear:
    torch.manual_seed(0)
    return Linear(48, 64, bias=bias, gelu=gelu)


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, 48, generator=torch.Generator().manual_seed(1))


def by_hand(linear: Linear, x: Tensor) -> Tensor:
    """In float64, from the formulas."""
    out = x.double() @ linear.weight.double().T
    out = out if linear.bias is None else out + linear.bias.double()
    if linear.gelu == "none":
        return out * (1 + torch.erf(out / 2**0.5)) / 2
    if linear.gelu == "tanh":
        return out * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (out + 0.044715 * out**3))) / 2
    return out


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_formula_forward_and_backward(name: str, gelu: Gelu | None, bias: bool) -> None:
    linear, x = layer(gelu, bias=bias), rows(2, 7).requires_grad_()
    weights = [x, *linear.parameters()]
    with use_library(name):
        out = linear(x)
        with torch.no_grad():
            assert torch.allclose(linear(x), out, atol=1e-6)
    expected = by_hand(linear, x)
    assert torch.allclose(out.double(), expected, atol=1e-5)
    got = torch.autograd.grad(out.square().sum(), weights)
    want = torch.autograd.grad(expected.square().sum(), weights)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("name", LIBRARIES)
def test_gradients_of_gradients(name: str) -> None:
    linear, x = layer(), rows(6).requires_grad_()
    with use_library(name):
        (once,) = torch.autograd.grad(linear(x).square().sum(), x, create_graph=True)
        (twice,) = torch.autograd.grad(once.square().sum(), x)
    W = linear.weight.double()
    curvature = 2 * W.T @ W
    assert torch.allclose(twice.double(), 2 * once.double() @ curvature, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("training", [True, False])
def test_under_autocast_as_torch_does_it(name: str, training: bool) -> None:
    linear, x = layer("tanh"), rows(9)
    with use_library(name), torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(training):
        out = linear(x)
    assert out.dtype == torch.bfloat16
    assert out.requires_grad == training
    assert torch.allclose(out.double(), by_hand(linear, x), atol=0.03)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_row_does_not_know_its_company(name: str, dtype: torch.dtype) -> None:
    linear, x = layer("tanh").to(dtype), rows(600).to(dtype)
    with use_library(name):
        whole = linear(x)
        for count in (1, 2, 3, 4, 64, 66, 257):
            assert torch.equal(linear(x[:count]), whole[:count]), count


def test_rows_with_gaps_are_closed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN takes them, by a reference kernel that is a thousand times slower."""
    seen: list[Tensor] = []

    def pointwise(a: Tensor, b: Tensor, *_: object) -> Tensor:
        seen.extend((a, b))
        return a @ b.T

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", pointwise)
    wide = rows(40).requires_grad_()
    gapped, transposed = wide[:, 4:36], wide[:, :40].T
    for a, b in ((gapped, gapped), (gapped, transposed[:, :32].T[:, :32]), (transposed, transposed)):
        out = product(a, b)
        assert torch.allclose(out, a @ b.T, atol=1e-5)
        out.sum().backward()
    assert all(t.is_contiguous() or t.mT.is_contiguous() for t in seen)


def test_it_is_a_linear_layer_with_the_names_of_one() -> None:
    linear, plain = layer(), nn.Linear(48, 64)
    plain.load_state_dict(linear.state_dict())
    assert isinstance(linear, nn.Linear)
    with use_library("torch"):
        assert torch.equal(linear(rows(5)), plain(rows(5)))


def test_measured_once_per_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def measure(*key: object) -> dict[str, float]:
        calls.append(key)
        return {"torch": 1.2, "onednn": 1.0}

    monkeypatch.setattr(products, "measure", measure)
    monkeypatch.setattr(products, "is_available", lambda *_: True)
    assert [library("cpu", "float32", False) for _ in range(3)] == ["torch"] * 3  # 1.2 times is no clear difference
    assert calls == [("cpu", "float32", False)]
    assert products.choices() == {"cpu/float32/infer/product": "torch"}
    monkeypatch.setattr(products, "measure", lambda *_: {"torch": 2.0, "onednn": 1.0})
    assert library("cpu", "bfloat16", False) == "onednn"
    monkeypatch.setattr(products, "measure", lambda *_: {"torch": 2.0, "onednn": float("inf")})
    products.set_choices({})
    assert library("cpu", "float32", False) == "torch"


@pytest.mark.parametrize("training", [True, False])
def test_measuring_draws_no_random_number(training: bool) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    seconds = products.measure("cpu", "float32", training)
    assert set(seconds) == set(LIBRARIES)
    assert all(0 < value < 60 for name, value in seconds.items() if name == "torch" or HAS_ONEDNN)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_choice_of_an_earlier_version_is_for_training_and_for_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    products.set_choices({"cpu/float32/product": "onednn", "cpu/bfloat16/infer/product": "torch"})
    monkeypatch.setattr(products, "measure", None)
    monkeypatch.setattr(products, "is_available", lambda *_: True)
    assert library("cpu", "float32", True) == library("cpu", "float32", False) == "onednn"
    assert library("cpu", "bfloat16", False) == "torch"


def test_elsewhere_it_is_torch() -> None:
    assert library("cuda", "float32", True) == library("cpu", "float64", False) == "torch"
    assert products.choices() == {}
    assert layer().to("meta")(torch.empty(3, 48, device="meta")).shape == (3, 64)
    assert torch.equal(product(torch.eye(3).double(), torch.eye(3).double()), torch.eye(3).double())


def test_an_export_holds_the_operator_that_every_target_knows() -> None:
    with use_library("onednn"):
        graph = torch.export.export(layer("tanh").eval(), (rows(5),)).graph
    assert {str(node.target) for node in graph.nodes if node.op == "call_function"} == {
        "aten.linear.default",
        "aten.gelu.default",
    }


def test_unknown_libraries_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="onednn"), use_library("onednm"):
        pass
    with pytest.raises(UnknownNameError, match="torch"):
        products.set_choices({"cpu/float32/product": "touch"})
