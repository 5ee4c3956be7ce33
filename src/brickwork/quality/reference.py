"""References: the real images that models are measured against, with features and statistics computed once."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np

from brickwork.data.dataset import DataConfig, Dataset, load_dataset, load_heldout
from brickwork.quality.classifier import Classifier, classifier_for
from brickwork.quality.distance import Frechet, Statistics, frechet
from brickwork.quality.features import features, net_for
from brickwork.quality.heldout import chosen


@final
class Reference:
    """Real images: a train split to compare with and to fit the classifier, a held-out split for loss and its accuracy.

    Features are computed when first needed and kept, so that many models can share one reference.

    Args:
        train: Images that drawn pictures are compared with.
        held_out: Images kept from training, of the same shape and classes.
        progress: Show bars.
    """

    def __init__(self, train: Dataset, held_out: Dataset, *, progress: bool = False) -> None:
        self.train = train
        self.held_out = held_out
        self.progress = progress

    @classmethod
    def open(cls, spec: str | Path, config: DataConfig | None = None, *, progress: bool = False) -> Reference:
        """Load both splits by path or name; ``config.split`` is not used.

        Raises:
            DataError: The data is missing, or nothing is held out.
        """
        config = config if config is not None else DataConfig()
        train = load_dataset(spec, replace(config, split="train"), progress=progress)
        return cls(train, load_heldout(spec, config, progress=progress), progress=progress)

    @property
    def channels(self) -> int:
        """Channels of the images, 1 or 3."""
        return self.train.shape[2]

    @cached_property
    def train_rows(self) -> np.ndarray:
        """Features of the train split, (N, F) float64."""
        return features(self.train.images, progress=self.progress)

    @cached_property
    def held_out_rows(self) -> np.ndarray:
        """Features of the held-out split, (N, F) float64."""
        return features(self.held_out.images, progress=self.progress)

    def statistics_of(self, rows: np.ndarray, data_sha256: str = "") -> Statistics:
        """Return mean and covariance of features, taken by this reference's network."""
        net = net_for(self.channels)
        return Statistics.of_features(rows, net=net.name, net_sha256=net.digest, data_sha256=data_sha256)

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and covariance of the train split's features."""
        return self.statistics_of(self.train_rows, self.train.digest)

    @cached_property
    def real_distance(self) -> Frechet | None:
        """Fréchet distance of all held-out images to the train split; None with one image."""
        return self.real_distance_of(len(self.held_out))

    def real_distance_of(self, num_images: int) -> Frechet | None:
        """Return the held-out images' own distance to the train split: the one of a perfect model of as many pictures.

        Args:
            num_images: Number of images, by a fixed choice; all if there are fewer. The result's ``num_images`` says
                how many were used; distances of different numbers do not compare.

        Returns:
            The distance; None with fewer than two images.
        """
        rows = self.held_out_rows[chosen(len(self.held_out), num_images)]
        return frechet(self.statistics_of(rows), self.statistics) if len(rows) >= 2 else None

    @cached_property
    def classifier(self) -> Classifier | None:
        """Classifier for the reference's classes; None without labels, or with fewer than two classes."""
        if self.train.labels is None or self.held_out.labels is None or len(self.train.classes) < 2:
            return None
        train, held_out = (self.train_rows, self.train.labels), (self.held_out_rows, self.held_out.labels)
        return classifier_for(self.train.classes, self.channels, train, held_out)
