"""Class agreement: a classifier trained on real images judges whether drawn pictures show the class asked for.

It is linear on the features of ``brickwork.quality.features``: one of the network's own heads where the reference has
the classes that head was trained on, else a multinomial logistic regression fitted to the reference's train split. Its
accuracy on held-out real images is always stated beside its verdict on drawn ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float64
from torch.nn.functional import cross_entropy, linear

from brickwork.data.source import Labels
from brickwork.errors import ArgumentError
from brickwork.quality.features import Head, ShippedNet, net_for

Features = Float64[np.ndarray, "N F"]
Weight = Float64[np.ndarray, "K F"]
Bias = Float64[np.ndarray, "K"]

KNOWS = 0.9
"""Least accuracy of a head on the reference, as a share of its own held-out accuracy, for it to be used."""


@final
@dataclass(frozen=True, kw_only=True)
class Classifier:
    """Linear classifier on features, with its accuracy.

    Attributes:
        weight: (K, F) float64.
        bias: (K,) float64.
        classes: Names of the K classes.
        kind: "head NAME" for a head of the network, "logistic" if fitted to the reference.
        accuracy: Share of right answers on the reference's held-out images, 0 to 1.
        num_held_out: Number of those images.
        stated_accuracy: A head's accuracy on images that the network never saw in training, from ``docs/features.md``;
            None for a fitted classifier. Believe this one where the reference holds out other images than the
            network's training did.
    """

    weight: Weight
    bias: Bias
    classes: tuple[str, ...]
    kind: str
    accuracy: float
    num_held_out: int
    stated_accuracy: float | None = None

    def predict(self, rows: Features) -> Labels:
        """Return the most likely class of each row of features, (N,) int64."""
        return predict(self.weight, self.bias, rows)


@final
@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of a classifier's verdicts with the classes asked for.

    Attributes:
        share: Share of all pictures that show the class asked for, 0 to 1.
        by_class: The same share per class, by name; only classes that were asked for.
        num_images: Number of pictures judged.
        classifier: ``Classifier.kind``.
        accuracy: The classifier's accuracy on held-out real images; agreement above it says little more.
        num_held_out: Number of those images.
        stated_accuracy: ``Classifier.stated_accuracy``.
    """

    share: float
    by_class: dict[str, float]
    num_images: int
    classifier: str
    accuracy: float
    num_held_out: int
    stated_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)


def predict(weight: Weight, bias: Bias, rows: Features) -> Labels:
    """Return the argmax over classes of ``rows @ weight.T + bias``, (N,) int64."""
    return (rows @ weight.T + bias).argmax(1).astype(np.int64)


def agreement(classifier: Classifier, rows: Features, labels: Labels) -> Agreement:
    """Compare what a classifier sees with what was asked for.

    Args:
        classifier: The classifier that judges.
        rows: Features of the drawn pictures.
        labels: The class that each picture was asked to show.

    Raises:
        ArgumentError: There are no pictures, or not one label each.
    """
    if len(rows) == 0 or len(rows) != len(labels):
        raise ArgumentError(
            f"{len(labels)} labels for {len(rows)} pictures: give one label each, and at least one picture"
        )
    right = classifier.predict(rows) == labels
    return Agreement(
        share=float(right.mean()),
        by_class={classifier.classes[k]: float(right[labels == k].mean()) for k in np.unique(labels)},
        num_images=len(rows),
        classifier=classifier.kind,
        accuracy=classifier.accuracy,
        num_held_out=classifier.num_held_out,
        stated_accuracy=classifier.stated_accuracy,
    )


def classifier_for(
    classes: Sequence[str],
    channels: int,
    train: tuple[Features, Labels],
    held_out: tuple[Features, Labels],
) -> Classifier:
    """Return the classifier for a reference with labels.

    Args:
        classes: Names of its K classes.
        channels: Channels of its images, which name the feature network.
        train: Features and labels of its train split.
        held_out: Features and labels of its held-out split.

    Raises:
        ArgumentError: There are fewer than two classes, or a split is empty.
    """
    if len(classes) < 2 or min(len(train[0]), len(held_out[0])) == 0:
        raise ArgumentError(
            f"{len(classes)} classes, {len(train[0])} images to learn from and {len(held_out[0])} held out: "
            "a classifier needs two classes and images on both sides"
        )
    rows, labels = held_out
    net = net_for(channels)
    for name, head in matching_heads(net, classes):
        accuracy = float((predict(head.weight, head.bias, rows) == labels).mean())
        if accuracy >= KNOWS * head.accuracy:
            return Classifier(
                weight=head.weight,
                bias=head.bias,
                classes=tuple(classes),
                kind=f"head {name}",
                accuracy=accuracy,
                num_held_out=len(rows),
                stated_accuracy=head.accuracy,
            )
    weight, bias = fit_logistic(*train, len(classes))
    return Classifier(
        weight=weight,
        bias=bias,
        classes=tuple(classes),
        kind="logistic",
        accuracy=float((predict(weight, bias, rows) == labels).mean()),
        num_held_out=len(rows),
    )


def matching_heads(net: ShippedNet, classes: Sequence[str]) -> list[tuple[str, Head]]:
    """List the heads with classes of these names in this order; for mere numbers, every head of as many classes."""
    numbers = [str(k) for k in range(len(classes))]
    wanted = [c.lower() for c in classes]
    return [
        (name, head)
        for name, head in net.heads.items()
        if wanted == [c.lower() for c in head.classes] or (wanted == numbers and len(head.classes) == len(wanted))
    ]


def fit_logistic(
    rows: Features, labels: Labels, num_classes: int, *, decay: float = 1e-3, steps: int = 100
) -> tuple[Weight, Bias]:
    """Fit multinomial logistic regression: L-BFGS in float64 from zero, mean cross-entropy + decay / 2 |weight|².

    Features are first scaled to mean 0 and standard deviation 1, and the penalty is on that scale; the returned weight
    and bias are for unscaled features. The problem is convex, so the answer does not depend on a seed.

    Args:
        rows: Features, (N, F).
        labels: Classes, (N,), 0 to num_classes - 1.
        num_classes: K.
        decay: Strength of the penalty.
        steps: Most iterations.

    Returns:
        Weight and bias.
    """
    mean, spread = rows.mean(0), rows.std(0)
    spread = np.where(spread > 1e-12 * (1 + np.abs(mean)), spread, 1.0)
    x, y = torch.from_numpy((rows - mean) / spread), torch.from_numpy(labels)
    weight = torch.zeros(num_classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(linear(x, weight, bias), y) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    w, b = weight.detach().numpy() / spread, bias.detach().numpy()
    return w, b - w @ mean
