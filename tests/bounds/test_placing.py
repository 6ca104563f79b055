"""Where intervals are put: the envelope of parabolas comes near the function they are tangents of, and covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds.gram import Array
from bounds.kernels.shares import fill_shares
from bounds.relaxation.placing import Near, Rows, place

quick = settings(max_examples=60, deadline=None, derandomize=True)


class Convex:
    """`g(s) = base + slope·|s − kink| + curvature·s²` for each row, whose conjugate is known: `E = g − lift·s²`."""

    def __init__(self, base: Array, slope: Array, kink: Array, curvature: float, lift: float) -> None:
        self.base, self.slope, self.kink, self.curvature, self.lift = base, slope, kink, curvature, lift
        self.asked = 0

    def __call__(self, rows: Rows, s: Array) -> Array:
        value = self.base[rows] + self.slope[rows] * np.abs(s - self.kink[rows]) + self.curvature * s * s
        return np.asarray(value)

    def peaks(self, rows: Rows, centres: Array, near: Sequence[Near[float] | None]) -> tuple[Array, list[float]]:
        """`min g(s) − 2·lift·c·s + lift·c²`, attained at the kink or where either side is flat."""
        self.asked += len(rows)
        pull, kink, slope = 2 * self.lift * centres, self.kink[rows], self.slope[rows]
        right = np.maximum((pull - slope) / (2 * self.curvature), kink)
        left = np.minimum((pull + slope) / (2 * self.curvature), kink)
        values = [self(rows, s) - pull * s + self.lift * centres**2 for s in (left, right)]
        for one in near:
            assert one is None or one.left is not None
        return np.minimum(*values), centres.tolist()


@quick
@given(
    seed=st.integers(0, 10**6),
    tail=st.sampled_from([0.01, 0.1, 0.5]),
    loss=st.sampled_from([0.003, 0.02, 0.2]),
)
def test_the_envelope_comes_near_the_least_value(seed: int, tail: float, loss: float) -> None:
    rng = np.random.default_rng(seed)
    rows, lift = 5, 1.0
    # E = g − lift·s² has the curvature `tail` far out: E ≥ tail·s² where the slope and the base are not negative
    truth = Convex(rng.uniform(0.1, 3, rows), rng.uniform(0, 2, rows), rng.normal(size=rows), lift + tail, lift)
    placed = place(truth.peaks, 2 * truth.base + 1, lift, tail, loss, 4000)
    # where the slope holds `s` at the kink, or as far as it pulls from zero
    lowest = np.sign(truth.kink) * np.minimum(np.abs(truth.kink), truth.slope / (2 * tail))
    leasts = truth(np.arange(rows), lowest) - lift * lowest**2
    for row, found in enumerate(placed):
        assert found is not None
        least = float(leasts[row])
        peak, _ = truth.peaks(np.full(found.centres.size, row), found.centres, [])
        low, high = found.edges[:-1], found.edges[1:]
        given_away = np.maximum(np.abs(low - found.centres), np.abs(high - found.centres)) ** 2
        value = min(float((peak - lift * given_away).min()), tail * min(found.edges[0] ** 2, found.edges[-1] ** 2))
        assert value <= least * (1 + 1e-9)
        assert value >= (1 - loss) * least * (1 - 1e-9)
        assert found.found == found.centres.tolist()
        assert found.edges[0] <= 0 <= found.edges[-1]


def test_a_hidden_parabola_is_left_out_and_few_intervals_end_the_search() -> None:
    truth = Convex(np.ones(1), np.full(1, 5.0), np.zeros(1), 1.001, 1.0)
    (found,) = place(truth.peaks, np.ones(1), 1.0, 1e-3, 0.01, 400)
    assert found is not None
    assert found.centres.size <= truth.asked
    assert np.all(np.diff(found.centres) > 0)
    few = Convex(np.ones(1), np.zeros(1), np.zeros(1), 1 + 1e-9, 1.0)
    place(few.peaks, np.ones(1), 1.0, 1e-9, 1e-4, 20)
    assert few.asked < 60


def test_no_bound_no_intervals() -> None:
    def nothing(rows: Rows, _centres: Array, _near: Sequence[Near[None] | None]) -> tuple[Array, list[None]]:
        return np.full(len(rows), -1.0), [None] * len(rows)

    assert place(nothing, np.ones(3), 1.0, 0.1, 0.1, 8) == [None, None, None]


@quick
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), scale=st.sampled_from([1e-200, 1e-3, 1.0, 1e80]))
def test_shares_sum_to_the_budget(seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    gain = scale * rng.exponential(size=(4, n)) ** 3
    budget = rng.integers(1, n, 4).astype(float)
    heat = np.array([1e-3, 0.1, 1.0, 30.0]) * scale
    level, share = np.full(4, np.nan), np.empty((4, n))
    fill_shares(gain, budget, heat, level, share)
    np.testing.assert_allclose(share.sum(axis=1), budget, atol=2e-6)
    assert share.min() >= 0
    assert share.max() <= 1
    order = np.argsort(gain, axis=1)
    assert np.all(np.diff(np.take_along_axis(share, order, axis=1), axis=1) >= -1e-6)
    again = np.empty((4, n))
    fill_shares(gain, budget, heat, level, again)
    np.testing.assert_allclose(again, share, atol=1e-5)


def test_equal_gains_share_alike() -> None:
    for gain, heat in ((0.0, 1e-300), (7.0, 0.1)):
        share = np.empty((1, 4))
        fill_shares(np.full((1, 4), gain), np.array([3.0]), np.array([heat]), np.array([np.nan]), share)
        np.testing.assert_allclose(share, 0.75, atol=1e-6)
