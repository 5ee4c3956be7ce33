"""What a log says of learning: loss, held-out loss and its rise, likeness."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from brickwork.training.denoiser.observers import Watch
from brickwork.training.run.learned import learned, rise


def log(*held: float, counts: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [{"step": 1, "images": 16, "loss": 1.5}]
    for k, loss in enumerate(held):
        count = counts[k] if counts else 8
        levels = {"0.4": loss / 2, "1.6": 2 * loss}
        lines.append({"step": k + 2, "images": 1000 * (k + 1), "held_out": levels, "held_out_images": count})
    return [*lines, {"step": 9, "images": 9000, "loss": 0.5}]


@pytest.mark.parametrize(
    ("held", "counts", "risen"),
    [
        ((1.0, 0.5, 0.4), (), None),
        ((1.0, 0.5, 0.52), (), None),  # within a twentieth
        ((1.0, 0.5, 0.6), (), (2000, 3000)),
        ((0.5, 0.6, 0.6), (4, 8, 8), None),  # other images are no comparison
        ((0.6,), (), None),
        ((), (), None),
    ],
)
def test_a_rise_is_told_from_its_lowest(
    held: tuple[float, ...], counts: tuple[int, ...], risen: tuple[int, int] | None
) -> None:
    found = rise(log(*held, counts=counts))
    assert (found and tuple(one.images for one in found)) == risen


def test_the_lines_at_the_end() -> None:
    assert learned(log(1.0, 0.5, 0.6)) == [
        "loss 1.5 at the start, 0.5 at the end",
        "held-out loss 1 at first, 0.6 at the end, over 8 held-out",
        "held-out loss rose from 0.5 at 2,000 images to 0.6 at 3,000: the network remembers its pictures",
    ]
    assert "like copies" in learned([{"step": 1, "images": 1, "nearest_ratio": 0.2}])[0]
    assert "no copies" in learned([{"step": 1, "images": 1, "nearest_ratio": 0.9}])[0]


def test_odd_lines_say_nothing() -> None:
    odd: list[dict[str, Any]] = [
        {"step": 1, "held_out": {"0.4": 1.0}},
        {"step": 1, "images": 5, "held_out": {}},
        {"step": 1, "images": 5, "held_out": {"0.4": 0.0}},
        {"step": 1, "images": 5, "held_out": {"0.4": float("nan")}},
        {"step": 1, "images": "many", "loss": "low"},
    ]
    assert learned(odd) == []


def test_a_rise_is_said_once_while_a_run_goes_on() -> None:
    said: list[str] = []
    view: Any = SimpleNamespace(lines=lambda: log(1.0, 0.5, 0.6), say=said.append)
    watch = Watch(0)
    for _ in range(2):
        watch.measure(view)
    assert len(said) == 1
    assert said[0].startswith("held-out loss rose from 0.5 at 2,000 images to 0.6 at 3,000")
