"""Pruned and quantised at once: the sets of `bounds` judge, brute force says where the optimum lies."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import bounds  # noqa: E402
from bounds import LeastSquares, NofM, SparseIntegerBox  # noqa: E402
from quanterr import heuristics as h  # noqa: E402
from quanterr.errors import InputError  # noqa: E402

from .textbook import instance  # noqa: E402

SEEDS = st.integers(0, 10_000)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, keep=st.integers(0, 5))
def test_between_the_optimum_and_the_start(seed: int, keep: int) -> None:
    t, gram = instance(4, 5, seed)
    problem = LeastSquares(gram, t, SparseIntegerBox(-2, 1, keep))
    every = np.array([c for c in itertools.product(range(-2, 2), repeat=5) if np.count_nonzero(c) <= keep], dtype=float)
    step = every[None] - t[:, None]
    best = np.einsum("rci,ij,rcj->rc", step, gram, step).min(axis=1)
    start = np.asarray(h.prune_then_quantize(t, gram, keep, -2, 1))
    end = np.asarray(h.exchange_codes(t, gram, keep, -2, 1))
    assert (problem.upper(end) >= best * (1 - 1e-12)).all()
    assert (problem.error(end) <= problem.error(start) * (1 + 1e-12)).all()
    for row, code in itertools.product(range(4), every):
        differs = end[row] != code
        if differs.sum() <= 1:
            assert problem.restrict(row).error(code[None])[0] >= problem.restrict(row).error(end[[row]])[0] * (1 - 1e-7)


def test_exchanges_end_where_none_helps() -> None:
    t, gram = instance(5, 8, 3)
    for keep in (3, NofM(2, 4)):
        end = np.asarray(h.exchange_codes(t, gram, keep, -2, 1))
        error = np.einsum("ri,ij,rj->r", end - t, gram, end - t)
        for row, i, j, code in itertools.product(range(5), range(8), range(8), (-2, -1, 1)):
            if end[row, i] != 0 and end[row, j] == 0 and (keep == 3 or i // 4 == j // 4):
                other = end[row].copy()
                other[i], other[j] = 0, code
                assert (other - t[row]) @ gram @ (other - t[row]) >= error[row] * (1 - 1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_zeros_stay_and_limits_hold(seed: int) -> None:
    t, gram = instance(4, 12, seed)
    pruned = np.asarray(h.exact_obs(t, gram, 5))
    codes = np.asarray(h.prune_then_quantize(t, gram, 5, -2, 1, pruned=pruned))
    assert not codes[pruned == 0].any()
    problem = LeastSquares(gram, t, SparseIntegerBox(-2, 1, 5))
    lower = bounds.lower_bound(problem, bounds.DiagonalSplit()).value
    for found in (codes, np.asarray(h.exchange_codes(t, gram, 5, -2, 1, start=codes))):
        assert (problem.upper(found) >= lower).all()
    for pattern in (NofM(2, 4), h.LayerSparse(17)):
        found = np.asarray(h.prune_then_quantize(t, gram, pattern, -2, 1))
        h.judged(t, gram, found, pattern)


def test_quantising_what_is_left_is_quantising_its_own_problem() -> None:
    """OBQ on pruned weights equals OBQ of the kept columns alone, on their fitted target."""
    t, gram = instance(6, 9, 1)
    pruned = np.asarray(h.exact_obs(t, gram, 4))
    codes = np.asarray(h.prune_then_quantize(t, gram, 4, -2, 1, pruned=pruned))
    for row in range(6):
        s = np.flatnonzero(pruned[row])
        alone = np.asarray(h.obq(pruned[row][s][None], gram[np.ix_(s, s)], -2, 1))[0]
        np.testing.assert_array_equal(codes[row][s], alone)


def test_bad_input() -> None:
    t, gram = instance(3, 6, 0)
    with pytest.raises(InputError, match="include 0"):
        h.prune_then_quantize(t, gram, 2, 1, 3)
    with pytest.raises(InputError, match="include 0"):
        h.exchange_codes(t, gram, 2, -3, -1)
    with pytest.raises(InputError, match="pruned"):
        h.prune_then_quantize(t, gram, 2, -2, 1, pruned=t)
    with pytest.raises(InputError, match="start"):
        h.exchange_codes(t, gram, 2, -2, 1, start=np.ones((3, 6)))
    with pytest.raises(InputError, match="neither"):
        h.exchange_codes(t, gram, h.LayerSparse(4), -2, 1)
