from __future__ import annotations

import pytest
import torch

from brickwork.training.run.ema import ema_rate, move_average


def test_half_of_the_old_is_left_after_a_half_life() -> None:
    """300 images in batches of 1, 3 and 100 alike."""
    for batch in (1, 3, 100):
        average, weights = [torch.ones(2, dtype=torch.float64)], [torch.zeros(2, dtype=torch.float64)]
        for step in range(300 // batch):
            rate = ema_rate(images_seen=step * batch, batch=batch, half_life=300, rampup=0)
            move_average(average, weights, rate)
        torch.testing.assert_close(average[0], torch.full((2,), 0.5, dtype=torch.float64), rtol=1e-12, atol=0)


def test_ramp_up() -> None:
    assert ema_rate(images_seen=0, batch=8, half_life=500, rampup=0.05) == 1.0
    assert ema_rate(images_seen=2000, batch=100, half_life=500, rampup=0.05) == pytest.approx(0.5)
    assert ema_rate(images_seen=10**6, batch=500, half_life=500, rampup=0.05) == pytest.approx(0.5)


def test_published_decay_as_a_half_life() -> None:
    """U-ViT averages by 0.9999 per step of 128 images: half is left after 887,188 images."""
    assert 1 - ema_rate(images_seen=10**7, batch=128, half_life=887_188, rampup=0) == pytest.approx(0.9999, abs=1e-9)


def test_no_average() -> None:
    assert ema_rate(images_seen=1000, batch=8, half_life=0, rampup=0.05) == 1.0
