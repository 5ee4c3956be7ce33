from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from brickwork.errors import MissingExtraError
from brickwork.training.run.curve import Curve, draw_curve
from brickwork.training.run.panel import STRONG, Line, panel


def test_a_straight_line_is_drawn_straight() -> None:
    picture = panel([Line(points=[(0.0, 1.0), (1000.0, 100.0)])], title="t", axis="x", log_x=False)
    places = np.argwhere((picture == STRONG).all(axis=-1))
    assert len(places) > 300
    y, x = places.T
    assert np.corrcoef(x, y)[0, 1] < -0.999


def test_curve_of_a_log() -> None:
    records = [{"step": i, "images": 128 * i, "loss": 1 / (i + 1)} for i in range(50)]
    records += [{"step": 10, "images": 1280, "held_out": {"0.05": 0.9, "1": 0.5}}, {"step": 11, "event": "rolled back"}]
    picture = draw_curve(records)
    assert picture.dtype == np.uint8
    assert picture.shape == (400, 1120, 3)
    assert (picture[:, :560] == STRONG).all(axis=-1).any()
    assert (picture[:, 560:] == STRONG).all(axis=-1).any()


def test_an_empty_log_and_odd_values_draw() -> None:
    assert draw_curve([]).shape == (400, 1120, 3)
    draw_curve([{"step": 1, "images": 8, "loss": float("nan")}, {"step": 2, "images": 16, "loss": 0.0}])
    draw_curve([{"step": 1, "images": 8, "loss": 0.5}])


def test_without_matplotlib_the_run_goes_on_and_says_once_what_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"brickwork\[plots\]"):
        draw_curve([])
    said: list[str] = []
    run: Any = SimpleNamespace(lines=list, folder=tmp_path, say=said.append)
    curve = Curve(draw_curve)
    curve.measure(run)
    curve.on_end(run)
    assert said == ['no curve.png: drawing a curve needs matplotlib: pip install "brickwork[plots]"']
    assert list(tmp_path.iterdir()) == []
