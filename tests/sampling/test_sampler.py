"""Samplers as values: words read once, written back, replaced field by field; noise levels of one's own."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from brickwork.diffusion.process import Edm, LinearFlow
from brickwork.diffusion.schedule import Karras, Levels, LogSnr
from brickwork.errors import ArgumentError, BrickworkError, ExtensionError, UnknownNameError
from brickwork.sampling.levels import evaluated_levels
from brickwork.sampling.loop import integrate, sample_x0
from brickwork.sampling.plan import Growth, Plan, Refinement
from brickwork.sampling.sampler import Sampler, read_schedule, schedule_word
from brickwork.sampling.solvers import Ddim, DpmSolverPP, Heun

ONE = np.array([[[[1.0]]]])


@dataclass
class Linear:
    """D = x / 2, and it writes down the levels that it sees."""

    num_classes = 0
    text_shape = None
    shape = (1, 1, 1)

    def __post_init__(self) -> None:
        self.process, self.seen = Edm(), []

    def __call__(self, x: Any, sigma: Any, condition: Any) -> Any:
        self.seen.append(float(sigma[0]))
        return x / 2

    def asarray(self, values: np.ndarray) -> Any:
        return np.asarray(values, np.float64)

    def decode(self, x0: Any) -> np.ndarray:
        return np.zeros((len(x0), 1, 1, 1), np.uint8)


def test_words_are_read_when_it_is_made() -> None:
    how = Sampler(solver="heun:churn=10", schedule="karras:rho=5", plan="pg:0.3", guidance=2)
    assert (how.solver, how.schedule, how.plan) == (Heun(churn=10.0), Karras(rho=5.0), Growth(0.3))
    assert how == Sampler(solver=Heun(churn=10.0), schedule=Karras(rho=5.0), plan=Growth(0.3), guidance=2.0)
    assert hash(how) == hash(replace(how))
    assert Sampler(plan="pr:0.4").plan == Refinement(0.4)
    assert Sampler(plan="3@5,1").plan == Plan(thresholds=(5.0,), counts=(3, 1))


def test_what_is_left_out_is_as_ever() -> None:
    how = Sampler()
    assert (how.steps, how.solver, how.schedule, how.plan) == (50, DpmSolverPP(), Karras(), None)
    assert (how.guidance, how.guidance_interval, how.batch_size) == (1.0, (0.0, inf), 64)
    assert Sampler(solver=None, schedule=None) == how


@pytest.mark.parametrize(
    ("word", "again"),
    [
        ("euler", "ddim"),
        ("ddim:eta=0.5", "ddim:eta=0.5"),
        ("heun:churn=10,churn_noise=1.003", "heun:churn=10,churn_noise=1.003"),
        ("dpm2m", "dpm2m"),
        ("dpm3m:half_curvature=true", "dpm3m:half_curvature=true"),
        ("euler-maruyama", "euler-maruyama"),
    ],
)
def test_a_solver_is_written_as_it_is_read(word: str, again: str) -> None:
    how = Sampler(solver=word)
    assert how.to_entry()["solver"] == again
    assert Sampler.from_entry(how.to_entry()) == how


@pytest.mark.parametrize("word", ["karras", "karras:rho=5", "log-snr", "linear", "levels:80,10,1,0", "levels:1e-05,0"])
def test_a_schedule_is_written_as_it_is_read(word: str) -> None:
    assert schedule_word(read_schedule(word)) == word
    assert Sampler.from_entry(Sampler(schedule=word).to_entry()) == Sampler(schedule=word)


def test_the_entry_is_that_of_0_1() -> None:
    how = Sampler(steps=25, solver="heun", schedule="log-snr", guidance=1.5, guidance_interval=(0.2, 6), plan="3@5,2")
    entry = {"steps": 25, "solver": "heun", "grid": "log-snr", "guidance": 1.5, "guidance_interval": [0.2, 6.0]}
    assert how.to_entry() == entry | {"plan": "3@5,2"}
    assert Sampler().to_entry()["guidance_interval"] == [0.0, None]
    assert json.loads(json.dumps(Sampler().to_entry(), allow_nan=False)) == Sampler().to_entry()
    assert Sampler().to_facts()["guidance_interval"] == ["0.0", "inf"]


def test_an_entry_is_read_from_a_picture_and_from_newer_words() -> None:
    facts = {"seed": 3, "model": "digits", "steps": 9, "solver": "heun:churn=3", "grid": "karras", "guidance": 2.0}
    facts |= {"guidance_interval": ["0.5", "inf"], "plan": None}
    want = Sampler(steps=9, solver=Heun(churn=3.0), guidance=2.0, guidance_interval=(0.5, inf))
    assert Sampler.from_entry(facts) == want
    assert Sampler.from_entry({"schedule": "log-snr"}) == Sampler(schedule=LogSnr())
    with pytest.raises(ArgumentError, match="guidance interval"):
        Sampler.from_entry({"guidance_interval": [1]})


def test_a_solver_without_a_name_is_not_written() -> None:
    class Mine(type(DpmSolverPP()).__mro__[1]):  # a Solver
        order, calls = 1, 1

        def step(self, denoise: Any, x: Any, s: float, s_next: float, noise: Any, memory: Any) -> Any:
            return denoise(x, s), memory

    how = Sampler(solver=Mine(), steps=1)
    assert sample_x0(Linear(), seeds=0, how=how).shape == (1, 1, 1, 1)
    with pytest.raises(ExtensionError, match="Mine is registered under no name"):
        how.to_entry()


def test_keywords_replace_fields() -> None:
    how = Sampler(steps=9, solver="heun", guidance=2.0)
    assert how.but(steps=4, solver="dpm3m") == Sampler(steps=4, solver=DpmSolverPP(order=3), guidance=2.0)
    assert how.but() is how
    own = how.but(schedule=[3, 1, 0])
    assert (own.steps, own.schedule) == (2, Levels([3, 1, 0]))
    assert own.but(schedule="karras").steps == 50
    assert own.but(guidance=1.0).steps == 2
    model = Linear()
    sample_x0(model, seeds=[0], how=Sampler(steps=9, solver="heun"), steps=2, solver="euler")
    assert len(model.seen) == 2
    with pytest.raises(TypeError, match="grid"):
        how.but(grid="karras")  # pyright: ignore[reportCallIssue]


def test_a_plan_waits_for_the_model() -> None:
    how = Sampler(plan="pg:0.3")
    assert how.for_parts(3).plan == Plan.pg(0.3, 3)
    assert how.for_parts(5).plan == Plan.pg(0.3, 5)
    with pytest.raises(ArgumentError, match="of 1 part"):
        how.for_parts(1)


# ---- levels of one's own ----------------------------------------------------------------------------------------


def test_own_levels_are_the_levels_of_the_run() -> None:
    """Euler by hand: D = x / 2, so each step multiplies x by 1/2 + s'/(2 s)."""
    model = Linear()
    drawn = sample_x0(model, seeds=[7], solver=Ddim(), schedule=[40, 10, 1, 0])
    assert model.seen == [40.0, 10.0, 1.0]
    start = sample_x0(Linear(), seeds=[7], solver=Ddim(), schedule=[40, 0])  # x / 2
    assert drawn.ravel() == pytest.approx(start.ravel() * (0.5 + 5 / 40) * (0.5 + 0.5 / 10))
    by_hand = integrate(lambda x, s: x / 2, 2 * start, [40, 10, 1, 0], Ddim(), lambda: ONE)
    np.testing.assert_allclose(drawn, by_hand)
    assert [call.sigma for call in evaluated_levels(Edm(), schedule=Levels([40, 10, 1, 0]), solver="heun")] == [
        40, 10, 10, 1, 1
    ]  # fmt: skip


