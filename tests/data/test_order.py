"""Which image comes n-th."""

import numpy as np
import pytest

from brickwork.data.order import FLIPS_PER_DRAW, flips, indices
from brickwork.errors import ArgumentError


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_every_epoch_visits_each_image_once(size: int) -> None:
    for epoch in range(5):
        assert sorted(indices(3, epoch * size, size, size)) == list(range(size))


def test_epochs_and_seeds_differ() -> None:
    first, second = indices(0, 0, 200, 100).reshape(2, 100)
    assert (first != second).any()
    assert (first != indices(1, 0, 100, 100)).any()


@pytest.mark.parametrize("batch", [1, 3, 64, 500])
def test_any_split_into_batches_is_the_same_sequence(batch: int) -> None:
    whole_order, whole_flips = indices(5, 0, 500, 37), flips(5, 0, 500)
    for start in range(0, 500, batch):
        count = min(batch, 500 - start)
        np.testing.assert_array_equal(indices(5, start, count, 37), whole_order[start : start + count])
        np.testing.assert_array_equal(flips(5, start, count), whole_flips[start : start + count])


def test_flips_across_draws() -> None:
    whole = flips(9, 0, 2 * FLIPS_PER_DRAW + 10)
    np.testing.assert_array_equal(flips(9, FLIPS_PER_DRAW - 5, 10), whole[FLIPS_PER_DRAW - 5 : FLIPS_PER_DRAW + 5])
    assert abs(whole.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(whole))


def test_places_are_uniform() -> None:
    """Image 0 is as often early as late: the mean of n uniform places is normal around the middle."""
    size, epochs = 50, 400
    places = [int(np.flatnonzero(indices(7, e * size, size, size) == 0)[0]) for e in range(epochs)]
    deviation = np.sqrt((size**2 - 1) / 12 / epochs)
    assert abs(np.mean(places) - (size - 1) / 2) < 4 * deviation


def test_types_and_edges() -> None:
    assert indices(0, 0, 0, 5).shape == (0,)
    assert indices(0, 3, 4, 5).dtype == np.int64
    assert flips(0, 0, 3).dtype == bool
    with pytest.raises(ArgumentError):
        indices(0, 0, 3, 0)
    with pytest.raises(ArgumentError):
        flips(0, -1, 3)


def test_a_result_may_be_changed_without_changing_the_next() -> None:
    before = indices(2, 0, 10, 10).copy()
    indices(2, 0, 10, 10)[:] = 0
    np.testing.assert_array_equal(indices(2, 0, 10, 10), before)
