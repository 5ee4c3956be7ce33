import math
import time
from pathlib import Path

import numpy as np
import pytest

from brickwork.diffusion.gaussian import (
    ORDER,
    SAMPLING,
    TIME,
    TRAINING,
    integers,
    normal,
    normals,
    philox,
    uniform,
)
from brickwork.errors import ArgumentError

# Source: Random123, tests/kat_vectors, the lines "philox4x32 10": counter, key, answer.
KNOWN_ANSWERS = """
00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
"""


def words(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint32)


def test_known_answers() -> None:
    rows = np.array([[int(word, 16) for word in line.split()] for line in KNOWN_ANSWERS.split("\n") if line])
    assert rows.shape == (3, 10)
    counter, key, answer = rows[:, :4], rows[:, 4:6], rows[:, 6:]
    np.testing.assert_array_equal(philox(counter, key), answer)
    for i in range(3):
        np.testing.assert_array_equal(philox(counter[i], key[i]), answer[i])


def test_normals_are_box_muller_of_philox_words() -> None:
    seed, draw, stream = 0x0123456789ABCDEF, 5, TRAINING
    got = normal(seed, draw, (2, 3), stream=stream).reshape(-1)
    for i in range(6):
        block, lane = divmod(i, 4)
        word = philox(words(block, 0, draw, stream), words(seed & 0xFFFFFFFF, seed >> 32))
        first, second = (float(word[lane - lane % 2 + j]) for j in (0, 1))
        radius = math.sqrt(-2 * math.log((first + 0.5) / 2**32))
        angle = 2 * math.pi * (second + 0.5) / 2**32
        expected = radius * (math.sin(angle) if lane % 2 else math.cos(angle))
        assert got[i] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_documented_values() -> None:
    """The table of docs/gaussian.md, read from there."""
    text = (Path(__file__).parents[2] / "docs" / "gaussian.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("| 0x")]
    assert len(rows) == 5
    for row in rows:
        seed, draw, stream = int(row[0], 16), int(row[1]), int(row[2])
        expected = np.array([float(cell) for cell in row[3:]])
        np.testing.assert_allclose(normal(seed, draw, (6,), stream=stream), expected, rtol=1e-7)
    for numbers in (uniform(7, 2, 3), integers(7, 2, 2)):
        assert ", ".join(map(str, numbers.tolist())) in text


def test_a_row_depends_on_its_own_seed_alone() -> None:
    shape = (3, 5, 7)
    seeds = [3, 2**64 - 1, 17, 3, 0]
    many = normals(seeds, 2, shape)
    assert many.dtype == np.float32
    assert many.shape == (5, *shape)
    for row, seed in zip(many, seeds, strict=True):
        np.testing.assert_array_equal(row, normal(seed, 2, shape))
    np.testing.assert_array_equal(many[0], many[3])


def test_rows_are_independent_of_how_the_work_is_cut() -> None:
    shape = (1, 200, 200)  # more blocks than are computed at once
    many = normals(range(3), 0, shape)
    for i in range(3):
        np.testing.assert_array_equal(many[i], normal(i, 0, shape))
    np.testing.assert_array_equal(many[1].reshape(-1)[:10], normal(1, 0, (10,)))


def test_draws_may_differ_by_row() -> None:
    both = normals([7, 7], np.array([4, 9]), (11,))
    np.testing.assert_array_equal(both[0], normal(7, 4, (11,)))
    np.testing.assert_array_equal(both[1], normal(7, 9, (11,)))


def test_seeds_draws_and_streams_are_kept_apart() -> None:
    base = normal(1, 1, (64,))
    others = [normal(2, 1, (64,)), normal(1, 2, (64,)), normal(1, 1, (64,), stream=TRAINING), normal(1 << 32, 1, (64,))]
    for other in others:
        assert not np.any(base == other)
    assert len({SAMPLING, TRAINING, ORDER, TIME}) == 4


def test_moments_and_shape_of_the_distribution() -> None:
    z = normals(range(64), 0, (4, 64, 64)).astype(np.float64).reshape(-1)
    n = len(z)  # about a million
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)
    # Kolmogorov-Smirnov: the largest gap to the normal distribution
    z.sort()
    cdf = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z[:: n // 4096]])
    assert np.abs(cdf - np.arange(n)[:: n // 4096] / n).max() < 2 / math.sqrt(n)
    pairs = z.reshape(-1, 2)
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(z).reshape(-1, 2)
    assert abs((shuffled[:, 0] * shuffled[:, 1]).mean()) < 4 / math.sqrt(len(pairs))


def test_no_correlation_between_neighbours_and_seeds() -> None:
    z = normals(range(256), 0, (4096,)).astype(np.float64)
    count = math.sqrt(z.size)
    assert abs((z[:, :-1] * z[:, 1:]).mean()) < 4 / count
    assert abs((z[:-1] * z[1:]).mean()) < 4 / count
    assert abs((z[:, :-2] * z[:, 2:]).mean()) < 4 / count


def test_uniform_is_inside_zero_and_one() -> None:
    u = uniform(3, 0, 100_000)
    assert u.dtype == np.float64
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=4 / math.sqrt(12 * len(u)))
    np.testing.assert_array_equal(u[:7], uniform(3, 0, 7))
    assert not np.any(u[:100] == uniform(3, 1, 100))


def test_integers_use_all_bits() -> None:
    n = integers(3, 0, 10_000)
    assert n.dtype == np.uint64
    assert len(np.unique(n)) == len(n)
    bits = np.unpackbits(n.view(np.uint8)).mean()
    assert bits == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(640_000))
    word = philox(words(0, 0, 0, ORDER), words(3, 0))
    assert int(n[0]) == int(word[0]) | int(word[1]) << 32
    assert int(n[1]) == int(word[2]) | int(word[3]) << 32


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "7", True, None])
def test_refuses_what_is_no_seed(seed: int) -> None:
    with pytest.raises(ArgumentError, match=r"0 to 2\*\*64 - 1"):
        normals([seed], 0, (2,))


@pytest.mark.parametrize("seeds", [range(3), np.arange(3), np.arange(3, dtype=np.uint64), (0, 1, 2)])
def test_takes_any_sequence_of_seeds(seeds: object) -> None:
    np.testing.assert_array_equal(normals(seeds, 0, (5,)), normals([0, 1, 2], 0, (5,)))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("draw", [-1, 2**32])
def test_refuses_a_draw_out_of_range(draw: int) -> None:
    with pytest.raises(ArgumentError, match="draw"):
        normal(0, draw, (2,))


def test_a_training_batch_takes_milliseconds() -> None:
    normals(range(128), 0, (1, 28, 28))
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        normals(range(128), 0, (1, 28, 28))
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.05  # about 0.005 on one quiet core; ten times that allows for a busy one
