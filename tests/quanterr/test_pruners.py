"""Every pruner, every pattern: textbook twins, the optimum, proven limits, singular Grams, bad input."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import bounds  # noqa: E402
from bounds import BlockSparse, Gram, LeastSquares, NofM, ProblemError, Sparse  # noqa: E402
from quanterr import heuristics as h  # noqa: E402
from quanterr.errors import InputError  # noqa: E402
from quanterr.heuristics import LayerSparse, exact_obs, judged, patterns  # noqa: E402
from quanterr.heuristics.exact_obs import layer_steps  # noqa: E402

from .textbook import instance  # noqa: E402

SEEDS = st.integers(0, 10_000)
PATTERNS = (5, LayerSparse(23), NofM(2, 4), BlockSparse(2, 4), NofM(1, 3), BlockSparse(4, 2))
IDS = [str(p) for p in PATTERNS]
REFITTED = ("magnitude_refit", "ada_prune", "alps", "exact_obs", "swaps", "swaps_from_alps")


def calls(pattern: Any) -> list[tuple[str, Callable[..., Any]]]:
    return [(n, f) for n, f in h.PRUNERS.items() if not (n.startswith("swaps") and isinstance(pattern, BlockSparse))]


def normal_residual(w: np.ndarray, gram: np.ndarray, x: np.ndarray) -> float:
    """Largest gradient on the support: zero at a least-squares fit."""
    return float(np.abs(((x - w) @ gram) * (x != 0)).max(initial=0.0))


@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_budget_fit_and_order(pattern: Any, seed: int) -> None:
    """Within the budget; a fit where it says so; the judge's error never beats the lower bound of the optimum."""
    w, gram = instance(5, 12, seed)
    feasible = Sparse(pattern) if isinstance(pattern, int) else pattern
    upper = {}
    for name, pruner in calls(pattern):
        x = np.asarray(pruner(w, gram, pattern))
        upper[name] = judged(w, gram, x, pattern)
        if name in REFITTED:
            assert normal_residual(w, gram, x) < 1e-10, name
        refitted = np.asarray(h.refit(w, gram, x))
        assert (judged(w, gram, refitted, pattern) <= upper[name] * (1 + 1e-9) + 1e-14).all(), name
    if not isinstance(pattern, LayerSparse):
        lower = bounds.lower_bound(LeastSquares(gram, w, feasible), bounds.DiagonalSplit()).value
        for name, value in upper.items():
            assert (value >= lower).all(), name
    if "swaps" in upper:
        assert upper["swaps"].sum() <= upper["exact_obs"].sum() * (1 + 1e-9)
        assert upper["swaps_from_alps"].sum() <= upper["alps"].sum() * (1 + 1e-9)


def optimum(w: np.ndarray, gram: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    best = np.full(len(w), np.inf)
    for mask in masks:
        x = np.zeros_like(w)
        s = np.flatnonzero(mask)
        x[:, s] = np.linalg.solve(gram[np.ix_(s, s)], (w @ gram)[:, s].T).T
        best = np.minimum(best, np.einsum("ri,ij,rj->r", x - w, gram, x - w))
    return best


@pytest.mark.parametrize("pattern", [3, NofM(1, 3), NofM(2, 3), BlockSparse(1, 2), BlockSparse(2, 3)], ids=str)
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS)
def test_never_better_than_brute_force(pattern: Any, seed: int) -> None:
    w, gram = instance(4, 6, seed)
    feasible = Sparse(pattern) if isinstance(pattern, int) else pattern
    masks = [np.array(m, dtype=float) for m in itertools.product((0, 1), repeat=6)]
    best = optimum(w, gram, [m for m in masks if feasible.contains(m[None])[0]])
    for name, pruner in calls(pattern):
        x = np.asarray(pruner(w, gram, pattern))
        assert (LeastSquares(gram, w, feasible).upper(x) >= best * (1 - 1e-9) - 1e-14).all(), name


# Textbook twins: one row at a time, a fresh inverse at each step.


