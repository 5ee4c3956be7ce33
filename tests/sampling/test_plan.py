"""Plans by the spec's numbers; smaller models that really run instead of the full one, counted call by call."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf, nan

import numpy as np
import pytest
import torch

from brickwork.diffusion.arrays import Array, like, namespace
from brickwork.diffusion.denoiser import Condition
from brickwork.diffusion.process import PROCESSES, Edm, LinearFlow, NoiseProcess
from brickwork.diffusion.schedule import SCHEDULES, Karras
from brickwork.errors import ArgumentError
from brickwork.model.checkpoint import load
from brickwork.sampling.canvas import Canvas
from brickwork.sampling.guidance import Guided
from brickwork.sampling.levels import evaluated_levels
from brickwork.sampling.loop import sample, sample_x0
from brickwork.sampling.plan import SCALE, Plan, parse_plan
from brickwork.sampling.planned import Planned
from brickwork.sampling.solvers import Ddim, DpmSolverPP, EulerMaruyama, Heun, Solver

LEVELS = {.1: 45.8, .2: 24.4, .3: 12.6, .4: 5.84, .5: 2.47, .6: .965, .7: .311, .8: .085, .9: .016}  # fmt: skip
"""The spec's section 2.1: sigma at a share of the reverse process."""


@dataclass
class Part:
    """D = n x / (1 + sigma) + label, as the first n parts of a model; writes down (n, levels) into a shared list."""

    num_parts: int = 3
    kind: str = "numpy"
    asked: list[tuple[int, list[float]]] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    process: NoiseProcess = field(default_factory=Edm)
    shape: tuple[int, int, int] = (1, 2, 2)
    num_classes: int = 4
    text_shape: tuple[int, int] | None = None

    def first(self, n: int) -> Part:
        assert 1 <= n <= self.num_parts
        self.made.append(n)
        return Part(n, self.kind, self.asked, process=self.process, num_classes=self.num_classes)

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        self.asked.append((self.num_parts, sigma.tolist()))
        shift = 0 if condition.labels is None else like(condition.labels, x)[:, None, None, None]
        return self.num_parts * x / (10 + 10 * sigma[:, None, None, None]) + shift

    def asarray(self, values: np.ndarray) -> Array:
        values = np.asarray(values, np.float32)
        return torch.from_numpy(values) if self.kind == "torch" else values

    def decode(self, x0: Array) -> np.ndarray:
        return np.zeros((len(x0), 2, 2, 1), dtype=np.uint8)


# ---- levels -----------------------------------------------------------------------------------------------------


def test_the_breaks_of_the_paper() -> None:
    """PG stops early for sigma < 0.31 and PR for sigma > 5.84, of three bricks."""
    pg, pr = Plan.pg(0.3, 3), Plan.pr(0.4, 3)
    assert [pg.parts_at(s) for s in (1e-4, 0.002, 0.3, 0.31, 0.312, 1.0, 80.0, 1e4)] == [2, 2, 2, 2, 3, 3, 3, 3]
    assert [pr.parts_at(s) for s in (1e-4, 0.002, 5.8, 5.83, 5.85, 6.0, 80.0, 1e4)] == [3, 3, 3, 3, 2, 2, 2, 2]


@pytest.mark.parametrize("share", LEVELS)
def test_levels_of_every_break(share: float) -> None:
    sigma = LEVELS[share]
    pg, pr = Plan.pg(1 - share, 2), Plan.pr(share, 2)
    assert pg.thresholds[0] == pytest.approx(sigma, rel=0.02)
    assert pr.thresholds[0] == pytest.approx(sigma, rel=0.02)
    assert (pg.parts_at(0.95 * sigma), pg.parts_at(1.05 * sigma)) == (1, 2)
    assert (pr.parts_at(0.95 * sigma), pr.parts_at(1.05 * sigma)) == (2, 1)


def test_a_break_skips_its_share_of_the_scale() -> None:
    shares = np.linspace(0, 1, 41)
    for make, skipped_at in ((Plan.pg, slice(-1, None, -1)), (Plan.pr, slice(0, None, 1))):
        before = -1
        for share in shares:
            skips = [make(float(share), 3).parts_at(float(s)) == 2 for s in SCALE][skipped_at]
            assert sum(skips) == pytest.approx(256 * share, abs=1)
            assert sum(skips) >= before
            assert skips == sorted(skips, reverse=True)  # the last levels, or the first, without a hole
            before = sum(skips)


def test_none_and_all() -> None:
    for make in (Plan.pg, Plan.pr):
        for sigma in (1e-9, 0.001, 0.002, 1.0, 80.0, 1e9):
            assert make(0, 5).parts_at(sigma) == 5
            assert make(1, 5).parts_at(sigma) == 4


