"""Exact layer-wide pruning: against all masks of tiny layers in exact fractions, and against whole exact curves."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

import bounds
from bounds import BranchAndBound, Gram, LeastSquares, ProblemError, Sparse, Status, allocate, solve_layer
from bounds.exact import row_curves


def layer(seed, rows, columns):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(3 * columns, columns)) @ (np.eye(columns) + 0.2 * rng.normal(size=(columns, columns)))
    return inputs.T @ inputs / len(inputs), rng.normal(size=(rows, columns)) * rng.lognormal(size=(rows, 1))


def exact_curve(gram, weight):
    """The least error of one row with 0, 1, … columns, over all masks, in fractions."""
    n = len(weight)
    g = [[Fraction(float(v)) for v in line] for line in gram]
    w = [Fraction(float(v)) for v in weight]
    found = []
    for keep in range(n + 1):
        errors = []
        for removed in combinations(range(n), n - keep):
            kept = [i for i in range(n) if i not in removed]
            # the error is the Schur complement of the kept columns, applied to the removed weights
            rows = [[*(g[i][j] for j in kept), sum(g[i][j] * w[j] for j in removed)] for i in kept]
            step = _solved(rows)
            u = [Fraction(0)] * n
            for i in removed:
                u[i] = -w[i]
            for i, v in zip(kept, step, strict=True):
                u[i] = v
            errors.append(sum(u[i] * g[i][j] * u[j] for i in range(n) for j in range(n)))
        found.append(min(errors))
    return found


def _solved(rows):
    """Gauss–Jordan elimination of a bordered system."""
    rows = [list(row) for row in rows]
    for p in range(len(rows)):
        rows[p] = [v / rows[p][p] for v in rows[p]]
        for i in range(len(rows)):
            if i != p:
                rows[i] = [a - rows[i][p] * b for a, b in zip(rows[i], rows[p], strict=True)]
    return [row[-1] for row in rows]


def test_brute_force_over_all_masks_of_tiny_layers():
    for seed in range(3):
        gram, weight = layer(seed, 3, 4)
        exact = [exact_curve(Gram(gram).array, row) for row in weight]
        found = solve_layer(gram, weight, range(13))
        for keep, solution in enumerate(found):
            best = min(
                sum(exact[r][k] for r, k in enumerate(split))
                for split in product(range(5), repeat=3)
                if sum(split) == keep
            )
            assert Fraction(solution.lower) <= best <= Fraction(solution.upper)
            assert solution.status is Status.CLOSED
            assert np.count_nonzero(solution.x) <= keep
            assert (np.count_nonzero(solution.x, axis=1) <= solution.keep).all()
            assert solution.keep.sum() == keep
            step = solution.x - weight
            assert np.einsum("ri,ij,rj", step, gram, step) == pytest.approx(float(best), rel=1e-9, abs=1e-12)


def test_agrees_with_whole_exact_curves_of_every_row():
    gram, weight = layer(5, 24, 14)
    curve = np.zeros((24, 15))
    for keep in range(15):
        curve[:, keep] = bounds.solve(LeastSquares(gram, weight, Sparse(keep)), BranchAndBound()).upper
    curve[:, -1] = 0.0
    keeps = [24 * 14 * b // 16 for b in range(2, 9)]
    found = solve_layer(gram, weight, keeps)
    for keep, solution in zip(keeps, found, strict=True):
        best = allocate(curve, keep)
        assert solution.status is Status.CLOSED
        assert solution.lower <= best.value
        assert solution.upper == pytest.approx(best.value, rel=1e-9)
        assert solution.upper <= curve[:, keep // 24].sum() * (1 + 1e-12)
    assert found[0].searches < 24 * 13  # fewer than there are
    alone = solve_layer(gram, weight, [keeps[2]])[0]
    assert alone.upper == pytest.approx(found[2].upper, rel=1e-9)
    assert alone.searches < found[2].searches


def test_the_lower_curves_are_below_the_exact_ones():
    gram, weight = layer(6, 12, 10)
    metric = Gram(gram)
    known = row_curves.start(metric, weight)
    exact = np.stack(
        [bounds.solve(LeastSquares(metric, weight, Sparse(k)), BranchAndBound()).upper for k in range(11)], axis=1
    )
    assert (known.lower <= exact).all()
    assert (known.upper >= exact * (1 - 1e-9) - 1e-12).all()
    proven = row_curves.prove(metric, weight, known, bounds.allocation.asks(known.lower, known.upper, [40]))
    assert (proven.lower <= exact).all()
    assert (proven.upper >= exact * (1 - 1e-9) - 1e-12).all()
    assert (np.diff(proven.lower, axis=1) <= 0).all()
    assert (proven.lower >= known.lower).all()


def test_groups_share_one_budget():
    parts = [layer(seed, 6, 5) for seed in (1, 2)]
    grams = np.stack([gram for gram, _ in parts])
    weight = np.concatenate([w for _, w in parts])
    whole = solve_layer(grams, weight, [25])[0]
    curve = np.concatenate(
        [
            np.stack([bounds.solve(LeastSquares(g, w, Sparse(k)), BranchAndBound()).upper for k in range(6)], axis=1)
            for g, w in parts
        ]
    )
    assert whole.upper == pytest.approx(plain_least(curve, 25), rel=1e-9)
    assert whole.status is Status.CLOSED
    same = solve_layer([Gram(g) for g in grams], weight, [25])[0]
    assert same.upper == whole.upper


def plain_least(curve, keep):
    best = {0: 0.0}
    for line in curve:
        best = {
            s: min(best[s - k] + line[k] for k in range(len(line)) if s - k in best)
            for s in range(keep + 1)
            if any(s - k in best for k in range(len(line)))
        }
    return best[keep]


def test_dead_inputs_zero_rows_and_sparse_rows_cost_nothing():
    gram, weight = layer(8, 6, 7)
    gram[2, :] = gram[:, 2] = 0.0
    weight[0] = 0.0
    weight[1, :5] = 0.0
    found = solve_layer(gram, weight, [12, 30, 42])
    assert [s.status for s in found] == [Status.CLOSED] * 3
    assert found[0].keep.sum() == 12
    assert found[2].upper == found[2].lower == 0.0
    live = np.delete(np.arange(7), 2)
    rest = solve_layer(gram[np.ix_(live, live)], weight[:, live], [12, 30])
    for a, b in zip(found, rest, strict=False):
        assert a.upper == pytest.approx(b.upper, rel=1e-9)


def test_searches_cut_short_leave_a_valid_interval():
    gram, weight = layer(9, 20, 24)
    whole = solve_layer(gram, weight, [120])[0]
    cut = solve_layer(gram, weight, [120], BranchAndBound(max_nodes=2))[0]
    assert whole.status is Status.CLOSED
    assert cut.status is Status.NODE_LIMIT
    assert cut.lower <= whole.upper
    assert whole.lower <= cut.upper
    assert cut.lower > 0.1 * whole.lower
    timed = solve_layer(gram, weight, [120], BranchAndBound(time_limit=1e-9))[0]
    assert timed.status is Status.TIME_LIMIT
    assert timed.lower <= whole.upper


def test_bad_input_is_named():
    gram, weight = layer(1, 3, 4)
    with pytest.raises(ProblemError, match="from 0 to 3 × 4"):
        solve_layer(gram, weight, [13])
    with pytest.raises(ProblemError, match="evenly among 2"):
        solve_layer(np.stack([gram, gram]), weight, [3])
    with pytest.raises(ProblemError, match="duplicates or linearly"):
        solve_layer(np.ones((4, 4)), weight, [3])
    with pytest.raises(ProblemError, match="4 columns"):
        solve_layer(gram, weight[:, :3], [3])