def test_a_schedule_s_own_levels_change_nothing() -> None:
    levels = Karras().sigmas(Edm(), 6)
    drawn = [sample_x0(Linear(), seeds=[1], schedule=kind, steps=6) for kind in (Karras(), Levels(levels))]
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ([0], "one step has two levels"),
        ([], "one step has two levels"),
        ([3, 1], "the last level is 1: .* let the last be 0"),
        ([1, 3, 0], "level 3 after 1: .* turn them round"),
        ([3, 3, 0], "level 3 after 3"),
        ([3, nan, 0], "level nan after 3"),
        ([inf, 0], "level 0 after inf: levels are finite"),
        ([1, -1, 0], "level 0 after -1"),
        (["3", "x"], "give numbers that fall to 0"),
    ],
)
def test_levels_that_are_none(levels: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says) as caught:
        Levels(levels)
    assert "\n" not in str(caught.value)


def test_levels_fix_the_steps_and_start_within_the_process() -> None:
    with pytest.raises(ArgumentError, match="steps 7 with a schedule of 3 levels: leave the steps out"):
        Sampler(steps=7, schedule=[3, 1, 0])
    with pytest.raises(ArgumentError, match="first level 81: this model's noise ends at 80; start at most there"):
        sample_x0(Linear(), seeds=[0], schedule=[81, 1, 0])
    top = LinearFlow().sigma_max
    assert Sampler(schedule=[top, 0]).sigmas(LinearFlow()).tolist() == [top, 0]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"steps": 0}, "steps 0"),
        ({"steps": 2.5}, "steps 2.5"),
        ({"steps": True}, "steps True"),
        ({"guidance": nan}, "guidance nan"),
        ({"guidance": "2"}, "guidance '2': it must be a finite number"),
        ({"guidance_interval": (2.0, 1.0)}, "guidance interval 2.0 to 1.0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"plan": "pg:2"}, "pg:2"),
        ({"solver": "hoin"}, "no solver named 'hoin'; did you mean heun"),
        ({"schedule": "karas"}, "no schedule named 'karas'; did you mean karras"),
        ({"schedule": "levels:3,1"}, "the last level is 1"),
    ],
)
def test_fields_are_refused_when_it_is_made(fields: dict[str, Any], says: str) -> None:
    with pytest.raises((ArgumentError, UnknownNameError), match=says) as caught:
        Sampler(**fields)
    assert isinstance(caught.value, BrickworkError)
    assert "\n" not in str(caught.value)
