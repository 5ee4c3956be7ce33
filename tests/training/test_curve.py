from __future__ import annotations

import numpy as np

from brickwork.training.run.curve import STRONG, Line, draw_curve, panel


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
