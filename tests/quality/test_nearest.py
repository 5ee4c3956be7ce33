"""Distance to the nearest training picture: zero for copies, near one for pictures like none."""

from __future__ import annotations

import numpy as np
import pytest

from brickwork.quality.nearest import nearest_ratios


@pytest.mark.parametrize("shape", [(32, 32, 3), (8, 8, 1)])
def test_copies_are_at_zero_and_others_are_not(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    trained, others = (generator.integers(0, 256, (60, *shape), np.uint8) for _ in range(2))
    mirrored = trained[3:4, :, ::-1]
    drawn = np.concatenate([trained[:2], mirrored, others[:5]])
    plain, either = (nearest_ratios(drawn, trained, mirrored=some) for some in (False, True))
    assert np.allclose(plain[:2], 0, atol=1e-3)
    assert (plain[2:] > 0.8).all()
    assert np.allclose(either[:3], 0, atol=1e-3)
    assert (either[3:] > 0.8).all()


def test_the_usual_distance_is_the_mean_to_the_nearest() -> None:
    """Three greys at distances 1, 3 and 8: 1 / 4."""
    trained = np.stack([np.full((16, 16, 1), value, np.uint8) for value in (101, 103, 108)])
    assert nearest_ratios(np.full((1, 16, 16, 1), 100, np.uint8), trained)[0] == pytest.approx(1 / 4)
