"""Plans of skipping: the number of blocks (or bricks) of a model that run at each noise level.

A model of K blocks whose first n are a model as well need not run all of them at every level. A plan
depends on the level of each evaluation alone, so it works with every solver, any number of steps and guidance.

Source: Zheng et al., 2310.06389: progressive growth stops early at low noise, progressive refinement at high noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import floor, inf
from typing import ClassVar, final

import numpy as np

from brickwork.diffusion.process import Edm
from brickwork.diffusion.schedule import Karras
from brickwork.errors import ArgumentError

SCALE = Karras().positive(Edm(), 256)
"""Noise levels on which a plan's t_break is read, whatever the process: EDM's, rho 7, 80 to 0.002, 256 steps."""

FORMS = "write pg:0.3, pr:0.4 or levels as in 3@5.84,2@0.31,1"


class PlanRule(ABC):
    """Rule for skipping blocks, independent of the model's number of blocks."""

    @abstractmethod
    def of_parts(self, parts: int) -> Plan:
        """Return the plan for a model of so many blocks.

        Raises:
            ArgumentError: The model has one block, or fewer than the plan runs.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Plan(PlanRule):
    """Number of blocks (or bricks) that run, by noise level.

    ``str`` of a plan gives the text that ``parse_plan`` reads. Levels are compared in float32, as denoisers get them.

    Attributes:
        thresholds: Falling noise levels, above 0.
        counts: Numbers of blocks, one more: counts[0] run where sigma >= thresholds[0], counts[i] where sigma >=
            thresholds[i] and not before, the last one below all thresholds.

    Raises:
        ArgumentError: Thresholds do not fall, counts are below 1, or their number is wrong.
    """

    thresholds: tuple[float, ...] = ()
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse an invalid table."""
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

    def of_parts(self, parts: int) -> Plan:
        """Return the plan itself, checked against the model."""
        self.check(parts)
        return self

    @classmethod
    def pg(cls, t_break: float, parts: int) -> Plan:
        """Return the plan of progressive growth: the last t_break of the process (low noise) runs one block less.

        Args:
            t_break: Share of the steps of ``SCALE``, 0 (nothing is skipped) to 1 (always). 0.3 skips for sigma < 0.31.
            parts: Number of the model's blocks.

        Raises:
            ArgumentError: The share is out of range, or the model has one block.
        """
        _check_break("pg", t_break, parts)
        if t_break in (0, 1):
            return cls(counts=(parts - int(t_break),))
        return cls(thresholds=(_short(_level_after(1 - t_break)),), counts=(parts, parts - 1))

    @classmethod
    def pr(cls, t_break: float, parts: int) -> Plan:
        """Return the plan of progressive refinement: the first t_break of the process (high noise) runs one block less.

        Args:
            t_break: Share of the steps of ``SCALE``, 0 (nothing is skipped) to 1 (always). 0.4 skips for sigma > 5.84.
            parts: Number of the model's blocks.

        Raises:
            ArgumentError: The share is out of range, or the model has one block.
        """
        _check_break("pr", t_break, parts)
        if t_break in (0, 1):
            return cls(counts=(parts - int(t_break),))
        above = np.nextafter(_level_after(t_break), np.float32(inf))  # at the level itself all blocks run
        return cls(thresholds=(_short(above),), counts=(parts - 1, parts))

    def parts_at(self, sigma: float) -> int:
        """Return the number of blocks that run at a noise level."""
        level = _single(sigma)
        passed = sum(level < threshold for threshold in self.__dict__["_levels"])
        return self.counts[passed]

    def check(self, parts: int) -> None:
        """Refuse a model of one block, or of fewer blocks than the plan runs.

        Raises:
            ArgumentError: The model does not fit the plan.
        """
        _check_parts(f"plan {self}", parts)
        if max(self.counts) > parts:
            raise ArgumentError(
                f"plan {self} runs {max(self.counts)} parts: this model is of {parts}; take at most {parts}"
            )

    def __str__(self) -> str:
        """Return the plan's text: "3@5.84,2@0.31,1" is 3 blocks for sigma >= 5.84, 2 for sigma >= 0.31, then 1."""
        words = [f"{n}@{repr(float(t)).removesuffix('.0')}" for t, n in zip(self.thresholds, self.counts, strict=False)]
        return ",".join([*words, str(self.counts[-1])])


@dataclass(frozen=True)
class Share(PlanRule):
    """Rule by which a share of the steps runs one block less.

    Attributes:
        t_break: Share of the steps of ``SCALE``, 0 to 1.
    """

    t_break: float
    NAME: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse a share that is out of range."""
        _check_share(self.NAME, self.t_break)

    def __str__(self) -> str:
        """Return the word that ``read_plan`` reads."""
        return f"{self.NAME}:{self.t_break!r}"


@final
@dataclass(frozen=True)
class Growth(Share):
    """Progressive growth: at low noise, the last steps, one block less runs ("pg:0.3")."""

    NAME = "pg"

    def of_parts(self, parts: int) -> Plan:
        """Return the plan for a model of so many blocks; see ``Plan.pg``."""
        return Plan.pg(self.t_break, parts)


@final
@dataclass(frozen=True)
class Refinement(Share):
    """Progressive refinement: at high noise, the first steps, one block less runs ("pr:0.4")."""

    NAME = "pr"

    def of_parts(self, parts: int) -> Plan:
        """Return the plan for a model of so many blocks; see ``Plan.pr``."""
        return Plan.pr(self.t_break, parts)


def read_plan(text: str) -> PlanRule:
    """Read a plan: "pg:0.3", "pr:0.4", or levels as in "3@5.84,2@0.31,1".

    Raises:
        ArgumentError: The text is no plan.
    """
    name, colon, share = text.strip().partition(":")
    if colon and name in ("pg", "pr"):
        return (Growth if name == "pg" else Refinement)(_number(text, share, "a share of the steps"))
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
        return Plan(thresholds=tuple(thresholds), counts=tuple(counts))
    except ArgumentError as error:
        raise ArgumentError(f"plan {text!r}: {error}") from None


def parse_plan(text: str, parts: int) -> Plan:
    """Read a plan for a model of so many blocks.

    Raises:
        ArgumentError: The text is no plan, or needs more blocks than the model has, or the model has one block.
    """
    return read_plan(text).of_parts(parts)


def _number(text: str, word: str, kind: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ArgumentError(f"plan {text!r}: {word!r} is not {kind}; {FORMS}") from None


def _check_share(name: str, t_break: float) -> None:
    if not 0 <= t_break <= 1:  # nan fails this
        raise ArgumentError(f"plan {name}:{t_break}: t_break is a share of the steps, 0 (skip nothing) to 1 (always)")


def _check_break(name: str, t_break: float, parts: int) -> None:
    _check_share(name, t_break)
    _check_parts(f"plan {name}:{t_break}", parts)


def _check_parts(plan: str, parts: int) -> None:
    if parts < 2:
        raise ArgumentError(f"{plan}: this model is of {parts} part, and none can be left out; draw without a plan")


def _level_after(share: float) -> np.float32:
    """Return the level of ``SCALE`` that is reached after a share of its steps."""
    return np.float32(SCALE[min(floor(len(SCALE) * share), len(SCALE) - 1)])


def _single(level: float) -> float:
    """Round a level to float32."""
    with np.errstate(all="ignore"):
        return float(np.float32(level))


def _short(level: np.float32) -> float:
    """Return the shortest number that rounds to the level, for people."""
    return float(str(level))
