"""How many parts of a model run at which noise level: skipping, said as a table and done by choosing a smaller model.

A model of K parts whose first n are a model as well (bricks, blocks) need not run all of them at every level. A plan
decides by the level of each evaluation alone, so that it works with every solver, any number of steps and guidance.

Source: Zheng et al., 2310.06389: progressive growth stops early at low noise, progressive refinement at high noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor, inf
from typing import Protocol, final

import numpy as np

from brickwork.diffusion.arrays import Array, namespace
from brickwork.diffusion.denoiser import Condition, Denoiser, multiple_of, takes_regions
from brickwork.diffusion.process import Edm, NoiseProcess
from brickwork.diffusion.schedule import Karras
from brickwork.errors import ArgumentError

SCALE = Karras().positive(Edm(), 256)
"""Waist levels on which a plan's t_break is read, whatever the process: EDM's, rho 7, 80 to 0.002, 256 steps."""

FORMS = "write pg:0.3, pr:0.4 or levels as in 3@5.84,2@0.31,1"


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """Number of parts that run, by noise level.

    ``str`` of a plan is the form that ``parse_plan`` reads. Levels are compared in float32, as denoisers get them.

    Attributes:
        thresholds: Falling waist levels, above 0.
        counts: One more: counts[0] parts run where sigma >= thresholds[0], counts[i] where sigma >= thresholds[i] and
            not before, the last one below all thresholds.

    Raises:
        ArgumentError: Thresholds that do not fall, counts below 1, or not one more of them.
    """

    thresholds: tuple[float, ...] = ()
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what is no table."""
        if len(self.counts) != len(self.thresholds) + 1:
            raise ArgumentError(
                f"{len(self.counts)} counts for {len(self.thresholds)} thresholds: give one count more than "
                "thresholds; the last is for the noise below them all"
            )
        for count in self.counts:
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ArgumentError(f"{count!r} parts: a whole number of parts runs, at least 1")
        levels = [_single(level) for level in self.thresholds]
        for given, level in zip(self.thresholds, levels, strict=True):
            if not 0 < level < inf:
                raise ArgumentError(f"threshold {given}: a noise level is a finite number above 0; leave it out")
        for i in range(1, len(levels)):
            if levels[i] >= levels[i - 1]:
                before, given = self.thresholds[i - 1 : i + 1]
                raise ArgumentError(f"threshold {given} after {before}: levels fall, as noise does; turn them round")
        object.__setattr__(self, "_levels", levels)

    @classmethod
    def pg(cls, t_break: float, parts: int) -> Plan:
        """For progressive growth: the last t_break of the reverse process, the low noise, runs one part less.

        Args:
            t_break: Share of the steps of ``SCALE``, 0 (nothing is skipped) to 1 (always). 0.3 skips for sigma < 0.31.
            parts: Of the model.

        Raises:
            ArgumentError: A share that is none, or a model of one part.
        """
        _check_break("pg", t_break, parts)
        if t_break in (0, 1):
            return cls(counts=(parts - int(t_break),))
        return cls(thresholds=(_short(_level_after(1 - t_break)),), counts=(parts, parts - 1))

    @classmethod
    def pr(cls, t_break: float, parts: int) -> Plan:
        """For progressive refinement: the first t_break of the reverse process, the high noise, runs one part less.

        Args:
            t_break: Share of the steps of ``SCALE``, 0 (nothing is skipped) to 1 (always). 0.4 skips for sigma > 5.84.
            parts: Of the model.

        Raises:
            ArgumentError: A share that is none, or a model of one part.
        """
        _check_break("pr", t_break, parts)
        if t_break in (0, 1):
            return cls(counts=(parts - int(t_break),))
        above = np.nextafter(_level_after(t_break), np.float32(inf))  # at the level itself all parts run
        return cls(thresholds=(_short(above),), counts=(parts - 1, parts))

    def parts_at(self, sigma: float) -> int:
        """The number of parts that run at a waist level."""
        level = _single(sigma)
        passed = sum(level < threshold for threshold in self.__dict__["_levels"])
        return self.counts[passed]

    def check(self, parts: int) -> None:
        """Refuse a model that is not of so many parts as the plan runs, or is of one part.

        Raises:
            ArgumentError: With one line.
        """
        _check_parts(f"plan {self}", parts)
        if max(self.counts) > parts:
            raise ArgumentError(
                f"plan {self} runs {max(self.counts)} parts: this model is of {parts}; take at most {parts}"
            )

    def __str__(self) -> str:
        """As in "3@5.84,2@0.31,1": 3 parts for sigma >= 5.84, 2 for sigma >= 0.31, then 1."""
        words = [f"{n}@{repr(float(t)).removesuffix('.0')}" for t, n in zip(self.thresholds, self.counts, strict=False)]
        return ",".join([*words, str(self.counts[-1])])


