"""The Fréchet distance against values worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from brickwork.errors import ArgumentError, DataError
from brickwork.quality.distance import Statistics, frechet, root, squared_distance

RNG = np.random.default_rng(0)


def rotation(size: int) -> np.ndarray:
    return np.linalg.qr(RNG.normal(size=(size, size)))[0]


def statistics(rows: np.ndarray, net_sha256: str = "a") -> Statistics:
    return Statistics.of_features(rows, net="grey", net_sha256=net_sha256, data_sha256="d")


def test_commuting_covariances():
    """With one set of axes, the distance is |m1 - m2|² + sum (sqrt a - sqrt b)²."""
    axes, a, b = rotation(6), RNG.uniform(0, 4, 6), RNG.uniform(0, 4, 6)
    a[0] = b[1] = 0.0
    shift = RNG.normal(size=6)
    value = squared_distance(shift, (axes * a) @ axes.T, np.zeros(6), (axes * b) @ axes.T)
    assert value == pytest.approx(shift @ shift + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-12)


def test_two_by_two():
    """Of a 2x2 matrix M with eigenvalues >= 0, tr M^½ = sqrt(tr M + 2 sqrt(det M)); here M = S1 S2, not commuting."""
    s1, s2 = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    cross = np.sqrt(np.trace(s1 @ s2) + 2 * np.sqrt(np.linalg.det(s1 @ s2)))
    expected = np.trace(s1) + np.trace(s2) - 2 * cross
    assert squared_distance(np.zeros(2), s1, np.zeros(2), s2) == pytest.approx(expected, rel=1e-12)
    assert squared_distance(np.zeros(2), s2, np.zeros(2), s1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [5, 400], ids=["rank deficient", "full rank"])
def test_equal_sets_are_at_zero(count: int):
    rows = RNG.normal(size=(count, 40)) * np.logspace(-4, 2, 40)
    assert frechet(statistics(rows), statistics(rows)).value <= 1e-12 * rows.var(0).sum()


@pytest.mark.parametrize("count", [5, 400])
def test_shift(count: int):
    """Moving every feature vector by d gives |d|²."""
    rows, d = RNG.normal(size=(count, 10)), np.linspace(-1, 1, 10)
    assert frechet(statistics(rows + d), statistics(rows)).value == pytest.approx(d @ d, rel=1e-9)


def test_root_squares_back_and_takes_rounding_for_zero():
    half = RNG.normal(size=(8, 3))
    s = half @ half.T
    assert np.allclose(root(s) @ root(s), s, atol=1e-12)
    assert np.linalg.matrix_rank(root(s)) == 3


def test_statistics_of_rows():
    rows = RNG.normal(size=(50, 4))
    found = statistics(rows)
    assert np.allclose(found.mean, rows.mean(0))
    assert np.allclose(found.covariance, np.cov(rows.T))
    assert found.num_images == 50


def test_few_images_are_told():
    many, few = statistics(RNG.normal(size=(11, 10))), statistics(RNG.normal(size=(10, 10)))
    assert not frechet(many, many).rank_deficient
    assert frechet(few, many).rank_deficient
    assert frechet(many, few).rank_deficient
    with pytest.raises(ArgumentError, match="1 images: a covariance needs at least 2"):
        statistics(np.zeros((1, 10)))
    with pytest.raises(ArgumentError, match="not finite"):
        statistics(np.full((3, 2), np.nan))


def test_other_network_is_refused():
    rows = RNG.normal(size=(9, 3))
    with pytest.raises(ArgumentError, match="only features of one network compare"):
        frechet(statistics(rows, "a"), statistics(rows, "b"))


def test_saved_and_loaded(tmp_path: Path):
    before = statistics(RNG.normal(size=(9, 3)))
    before.save(tmp_path / "s.npz")
    after = Statistics.load(tmp_path / "s.npz")
    assert np.array_equal(before.mean, after.mean)
    assert np.array_equal(before.covariance, after.covariance)
    assert (after.num_images, after.net, after.net_sha256, after.data_sha256) == (9, "grey", "a", "d")
    assert frechet(before, after).value < 1e-12


def test_bad_files(tmp_path: Path):
    path = tmp_path / "s.npz"
    with pytest.raises(DataError, match="no statistics"):
        Statistics.load(path)
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataError, match="no statistics"):
        Statistics.load(path)
    np.savez(path, mean=np.zeros(3))
    with pytest.raises(DataError, match="no statistics"):
        Statistics.load(path)
    np.savez(path, format=np.array([{"a": print}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no statistics"):
        Statistics.load(path)
    shape = {"mean": np.zeros(3), "covariance": np.zeros((2, 2)), "num_images": 5}
    np.savez(path, allow_pickle=True, format=1, net="grey", net_sha256="", data_sha256="", **shape)
    with pytest.raises(DataError, match="do not go together"):
        Statistics.load(path)
