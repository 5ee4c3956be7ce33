"""Classifiers: the regression at its optimum, whose head is taken, and agreement counted by hand."""

import numpy as np
import pytest

from brickwork.data.dataset import DataConfig, load_dataset
from brickwork.errors import ArgumentError
from brickwork.quality.classifier import Classifier, agreement, classifier_for, fit_logistic, predict
from brickwork.quality.features import features, shipped_net

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    sides = []
    for split in ("train", "test"):
        data = load_dataset("digits", DataConfig(split=split, holdout=0.2))
        assert data.labels is not None
        sides.append((features(data.images), data.labels))
    return sides[0], sides[1]


def test_regression_is_at_its_optimum():
    """There the gradient vanishes: mean of (p - y) x + decay w = 0 on standardised features, and mean of p - y = 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)) * [1, 10, 0.1, 1, 0] + [0, 3, 0, -1, 7]
    y = rng.integers(0, 3, 200)
    x[:, 0] += y
    weight, bias = fit_logistic(x, y, 3, decay=0.01)
    logits = x @ weight.T + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rest = p - np.eye(3)[y]
    spread = np.where(x.std(0) > 0, x.std(0), 1)
    z = (x - x.mean(0)) / spread
    assert np.abs(rest.mean(0)).max() < 1e-4
    assert np.abs(rest.T @ z / len(x) + 0.01 * weight * spread).max() < 1e-4


def test_regression_separates_what_is_apart():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 300)
    x = 100 + 6 * np.eye(4)[y] + rng.normal(size=(300, 4))
    weight, bias = fit_logistic(x, y, 4)
    assert (predict(weight, bias, x) == y).mean() > 0.97


def test_digits_get_the_head_of_the_network(digits):
    train, held_out = digits
    found = classifier_for(DIGITS, 1, train, held_out)
    head = shipped_net("grey").heads["digits"]
    assert found.kind == "head digits"
    assert np.array_equal(found.weight, head.weight)
    assert found.accuracy >= 0.97
    assert found.num_held_out == len(held_out[0])
    assert found.stated_accuracy == head.accuracy


def test_other_classes_get_a_regression(digits):
    """Whether a digit is odd, and digits that are numbered the other way round: no head fits, by name or by trial."""
    train, held_out = digits
    odd = classifier_for(("even", "odd"), 1, (train[0], train[1] % 2), (held_out[0], held_out[1] % 2))
    assert odd.kind == "logistic"
    assert odd.accuracy > 0.95
    assert odd.stated_accuracy is None
    turned = classifier_for(DIGITS, 1, (train[0], 9 - train[1]), (held_out[0], 9 - held_out[1]))
    assert turned.kind == "logistic"
    assert turned.accuracy > 0.95


def test_agreement_by_hand():
    """A classifier that says whether the first feature is above the second."""
    judge = Classifier(
        weight=np.eye(2), bias=np.zeros(2), classes=("a", "b"), kind="logistic", accuracy=0.9, num_held_out=10
    )
    rows = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [0, 1]])
    found = agreement(judge, rows, np.array([0, 0, 0, 1, 1]))
    assert found.share == pytest.approx(4 / 5)
    assert found.by_class == pytest.approx({"a": 2 / 3, "b": 1.0})
    assert (found.num_images, found.accuracy, found.num_held_out) == (5, 0.9, 10)
    assert found.to_dict()["classifier"] == "logistic"


def test_what_cannot_be_judged_is_refused(digits):
    train, held_out = digits
    with pytest.raises(ArgumentError, match="needs two classes"):
        classifier_for(("one",), 1, train, held_out)
    judge = classifier_for(DIGITS, 1, train, held_out)
    with pytest.raises(ArgumentError, match="give one label each"):
        agreement(judge, held_out[0], held_out[1][:-1])
