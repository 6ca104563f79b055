"""Exact pruning against exhaustive search in exact arithmetic, and its promises when cut short."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from bounds.errors import MethodError, ProblemError
from bounds.exact import best_subset as search
from bounds.exact.best_subset import Metric, greedy, solve
from bounds.feasible.integer_box import IntegerBox
from bounds.feasible.sparse import Sparse
from bounds.gram import Array, Gram
from bounds.kernels.lanes import LANES, store
from bounds.kernels.subset_lanes import Space, factor, invert, space, substitute
from bounds.problem import LeastSquares
from bounds.result import Solution, Status

FREE = {"max_nodes": 10**9, "time_limit": math.inf, "gap_tol": 1e-9}


def run(gram: object, target: Array, keep: int, start: Array | None = None, **limits: float) -> Solution:
    return solve(LeastSquares(gram, target, Sparse(keep)), start, **{**FREE, **limits})  # type: ignore[arg-type]


def correlated(rng: np.random.Generator, n: int, rows: int, spread: float = 1.0) -> tuple[Array, Array]:
    inputs = rng.standard_normal((4 * n, n)) @ (np.eye(n) + spread * rng.standard_normal((n, n)) / np.sqrt(n))
    inputs += 0.5 * np.abs(rng.standard_normal((4 * n, 1)))
    return inputs.T @ inputs / (4 * n), rng.standard_normal((rows, n)) * np.exp(0.5 * rng.standard_normal((rows, n)))


def exact_optimum(gram: Array, target: Array, keep: int) -> Fraction:
    """The optimum of one row over all supports, in rational arithmetic on the stored doubles."""
    n = len(target)
    best = None
    for removed in combinations(range(n), n - keep):
        on = [i for i in range(n) if i not in removed]
        order = on + list(removed)
        a = [[Fraction(float(gram[i, j])) for j in order] for i in order]
        for p in range(keep):
            for i in range(p + 1, n):
                f = a[i][p] / a[p][p]
                a[i] = [x - f * y for x, y in zip(a[i], a[p], strict=True)]
        t = [Fraction(float(target[i])) for i in removed]
        error = sum((t[i] * t[j] * a[keep + i][keep + j] for i in range(n - keep) for j in range(n - keep)), Fraction())
        best = error if best is None else min(best, error)
    assert best is not None
    return best


def brute_force(gram: Array, target: Array, keep: int) -> float:
    n, best = len(target), math.inf
    for removed in combinations(range(n), n - keep):
        off = list(removed)
        on = [i for i in range(n) if i not in removed]
        schur = gram[np.ix_(off, off)] - gram[np.ix_(off, on)] @ np.linalg.solve(
            gram[np.ix_(on, on)], gram[np.ix_(on, off)]
        )
        best = min(best, float(target[off] @ schur @ target[off]))
    return best


@pytest.mark.parametrize("n", [2, 4, 7, 10])
def test_every_size_equals_exhaustive_search(n: int) -> None:
    rng = np.random.default_rng(n)
    gram, target = correlated(rng, n, 6, spread=2.0)
    for keep in range(1, n):
        found = run(gram, target, keep)
        assert found.closed.all()
        expected = [brute_force(gram, row, keep) for row in target]
        np.testing.assert_allclose(found.upper, expected, rtol=1e-9)
        assert (np.count_nonzero(found.x, axis=1) <= keep).all()


@pytest.mark.parametrize("power", [0, 3, 6, 8, 10])
@pytest.mark.parametrize("directions", [1, 3])
def test_bounds_hold_in_exact_arithmetic_however_ill_conditioned(power: int, directions: int) -> None:
    rng = np.random.default_rng([power, directions])
    for trial in range(8):
        n = int(rng.integers(4, 7))
        basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
        values = np.ones(n)
        values[:directions] = 10.0 ** -rng.uniform(power - 0.5, power, directions)
        gram = Gram((basis * values) @ basis.T)
        target = rng.standard_normal((3, n))
        if trial % 2:
            target = target @ basis * values @ basis.T + basis[:, 0]
        for keep in (1, n // 2, n - 1):
            found = run(gram, target, keep, gap_tol=0.0)
            for r in range(3):
                optimum = exact_optimum(gram.array, target[r], keep)
                assert Fraction(float(found.lower[r])) <= optimum <= Fraction(float(found.upper[r]))
                assert found.stats["start_error"][r] >= float(optimum) * (1 - 1e-2)
            if gram.amplification < 1e5:
                assert found.closed.all()


def test_wide_enough_for_every_branch_of_the_search() -> None:
    """16 columns exercise bounds, diagonals, fixing and the enumerated leaves."""
    rng = np.random.default_rng(5)
    gram, target = correlated(rng, 16, 3)
    for keep in (4, 6, 8, 11, 13):
        found = run(gram, target, keep)
        np.testing.assert_allclose(found.upper, [brute_force(gram, row, keep) for row in target], rtol=1e-9)


def test_error_falls_with_keep_and_the_start_is_never_below_the_optimum() -> None:
    gram, target = correlated(np.random.default_rng(7), 22, 5)
    previous = np.full(5, np.inf)
    for keep in range(23):
        found = run(gram, target, keep)
        assert (found.upper <= previous * (1 + 1e-12)).all()
        assert (found.stats["start_error"] >= found.lower).all()
        previous = found.upper
    assert (previous == 0.0).all()


@pytest.mark.parametrize(("n", "rows"), [(24, 3), (24, 11), (80, 3)])
@pytest.mark.parametrize("nodes", [1, 10, 100])
def test_an_interrupted_search_reports_what_it_has_proven(n: int, rows: int, nodes: int) -> None:
    gram, target = correlated(np.random.default_rng(n), n, rows, spread=3.0)
    keep = n // 3
    cut = run(gram, target, keep, max_nodes=nodes)
    assert (cut.stats["nodes"] <= nodes).all()
    assert (cut.lower > 0.0).all()
    assert (cut.lower <= cut.upper).all()
    for row in range(rows):
        closed = cut.upper[row] - cut.lower[row] <= 1e-6 * cut.upper[row]
        assert cut.status[row] == (Status.CLOSED if closed else Status.NODE_LIMIT)
    if n == 24:
        whole = run(gram, target, keep)
        assert whole.closed.all()
        assert (whole.stats["nodes"] > 10).any()
        assert (cut.lower <= whole.upper).all()
        assert (cut.upper >= whole.lower).all()


def test_more_nodes_never_prove_less() -> None:
    gram, target = correlated(np.random.default_rng(11), 40, 4, spread=3.0)
    lower = [run(gram, target, 12, max_nodes=m).lower for m in (1, 30, 1000)]
    assert (lower[0] <= lower[1]).all()
    assert (lower[1] <= lower[2]).all()


def test_out_of_time_keeps_the_heuristic_and_a_root_bound() -> None:
    gram, target = correlated(np.random.default_rng(3), 60, 6, spread=3.0)
    found = run(gram, target, 20, time_limit=0.0)
    np.testing.assert_allclose(found.upper, found.stats["start_error"], rtol=1e-8)
    assert (found.lower > 0.0).all()
    assert (found.stats["nodes"] <= 1).all()
    assert (found.status == Status.TIME_LIMIT).any()


@pytest.mark.parametrize("rows", [4, 11])
def test_slices_do_not_change_the_search(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    gram, target = correlated(np.random.default_rng(13), 24, rows, spread=2.0)
    whole = run(gram, target, 8)
    monkeypatch.setattr(search, "SLICE", 24**2 * 3)
    sliced = run(gram, target, 8)
    assert sliced.x.tobytes() == whole.x.tobytes()
    assert sliced.lower.tobytes() == whole.lower.tobytes()
    assert (sliced.stats["nodes"] == whole.stats["nodes"]).all()


def test_the_same_input_gives_the_same_bits() -> None:
    gram, target = correlated(np.random.default_rng(17), 20, 4)
    one, two = run(gram, target, 7), run(gram, target, 7)
    assert one.x.tobytes() == two.x.tobytes()
    assert one.lower.tobytes() == two.lower.tobytes()


@pytest.mark.parametrize("power", [0, 2])
def test_rows_side_by_side_are_searched_as_one_by_one(monkeypatch: pytest.MonkeyPatch, power: int) -> None:
    rng = np.random.default_rng([18, power])
    gram, target = correlated(rng, 28, 30, spread=2.0)
    gram += 10.0**power * np.outer(gram[0], gram[0])
    for keep in (4, 9, 20, 25):
        together = run(gram, target, keep)
        with monkeypatch.context() as patch:
            patch.setattr(search, "FEW", 10**9)
            alone = run(gram, target, keep)
        assert together.closed.all()
        assert (together.lower <= alone.upper).all()
        assert (alone.lower <= together.upper).all()
        assert abs(together.stats["nodes"].sum() / alone.stats["nodes"].sum() - 1) < 0.05


def test_neither_order_nor_number_of_rows_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEW", 1)
    rng = np.random.default_rng(20)
    gram, target = correlated(rng, 26, 21, spread=2.0)
    whole = run(gram, target, 8)
    for rows in (np.array([20]), rng.permutation(21), np.arange(5, 14)):
        some = run(gram, target[rows], 8)
        assert some.lower.tobytes() == whole.lower[rows].tobytes()
        assert some.x.tobytes() == whole.x[rows].tobytes()
        assert (some.stats["nodes"] == whole.stats["nodes"][rows]).all()


@pytest.mark.parametrize("n", [1, 4, 7, 16, 29])
def test_factors_in_lanes(n: int) -> None:
    """Against numpy; the last lane holds a matrix that is not definite."""
    rng = np.random.default_rng(n)
    s, row = space(n), n + 1
    inputs = rng.standard_normal((LANES, 2 * n, n))
    matrix, right = np.swapaxes(inputs, 1, 2) @ inputs, rng.standard_normal((LANES, n))
    matrix[-1, n // 2, n // 2] = -1.0
    square = np.zeros((n, row, LANES))
    square[:, :n], square[:, n] = np.moveaxis(matrix, 0, -1), right.T
    s.a[: square.size] = square.ravel()
    factor_solve_invert(s, n, row)
    definite = s.number[:LANES]
    assert (definite[:-1] > 0.0).all()
    assert definite[-1] == 0.0
    inverse = np.moveaxis(s.c[: square.size].reshape(n, row, LANES), -1, 0)[:, :, :n]
    for lane in range(LANES - 1):
        solution = s.g[: n * LANES].reshape(n, LANES)[:, lane]
        np.testing.assert_allclose(solution, np.linalg.solve(matrix[lane], right[lane]), rtol=1e-8)
        np.testing.assert_allclose(np.triu(inverse[lane]), np.triu(np.linalg.inv(matrix[lane])), rtol=1e-7, atol=1e-9)


@njit
def factor_solve_invert(s: Space, n: int, row: int) -> None:
    store(s.number, 0, factor(s.a, n, n + 1, row, s.reciprocal))
    substitute(s.a, n, row, s.reciprocal, s.g)
    invert(s.a, n, row, s.reciprocal, s.b, s.c)


def test_permuting_columns_and_rows_leaves_the_optimum() -> None:
    rng = np.random.default_rng(19)
    gram, target = correlated(rng, 20, 4)
    order = rng.permutation(20)
    one = run(gram, target, 7)
    two = run(gram[np.ix_(order, order)], target[::-1][:, order], 7)
    np.testing.assert_allclose(two.upper[::-1], one.upper, rtol=1e-9)
    np.testing.assert_allclose(two.x[::-1], one.x[:, order], rtol=1e-6, atol=1e-9)


def test_a_start_is_used_and_checked() -> None:
    gram, target = correlated(np.random.default_rng(23), 40, 2, spread=3.0)
    best = run(gram, target, 12)
    again = run(gram, target, 12, start=best.x, max_nodes=1)
    np.testing.assert_allclose(again.upper, best.upper, rtol=1e-9)
    poor = run(gram, target, 12, start=np.zeros((2, 40)))
    np.testing.assert_allclose(poor.upper, best.upper, rtol=1e-9)
    with pytest.raises(ProblemError, match="row 0 of start is not in"):
        run(gram, target, 12, start=target)
    with pytest.raises(ProblemError, match="start has shape"):
        run(gram, target, 12, start=best.x[:, :5])


def test_greedy_paths_serve_all_sizes_at_once() -> None:
    gram, target = correlated(np.random.default_rng(29), 18, 3)
    metric = Metric(Gram(gram))
    scaled, power = metric.scale(target)
    kept, error = greedy(metric, scaled, [3, 5, 9, 17])
    for size, mask, value in zip([3, 5, 9, 17], kept, error, strict=True):
        assert (mask.sum(axis=1) == size).all()
        optimum = run(gram, target, size)
        assert (np.ldexp(value, 2 * power) >= optimum.lower).all()
        alone = greedy(metric, scaled, [size])[1][0]
        np.testing.assert_allclose(np.sort(alone), np.sort(value), rtol=1e-9)


def test_dead_inputs_get_no_weight_and_cost_nothing() -> None:
    gram, target = correlated(np.random.default_rng(31), 10, 3)
    gram[3] = gram[:, 3] = gram[8] = gram[:, 8] = 0.0
    live = [i for i in range(10) if i not in (3, 8)]
    for keep in (0, 3, 8, 9, 10):
        found = run(gram, target, keep)
        assert (found.x[:, [3, 8]] == 0.0).all()
        assert found.closed.all()
        small = run(gram[np.ix_(live, live)], target[:, live], min(keep, 8))
        np.testing.assert_allclose(found.upper, small.upper, rtol=1e-9)
    assert run(np.zeros((4, 4)), np.ones((2, 4)), 2).upper.tolist() == [0.0, 0.0]


def test_special_sizes() -> None:
    gram, target = correlated(np.random.default_rng(37), 6, 3)
    nothing = run(gram, target, 0)
    assert (nothing.x == 0.0).all()
    assert nothing.closed.all()
    np.testing.assert_allclose(nothing.upper, np.einsum("ri,ij,rj->r", target, gram, target), rtol=1e-12)
    everything = run(gram, target, 6)
    assert (everything.x == target).all()
    assert (everything.upper == 0.0).all()
    assert everything.closed.all()
    target[1] = 0.0
    target[2, 2:] = 0.0
    mixed = run(gram, target, 2)
    assert (mixed.upper[1:] == 0.0).all()
    assert (mixed.x[1:] == target[1:]).all()
    assert mixed.closed.all()
    assert run(np.array([[2.0]]), np.array([3.0]), 0).upper[0] == pytest.approx(18.0)
    assert run(np.array([[2.0]]), np.array([3.0]), 1).upper[0] == 0.0
    twice = run(gram, np.vstack([target[0], target[0]]), 3)
    assert (twice.x[0] == twice.x[1]).all()


def test_a_singular_gram_is_refused_by_name() -> None:
    gram, target = correlated(np.random.default_rng(41), 5, 2)
    gram[4], gram[:, 4] = gram[1], gram[:, 1]
    gram[4, 4] = gram[1, 1]
    with pytest.raises(ProblemError, match=r"best-subset search needs .* columns \[1, 4\]"):
        run(gram, target, 2)


def test_another_feasible_set_is_refused() -> None:
    with pytest.raises(MethodError, match="Sparse"):
        solve(LeastSquares(np.eye(2), np.ones(2), IntegerBox(0, 1)), None, max_nodes=1, time_limit=1.0, gap_tol=0.0)


@pytest.mark.parametrize(("left", "right"), [(1e-100, 1e-100), (1e100, 1e100), (1e-100, 1e100), (1e100, 1e-100)])
def test_extreme_units_change_nothing_but_the_unit(left: float, right: float) -> None:
    rng = np.random.default_rng(43)
    gram, target = correlated(rng, 12, 3)
    a, b = 2.0 ** round(math.log2(left)), 2.0 ** round(math.log2(right))
    plain = run(gram, target, 5)
    scaled = run(gram * a, target * b, 5)
    assert scaled.closed.all()
    np.testing.assert_allclose(scaled.upper / a / b / b, plain.upper, rtol=1e-12)
    columns = 10.0 ** rng.uniform(-40, 40, 12)
    uneven = run(gram * columns * columns[:, None], target / columns, 5)
    np.testing.assert_allclose(uneven.upper, plain.upper, rtol=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(0, 7), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 1.0, 10.0]))
def test_any_small_problem(n: int, keep: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    gram, target = correlated(rng, n, 3, spread)
    target[rng.random(target.shape) < 0.2] = 0.0
    if keep > n:
        with pytest.raises(ProblemError, match="exceeds"):
            run(gram, target, keep)
        return
    found = run(gram, target, keep)
    for r in range(3):
        optimum = brute_force(gram, target[r], keep)
        assert found.lower[r] <= optimum * (1 + 1e-9)
        assert found.upper[r] >= optimum * (1 - 1e-9)
        assert found.upper[r] <= optimum * (1 + 1e-7) + 1e-300


def test_agrees_with_gurobi() -> None:
    """Big-M proven by |w_j| ≤ |t_j| + √(UB (gram⁻¹)_jj), which holds for any known upper bound UB."""
    gurobi = pytest.importorskip("gurobipy")
    n = 36
    gram, target = correlated(np.random.default_rng(47), n, 2, spread=1.0)
    inverse = np.linalg.inv(gram)
    environment = gurobi.Env(params={"OutputFlag": 0, "Threads": 1})
    for keep in (4, 9, 16):
        found = run(gram, target, keep)
        for r in range(2):
            reach = np.abs(target[r]) + np.sqrt(found.stats["start_error"][r] * inverse.diagonal())
            model = gurobi.Model(env=environment)
            model.Params.MIPGap, model.Params.TimeLimit = 1e-6, 20.0
            w = model.addMVar(n, lb=-reach, ub=reach)
            z = model.addMVar(n, vtype="B")
            model.addConstr(w <= reach * z)
            model.addConstr(-w <= reach * z)
            model.addConstr(z.sum() <= keep)
            model.setObjective(w @ gram @ w - 2 * (gram @ target[r]) @ w + target[r] @ gram @ target[r])
            model.optimize()
            assert found.lower[r] <= model.ObjVal * (1 + 1e-5)
            assert model.ObjBound <= found.upper[r] * (1 + 1e-5)
            if model.Status == gurobi.GRB.OPTIMAL:
                assert found.upper[r] == pytest.approx(model.ObjVal, rel=1e-4)
