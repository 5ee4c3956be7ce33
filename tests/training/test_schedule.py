from __future__ import annotations

import pytest

from brickwork.training.run.learning_rate import budget_spent, learning_rate


def test_warm_up_then_constant() -> None:
    rates = [learning_rate(lr=2.0, warmup=4, schedule="constant", step=i, spent=i / 10, reached=0.0) for i in range(6)]
    assert rates == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert learning_rate(lr=2.0, warmup=0, schedule="constant", step=0, spent=0.0, reached=0.0) == 2.0


def test_cosine_falls_from_all_to_nothing() -> None:
    rates = [learning_rate(lr=1.0, warmup=0, schedule="cosine", step=i, spent=i / 4, reached=0.0) for i in range(5)]
    assert rates == pytest.approx([1, 0.5 + 2**0.5 / 4, 0.5, 0.5 - 2**0.5 / 4, 0])


def test_cosine_and_warm_up_multiply() -> None:
    assert learning_rate(lr=1.0, warmup=4, schedule="cosine", step=1, spent=0.5, reached=0.0) == pytest.approx(0.25)


def test_the_first_budget_reached_counts() -> None:
    done = {"step": 50, "images_seen": 500, "seconds": 90.0}
    assert budget_spent(steps=100, **done) == 0.5
    assert budget_spent(images=2000, **done) == 0.25
    assert budget_spent(minutes=2, **done) == 0.75
    assert budget_spent(steps=100, images=2000, minutes=2, **done) == 0.75
    assert budget_spent(**done) == 0.0