def test_a_level_is_compared_as_denoisers_get_it() -> None:
    """float32(0.7) is below 0.7 and float32(0.3) above 0.3; neither may matter."""
    for level in (0.7, 0.3, 5.84, 0.1):
        plan = Plan(thresholds=(level,), counts=(2, 1))
        assert plan.parts_at(level) == plan.parts_at(float(np.float32(level))) == 2
        assert plan.parts_at(float(np.nextafter(np.float32(level), np.float32(0)))) == 1


def test_levels_one_by_one() -> None:
    plan = Plan(thresholds=(5.84, 0.31), counts=(3, 2, 1))
    assert [plan.parts_at(s) for s in (80, 5.84, 5.83, 0.31, 0.309, 0)] == [3, 3, 2, 2, 1, 1]
    assert parse_plan("3@5.84,2@0.31,1", 3) == plan
    assert parse_plan(" 3@5.84, 2@0.31, 1 ", 7) == plan
    assert parse_plan("2", 3).parts_at(1.0) == 2


@pytest.mark.parametrize("text", ["pg:0.3", "pg:0", "pg:1", "pr:0.4", "pr:0.001", "pr:1", "3@5.84,2@0.31,1", "2",
                                  "1@1e-05,3@1e-07,2", "3@0.123456789012345,1"])  # fmt: skip
def test_a_plan_is_read_back(text: str) -> None:
    plan = parse_plan(text, 3)
    assert parse_plan(str(plan), 3) == plan
    assert [parse_plan(str(plan), 3).parts_at(s) for s in SCALE] == [plan.parts_at(s) for s in SCALE]


def test_a_plan_is_written_for_people() -> None:
    assert str(Plan(thresholds=(80.0, 5.84), counts=(3, 2, 1))) == "3@80,2@5.84,1"
    assert str(Plan.pg(0.3, 3)).startswith("3@0.31")


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "plan ''.*no number of parts; write pg:0.3"),
        ("pg", "no number of parts; write pg:0.3"),
        ("pg:", "'' is not a share of the steps; write"),
        ("pg:much", "'much' is not a share of the steps; write"),
        ("pg:0.3,2", "'0.3,2' is not a share"),
        ("pg:1.5", "pg:1.5.* 0 .skip nothing. to 1"),
        ("pr:-0.1", "pr:-0.1.* 0 .skip nothing. to 1"),
        ("pr:nan", "pr:nan.* 0 .skip nothing. to 1"),
        ("up:0.3", "no number of parts; write"),
        ("3@5.84", "only the last count stands without a level; write"),
        ("3,2", "at '3': only the last count stands without a level; write"),
        ("3@1,2@", "at '2@': only the last"),
        ("3@,2", "'' is not a noise level; write"),
        ("3@1,", "at '': it is no number of parts; write"),
        ("3@much,2", "'much' is not a noise level; write"),
        ("many@1,2", "at 'many@1': it is no number of parts; write"),
        ("²@1,2", "at '²@1': it is no number of parts; write"),
        ("-1@1,2", "at '-1@1': it is no number of parts; write"),
        ("9" * 5000 + "@1,2", "it is no number of parts; write"),
        ("0@1,2", "0 parts: .* at least 1"),
        ("4@1,3", "runs 4 parts: this model is of 3; take at most 3"),
        ("3@-1,2", "threshold -1.0: .* above 0"),
        ("3@0,2", "threshold 0.0: .* above 0"),
        ("3@nan,2", "threshold nan: .* finite"),
        ("3@inf,2", "threshold inf: .* finite"),
        ("3@1e99,2", "threshold 1e.99: .* finite"),
        ("3@0.3,2@0.5,1", "threshold 0.5 after 0.3: levels fall"),
        ("3@0.3,2@0.3,1", "threshold 0.3 after 0.3: levels fall"),
    ],
)
def test_a_bad_text_is_one_line(text: str, says: str) -> None:
    with pytest.raises(ArgumentError, match=says) as caught:
        parse_plan(text, 3)
    assert "\n" not in str(caught.value)
    assert "plan" in str(caught.value)


def test_a_model_of_one_part_has_no_plan() -> None:
    for text in ("pg:0.3", "pr:0", "1", "1@2,1"):
        with pytest.raises(ArgumentError, match="this model is of 1 part, and none can be left out"):
            parse_plan(text, 1)
        with pytest.raises(ArgumentError, match="of 1 part"):
            Planned.of(Part(1), text)
    for make in (Plan.pg, Plan.pr):
        with pytest.raises(ArgumentError, match="of 1 part"):
            make(0.5, 1)
    with pytest.raises(ArgumentError, match="of 1 part"):
        Planned.of(Part(1), Plan(counts=(1,)))


