"""Fréchet distance between two sets of images, in float64, from statistics that can be saved.

Two sets of features are each described by a mean m and a covariance S, as if they were Gaussian; the distance is the
squared 2-Wasserstein distance of those Gaussians (Dowson and Landau 1982; used so by Heusel et al. 2017, with the
features of another network),

    |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½.

The last trace is the sum of the singular values of S1^½ S2^½. So computed, no root is taken of a product, and the value
is exact to rounding even where the covariances do not have full rank.

With few images the distance is too large (Chong and Forsyth 2020), so compare only values of equal ``num_images``.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float64

from brickwork.errors import ArgumentError, DataError
from brickwork.files.arrays import read_npz
from brickwork.files.whole import write_whole
from brickwork.quality.features import features, net_for

Vector = Float64[np.ndarray, "F"]
Matrix = Float64[np.ndarray, "F F"]
FORMAT = 1
TEXTS = ("net", "net_sha256", "data_sha256")
"""Texts in a file of statistics."""


@final
@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean and covariance of the features of a set of images.

    Attributes:
        mean: (F,) float64.
        covariance: (F, F) float64, divided by num_images - 1.
        num_images: Number of images.
        net: Name of the feature network.
        net_sha256: SHA-256 of its file, hex.
        data_sha256: Digest of the images, hex, or "" if it is not known.
    """

    mean: Vector
    covariance: Matrix
    num_images: int
    net: str
    net_sha256: str
    data_sha256: str = ""

    @staticmethod
    def of_features(
        rows: Float64[np.ndarray, "N F"], *, net: str, net_sha256: str, data_sha256: str = ""
    ) -> Statistics:
        """Compute the statistics of features.

        Raises:
            ArgumentError: There are fewer than two images, or a feature is not finite.
        """
        if len(rows) < 2:
            raise ArgumentError(f"{len(rows)} images: a covariance needs at least 2, and a useful distance hundreds")
        if not np.isfinite(rows).all():
            raise ArgumentError("features that are not finite: look at the images that they were taken of")
        mean = rows.mean(0)
        centred = rows - mean
        return Statistics(
            mean=mean,
            covariance=centred.T @ centred / (len(rows) - 1),
            num_images=len(rows),
            net=net,
            net_sha256=net_sha256,
            data_sha256=data_sha256,
        )

    @staticmethod
    def of_images(images: np.ndarray, *, data_sha256: str = "", progress: bool = False) -> Statistics:
        """Compute the statistics of uint8 images (N, H, W, C), by the shipped feature network for their channels."""
        net = net_for(images.shape[-1])
        rows = features(images, progress=progress)
        return Statistics.of_features(rows, net=net.name, net_sha256=net.digest, data_sha256=data_sha256)

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` of plain arrays, atomically.

        Raises:
            OutputError: The file cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(buffer, format=np.int64(FORMAT), **asdict(self))
        write_whole(Path(path), buffer.getvalue())

    @staticmethod
    def load(path: str | Path) -> Statistics:
        """Read a file that ``save`` wrote. Nothing in the file is executed.

        Raises:
            DataError: The file is missing, damaged or something else.
        """
        try:
            stored, _ = read_npz(Path(path), ("format", "num_images", "mean", "covariance", *TEXTS))
            found, num_images = (int(stored[key]) for key in ("format", "num_images"))
            texts = {key: str(stored[key]) for key in TEXTS}
            mean, covariance = (stored[key].astype(np.float64) for key in ("mean", "covariance"))
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise DataError(f"{path}: no statistics of features ({error}); make them with Statistics.save") from error
        if found != FORMAT:
            raise DataError(f"{path}: statistics of format {found}, {FORMAT} is read; take them again")
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise DataError(f"{path}: a mean {mean.shape} and a covariance {covariance.shape} do not go together")
        return Statistics(mean=mean, covariance=covariance, num_images=num_images, **texts)


@final
@dataclass(frozen=True, kw_only=True)
class Frechet:
    """Fréchet distance, and the two sets between which it was measured.

    Attributes:
        value: The distance, at least 0; a squared length in feature space.
        num_images: Images in the measured set.
        num_reference: Images in the reference set.
        num_features: F, the number of features.
        rank_deficient: True if a set has fewer than F + 1 images: its covariance is singular, the value is too large
            and says little.
        net: Name of the feature network.
        net_sha256: SHA-256 of its file, hex.
        reference_sha256: Digest of the reference's images, hex, or "".
    """

    value: float
    num_images: int
    num_reference: int
    num_features: int
    rank_deficient: bool
    net: str
    net_sha256: str
    reference_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)


def frechet(measured: Statistics, reference: Statistics) -> Frechet:
    """Return the Fréchet distance of two sets of images.

    Raises:
        ArgumentError: Their features are of different networks.
    """
    if measured.net_sha256 != reference.net_sha256:
        raise ArgumentError(
            f"statistics of network {measured.net} {measured.net_sha256[:8]} against {reference.net} "
            f"{reference.net_sha256[:8]}: only features of one network compare; take them again with the same one"
        )
    num_features = len(measured.mean)
    return Frechet(
        value=squared_distance(measured.mean, measured.covariance, reference.mean, reference.covariance),
        num_images=measured.num_images,
        num_reference=reference.num_images,
        num_features=num_features,
        rank_deficient=min(measured.num_images, reference.num_images) < num_features + 1,
        net=reference.net,
        net_sha256=reference.net_sha256,
        reference_sha256=reference.data_sha256,
    )


def squared_distance(mean_1: Vector, covariance_1: Matrix, mean_2: Vector, covariance_2: Matrix) -> float:
    """Return the squared 2-Wasserstein distance of two Gaussians. Dowson and Landau (1982)."""
    cross = np.linalg.svd(root(covariance_1) @ root(covariance_2), compute_uv=False).sum()
    shift = mean_1 - mean_2
    value = float(shift @ shift + np.trace(covariance_1) + np.trace(covariance_2) - 2 * cross)
    return max(value, 0.0)  # equal sets may fall below 0 by rounding


def root(covariance: Matrix) -> Matrix:
    """Return the symmetric root S^½ of a positive semi-definite matrix.

    Eigenvalues below F * machine epsilon * the largest are rounding errors of 0. They are set to 0, since their roots
    would be of the order 1e-8.
    """
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    floor = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return (vectors * np.sqrt(np.where(values > floor, values, 0.0))) @ vectors.T
