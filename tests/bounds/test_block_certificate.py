"""Block certificates are safe in floats, exact in rationals, and refuse what is false."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bounds
from bounds import BlockCertificate, BlockDiagonal, CertificateError, LeastSquares, MethodError, ProblemError, Sparse
from bounds.block_certificate import certify_split, provable_split
from bounds.gram import Array, Gram
from bounds.relaxation.ascent import largest_trace, weighted_ascent
from bounds.relaxation.partition import grouped, partition

from .test_certificate import exact_optimum, random_gram

quick = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def random_split(rng: np.random.Generator, gram: Gram, width: int) -> BlockDiagonal:
    """A D strictly below the Gram matrix, its blocks of random shape."""
    blocks = partition(gram, width)
    shapes = [rng.normal(size=(b.size, b.size)) + 2 * np.eye(b.size) for b in blocks]
    raw = BlockDiagonal(blocks, tuple(s @ s.T for s in shapes))
    live = gram.live
    inside = np.linalg.inv(np.linalg.cholesky(gram.array[np.ix_(live, live)]))
    largest = np.linalg.eigvalsh(inside @ raw.dense(gram.columns)[np.ix_(live, live)] @ inside.T)[-1]
    share = rng.uniform(0.3, 0.99) / largest
    return BlockDiagonal(blocks, tuple(share * (d + d.T) / 2 for d in raw.matrices))


@quick
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(3, 6),
    width=st.integers(1, 4),
    keep=st.integers(0, 3),
    power=st.integers(-300, 300),
    factor=st.floats(0.0, 1.5),
)
def test_safe_value_below_exact_value_below_exact_optimum(
    seed: int, n: int, width: int, keep: int, power: int, factor: float
) -> None:
    rng = np.random.default_rng(seed)
    problem = LeastSquares(np.ldexp(random_gram(rng, n), power), 2 * rng.normal(size=(2, n)), Sparse(keep))
    split = random_split(rng, problem.gram, width)
    claim = BlockCertificate(split.blocks, split.matrices, factor * rng.normal(size=(2, n)))
    values = bounds.safe_value(problem, claim)
    for row, (value, exact) in enumerate(zip(values, bounds.verify(problem, claim), strict=True)):
        assert value <= exact <= exact_optimum(problem, row)
    bound = certify_split(problem, split, claim.y)
    proven = bounds.verify(problem, bound.certificate)
    assert all(0 <= Fraction(float(value)) <= exact for value, exact in zip(bound.value, proven, strict=True))


def brute_force(problem: LeastSquares, claim: BlockCertificate, row: int) -> float:
    """The right side of the inequality for every support, each by one dense solve."""
    n, t = problem.columns, problem.target[row]
    d = claim.split.dense(n)
    g = (problem.gram.array - d) @ claim.y[row]
    best = np.inf
    for support in itertools.combinations(range(n), problem.feasible.keep):
        kept = list(support)
        u = -t.copy()
        pruned = np.setdiff1d(np.arange(n), kept)
        u[kept] = np.linalg.solve(d[np.ix_(kept, kept)], -g[kept] - d[np.ix_(kept, pruned)] @ u[pruned])
        best = min(best, u @ d @ u + 2 * g @ u)
    return float(best - claim.y[row] @ g)


@pytest.mark.parametrize(("n", "width", "keep"), [(9, 4, 4), (10, 3, 2), (11, 5, 8), (8, 8, 3), (8, 1, 8), (8, 3, 0)])
def test_values_match_brute_force(n: int, width: int, keep: int) -> None:
    rng = np.random.default_rng(n * width + keep)
    problem = LeastSquares(random_gram(rng, n), rng.normal(size=(3, n)), Sparse(keep))
    split = random_split(rng, problem.gram, width)
    claim = BlockCertificate(split.blocks, split.matrices, 0.5 * rng.normal(size=(3, n)))
    values, proven = bounds.safe_value(problem, claim), bounds.verify(problem, claim)
    for row in range(3):
        expected = brute_force(problem, claim, row)
        assert float(proven[row]) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert values[row] <= proven[row]
        assert values[row] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_blocks_of_one_column_are_the_diagonal_certificate() -> None:
    rng = np.random.default_rng(1)
    problem = LeastSquares(random_gram(rng, 12), rng.normal(size=(4, 12)), Sparse(5))
    diagonal = 0.6 * np.linalg.eigvalsh(problem.gram.array)[0] * rng.uniform(0.5, 1.0, 12)
    y = 0.3 * rng.normal(size=(4, 12))
    blocks = tuple(np.array([i]) for i in range(12))
    claim = BlockCertificate(blocks, tuple(np.array([[v]]) for v in diagonal), y)
    expected = bounds.verify(problem, bounds.Certificate(diagonal, y))
    for value, exact in zip(bounds.verify(problem, claim), expected, strict=True):
        assert exact - abs(exact) / 2**150 <= value <= exact


def test_one_block_of_all_columns_is_the_exact_optimum() -> None:
    rng = np.random.default_rng(2)
    problem = LeastSquares(random_gram(rng, 7), rng.normal(size=(2, 7)), Sparse(3))
    d = (1 - 1e-9) * problem.gram.array
    claim = BlockCertificate((np.arange(7),), (d,), np.zeros((2, 7)))
    for row, value in enumerate(bounds.safe_value(problem, claim)):
        optimum = float(exact_optimum(problem, row))
        assert optimum * (1 - 1e-6) <= value <= optimum


def test_little_is_lost_to_rounding() -> None:
    rng = np.random.default_rng(3)
    problem = LeastSquares(random_gram(rng, 40, 200), rng.normal(size=(3, 40)), Sparse(10))
    split = random_split(rng, problem.gram, 6)
    claim = BlockCertificate(split.blocks, split.matrices, 0.3 * rng.normal(size=(3, 40)))
    for value, exact in zip(bounds.safe_value(problem, claim), bounds.verify(problem, claim), strict=True):
        assert value <= exact
        assert float(exact) - value <= 1e-9 * abs(float(exact))


def test_every_single_change_beyond_the_slack_is_refused() -> None:
    """Each entry of each D_B, raised or lowered until the curvature of `gram − D` is gone."""
    rng = np.random.default_rng(4)
    problem = LeastSquares(random_gram(rng, 6), rng.normal(size=(1, 6)), Sparse(2))
    split = provable_split(problem.gram, largest_trace(problem.gram.array, partition(problem.gram, 3)))
    y = np.zeros((1, 6))
    bounds.verify(problem, BlockCertificate(split.blocks, split.matrices, y))
    room = np.linalg.inv(problem.gram.array - split.dense(6))
    for index, block in enumerate(split.blocks):
        for i, j in itertools.product(range(block.size), repeat=2):
            own = room[np.ix_(block[[i, j]], block[[i, j]])]
            # det(1 − change·Z) < 0 beyond these: the slack of this entry
            limit = 1 / own[0, 0] if i == j else 1 / (np.sqrt(own[0, 0] * own[1, 1]) - abs(own[0, 1]))
            for sign in (1,) if i == j else (1, -1):
                matrices = [d.copy() for d in split.matrices]
                change = 1.05 * sign * limit
                matrices[index][i, j] += change
                if i != j:
                    asymmetric = BlockCertificate(split.blocks, tuple(matrices), y)
                    for judge in (bounds.verify, bounds.safe_value):
                        with pytest.raises(CertificateError, match="not finite and symmetric"):
                            judge(problem, asymmetric)
                    matrices[index][j, i] += change
                false = BlockCertificate(split.blocks, tuple(matrices), y)
                for judge in (bounds.verify, bounds.safe_value):
                    with pytest.raises(CertificateError, match="semidefinite"):
                        judge(problem, false)


def test_a_wrong_y_only_weakens() -> None:
    rng = np.random.default_rng(5)
    problem = LeastSquares(random_gram(rng, 6), rng.normal(size=(3, 6)), Sparse(2))
    split = random_split(rng, problem.gram, 3)
    for size in (1e-3, 1.0, 1e6):
        claim = BlockCertificate(split.blocks, split.matrices, size * rng.normal(size=(3, 6)))
        for row, value in enumerate(bounds.verify(problem, claim)):
            assert value <= exact_optimum(problem, row)
    bound = certify_split(problem, split, claim.y)
    assert np.all(bound.value == 0)
    assert np.all(bounds.safe_value(problem, bound.certificate) >= 0)


def test_cancellation_in_the_gradient_is_paid_for() -> None:
    rng = np.random.default_rng(6)
    n = 8
    gram = 1e8 * np.ones((n, n)) + np.eye(n)
    y = rng.normal(size=(40, n))
    y -= y.mean(axis=1, keepdims=True)
    problem = LeastSquares(gram, 3 * rng.normal(size=(40, n)), Sparse(3))
    blocks = (np.arange(0, 4), np.arange(4, 8))
    claim = BlockCertificate(blocks, (0.9 * np.eye(4), 0.9 * np.eye(4)), y)
    values = bounds.safe_value(problem, claim)
    for value, exact in zip(values, bounds.verify(problem, claim), strict=True):
        assert value <= exact <= value + 1e-3 * (1 + abs(value))


def test_ill_conditioned_blocks_stay_safe() -> None:
    """Subset values lose up to thirteen digits here: without their allowance half of them would be too high."""
    rng = np.random.default_rng(7)
    for tiny in (1e-6, 1e-10, 1e-13):
        n = 6
        vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
        gram = (vectors * np.array([1.0, 1, 1, 1, 1, tiny])) @ vectors.T
        problem = LeastSquares((gram + gram.T) / 2 + 1e-12 * np.eye(n), rng.normal(size=(20, n)), Sparse(3))
        split = provable_split(problem.gram, BlockDiagonal((np.arange(n),), (0.9 * problem.gram.array,)))
        claim = BlockCertificate(split.blocks, split.matrices, 0.01 * rng.normal(size=(20, n)))
        for value, exact in zip(bounds.safe_value(problem, claim), bounds.verify(problem, claim), strict=True):
            assert value <= exact


def test_dead_inputs_cost_nothing() -> None:
    rng = np.random.default_rng(8)
    live = np.array([0, 2, 4, 5])
    gram = np.zeros((6, 6))
    gram[np.ix_(live, live)] = random_gram(rng, 4)
    problem = LeastSquares(gram, rng.normal(size=(2, 6)), Sparse(2))
    split = random_split(rng, problem.gram, 2)
    assert np.array_equal(np.sort(np.concatenate(split.blocks)), live)
    claim = BlockCertificate(split.blocks, split.matrices, 0.1 * rng.normal(size=(2, 6)))
    part = LeastSquares(gram[np.ix_(live, live)], problem.target[:, live], Sparse(2))
    for row, (value, exact) in enumerate(
        zip(bounds.safe_value(problem, claim), bounds.verify(problem, claim), strict=True)
    ):
        assert value <= exact <= exact_optimum(part, row)


def test_malformed_certificates() -> None:
    problem = LeastSquares(np.eye(3), np.ones((2, 3)), Sparse(1))
    blocks, matrices, y = (np.array([0, 1]), np.array([2])), (0.5 * np.eye(2), 0.5 * np.eye(1)), np.zeros((2, 3))
    bounds.verify(problem, BlockCertificate(blocks, matrices, y))
    cases: list[tuple[tuple[Array, ...], tuple[Array, ...], Array, str]] = [
        ((blocks[0],), matrices, y, "give one D for each block"),
        (blocks[:1], matrices[:1], y, "exactly once"),
        ((blocks[0], np.array([1])), matrices, y, "exactly once"),
        (blocks, (np.eye(1), np.eye(1)), y, "block 0 has columns"),
        (blocks, (np.full((2, 2), np.nan), np.eye(1)), y, "block 0 is not finite"),
        (blocks, matrices, np.zeros(3), "y of the same shape"),
        (blocks, matrices, np.array([[0.0, 0, 0], [0, np.inf, 0]]), "y is not finite in row 1"),
    ]
    for case_blocks, case_matrices, case_y, match in cases:
        for judge in (bounds.verify, bounds.safe_value):
            with pytest.raises(CertificateError, match=match):
                judge(problem, BlockCertificate(case_blocks, case_matrices, case_y))
    flat = BlockCertificate(blocks, (np.zeros((2, 2)), np.eye(1) / 2), y)
    with pytest.raises(CertificateError, match="row 0: no finite minimum"):
        bounds.verify(problem, flat)
    wide = LeastSquares(np.eye(21), np.ones((1, 21)), Sparse(1))
    claim = BlockCertificate((np.arange(21),), (0.5 * np.eye(21),), np.zeros((1, 21)))
    with pytest.raises(CertificateError, match="at most 20"):
        bounds.safe_value(wide, claim)


def test_sets_and_matrices_are_refused_by_name() -> None:
    rng = np.random.default_rng(9)
    gram = random_gram(rng, 4)
    with pytest.raises(MethodError, match="NofM"):
        bounds.lower_bound(LeastSquares(gram, np.ones((1, 4)), bounds.NofM(2, 4)), bounds.BlockSplit())
    singular = gram.copy()
    singular[3], singular[:, 3] = singular[2], singular[:, 2]
    singular[3, 3] = singular[2, 2]
    with pytest.raises(ProblemError, match="duplicates or linearly dependent"):
        bounds.lower_bound(LeastSquares(singular, np.ones((1, 4)), Sparse(2)), bounds.BlockSplit())
    for bad in ({"width": 0}, {"rounds": -1}, {"seconds": 0.0}):
        with pytest.raises(ProblemError):
            bounds.BlockSplit(**bad)


@quick
@given(n=st.integers(1, 30), width=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_a_partition_covers_every_column_once(n: int, width: int, seed: int) -> None:
    affinity = np.random.default_rng(seed).random((n, n))
    groups = grouped(affinity + affinity.T, width)
    assert np.array_equal(np.sort(np.concatenate(groups)), np.arange(n))
    sizes = [group.size for group in groups]
    assert max(sizes) <= width
    assert max(sizes) - min(sizes) <= 1


def test_the_partition_finds_planted_blocks() -> None:
    rng = np.random.default_rng(10)
    order = rng.permutation(20)
    gram = np.zeros((20, 20))
    for start in range(0, 20, 5):
        block = order[start : start + 5]
        gram[np.ix_(block, block)] = random_gram(rng, 5)
    planted = {frozenset(order[start : start + 5].tolist()) for start in range(0, 20, 5)}
    assert {frozenset(block.tolist()) for block in partition(Gram(gram), 5)} == planted


def test_the_ascent_increases_its_objective_and_stays_below_the_gram() -> None:
    rng = np.random.default_rng(11)
    gram = random_gram(rng, 12)
    blocks = partition(Gram(gram), 4)
    weights = [s @ s.T for s in (rng.normal(size=(b.size, b.size)) for b in blocks)]
    barrier = 0.05

    def objective(split: BlockDiagonal) -> float:
        gain = sum(float(np.sum(w * d)) for w, d in zip(weights, split.matrices, strict=True))
        return gain + barrier * float(np.linalg.slogdet(gram - split.dense(12))[1])

    split = BlockDiagonal(blocks, tuple(np.zeros((b.size, b.size)) for b in blocks))
    values = []
    for _ in range(60):
        split = weighted_ascent(gram, split, weights, barrier, 5, 0.0)
        values.append(objective(split))
        assert np.linalg.eigvalsh(gram - split.dense(12))[0] > 0
    assert np.all(np.diff(values) > -1e-9)
    assert values[-1] - values[-2] < 1e-3 * abs(values[-1])
