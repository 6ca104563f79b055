"""The enumeration against brute force, exact rationals and identities."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from bounds import IntegerBox, LeastSquares, ProblemError, Sparse, Status
from bounds.errors import MethodError
from bounds.exact import enumeration
from bounds.exact.exhaustive import Exhaustive
from bounds.gram import Gram
from bounds.kernels.box import recentre
from bounds.kernels.enumeration_lanes import LANES
from bounds.relaxation.max_trace import max_trace_diagonal

BOXES = [(-2, 1), (-4, 3), (0, 3), (-1, 1), (1, 2)]


def solve(problem, start=None, max_nodes=10**9, time_limit=math.inf, gap_tol=1e-9):
    return enumeration.solve(problem, start, max_nodes=max_nodes, time_limit=time_limit, gap_tol=gap_tol)


def correlated_gram(rng, columns, spread=1.0):
    """Inputs with a decaying spectrum, as layers have them."""
    inputs = rng.standard_normal((4 * columns, columns)) * np.arange(1, columns + 1) ** -spread
    inputs = inputs @ np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    return inputs.T @ inputs / len(inputs)


def gram_of_condition(rng, columns, condition):
    vectors = np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    gram = (vectors * np.geomspace(1 / condition, 1, columns)) @ vectors.T
    return (gram + gram.T) / 2


def exact_optimum(gram, target, low, high):
    n = len(target)
    g = [[Fraction(float(v)) for v in row] for row in gram]
    t = [Fraction(float(v)) for v in target]
    best = None
    for x in itertools.product(range(low, high + 1), repeat=n):
        step = [a - b for a, b in zip(x, t, strict=True)]
        error = sum(step[i] * sum(g[i][j] * step[j] for j in range(n)) for i in range(n))
        best = error if best is None else min(best, error)
    return best


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("columns", [1, 2, 5, 6])
def test_equals_brute_force(box, columns):
    rng = np.random.default_rng(columns)
    target = np.concatenate([rng.normal(0, 1, (6, columns)), rng.normal(0.5, 6, (6, columns))])
    problem = LeastSquares(correlated_gram(rng, columns), target, IntegerBox(*box))
    found, truth = solve(problem), Exhaustive().solve(problem)
    assert found.closed.all()
    np.testing.assert_allclose(found.upper, truth.upper, rtol=1e-10)
    assert (found.lower <= truth.upper).all()
    assert (truth.lower <= found.upper).all()
    assert (problem.error(found.x) <= found.upper).all()


@pytest.mark.parametrize("condition", [1e2, 1e5, 1e8, 1e10])
def test_bounds_bracket_the_rational_optimum_of_ill_conditioned_grams(condition):
    rng = np.random.default_rng(7)
    for _ in range(6):
        gram = gram_of_condition(rng, 4, condition)
        target = rng.normal(0, rng.choice([0.5, 3.0]), 4)
        low, high = [(-2, 1), (-1, 1), (0, 2)][rng.integers(3)]
        problem = LeastSquares(gram, target, IntegerBox(low, high))
        found = solve(problem)
        optimum = exact_optimum(problem.gram.array, target, low, high)
        assert found.lower[0] <= optimum <= found.upper[0]
        if condition <= 1e5:
            assert found.closed.all()


def test_near_integer_targets_keep_a_relative_claim():
    rng = np.random.default_rng(8)
    for size in (1e-3, 1e-9, 1e-13):
        target = rng.integers(-4, 4, 4) + size * rng.normal(0, 1, 4)
        problem = LeastSquares(gram_of_condition(rng, 4, 1e4), target, IntegerBox(-4, 3))
        found = solve(problem)
        optimum = exact_optimum(problem.gram.array, problem.target[0], -4, 3)
        assert found.lower[0] <= optimum <= found.upper[0]
        assert found.upper[0] - found.lower[0] <= 1e-6 * float(optimum)


def recentring(gram, target, low, high):
    n = len(target)
    c, g, b = np.zeros((3, n))
    f0, left = recentre(
        gram, np.linalg.inv(gram), target, low, high, c, g, b,
        np.zeros((4, n)), np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, n)),
    )  # fmt: skip
    return f0, left, c, g, b


@pytest.mark.parametrize("condition", [10.0, 1e4, 1e8])
def test_recentring_is_an_identity_with_terms_of_one_sign(condition):
    rng = np.random.default_rng(9)
    active = 0
    for _ in range(40):
        n = int(rng.integers(1, 9))
        gram, target = gram_of_condition(rng, n, condition), rng.normal(0, 4, n)
        f0, left, c, g, b = recentring(gram, target, -2.0, 1.0)
        assert f0 >= 0
        assert left >= 0
        active += np.count_nonzero(g)
        for x in rng.integers(-2, 2, (5, n)).astype(float):
            assert (g * (x - b) >= 0).all()
            one = (x - target) @ gram @ (x - target)
            other = f0 + (x - c) @ gram @ (x - c) + g @ (x - b)
            assert abs(one - other) <= 1e-12 * n * one * condition
        root = np.linalg.cholesky(gram).T
        relaxed = lsq_linear(root, root @ target, (-2.0, 1.0), method="bvls", tol=1e-14)
        assert f0 == pytest.approx(2 * relaxed.cost, rel=1e-6, abs=1e-12)
    assert active > 20


def test_interrupted_search_brackets_the_optimum():
    rng = np.random.default_rng(10)
    gram = Gram(correlated_gram(rng, 24, 0.3))
    problem = LeastSquares(gram, rng.normal(0, 1.5, (8, 24)), IntegerBox(-4, 3))
    full = solve(problem)
    assert full.closed.all()
    previous = np.zeros(8)
    for max_nodes in (1, 3, 10, 40, 150, 600):
        cut = solve(problem, max_nodes=max_nodes)
        assert (cut.stats["nodes"] < max_nodes + 2 * LANES).all()
        assert (cut.lower <= full.upper).all()
        assert (full.lower <= cut.upper).all()
        assert (cut.lower > 0).all()
        assert ((cut.status == Status.NODE_LIMIT) == (cut.upper - cut.lower > 1e-6 * cut.upper)).all()
        assert (cut.lower >= previous * (1 - 1e-8)).all()
        previous = cut.lower
    assert solve(problem, max_nodes=3).status[0] == Status.NODE_LIMIT


def test_slices_do_not_change_the_search(monkeypatch):
    rng = np.random.default_rng(11)
    problem = LeastSquares(correlated_gram(rng, 20, 0.3), rng.normal(0, 1.5, (5, 20)), IntegerBox(-2, 1))
    whole = solve(problem)
    for nodes in (1, 37):
        monkeypatch.setattr(enumeration, "SLICE", nodes)
        sliced = solve(problem)
        for name in ("x", "upper", "lower"):
            np.testing.assert_array_equal(getattr(sliced, name), getattr(whole, name))
        np.testing.assert_array_equal(sliced.stats["nodes"], whole.stats["nodes"])


def test_time_limit_covers_the_whole_call(monkeypatch):
    rng = np.random.default_rng(12)
    problem = LeastSquares(correlated_gram(rng, 60, 0.1), rng.normal(0, 2, (50, 60)), IntegerBox(-8, 7))
    solve(problem, max_nodes=1)
    began = time.perf_counter()
    found = solve(problem, time_limit=0.02)
    assert time.perf_counter() - began < 2.0
    assert (found.lower <= found.upper).all()
    assert found.status[-1] == Status.TIME_LIMIT
    assert not found.closed.all()
    assert (found.lower > 0).all()


def test_same_input_same_bits_and_column_order_does_not_matter():
    rng = np.random.default_rng(13)
    gram, target = correlated_gram(rng, 14), rng.normal(0, 3, (6, 14))
    first = solve(LeastSquares(gram, target, IntegerBox(-2, 1)))
    again = solve(LeastSquares(gram.copy(), target.copy(), IntegerBox(-2, 1)))
    np.testing.assert_array_equal(first.lower, again.lower)
    np.testing.assert_array_equal(first.x, again.x)
    order = rng.permutation(14)
    moved = solve(LeastSquares(gram[np.ix_(order, order)], target[:, order], IntegerBox(-2, 1)))
    np.testing.assert_allclose(moved.upper, first.upper, rtol=1e-10)
    np.testing.assert_array_equal(moved.x, first.x[:, order])


def test_a_shift_of_target_and_box_shifts_the_answer():
    rng = np.random.default_rng(14)
    gram, target = correlated_gram(rng, 12), np.round(rng.normal(0, 2, (6, 12)) * 64) / 64
    first = solve(LeastSquares(gram, target, IntegerBox(-2, 1)))
    far = solve(LeastSquares(gram, target + 2**20, IntegerBox(2**20 - 2, 2**20 + 1)))
    np.testing.assert_array_equal(far.x - 2**20, first.x)
    assert far.closed.all()


def test_ties_and_integer_targets():
    gram = Gram(correlated_gram(np.random.default_rng(15), 6))
    halves = np.array([[0.5, -0.5, 1.5, 0.5, -1.5, 0.5], [-2.5, 0.5, 0.5, 1.5, 0.5, 0.5]])
    problem = LeastSquares(gram, halves, IntegerBox(-2, 1))
    np.testing.assert_allclose(solve(problem).upper, Exhaustive().solve(problem).upper, rtol=1e-12)
    codes = np.array([[1.0, -2, 0, 1, -1, 0]])
    exact = solve(LeastSquares(gram, codes, IntegerBox(-2, 1)))
    np.testing.assert_array_equal(exact.x, codes)
    assert exact.upper[0] == exact.lower[0] == 0.0
    assert exact.closed.all()


def test_targets_far_outside_and_one_point_boxes():
    rng = np.random.default_rng(16)
    gram = correlated_gram(rng, 5)
    for scale in (50.0, 1e6, 1e12):
        problem = LeastSquares(gram, scale * rng.standard_normal((4, 5)), IntegerBox(-2, 1))
        found, truth = solve(problem), Exhaustive().solve(problem)
        assert found.closed.all()
        np.testing.assert_allclose(found.upper, truth.upper, rtol=1e-10)
    point = solve(LeastSquares(gram, rng.standard_normal((3, 5)), IntegerBox(2, 2)))
    np.testing.assert_array_equal(point.x, np.full((3, 5), 2.0))
    assert point.closed.all()


def test_dead_inputs_take_the_nearest_code():
    rng = np.random.default_rng(17)
    gram, live = np.zeros((7, 7)), [0, 2, 3, 6]
    part = correlated_gram(rng, 4)
    gram[np.ix_(live, live)] = part
    target = rng.normal(0, 2, (5, 7))
    found = solve(LeastSquares(gram, target, IntegerBox(-2, 1)))
    alone = solve(LeastSquares(part, target[:, live], IntegerBox(-2, 1)))
    np.testing.assert_array_equal(found.x[:, live], alone.x)
    np.testing.assert_array_equal(found.x[:, [1, 4, 5]], IntegerBox(-2, 1).nearest(target)[:, [1, 4, 5]])
    assert found.closed.all()
    nothing = solve(LeastSquares(np.zeros((3, 3)), target[:, :3], IntegerBox(-2, 1)))
    assert nothing.closed.all()
    assert (nothing.upper == 0).all()


def test_refusals_name_the_place():
    rng = np.random.default_rng(18)
    inputs = rng.standard_normal((20, 4))
    inputs[:, 2] = inputs[:, 0]
    with pytest.raises(ProblemError, match=r"enumeration .* columns \[0, 2\]"):
        solve(LeastSquares(inputs.T @ inputs, np.zeros(4), IntegerBox(-2, 1)))
    with pytest.raises(MethodError, match="IntegerBox, not Sparse"):
        solve(LeastSquares(np.eye(3), np.zeros(3), Sparse(1)))
    problem = LeastSquares(np.eye(3), np.zeros((2, 3)), IntegerBox(-2, 1))
    with pytest.raises(ProblemError, match="row 1 of the start"):
        solve(problem, start=np.array([[0, 0, 0], [0, 2, 0]]))
    with pytest.raises(ProblemError, match="start has shape"):
        solve(problem, start=np.zeros((1, 3)))
    with pytest.raises(ProblemError, match="overflows"):
        solve(LeastSquares(np.eye(2), np.array([[0.0, 0.0], [1e200, 0.0]]), IntegerBox(-2, 1)))


def test_start_is_used_only_where_better():
    rng = np.random.default_rng(19)
    problem = LeastSquares(correlated_gram(rng, 20, 0.2), rng.normal(0, 1.5, (6, 20)), IntegerBox(-4, 3))
    best = solve(problem)
    warm = solve(problem, start=best.x, max_nodes=1)
    np.testing.assert_array_equal(warm.x, best.x)
    np.testing.assert_allclose(warm.stats["start_error"], best.upper, rtol=1e-9)
    poor = solve(problem, start=np.full((6, 20), -4))
    np.testing.assert_array_equal(poor.x, best.x)
    np.testing.assert_array_equal(poor.stats["start_error"], best.stats["start_error"])


@pytest.mark.parametrize("power", [-200, -60, 60, 200])
def test_powers_of_two_change_nothing_else(power):
    rng = np.random.default_rng(20)
    gram, target = correlated_gram(rng, 9), rng.normal(0, 2, (4, 9))
    one = solve(LeastSquares(gram, target, IntegerBox(-2, 1)))
    other = solve(LeastSquares(np.ldexp(gram, power), target, IntegerBox(-2, 1)))
    np.testing.assert_array_equal(other.x, one.x)
    np.testing.assert_allclose(np.ldexp(other.lower, -power), one.lower, rtol=1e-14)
    assert other.closed.all()


def test_column_scales_far_apart():
    rng = np.random.default_rng(21)
    gram = correlated_gram(rng, 6)
    scale = np.ldexp(1.0, [-40, 30, 0, 3, -20, 11])
    problem = LeastSquares(gram * scale * scale[:, None], rng.normal(0, 2, (5, 6)), IntegerBox(-2, 1))
    np.testing.assert_allclose(solve(problem).upper, Exhaustive().solve(problem).upper, rtol=1e-10)


@pytest.mark.parametrize("box", [(-20, 20), (-(2**31), 2**31), (0, 2**31 - 1)])
def test_wide_boxes_and_thin_ellipsoids(box):
    """Hundreds of siblings a node, and paths of one integer to a double."""
    rng = np.random.default_rng(24)
    for columns, condition in [(2, 1e6), (3, 1e6), (12, 1e3)]:
        gram = Gram(gram_of_condition(rng, columns, condition))
        points = rng.integers(-15, 16, (4, columns)).astype(float) + max(box[0], 0) // 2 + 40 * (box[0] == 0)
        points = np.clip(points, *box)
        target = points + rng.normal(0, 0.3, (4, columns)) @ np.linalg.inv(np.linalg.cholesky(gram.array))
        problem = LeastSquares(gram, target, IntegerBox(*box))
        found = solve(problem)
        assert found.closed.all()
        assert (problem.error(points) >= found.lower).all()
        assert (problem.error(found.x) <= found.upper).all()
        if columns == 2 and box[1] == 20:
            np.testing.assert_allclose(found.upper, Exhaustive().solve(problem).upper, rtol=1e-8)


def test_full_levels_lose_nothing(monkeypatch):
    """A poor start fills every level; the pool must hold all of it whenever the search is stopped."""
    rng = np.random.default_rng(25)
    monkeypatch.setattr(enumeration, "PATIENCE", 10**9)
    problem = LeastSquares(correlated_gram(rng, 18, 0.1), rng.normal(0, 2.0, (3, 18)), IntegerBox(-3, 3))
    best = solve(problem)
    for max_nodes in range(1, 2000, 97):
        cut = solve(problem, max_nodes=max_nodes)
        assert (cut.lower <= best.upper).all()
        resumed = solve(problem, start=cut.x)
        np.testing.assert_allclose(resumed.upper, best.upper, rtol=1e-9)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_small_problem_brackets_the_exact_optimum(data):
    n = data.draw(st.integers(1, 4))
    low = data.draw(st.integers(-3, 2))
    high = data.draw(st.integers(low, low + 3))
    number = st.floats(-4, 4, allow_nan=False, width=32)
    inputs = np.array(data.draw(st.lists(st.lists(number, min_size=n, max_size=n), min_size=n + 2, max_size=n + 2)))
    target = np.array(data.draw(st.lists(st.floats(-9, 9), min_size=n, max_size=n)))
    target[np.abs(target) < 1e-100] = 0.0  # squares must not underflow
    problem = LeastSquares(inputs.T @ inputs / (n + 2), target, IntegerBox(low, high))
    if problem.gram.singular:
        with pytest.raises(ProblemError, match="full rank"):
            solve(problem)
        return
    diagonal = problem.gram.array.diagonal()[problem.gram.live]
    if diagonal.size and diagonal.min() < 2.0**-160 * diagonal.max():
        with pytest.raises(ProblemError, match="drop these inputs"):
            solve(problem)
        return
    found = solve(problem, gap_tol=data.draw(st.sampled_from([0.0, 1e-9, 0.1])))
    optimum = exact_optimum(problem.gram.array, target, low, high)
    assert found.lower[0] <= optimum <= found.upper[0]


def test_columns_too_faint_to_weigh_are_named():
    problem = LeastSquares(np.diag([1.0, 1e-70, 0.0]), np.ones((1, 3)), IntegerBox(0, 1))
    with pytest.raises(ProblemError, match=r"columns \[1\] against the others.*drop these inputs"):
        solve(problem)


def test_gap_tolerance_is_honest():
    rng = np.random.default_rng(22)
    problem = LeastSquares(correlated_gram(rng, 20, 0.2), rng.normal(0, 1.5, (10, 20)), IntegerBox(-4, 3))
    exact, loose = solve(problem), solve(problem, gap_tol=0.2)
    assert (loose.stats["nodes"] <= exact.stats["nodes"]).all()
    assert (loose.upper * 0.8 <= exact.upper * (1 + 1e-9)).all()
    assert (loose.lower <= exact.upper).all()
    assert (loose.lower >= 0.79 * loose.upper).all()


@pytest.mark.parametrize("condition", [10.0, 1e6, 1e10])
def test_max_trace_diagonal_is_feasible_and_as_good_as_a_solver(condition):
    rng = np.random.default_rng(23)
    gram = gram_of_condition(rng, 10, condition)
    d = max_trace_diagonal(gram)
    assert (d >= 0).all()
    np.linalg.cholesky(gram - np.diag(d))
    assert d.sum() >= 10 * np.linalg.eigvalsh(gram)[0] * (1 - 1e-4)
    tails = enumeration.prepare(Gram(gram)).tails.reshape(11, -1)[10]
    assert 0.95 * d.sum() <= np.ldexp(tails.sum(), enumeration.prepare(Gram(gram)).exponent) <= d.sum() * (1 + 1e-5)


@pytest.mark.parametrize("spread", [0.2, 2.0])
def test_every_leading_block_has_a_diagonal_below_it(spread):
    """Also those wide blocks that borrow the diagonal of a larger one."""
    gram = Gram(correlated_gram(np.random.default_rng(26), 70, spread))
    p = enumeration.prepare(gram)
    tails = p.tails.reshape(71, -1)
    assert (tails >= 0).all()
    for k in range(1, 71):
        block, d = p.gram[:k, :k], tails[k, :k]
        root = np.sqrt(block.diagonal())
        assert np.linalg.eigvalsh((block - np.diag(d)) / root / root[:, None])[0] > -1e-14 * k
        assert (tails[k, k:] == 0).all()
        if k % 7 == 0:
            assert d.sum() >= 0.9 * max_trace_diagonal(block).sum()


def test_max_trace_diagonal_known_cases():
    np.testing.assert_allclose(max_trace_diagonal(np.diag([3.0, 0.0, 0.5])), [3.0, 0.0, 0.5], rtol=1e-5)
    np.testing.assert_allclose(max_trace_diagonal(np.array([[1.0, 0.5], [0.5, 1.0]])), [0.5, 0.5], rtol=1e-5)
    with pytest.raises(ProblemError, match="full rank"):
        max_trace_diagonal(np.ones((3, 3)))


@pytest.mark.parametrize(("columns", "bits"), [(24, 2), (24, 4), (36, 2), (36, 3)])
def test_equals_gurobi(columns, bits):
    gurobipy = pytest.importorskip("gurobipy")
    rng = np.random.default_rng(columns + bits)
    gram = correlated_gram(rng, columns, 0.3)
    gram /= gram.diagonal().mean()
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    problem = LeastSquares(gram, rng.normal(0, 2.0 ** (bits - 1) / 2, (1, columns)), IntegerBox(low, high))
    found = solve(problem)
    target = problem.target[0]
    with gurobipy.Env(params={"OutputFlag": 0}) as env, gurobipy.Model(env=env) as model:
        model.Params.MIPGap, model.Params.Threads, model.Params.TimeLimit = 1e-6, 1, 20
        x = model.addMVar(columns, lb=low, ub=high, vtype="I")
        model.setObjective(x @ gram @ x - (2 * gram @ target) @ x + target @ gram @ target)
        try:
            model.optimize()
        except gurobipy.GurobiError as error:  # the free licence has a size limit
            pytest.skip(str(error))
        assert found.closed.all()
        assert found.upper[0] <= model.ObjVal * (1 + 1e-6)
        if model.Status == gurobipy.GRB.OPTIMAL:
            assert model.ObjVal <= found.upper[0] * (1 + 1e-5)
