"""Choices and bounds that fields state."""

from dataclasses import dataclass
from math import nan
from typing import Annotated, Any, Literal

import pytest

import brickwork as bw
from brickwork.bounds import above, at_least, between, check_fields, up_to
from brickwork.errors import ArgumentError, ConfigError


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Every kind of rule."""

    depth: Annotated[int, at_least(1)] = 3
    heads: Annotated[int, at_least(1)] | None = None
    rate: Annotated[float, above(0)] = 1.0
    beta: Annotated[float, above(0, below=1)] = 0.5
    share: Annotated[float, between(0, 1)] = 0.5
    betas: tuple[Annotated[float, up_to(0, below=1)], ...] = (0.9, 0.99)
    stride: Literal[1, 2, 4] = 2
    free: int = -7

    def __post_init__(self) -> None:
        check_fields(self, "sizes.")


@dataclass(frozen=True, kw_only=True)
class Deeper(Sizes):
    """A subclass that declares a field anew."""

    depth: int = 12


def test_what_keeps_the_rules_is_taken() -> None:
    assert Deeper(depth=1, heads=4, beta=0.999, share=1, betas=(0,), stride=4).depth == 1


@pytest.mark.parametrize("kind", [Sizes, Deeper])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, "sizes.depth 0: must be at least 1"),
        ({"depth": "two"}, "sizes.depth 'two': must be at least 1"),
        ({"heads": 0}, "sizes.heads 0: must be at least 1"),
        ({"rate": nan}, "sizes.rate nan: must be above 0"),
        ({"rate": float("inf")}, "sizes.rate inf: must be above 0"),
        ({"beta": 1}, "sizes.beta 1: must be above 0 and below 1"),
        ({"share": 1.1}, "sizes.share 1.1: must be from 0 to 1"),
        ({"betas": (0.5, 1.0)}, "sizes.betas (0.5, 1.0): must be from 0 up to, not including, 1"),
        ({"stride": 3}, "sizes.stride 3: must be one of 1, 2, 4"),
    ],
)
def test_what_breaks_one_is_refused_with_value_and_rule(kind: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**values)
    assert str(caught.value) == message


def test_the_error_is_of_the_callers_class() -> None:
    broken = object.__new__(Sizes)
    for name in Sizes.__dataclass_fields__:
        object.__setattr__(broken, name, 0)
    with pytest.raises(ArgumentError, match="depth 0"):
        check_fields(broken, error=ArgumentError)


@pytest.mark.parametrize("depth", [1025, 1 << 20, 1 << 62])
def test_a_depth_that_would_never_be_built_is_refused_at_once(depth: int) -> None:
    for build in (bw.Stoic.Config, bw.Dit.Config, bw.Tldm.Config, bw.Uvit.Config, bw.Lego.Brick, bw.Words.Config):
        with pytest.raises(ConfigError, match=rf"depth {depth}: must be from [01] to 1024"):
            build(depth=depth)
    with pytest.raises(ConfigError, match=rf"batch {depth << 20}: must be"):
        bw.Recipe(backbone=bw.preset("stoic-tiny"), batch=depth << 20)