def slow_groups(w: np.ndarray, gram: np.ndarray, pattern: NofM) -> np.ndarray:
    left, v = list(range(len(w))), w.copy()
    while True:
        held = np.bincount(np.array(left, dtype=int) // pattern.m, minlength=len(w) // pattern.m)
        allowed = [i for i, c in enumerate(left) if held[c // pattern.m] > pattern.n]
        if not allowed:
            return v
        inverse = np.linalg.inv(gram[np.ix_(left, left)])
        at = min(allowed, key=lambda i: v[left[i]] ** 2 / inverse[i, i])
        v[left] -= v[left[at]] / inverse[at, at] * inverse[:, at]
        v[left.pop(at)] = 0.0


def slow_blocks(w: np.ndarray, gram: np.ndarray, pattern: BlockSparse) -> np.ndarray:
    blocks, v, size = list(range(len(w) // pattern.size)), w.copy(), pattern.size
    while len(blocks) > pattern.keep:
        left = np.concatenate([np.arange(b * size, (b + 1) * size) for b in blocks])
        inverse = np.linalg.inv(gram[np.ix_(left, left)])
        spans = [slice(i * size, (i + 1) * size) for i in range(len(blocks))]
        cost = [v[left][s] @ np.linalg.solve(inverse[s, s], v[left][s]) for s in spans]
        at = int(np.argmin(cost))
        s = spans[at]
        v[left] -= inverse[:, s] @ np.linalg.solve(inverse[s, s], v[left][s])
        v[left[s]] = 0.0
        blocks.pop(at)
    return v


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, shape=st.sampled_from([(1, 2), (2, 4), (3, 4), (1, 3), (4, 6)]))
def test_groups_are_obs_with_a_fresh_inverse(seed: int, shape: tuple[int, int]) -> None:
    w, gram = instance(4, 12, seed)
    slow = np.array([slow_groups(row, gram, NofM(*shape)) for row in w])
    np.testing.assert_allclose(exact_obs(w, gram, NofM(*shape)), slow, rtol=1e-7, atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([1, 2, 3, 4]), keep=st.integers(0, 3))
def test_blocks_are_block_obs_with_a_fresh_inverse(seed: int, size: int, keep: int) -> None:
    w, gram = instance(4, 12, seed)
    slow = np.array([slow_blocks(row, gram, BlockSparse(keep, size)) for row in w])
    np.testing.assert_allclose(exact_obs(w, gram, BlockSparse(keep, size)), slow, rtol=1e-7, atol=1e-10)


def test_blocks_of_one_are_single_weights() -> None:
    w, gram = instance(5, 10, 1)
    np.testing.assert_allclose(exact_obs(w, gram, BlockSparse(4, 1)), exact_obs(w, gram, 4), rtol=1e-9)
    np.testing.assert_allclose(exact_obs(w, gram, NofM(4, 10)), exact_obs(w, gram, 4), rtol=1e-9)


def slow_layer_steps(losses: np.ndarray, steps: int) -> np.ndarray:
    """Algorithm 2 as printed: a heap of the next loss of each row."""
    heap = [(row[0], i, 0) for i, row in enumerate(losses)]
    heapq.heapify(heap)
    counts = np.zeros(len(losses), dtype=int)
    for _ in range(steps):
        _, i, j = heapq.heappop(heap)
        counts[i] += 1
        if j + 1 < losses.shape[1]:
            heapq.heappush(heap, (losses[i, j + 1], i, j + 1))
    return counts


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    rows=st.integers(1, 5),
    columns=st.integers(1, 7),
)
def test_global_step_is_the_heap_of_algorithm_2(data: st.DataObject, rows: int, columns: int) -> None:
    """Losses from a small set: not monotone, with many exact ties."""
    flat = data.draw(st.lists(st.integers(0, 3), min_size=rows * columns, max_size=rows * columns))
    losses = np.array(flat, dtype=np.float64).reshape(rows, columns)
    steps = data.draw(st.integers(0, rows * columns))
    np.testing.assert_array_equal(layer_steps(torch.from_numpy(losses), steps), slow_layer_steps(losses, steps))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, keep=st.integers(0, 48))
def test_layer_mask_is_the_traces_of_its_rows(seed: int, keep: int) -> None:
    w, gram = instance(6, 8, seed)
    w *= np.geomspace(0.1, 3.0, 6)[:, None]
    x = np.asarray(exact_obs(w, gram, LayerSparse(keep)))
    assert np.count_nonzero(x) == keep
    counts = np.count_nonzero(x, axis=1)
    for row, (found, count) in enumerate(zip(x, counts, strict=True)):
        alone = np.asarray(exact_obs(w[[row]], gram, int(count)))[0]
        np.testing.assert_allclose(found, alone, rtol=1e-9, atol=1e-12)


def slow_sparse_gpt(w: np.ndarray, gram: np.ndarray, keep: int) -> np.ndarray:
    """One block: masks by `w² / U_kk²` before the sweep; then fix column by column with a fresh inverse."""
    v, columns = w.copy(), len(w)
    pivots = np.array([np.linalg.inv(gram[k:, k:])[0, 0] for k in range(columns)])
    kept = np.argsort(v * v / pivots, kind="stable")[columns - keep :]
    for k in range(columns):
        inverse = np.linalg.inv(gram[k:, k:])
        goal = v[k] if k in kept else 0.0
        v[k:] -= (v[k] - goal) / inverse[0, 0] * inverse[:, 0]
        v[k] = goal
    return v


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, keep=st.integers(0, 9))
def test_sparse_gpt_is_a_sweep_with_fresh_inverses(seed: int, keep: int) -> None:
    w, gram = instance(4, 9, seed)
    slow = np.array([slow_sparse_gpt(row, gram, keep) for row in w])
    np.testing.assert_allclose(h.sparse_gpt(w, gram, keep), slow, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("keep", [0, 7, 40, 96])
def test_sparse_gpt_spends_the_budget_over_its_blocks(keep: int) -> None:
    w, gram = instance(3, 96, 4)
    for block in (1, 5, 32, 200):
        x = np.asarray(h.sparse_gpt(w, gram, keep, block=block))
        np.testing.assert_array_equal(np.count_nonzero(x, axis=1), keep)


def slow_refit(w: np.ndarray, gram: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Least change at unit diagonal, by numpy's pseudo-inverse."""
    x = np.zeros_like(w)
    for row, kept in enumerate(mask):
        s = np.flatnonzero(kept)
        if s.size:
            root = np.sqrt(gram[s, s])
            inverse = np.linalg.pinv(gram[np.ix_(s, s)] / root / root[:, None], rcond=1e-11, hermitian=True)
            pull = ((w[row] * ~kept) @ gram)[s]
            x[row, s] = w[row, s] + inverse @ (pull / root) / root
    return x


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 10), rank=st.integers(1, 12))
def test_refit_of_any_mask_and_rank(seed: int, columns: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((min(rank, columns), columns))
    gram, w = inputs.T @ inputs, rng.standard_normal((6, columns))
    mask = rng.random(w.shape) < rng.random((6, 1))
    found = np.asarray(h.refit(w, gram, mask.astype(float)))
    np.testing.assert_allclose(found, slow_refit(w, gram, mask), rtol=1e-5, atol=1e-6)


def dependent(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve columns of rank 7: a duplicate, a dead one, sums of others."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-3, 4, (40, 12)).astype(float)
    inputs[:, 3] = inputs[:, 0]
    inputs[:, 5] = 0.0
    inputs[:, 8] = inputs[:, 1] + inputs[:, 2]
    inputs[:, 9] = inputs[:, 4] - 2 * inputs[:, 6]
    inputs[:, 11] = inputs[:, 10]
    return rng.standard_normal((5, 12)), inputs.T @ inputs / 40, inputs


@pytest.mark.parametrize("name", ["exact_obs", "alps", "sparse_gpt", "swaps", "ada_prune"])
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_dependent_inputs_cost_nothing(name: str, seed: int) -> None:
    """ExactOBS, SparseGPT and swaps find that 7 independent inputs say it all; nobody breaks, or beats a bound."""
    w, gram, _ = dependent(seed)
    energy = np.einsum("ri,ij,rj->r", w, gram, w)
    for keep in (9, 7, 3):
        x = np.asarray(h.PRUNERS[name](w, gram, keep))
        upper = LeastSquares(gram, w, Sparse(keep)).upper(x)
        if keep >= 7 and name in ("exact_obs", "swaps"):
            assert (upper <= 1e-12 * energy).all()
        if keep == 3:
            best = np.full(len(w), np.inf)
            for kept in itertools.combinations(range(12), keep):
                s = list(kept)
                fit = np.linalg.lstsq(gram[np.ix_(s, s)], (w @ gram)[:, s].T, rcond=1e-10)[0].T
                best = np.minimum(best, energy - np.einsum("ri,ri->r", fit, (w @ gram)[:, s]))
            assert (upper >= best * (1 - 1e-9) - 1e-12).all()
    for pattern in (NofM(2, 4), BlockSparse(2, 3), LayerSparse(20)):
        if not (name.startswith("swaps") and isinstance(pattern, BlockSparse)):
            judged(w, gram, np.asarray(h.PRUNERS[name](w, gram, pattern)), pattern)


def test_nothing_but_dead_inputs() -> None:
    w = np.ones((3, 4))
    gram = np.zeros((4, 4))
    for pattern in (2, LayerSparse(5), NofM(1, 2), BlockSparse(1, 2)):
        for name, pruner in calls(pattern):
            x = np.asarray(pruner(w, gram, pattern))
            assert (judged(w, gram, x, pattern) == 0.0).all(), name


def test_damping_is_what_was_asked_for() -> None:
    w, gram = instance(4, 8, 3)
    added = gram + 0.1 * gram.diagonal().mean() * np.eye(8)
    np.testing.assert_allclose(h.damped(gram, 0.1).array, added, rtol=1e-15)
    for name in ("magnitude_refit", "sparse_gpt", "ada_prune", "alps", "exact_obs", "swaps"):
        seen = np.asarray(h.PRUNERS[name](w, gram, 3, damping=0.1))
        np.testing.assert_allclose(seen, h.PRUNERS[name](w, added, 3), rtol=1e-9, err_msg=name)
        with pytest.raises(InputError, match="damping"):
            h.PRUNERS[name](w, gram, 3, damping=-1.0)


@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
def test_one_column_all_or_nothing(pattern: Any) -> None:
    w, gram = instance(3, 12, 5)
    nothing, everything = {
        int: (0, 12), LayerSparse: (LayerSparse(0), LayerSparse(36)), NofM: (NofM(0, 4), NofM(4, 4)),
        BlockSparse: (BlockSparse(0, 4), BlockSparse(3, 4)),
    }[type(pattern)]  # fmt: skip
    for name, pruner in calls(pattern):
        np.testing.assert_array_equal(pruner(w, gram, nothing), np.zeros_like(w), err_msg=name)
        np.testing.assert_allclose(pruner(w, gram, everything), w, rtol=1e-9, err_msg=name)
        one = {int: 1, LayerSparse: LayerSparse(2), NofM: NofM(1, 1), BlockSparse: BlockSparse(1, 1)}[type(pattern)]
        x = np.asarray(pruner(w[:, :1], np.array([[2.0]]), one))
        kept = 2 if isinstance(pattern, LayerSparse) else 3
        assert np.count_nonzero(x) == kept, name
        assert pruner(w[:0], gram, 0 if isinstance(pattern, LayerSparse) else pattern).shape == (0, 12), name


def test_ties_go_by_position() -> None:
    """Of equal magnitudes the last stay; of equal losses the first column goes, then the first row."""
    w, gram = np.ones((2, 4)), np.eye(4)
    np.testing.assert_array_equal(h.magnitude(w, gram, 1), [[0, 0, 0, 1]] * 2)
    np.testing.assert_array_equal(h.magnitude(w, gram, LayerSparse(3)), [[0, 0, 0, 0], [0, 1, 1, 1]])
    np.testing.assert_array_equal(exact_obs(w, gram, 1), [[0, 0, 0, 1]] * 2)
    np.testing.assert_array_equal(exact_obs(w, gram, LayerSparse(3)), [[0, 0, 0, 0], [0, 1, 1, 1]])
    np.testing.assert_array_equal(exact_obs(w, gram, NofM(1, 2)), [[0, 1, 0, 1]] * 2)
    np.testing.assert_array_equal(exact_obs(w, gram, BlockSparse(1, 2)), [[0, 0, 1, 1]] * 2)


def test_uncorrelated_inputs_make_wanda_optimal() -> None:
    w, _ = instance(6, 12, 0)
    gram = np.diag(np.linspace(0.1, 4.0, 12))
    for pattern in PATTERNS:
        best = h.wanda(w, gram, pattern)
        for name in ("exact_obs", "sparse_gpt"):
            if name != "sparse_gpt" or not isinstance(pattern, LayerSparse):
                np.testing.assert_allclose(h.PRUNERS[name](w, gram, pattern), best, err_msg=f"{name} {pattern}")


def test_ada_prune_of_one_step_is_magnitude_refit() -> None:
    w, gram = instance(5, 12, 2)
    for pattern in PATTERNS:
        np.testing.assert_array_equal(
            h.ada_prune(w, gram, pattern, steps=1), h.magnitude_refit(w, gram, pattern), err_msg=str(pattern)
        )


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_swaps_in_groups_and_layers_end_where_none_helps(seed: int) -> None:
    w, gram = instance(4, 8, seed)
    for pattern in (NofM(2, 4), LayerSparse(13)):
        end = np.asarray(h.swaps(w, gram, pattern))
        error = judged(w, gram, end, pattern)
        for row, out, new in itertools.product(range(4), range(8), range(8)):
            same = not isinstance(pattern, NofM) or out // 4 == new // 4
            if end[row, out] != 0 and end[row, new] == 0 and same:
                mask = end[[row]] != 0
                mask[0, out], mask[0, new] = False, True
                other = judged(w[[row]], gram, np.asarray(h.refit(w[[row]], gram, mask.astype(float))), 8)
                assert other[0] >= error[row] * (1 - 1e-7) - 1e-13


def test_long_searches_do_not_drift() -> None:
    """A far start: the error that many updates arrive at is that of a fresh fit."""
    w, gram = instance(3, 60, 8)
    start = np.zeros_like(w)
    start[:, :20] = 1e-3
    end = np.asarray(h.swaps(w, gram, 20, start=start))
    fresh = np.asarray(h.refit(w, gram, end))
    np.testing.assert_allclose(end, fresh, rtol=1e-9)
    again = np.asarray(h.swaps(w, gram, 20, start=end))
    np.testing.assert_array_equal(again != 0, end != 0)


@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
def test_numpy_torch_and_row_blocks_alike(pattern: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    w, gram = instance(7, 12, 6)
    for name, pruner in calls(pattern):
        x = np.asarray(pruner(w, gram, pattern))
        tensor = pruner(torch.from_numpy(w), torch.from_numpy(gram), pattern, device="cpu")
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(tensor.numpy(), x, err_msg=name)
        np.testing.assert_array_equal(pruner(w, Gram(gram), pattern), x, err_msg=name)
        with monkeypatch.context() as small:
            small.setattr("quanterr.heuristics.tensors.WORK_BYTES", 3000)
            small.setattr("quanterr.heuristics.elimination.CACHED_ROWS", 2)
            np.testing.assert_allclose(pruner(w, gram, pattern), x, rtol=1e-9, atol=1e-12, err_msg=name)


def test_bad_budgets_are_refused() -> None:
    w, gram = instance(3, 12, 0)
    for name, pruner in h.PRUNERS.items():
        for keep in (-1, 13, 1.5, True, LayerSparse(-1), LayerSparse(37), LayerSparse(2.5)):  # type: ignore[arg-type]
            with pytest.raises(InputError, match="keep"):
                pruner(w, gram, keep)
        for pattern in (NofM(2, 5), BlockSparse(1, 5), BlockSparse(4, 4), Sparse(13)):
            with pytest.raises(ProblemError):
                pruner(w, gram, pattern)
        assert name
    with pytest.raises(InputError, match="at least one"):
        h.ada_prune(w, gram, 3, steps=0)
    with pytest.raises(InputError, match="choose one of"):
        h.ada_prune(w, gram, 3, score="random")
    with pytest.raises(InputError, match="block"):
        h.sparse_gpt(w, gram, 3, block=0)
    with pytest.raises(InputError, match="use exact_obs"):
        h.swaps(w, gram, BlockSparse(1, 4))
    with pytest.raises(InputError, match="mask"):
        h.refit(w, gram, np.ones((2, 12)))
    with pytest.raises(InputError, match="allows"):
        judged(w, gram, w, LayerSparse(5))


@given(keep=st.integers(0, 24), cuts=st.sets(st.integers(1, 23), max_size=5))
def test_portions_add_up(keep: int, cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), 24]
    parts = [patterns.portion(Sparse(keep), 3, 24, a, b) for a, b in itertools.pairwise(edges)]
    assert sum(p.keep for p in parts) == keep  # type: ignore[union-attr]
    assert all(0 <= p.keep <= b - a for p, (a, b) in zip(parts, itertools.pairwise(edges), strict=True))  # type: ignore[union-attr]
