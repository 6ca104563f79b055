"""The searches of the formats: identities between them, promises when cut short, uneven levels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bounds
from bounds import (
    BlockSparse,
    BranchAndBound,
    Codebook,
    Exhaustive,
    Feasible,
    IntegerBox,
    LeastSquares,
    NofM,
    Solution,
    Sparse,
    SparseIntegerBox,
    Status,
)
from bounds.exact import codes, group_subset
from bounds.gram import Array, Gram


def correlated(rng: np.random.Generator, n: int) -> Array:
    """Inputs with a decaying spectrum, as layers have them."""
    inputs = rng.standard_normal((4 * n, n)) * np.arange(1, n + 1) ** -0.4
    inputs = inputs @ np.linalg.qr(rng.standard_normal((n, n)))[0]
    return np.asarray(inputs.T @ inputs / len(inputs))


def solve(
    gram: Array | Gram, target: Array, feasible: Feasible, start: Array | None = None, **limits: float
) -> Solution:
    return bounds.solve(LeastSquares(gram, target, feasible), BranchAndBound(**limits), start)  # type: ignore[arg-type]


IDENTITIES = [
    (SparseIntegerBox(-2, 1, 16), IntegerBox(-2, 1)),
    (SparseIntegerBox(-4, 3, 16), Codebook(range(-4, 4))),
    (Codebook(range(-2, 2)), IntegerBox(-2, 1)),
    (Codebook(range(-20, 20)), IntegerBox(-20, 19)),  # more levels than are scanned
    (BlockSparse(6, 1), Sparse(6)),
    (NofM(5, 16), Sparse(5)),
    (NofM(2, 8), NofM(2, 8)),
    (BlockSparse(1, 8), BlockSparse(1, 8)),
]


@pytest.mark.parametrize(("one", "other"), IDENTITIES, ids=lambda s: repr(s)[:40])
def test_the_same_set_under_two_names_has_the_same_optimum(one: Feasible, other: Feasible) -> None:
    rng = np.random.default_rng(1)
    gram, target = correlated(rng, 16), 2 * rng.standard_normal((6, 16))
    first, second = solve(gram, target, one), solve(gram, target, other)
    assert first.closed.all()
    assert second.closed.all()
    np.testing.assert_allclose(first.upper, second.upper, rtol=1e-9)
    if one == other:
        np.testing.assert_array_equal(first.lower, second.lower)
        np.testing.assert_array_equal(first.x, second.x)


@pytest.mark.parametrize("feasible", [NofM(4, 4), BlockSparse(4, 4)], ids=repr)
def test_nothing_to_prune_costs_nothing(feasible: Feasible) -> None:
    rng = np.random.default_rng(2)
    target = rng.standard_normal((3, 16))
    found = solve(correlated(rng, 16), target, feasible)
    np.testing.assert_array_equal(found.x, target)
    assert found.closed.all()


def test_the_combination_is_never_better_than_each_alone() -> None:
    rng = np.random.default_rng(3)
    gram, target = correlated(rng, 16), 1.5 * rng.standard_normal((8, 16))
    pruned = [solve(gram, target, Sparse(keep)) for keep in (4, 8, 12)]
    box = solve(gram, target, IntegerBox(-2, 1))
    both = [solve(gram, target, SparseIntegerBox(-2, 1, keep)) for keep in (4, 8, 12)]
    for combined, alone in zip(both, pruned, strict=True):
        assert combined.closed.all()
        assert (combined.upper >= np.maximum(alone.lower, box.lower)).all()
    for fewer, more in itertools.pairwise(both):
        assert (fewer.upper >= more.lower).all()


def test_structure_costs_what_it_forbids() -> None:
    rng = np.random.default_rng(4)
    gram, target = correlated(rng, 16), rng.standard_normal((8, 16))
    free, grouped = solve(gram, target, Sparse(8)), solve(gram, target, NofM(4, 8))
    tighter, blocks = solve(gram, target, NofM(2, 4)), solve(gram, target, BlockSparse(2, 4))
    assert (tighter.upper >= grouped.lower).all()
    assert (grouped.upper >= free.lower).all()
    assert (blocks.upper >= free.lower).all()


@pytest.mark.parametrize(
    ("feasible", "columns"),
    [
        (NofM(2, 4), 12),
        (NofM(1, 3), 12),
        (BlockSparse(3, 2), 12),
        (BlockSparse(2, 3), 12),
        (SparseIntegerBox(-1, 1, 4), 9),
        (Codebook([-1, -0.1, 0, 0.1, 1]), 7),
    ],
    ids=repr,
)
def test_larger_problems_equal_exhaustive_search(feasible: Feasible, columns: int) -> None:
    rng = np.random.default_rng(5)
    problem = LeastSquares(correlated(rng, columns), rng.standard_normal((4, columns)), feasible)
    found, slow = bounds.solve(problem, BranchAndBound()), Exhaustive().solve(problem)
    assert found.closed.all()
    np.testing.assert_allclose(found.upper, slow.upper, rtol=1e-9)


HARD = [
    (Codebook.nf4(), 3.0),
    (Codebook.powers_of_two(4), 0.3),
    (SparseIntegerBox(-4, 3, 12), 1.0),
    (NofM(2, 4), 1.0),
    (BlockSparse(3, 4), 1.0),
]


@pytest.mark.parametrize(("feasible", "scale"), HARD, ids=lambda s: repr(s)[:40])
def test_interrupted_search_brackets_the_optimum(feasible: Feasible, scale: float) -> None:
    rng = np.random.default_rng(6)
    gram, target = Gram(correlated(rng, 24)), rng.standard_normal((6, 24)) / scale
    full = solve(gram, target, feasible)
    assert full.closed.all()
    previous = np.zeros(6)
    for max_nodes in (1, 2, 5, 20, 80, 1000):
        cut = solve(gram, target, feasible, max_nodes=max_nodes)
        assert (cut.lower <= full.upper).all()
        assert (full.lower <= cut.upper).all()
        assert (cut.lower >= previous * (1 - 1e-8)).all()
        assert ((cut.status == Status.NODE_LIMIT) == (cut.upper - cut.lower > 1e-6 * cut.upper)).all()
        previous = cut.lower
    assert (previous > 0).all()
    assert Status.NODE_LIMIT in solve(gram, target, feasible, max_nodes=1).status
    hurried = solve(gram, target, feasible, time_limit=1e-9)
    assert (hurried.lower <= full.upper).all()
    assert (full.lower <= hurried.upper).all()
    assert Status.NODE_LIMIT not in hurried.status
    loose = solve(gram, target, feasible, gap_tol=0.2)
    assert (loose.lower <= full.upper).all()
    assert (loose.lower >= 0.79 * loose.upper).all()


@pytest.mark.parametrize(("feasible", "scale"), HARD, ids=lambda s: repr(s)[:40])
def test_slices_do_not_change_the_search(feasible: Feasible, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    gram, target = Gram(correlated(rng, 16)), rng.standard_normal((3, 16)) / scale
    whole = solve(gram, target, feasible)
    monkeypatch.setattr(codes, "SLICE", 7)
    monkeypatch.setattr(group_subset, "SLICE", 1)
    sliced = solve(gram, target, feasible)
    for name in ("x", "upper", "lower"):
        np.testing.assert_array_equal(getattr(sliced, name), getattr(whole, name))
    np.testing.assert_array_equal(sliced.stats["nodes"], whole.stats["nodes"])


@pytest.mark.parametrize("book", [Codebook.powers_of_two(4), Codebook.nf4(), Codebook.fp8_e4m3()], ids=repr)
def test_steps_of_their_own_find_the_same_optimum(book: Codebook, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    gram = correlated(rng, 10)
    target = rng.standard_normal((4, 10)) * max(book.levels) / 3
    found = []
    for few in (1, 10**9):
        monkeypatch.setattr(codes, "FEW", few)
        found.append(solve(gram, target, book))
    np.testing.assert_allclose(found[0].upper, found[1].upper, rtol=1e-9)
    assert found[0].closed.all()
    assert found[1].closed.all()


@pytest.mark.parametrize(("feasible", "scale"), HARD, ids=lambda s: repr(s)[:40])
def test_powers_of_two_change_nothing_else(feasible: Feasible, scale: float) -> None:
    rng = np.random.default_rng(9)
    gram, target = correlated(rng, 12), rng.standard_normal((3, 12)) / scale
    one = solve(gram, target, feasible)
    for power in (-200, 200):
        other = solve(np.ldexp(gram, power), target, feasible)
        np.testing.assert_array_equal(other.x, one.x)
        np.testing.assert_allclose(np.ldexp(other.lower, -power), one.lower, rtol=1e-9)


@pytest.mark.parametrize("size", [1e-3, 1e-9, 1e-13])
def test_targets_next_to_levels_keep_a_relative_claim(size: float) -> None:
    rng = np.random.default_rng(10)
    book = Codebook.nf4()
    levels = np.array(book.levels)[rng.integers(1, 15, (3, 6))]
    found = solve(correlated(rng, 6), levels + size * rng.standard_normal((3, 6)), book)
    assert found.closed.all()
    np.testing.assert_array_equal(found.x, levels)
    exact = solve(correlated(rng, 6), levels, book)
    assert (exact.upper == 0).all()


def test_no_rows_is_an_empty_answer() -> None:
    for feasible in (Codebook.ternary(), SparseIntegerBox(-1, 1, 2), NofM(1, 2), BlockSparse(1, 2)):
        found = solve(np.eye(4), np.zeros((0, 4)), feasible)
        assert found.x.shape == (0, 4)
