"""The smoothed bound: its points, its derivatives, and that it climbs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bounds
from bounds import BlockSplit, IntegerBox, LeastSquares
from bounds.gram import Array
from bounds.kernels.block_multipliers import workspace
from bounds.kernels.block_points import near_minima
from bounds.minima.integer_blocks import IntegerBlock, Packed
from bounds.relaxation import block_integers
from bounds.relaxation.block_ascent import Climber, Place, Smoothed

from .test_block_integers import correlated
from .test_certificate import random_gram


@pytest.mark.parametrize("list_nodes", [10**6, 0])
def test_near_minima_are_the_best_points(list_nodes: int) -> None:
    """Against all points of the box; a list cut short still holds the best one."""
    rng = np.random.default_rng(1)
    for n, low, high in ((5, -2, 1), (3, -4, 3), (1, 0, 1), (6, 0, 1)):
        matrix, centre = random_gram(rng, n) + 0.1 * np.eye(n), 2 * rng.normal(size=n)
        block = IntegerBlock(matrix)
        packed = Packed([block], 0)
        points, errors = np.zeros((12, n)), np.zeros(12)
        lower, count = near_minima(
            packed.shape, packed.arrays, 0, centre[block.order], float(low), float(high), 10**6, list_nodes, np.inf,
            workspace(n, block.padded), points, errors,
        )  # fmt: skip
        u = np.array(list(itertools.product(range(low, high + 1), repeat=n))) - centre
        expected = np.sort(np.einsum("ki,ij,kj->k", u, matrix, u))
        found = np.empty((count, n))
        found[:, block.order] = points[:count]
        found = np.unique(found, axis=0)
        values = np.sort(np.einsum("ki,ij,kj->k", found - centre, matrix, found - centre))
        assert lower == pytest.approx(expected[0])
        assert ((found >= low) & (found <= high) & (found == np.rint(found))).all()
        assert len(found) >= min(11, len(expected)) if list_nodes else len(found) == 1
        np.testing.assert_allclose(values, expected[: len(found)])


def example(rng: np.random.Generator) -> tuple[Smoothed, Place]:
    """Two rows, three blocks, a few points of each, and a place inside."""
    gram, blocks = correlated(rng, 7), [np.array([0, 3]), np.array([1, 2, 6]), np.array([4, 5])]
    points = [[rng.normal(size=(4, block.size)) for block in blocks] for _ in range(2)]
    half = 0.4 * np.linalg.eigvalsh(gram)[0]
    place = Place([half * (np.eye(b.size) + 0.2 * np.ones((b.size, b.size))) for b in blocks], rng.normal(size=(2, 7)))
    return Smoothed(gram, blocks, np.array([2.0, 5.0]), points, 0.3, 0.2), place


def test_derivatives_of_the_smoothed_bound() -> None:
    """Against differences, in all directions at once and in the coordinates of the climber."""
    rng = np.random.default_rng(2)
    smoothed, place = example(rng)
    found = smoothed(place)
    assert found is not None
    _, slope, inverse = found
    climber = Climber(smoothed)
    climber.frame(place, inverse)
    for _ in range(5):
        way: Array = rng.normal(size=climber.flat(slope).size)
        by = climber.step(way)
        ends = [smoothed(place.moved(t, by)) for t in (1e-6, -1e-6)]
        assert ends[0] is not None
        assert ends[1] is not None
        direct = sum(float(np.sum(a * b)) for a, b in zip(slope.matrices, by.matrices, strict=True))
        direct += float(np.sum(slope.g * by.g))
        assert (ends[0][0] - ends[1][0]) / 2e-6 == pytest.approx(direct, rel=1e-5)
        assert way @ climber.flat(slope) == pytest.approx(direct, rel=1e-9)


def test_the_smoothed_bound_is_concave_and_climbs_to_a_flat_place() -> None:
    rng = np.random.default_rng(3)
    smoothed, place = example(rng)
    start = smoothed(place)
    assert start is not None
    top = Climber(smoothed).climb(place, 300)
    end = smoothed(top)
    middle = smoothed(
        Place([(d + e) / 2 for d, e in zip(place.matrices, top.matrices, strict=True)], (place.g + top.g) / 2)
    )
    assert end is not None
    assert middle is not None
    assert end[0] > middle[0] >= (start[0] + end[0]) / 2
    climber = Climber(smoothed)
    climber.frame(top, end[2])
    assert np.linalg.norm(climber.flat(end[1])) < 1e-4


def test_outside_the_domain_there_is_no_value() -> None:
    smoothed, place = example(np.random.default_rng(4))
    assert smoothed(Place([100 * d for d in place.matrices], place.g)) is None
    assert smoothed(Place([-d for d in place.matrices], place.g)) is None


def test_ascent_gains_and_repeats_bit_by_bit() -> None:
    """From the largest trace; for one row alone the gap to its optimum shrinks by a quarter at least."""
    rng = np.random.default_rng(5)
    problem = LeastSquares(correlated(rng, 24), rng.normal(size=(1, 24)), IntegerBox(-2, 1))
    optimum = bounds.solve(problem, bounds.BranchAndBound())
    assert optimum.closed.all()
    first = BlockSplit(width=8, rounds=0).tune(problem)
    tuned = [block_integers.ascend(problem, first, 16, None) for _ in range(2)]
    for d, e in zip(tuned[0].matrices, tuned[1].matrices, strict=True):
        np.testing.assert_array_equal(d, e)
    before, after = (bounds.lower_bound(problem, BlockSplit(split=split)).value[0] for split in (first, tuned[0]))
    assert after <= optimum.upper[0]
    assert optimum.upper[0] - after < 0.75 * (optimum.upper[0] - before)


def test_a_row_that_is_its_own_target_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    problem = LeastSquares(correlated(rng, 6), np.array([[0.0, 1, -1, 0, 1, -2]]), IntegerBox(-2, 1))
    bound = bounds.lower_bound(problem, BlockSplit(width=3, rounds=6, row_rounds=6))
    assert bound.value[0] == 0