def parse_plan(text: str, parts: int) -> Plan:
    """The plan that a text says for a model: "pg:0.3", "pr:0.4", or levels as in "3@5.84,2@0.31,1".

    Raises:
        ArgumentError: No plan, more parts than the model's, or a model of one part.
    """
    _check_parts(f"plan {text!r}", parts)
    name, colon, share = text.strip().partition(":")
    if colon and name in ("pg", "pr"):
        return (Plan.pg if name == "pg" else Plan.pr)(_number(text, share, "a share of the steps"), parts)
    words = [word.strip() for word in text.split(",")]
    counts, thresholds = [], []
    for place, word in enumerate(words):
        count, at, level = word.partition("@")
        is_count = count.isascii() and count.isdecimal() and len(count) < 10
        if not is_count or bool(at) != (place < len(words) - 1):
            rule = "only the last count stands without a level" if is_count else "it is no number of parts"
            place_of = f", at {word!r}" if len(words) > 1 else ""
            raise ArgumentError(f"plan {text!r}{place_of}: {rule}; {FORMS}")
        counts.append(int(count))
        if at:
            thresholds.append(_number(text, level, "a noise level"))
    try:
        plan = Plan(thresholds=tuple(thresholds), counts=tuple(counts))
    except ArgumentError as error:
        raise ArgumentError(f"plan {text!r}: {error}") from None
    plan.check(parts)
    return plan


def _number(text: str, word: str, kind: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ArgumentError(f"plan {text!r}: {word!r} is not {kind}; {FORMS}") from None


def _check_break(name: str, t_break: float, parts: int) -> None:
    if not 0 <= t_break <= 1:  # nan is not
        raise ArgumentError(f"plan {name}:{t_break}: t_break is a share of the steps, 0 (skip nothing) to 1 (always)")
    _check_parts(f"plan {name}:{t_break}", parts)


def _check_parts(plan: str, parts: int) -> None:
    if parts < 2:
        raise ArgumentError(f"{plan}: this model is of {parts} part, and none can be left out; draw without a plan")


def _level_after(share: float) -> np.float32:
    """The level of ``SCALE`` that is reached after a share of its steps."""
    return np.float32(SCALE[min(floor(len(SCALE) * share), len(SCALE) - 1)])


def _single(level: float) -> float:
    """Rounded to float32."""
    with np.errstate(all="ignore"):
        return float(np.float32(level))


def _short(level: np.float32) -> float:
    """The shortest number that rounds to it, for people."""
    return float(str(level))


class Divisible(Denoiser, Protocol):
    """A denoiser of parts, the first n of which are a denoiser as well."""

    @property
    def num_parts(self) -> int:
        """How many."""
        ...

    def first(self, n: int) -> Denoiser:
        """The denoiser of the first n parts."""
        ...


@final
@dataclass(frozen=True)
class Planned:
    """A model that runs as many of its parts as a plan says, at each evaluation by its own level.

    Where one number of parts will do for a batch it is one call of that denoiser, bit for bit; where rows differ, each
    number's rows are one call.

    Attributes:
        denoisers: By number of parts, at least those of the plan; all of one kind, as ``first`` makes them.
        plan: Which one at which level.

    Raises:
        ArgumentError: The plan runs a number of parts that is not among the denoisers.
    """

    denoisers: Mapping[int, Denoiser] = field(repr=False)
    plan: Plan

    def __post_init__(self) -> None:
        """Refuse a plan that asks for what is not there."""
        for count in self.plan.counts:
            if count not in self.denoisers:
                raise ArgumentError(
                    f"plan {self.plan} runs {count} parts at times: there are denoisers of "
                    f"{', '.join(map(str, sorted(self.denoisers)))}; give one of {count} too"
                )

    @classmethod
    def of(cls, model: Divisible, plan: Plan | str) -> Planned:
        """A model under a plan, with no more smaller models than the plan has.

        Args:
            model: All of it, which is also what ``full`` is.
            plan: Or a text for ``parse_plan``.

        Raises:
            ArgumentError: The text is no plan, or the model is of fewer parts than the plan's, or of one.
        """
        plan = parse_plan(plan, model.num_parts) if isinstance(plan, str) else plan
        plan.check(model.num_parts)
        smaller = {n: model.first(n) for n in sorted({*plan.counts}) if n < model.num_parts}
        return cls({**smaller, model.num_parts: model}, plan)

    @property
    def full(self) -> Denoiser:
        """The denoiser of the most parts."""
        return self.denoisers[max(self.denoisers)]

    @property
    def process(self) -> NoiseProcess:
        """Of the full model."""
        return self.full.process

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the full model."""
        return self.full.shape

    @property
    def num_classes(self) -> int:
        """Of the full model."""
        return self.full.num_classes

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """Of the full model."""
        return self.full.text_shape

    @property
    def multiple(self) -> int | None:
        """Of the full model."""
        return multiple_of(self.full)

    @property
    def takes_regions(self) -> bool:
        """As the full model."""
        return takes_regions(self.full)

    def __call__(self, x: Array, sigma: Array, condition: Condition) -> Array:
        """The estimate of x0 by as many parts as the plan says; see ``Denoiser``."""
        levels = sigma.tolist()
        counts, rows = {level: self.plan.parts_at(level) for level in set(levels)}, {}
        for row, level in enumerate(levels):
            rows.setdefault(counts[level], []).append(row)
        if len(rows) <= 1:
            return self.denoisers[next(iter(rows), self.plan.counts[0])](x, sigma, condition)
        found = [self.denoisers[n](x[few], sigma[few], condition[few]) for n, few in rows.items()]
        order = np.argsort([row for few in rows.values() for row in few])
        return namespace(x).concatenate(found)[order.tolist()]

    def asarray(self, values: np.ndarray) -> Array:
        """As the full model makes them."""
        return self.full.asarray(values)

    def decode(self, x0: Array) -> np.ndarray:
        """As the full model decodes."""
        return self.full.decode(x0)
