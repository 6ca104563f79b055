"""Bounds of whole layers under one budget: curves of one certificate, and the interval around the optimum."""

import numpy as np
import pytest

import bounds
from bounds import (
    BlockCertificate,
    BlockSplit,
    BranchAndBound,
    Certificate,
    CertificateError,
    DiagonalSplit,
    Gram,
    IntegerBox,
    IntervalSplit,
    LeastSquares,
    LocalSearch,
    MethodError,
    ProblemError,
    Sparse,
    Status,
    bound_layer,
    solve_layer,
)
from bounds.certificate import safe_curve
from bounds.local.traces import left_over, traces
from bounds.relaxation.size_curves import size_curves


def layer(seed, rows, columns):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(8 * columns, columns)) @ (np.eye(columns) + 0.05 * rng.normal(size=(columns, columns)))
    return inputs.T @ inputs / len(inputs), rng.normal(size=(rows, columns)) * rng.lognormal(size=(rows, 1))


def exact_curves(gram, weight):
    sizes = range(weight.shape[1] + 1)
    return np.stack(
        [bounds.solve(LeastSquares(gram, weight, Sparse(k)), BranchAndBound()).upper for k in sizes], axis=1
    )


@pytest.mark.parametrize("method", [DiagonalSplit(rounds=40), BlockSplit(width=3, rounds=3)], ids=str)
def test_one_certificate_bounds_every_size(method):
    gram, weight = layer(1, 6, 12)
    problem = LeastSquares(gram, weight, Sparse(4))
    certificate = bounds.lower_bound(problem, method).certificate
    assert isinstance(certificate, Certificate | BlockCertificate)
    curve = safe_curve(problem, certificate)
    exact = exact_curves(problem.gram, weight)
    assert curve.shape == (6, 13)
    assert (curve <= exact).all()
    assert (np.diff(curve, axis=1) <= 0).all()
    for keep in range(1, 13):
        other = LeastSquares(problem.gram, weight, Sparse(keep))
        alone = np.maximum(bounds.safe_value(other, certificate), 0.0)
        assert curve[:, keep] == pytest.approx(alone, rel=1e-9, abs=1e-12)
        proven = bounds.verify(other, certificate, rows=[0])[0]
        assert curve[0, keep] <= max(proven, 0)


def test_curves_of_other_sets_and_unproven_certificates_are_refused():
    gram, weight = layer(1, 2, 6)
    problem = LeastSquares(gram, weight, Sparse(2))
    with pytest.raises(CertificateError, match="is for Sparse"):
        safe_curve(LeastSquares(gram, weight, IntegerBox(-2, 1)), Certificate(np.zeros(6), np.zeros_like(weight)))
    with pytest.raises(CertificateError, match="positive semidefinite"):
        safe_curve(problem, Certificate(np.full(6, 100.0), np.zeros_like(weight)))
    with pytest.raises(CertificateError, match="negative entries"):
        safe_curve(problem, Certificate(np.full(6, -1e-3), np.zeros_like(weight)))


@pytest.mark.parametrize(
    "method", [DiagonalSplit(rounds=40), BlockSplit(width=3, rounds=3), BlockSplit(3, 3, row_rounds=3)], ids=str
)
def test_curves_are_best_at_their_own_sizes(method):
    gram, weight = layer(2, 8, 14)
    gram[3, :] = gram[:, 3] = 0.0
    metric = Gram(gram)
    exact = exact_curves(metric, weight)
    low = size_curves(metric, weight, np.full(8, 3), method)
    high = size_curves(metric, weight, np.full(8, 9), method)
    mixed = size_curves(metric, weight, np.repeat([3, 9], 4), method)
    for curve in (low, high, mixed):
        assert (curve <= exact).all()
        assert curve[:, 0] == pytest.approx(exact[:, 0], rel=1e-9)
        assert (curve[:, 13:] == 0.0).all()
    assert low[:, 3].sum() > high[:, 3].sum()
    assert high[:, 9].sum() > low[:, 9].sum()
    if isinstance(method, DiagonalSplit):
        assert mixed[:4, 3] == pytest.approx(low[:4, 3], rel=1e-6)
        assert mixed[4:, 9] == pytest.approx(high[4:, 9], rel=1e-6)
    assert low[:, 3].sum() > 0.3 * exact[:, 3].sum()


def test_traces_are_the_errors_of_greedy_elimination():
    gram, weight = layer(3, 5, 9)
    gram[2, :] = gram[:, 2] = 0.0
    metric = Gram(gram)
    curve, order = traces(metric, weight)
    exact = exact_curves(metric, weight)
    assert (curve >= exact * (1 - 1e-9) - 1e-12).all()
    assert (np.sort(order, axis=1) == np.arange(9)).all()
    for keep in (0, 3, 8):
        x, errors = left_over(metric, weight, order, np.full(5, keep))
        assert (np.count_nonzero(x, axis=1) <= keep).all()
        assert errors == pytest.approx(curve[:, keep], rel=1e-9, abs=1e-12)
        assert (errors >= exact[:, keep] * (1 - 1e-9) - 1e-12).all()
    live = np.delete(np.arange(9), 2)
    for row in range(5):
        kept = list(live)
        for size in range(8, -1, -1):
            x = np.zeros(9)
            if kept:
                x[kept] = np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept] @ weight[row])
            step = x - weight[row]
            step[2] = 0.0
            assert curve[row, size] == pytest.approx(step @ gram @ step, rel=1e-9, abs=1e-12)
            if kept:
                inverse = np.linalg.inv(gram[np.ix_(kept, kept)])
                kept.pop(int(np.argmin(x[kept] ** 2 / inverse.diagonal())))


@pytest.mark.parametrize("relaxation", [DiagonalSplit(rounds=60), BlockSplit(width=4, rounds=4)], ids=str)
def test_the_interval_holds_the_optimum(relaxation):
    gram, weight = layer(4, 16, 14)
    for keep in (30, 56, 112):
        best = solve_layer(gram, weight, [keep])[0]
        found = bound_layer(gram, weight, keep, LocalSearch(rounds=1), relaxation)
        assert found.lower <= best.upper
        assert found.upper >= best.lower
        assert found.upper <= 1.1 * best.upper
        assert found.lower >= 0.4 * best.lower
        assert found.status is Status.UNPROVEN
        assert np.count_nonzero(found.x) <= keep
        assert found.keep.sum() == keep


def test_more_rounds_never_bound_less():
    gram, weight = layer(5, 10, 20)
    found = [bound_layer(gram, weight, 50, rounds=rounds).lower for rounds in (1, 2, 3)]
    assert found[0] <= found[1] <= found[2]


def test_groups_and_refusals():
    parts = [layer(seed, 4, 8) for seed in (1, 2)]
    grams, weight = np.stack([g for g, _ in parts]), np.concatenate([w for _, w in parts])
    best = solve_layer(grams, weight, [20])[0]
    found = bound_layer(grams, weight, 20)
    assert found.lower <= best.upper
    assert best.lower <= found.upper
    with pytest.raises(ProblemError, match="at least one"):
        bound_layer(grams, weight, 20, rounds=0)
    with pytest.raises(ProblemError, match="from 0 to 8 × 8"):
        bound_layer(grams, weight, 65)
    with pytest.raises(ProblemError, match="duplicates or linearly"):
        bound_layer(np.ones((8, 8)), weight, 20)
    with pytest.raises(MethodError, match="IntervalSplit has no curves"):
        size_curves(Gram(grams[0]), weight, np.full(8, 2), IntervalSplit())  # type: ignore[arg-type]