@pytest.mark.parametrize(
    ("thresholds", "counts", "says"),
    [
        ((), (), "0 counts for 0 thresholds"),
        ((1.0,), (2,), "1 counts for 1 thresholds"),
        ((), (2, 1), "2 counts for 0 thresholds"),
        ((1.0, 2.0), (3, 2, 1), "threshold 2.0 after 1.0"),
        ((nan,), (2, 1), "threshold nan"),
        ((1.0,), (2, 0), "0 parts"),
        ((1.0,), (True, 1), "True parts"),
        ((1.0,), (1.5, 1), "1.5 parts"),
    ],
)
def test_a_table_that_is_none(thresholds: tuple[float, ...], counts: tuple[int, ...], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        Plan(thresholds=thresholds, counts=counts)


def test_a_plan_needs_its_denoisers() -> None:
    with pytest.raises(ArgumentError, match="plan 3@1,2 runs 2 parts at times: there are denoisers of 1, 3; give one"):
        Planned({3: Part(3), 1: Part(1)}, Plan(thresholds=(1.0,), counts=(3, 2)))
    with pytest.raises(ArgumentError, match="runs 4 parts: this model is of 3"):
        Planned.of(Part(3), Plan(counts=(4,)))


# ---- what runs --------------------------------------------------------------------------------------------------

SOLVERS: dict[str, tuple[Solver, NoiseProcess]] = {
    "euler": (Ddim(), Edm()),
    "ddim": (Ddim(eta=1.0), LinearFlow()),
    "dpm2m": (DpmSolverPP(), LinearFlow()),
    "dpm3m": (DpmSolverPP(order=3), Edm()),
    "heun": (Heun(), PROCESSES["discrete-vp"]()),
    "heun with churn": (Heun(churn=10), Edm()),
    "euler-maruyama": (EulerMaruyama(), PROCESSES["vp"]()),
}


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_runs_what_the_plan_says(name: str, kind: str) -> None:
    """Guided: each evaluation is one call, of two rows a picture, of the number of parts that its own level asks."""
    solver, process = SOLVERS[name]
    model = Part(3, kind, process=process)
    plan = Plan(thresholds=(2.0, 0.2), counts=(2, 3, 1))
    options = {"steps": 17, "solver": solver, "guidance": 2.0, "guidance_interval": (0.5, 6.0)}
    sample(Planned.of(model, plan), seeds=[0, 1], labels=[1, 3], **options)
    calls = evaluated_levels(process, **options)
    assert len(calls) == solver.evaluations(17)
    assert model.asked == [(plan.parts_at(s), [s] * 2 * rows) for s, rows in calls]
    assert {n for n, _ in model.asked} == {1, 2, 3}
    assert {rows for _, rows in calls} == {1, 2}


def test_heun_decides_each_half_of_a_step_on_its_own_level() -> None:
    model = Part()
    levels = Karras().sigmas(Edm(), 4)
    plan = Plan(thresholds=(float(levels[1]),), counts=(3, 1))
    sample(Planned.of(model, plan), seeds=[0], steps=4, solver=Heun())
    want = [levels[0], levels[1], levels[1], levels[2], levels[2], levels[3], levels[3]]
    assert [s[0] for _, s in model.asked] == pytest.approx(want, rel=1e-6)
    assert [n for n, _ in model.asked] == [3, 3, 3, 1, 1, 1, 1]


def test_evaluated_levels_by_hand() -> None:
    churned = evaluated_levels(Edm(), steps=2, solver=Heun(churn=0.2))
    assert churned == [(pytest.approx(s), 1) for s in (80 * 1.1, 0.002, 0.002 * 1.1)]
    guided = evaluated_levels(
        Edm(), steps=3, schedule=SCHEDULES["linear"](), guidance=3.0, guidance_interval=(20.0, 60.0)
    )
    assert guided == [(80.0, 1), (pytest.approx(160 / 3), 2), (pytest.approx(80 / 3), 2)]
    assert [c.rows for c in evaluated_levels(Edm(), steps=3, guidance=1.5)] == [2, 2, 2]
    with pytest.raises(ArgumentError, match="at least 1"):
        evaluated_levels(Edm(), steps=0)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_rows_of_different_levels(kind: str) -> None:
    model = Part(3, kind)
    planned = Planned.of(model, Plan(thresholds=(5.0, 0.5), counts=(3, 2, 1)))
    x = model.asarray(np.random.default_rng(0).standard_normal((6, 1, 2, 2)))
    sigma = model.asarray(np.array([0.1, 9.0, 1.0, 0.2, 5.0, 0.4]))
    labels = namespace(x).asarray([0, 1, 2, 3, 0, 1])
    got = planned(x, sigma, Condition(labels=labels))
    assert Counter(n for n, _ in model.asked) == {1: 1, 2: 1, 3: 1}
    assert namespace(got) is namespace(x)
    for i, n in enumerate((1, 3, 2, 1, 3, 1)):
        alone = Part(n)(x[i : i + 1], sigma[i : i + 1], Condition(labels=labels[i : i + 1]))
        np.testing.assert_array_equal(got[i], alone[0])
    model.asked.clear()
    guided = Guided(planned, 2.0)(x, sigma, Condition(labels=labels))
    assert [(n, len(s)) for n, s in model.asked] == [(1, 6), (3, 4), (2, 2)]
    np.testing.assert_array_equal(guided[2], Guided(Part(2), 2.0)(x, sigma, Condition(labels=labels))[2])


def test_rows_without_a_condition_and_no_rows() -> None:
    model = Part(2, num_classes=0)
    planned = Planned.of(model, "2@1,1")
    x, sigma = np.ones((2, 1, 2, 2), np.float32), np.array([0.5, 2.0], np.float32)
    np.testing.assert_allclose(planned(x, sigma, Condition())[:, 0, 0, 0], [1 / 15, 2 / 30], rtol=1e-6)
    assert planned(x[:0], sigma[:0], Condition()).shape == (0, 1, 2, 2)


def test_no_smaller_model_is_made_than_the_plan_has() -> None:
    model = Part(5)
    planned = Planned.of(model, "5@2,3@1,5@0.5,3")
    assert model.made == [3]
    assert planned.full is model
    assert sorted(planned.denoisers) == [3, 5]
    assert Planned.of(model, "pg:1").full is model  # which none of its evaluations runs


def test_planned_is_a_denoiser() -> None:
    planned = Planned.of(Part(), "pg:0.3")
    assert (planned.process, planned.shape, planned.num_classes, planned.text_shape) == (Edm(), (1, 2, 2), 4, None)
    assert planned.asarray(np.ones(2)).tolist() == [1, 1]
    assert planned.decode(np.zeros((4, 1, 2, 2))).shape == (4, 2, 2, 1)
    assert planned.capabilities.multiple is None
    assert not planned.capabilities.takes_regions
    assert repr(planned) == f"Planned(plan={planned.plan!r})"


def test_plans_inside_a_canvas_inside_guidance() -> None:
    model = Part()
    canvas = Canvas(Planned.of(model, "3@1,2"), 2, 8)
    sample_x0(canvas, seeds=[0], labels=1, steps=6, guidance=2.0)
    calls = evaluated_levels(Edm(), steps=6, guidance=2.0)
    plan = parse_plan("3@1,2", 3)
    assert {(n, s[0]) for n, s in model.asked} == {(plan.parts_at(s), s) for s, _ in calls}


# ---- a real model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["pg:0", "pr:0", "3", "3@5,3@0.1,3", "3@1e-6,1"])
def test_a_plan_that_skips_nothing_changes_no_bit(text: str) -> None:
    model = load("digits")
    options = {"seeds": [0, 1], "labels": [2, 5], "steps": 6, "guidance": 2.0}
    whole = sample_x0(model, **options)
    assert torch.equal(sample_x0(Planned.of(model, text), **options), whole)
    assert np.array_equal(sample(Planned.of(model, text), **options), sample(model, **options))


def test_a_plan_that_skips_is_the_smaller_model() -> None:
    """All skipped is first(n) for the whole run; some skipped is neither."""
    model, options = load("digits"), {"seeds": [0, 1], "labels": [2, 5], "steps": 6, "solver": Heun(), "guidance": 2.0}
    whole, smaller = sample_x0(model, **options), sample_x0(model.first(2), **options)
    assert torch.equal(sample_x0(Planned.of(model, "pg:1"), **options), smaller)
    assert torch.equal(sample_x0(Planned.of(model, "2"), **options), smaller)
    some = sample_x0(Planned.of(model, "3@1,2"), **options)
    assert not torch.equal(some, whole)
    assert not torch.equal(some, smaller)


def test_the_blocks_that_run_are_counted() -> None:
    """Hooks on the network's own blocks: guidance and a plan together leave the last block out where the plan says."""
    model, ran = load("digits"), Counter()
    for i, block in enumerate(model.backbone.get_submodule("blocks").children()):
        block.register_forward_hook(lambda _, inputs, __, i=i: ran.update({i: len(inputs[0])}))
    plan, options = parse_plan("3@5,2@0.5,1", 3), {"steps": 9, "guidance": 2.0, "guidance_interval": (0.2, inf)}
    sample_x0(Planned.of(model, plan), seeds=[0, 1, 2], labels=1, **options)
    calls = evaluated_levels(model.process, **options)
    assert dict(ran) == {i: sum(3 * rows for s, rows in calls if plan.parts_at(s) > i) for i in range(3)}
    assert ran[0] > ran[1] > ran[2] > 0
