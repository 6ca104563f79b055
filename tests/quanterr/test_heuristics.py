"""Heuristics against slow twins, against the optimum, and against each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from bounds import Gram, IntegerBox, LeastSquares, Sparse  # noqa: E402
from quanterr import heuristics as h  # noqa: E402
from quanterr.errors import InputError  # noqa: E402
from quanterr.heuristics import tensors  # noqa: E402
from quanterr.heuristics.nearest_plane import ORDERS  # noqa: E402

from .textbook import instance, slow_gptq, slow_obs, slow_sorted  # noqa: E402

SEEDS = st.integers(0, 10_000)
QUANTISERS: dict[str, Callable[..., Any]] = {
    "nearest": h.nearest,
    **{f"babai {o}": (lambda *a, o=o, **k: h.babai(*a, order=o, **k)) for o in ORDERS},
    "obq": h.obq,
    "local_search": h.local_search,
    "1-opt": lambda *a, **k: h.local_search(*a, pairs=False, **k),
}


SLOW_ORDERS: dict[str, Callable[[np.ndarray], list[int]]] = {
    "natural": lambda g: list(range(len(g))),
    "activation": lambda g: np.argsort(-g.diagonal(), kind="stable").tolist(),
    "sorted_qr": slow_sorted,
}


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 12), order=st.sampled_from(sorted(ORDERS)), bits=st.integers(2, 4))
def test_babai_is_gptq_with_a_fresh_inverse(seed: int, columns: int, order: str, bits: int) -> None:
    t, gram = instance(4, columns, seed)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    slow = [slow_gptq(row, gram, low, high, SLOW_ORDERS[order](gram)) for row in t]
    np.testing.assert_array_equal(h.babai(t, gram, low, high, order=order), slow)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 12), data=st.data())
def test_exact_obs_is_obs_with_a_fresh_inverse(seed: int, columns: int, data: st.DataObject) -> None:
    w, gram = instance(5, columns, seed)
    keep = data.draw(st.integers(0, columns))
    slow = np.array([slow_obs(row, gram, keep) for row in w])
    fast = np.asarray(h.exact_obs(w, gram, keep))
    np.testing.assert_array_equal(fast != 0, slow != 0)
    np.testing.assert_allclose(fast, slow, rtol=1e-8, atol=1e-10)


def test_exact_obs_agrees_at_every_step() -> None:
    """Supports are nested: each step takes out the one weight that the slow twin takes out."""
    w, gram = instance(6, 20, 3)
    before = np.ones_like(w, dtype=bool)
    for keep in range(20, -1, -1):
        mask = np.asarray(h.exact_obs(w, gram, keep)) != 0
        np.testing.assert_array_equal(mask, np.array([slow_obs(row, gram, keep) for row in w]) != 0)
        assert (mask <= before).all()
        assert (mask.sum(axis=1) == keep).all()
        before = mask


def brute_codes(problem: LeastSquares, low: int, high: int) -> np.ndarray:
    codes = np.array(list(itertools.product(range(low, high + 1), repeat=problem.columns)), dtype=np.float64)
    step = codes[None] - problem.target[:, None]
    return np.einsum("rci,ij,rcj->rc", step, problem.gram.array, step).min(axis=1)


def brute_sparse(problem: LeastSquares, keep: int) -> np.ndarray:
    best = np.full(problem.rows, np.inf)
    g, t = problem.gram.array, problem.target
    for kept in itertools.combinations(range(problem.columns), keep):
        s = list(kept)
        x = np.zeros_like(t)
        x[:, s] = np.linalg.solve(g[np.ix_(s, s)], (t @ g)[:, s].T).T
        best = np.minimum(best, problem.error(x))
    return best


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 5))
def test_codes_are_feasible_and_never_better_than_the_optimum(seed: int, columns: int) -> None:
    t, gram = instance(4, columns, seed)
    problem = LeastSquares(gram, t, IntegerBox(-2, 1))
    optimum = brute_codes(problem, -2, 1)
    for name, quantiser in QUANTISERS.items():
        upper = problem.upper(np.asarray(quantiser(t, gram, -2, 1)))
        assert (upper >= optimum * (1 - 1e-12)).all(), name


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 6), data=st.data())
def test_pruned_rows_are_feasible_and_never_better_than_the_optimum(
    seed: int, columns: int, data: st.DataObject
) -> None:
    w, gram = instance(4, columns, seed)
    keep = data.draw(st.integers(0, columns))
    problem = LeastSquares(gram, w, Sparse(keep))
    optimum = brute_sparse(problem, keep)
    for name, pruner in h.PRUNERS.items():
        upper = problem.upper(np.asarray(pruner(w, gram, keep)))
        assert (upper >= optimum * (1 - 1e-9) - 1e-14).all(), name


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_local_search_ends_where_nothing_helps(seed: int) -> None:
    t, gram = instance(6, 7, seed)
    problem = LeastSquares(gram, t, IntegerBox(-2, 1))
    starts = [h.nearest(t, gram, -2, 1), np.random.default_rng(seed).integers(-2, 2, t.shape).astype(float)]
    for start in starts:
        end = np.asarray(h.local_search(t, gram, -2, 1, start=start))
        error = problem.error(end)
        assert (error <= problem.error(np.asarray(start)) * (1 + 1e-12)).all()
        for i, j in itertools.combinations(range(7), 2):
            for a, b in itertools.product((-1, 0, 1), repeat=2):
                other = end.copy()
                other[:, i] += a
                other[:, j] += b
                inside = problem.feasible.contains(other)
                assert (problem.error(other)[inside] >= error[inside] * (1 - 1e-7)).all()


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, keep=st.integers(0, 7))
def test_swaps_end_where_no_swap_helps(seed: int, keep: int) -> None:
    w, gram = instance(5, 7, seed)
    problem = LeastSquares(gram, w, Sparse(keep))
    for start in (h.magnitude(w, gram, keep), h.exact_obs(w, gram, keep)):
        end = np.asarray(h.swaps(w, gram, keep, start=start))
        error = problem.error(end)
        assert (error <= problem.error(np.asarray(start)) * (1 + 1e-9) + 1e-14).all()
        for row, best in enumerate(error):
            kept = np.flatnonzero(end[row])
            for out, new in itertools.product(kept, np.setdiff1d(np.arange(7), kept)):
                s = [*np.setdiff1d(kept, [out]), new]
                x = np.zeros((1, 7))
                x[0, s] = np.linalg.solve(gram[np.ix_(s, s)], (gram @ w[row])[s])
                other = LeastSquares(gram, w[[row]], Sparse(keep)).error(x)[0]
                assert other >= best * (1 - 1e-7) - 1e-13


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, keep=st.integers(0, 12))
def test_order_of_the_pruners(seed: int, keep: int) -> None:
    w, gram = instance(6, 12, seed)
    problem = LeastSquares(gram, w, Sparse(keep))
    error = {name: problem.error(np.asarray(pruner(w, gram, keep))) for name, pruner in h.PRUNERS.items()}
    tiny = 1e-12 * problem.error(np.zeros_like(w))
    assert (error["magnitude_refit"] <= error["magnitude"] + tiny).all()
    assert (error["swaps"] <= error["exact_obs"] + tiny).all()
    np.testing.assert_array_equal(h.magnitude(w, gram, keep), Sparse(keep).nearest(w))


def test_nearest_is_the_nearest_of_the_set() -> None:
    t = np.array([[-9.0, -0.5, 0.5, 1.4999, 1.5, 30.0]])
    np.testing.assert_array_equal(h.nearest(t, np.eye(6), -2, 1), IntegerBox(-2, 1).nearest(t))


@pytest.mark.parametrize("name", sorted(QUANTISERS))
def test_without_correlation_nearest_is_optimal(name: str) -> None:
    t, _ = instance(8, 9, 0)
    gram = np.diag(np.linspace(0.1, 3.0, 9))
    np.testing.assert_array_equal(QUANTISERS[name](t, gram, -2, 1), h.nearest(t, gram, -2, 1))


def every(rows: int = 4, columns: int = 8, dead: tuple[int, ...] = ()) -> list[tuple[str, Callable[..., Any], Any]]:
    t, gram = instance(rows, columns, 7, dead)
    calls: list[tuple[str, Callable[..., Any], Any]] = [(n, f, (t, gram, -2, 1)) for n, f in QUANTISERS.items()]
    return calls + [(n, f, (t, gram, 3)) for n, f in h.PRUNERS.items()]


@pytest.mark.parametrize(("name", "heuristic", "given_"), every(), ids=[call[0] for call in every()])
def test_numpy_torch_and_gram_alike(name: str, heuristic: Callable[..., Any], given_: Any) -> None:
    t, gram, *rest = given_
    before = t.copy()
    x = heuristic(t, gram, *rest)
    assert isinstance(x, np.ndarray)
    assert x.dtype == np.float64
    as_torch = heuristic(torch.from_numpy(t), torch.from_numpy(gram), *rest, device="cpu")
    assert isinstance(as_torch, torch.Tensor)
    np.testing.assert_array_equal(as_torch.numpy(), x)
    np.testing.assert_array_equal(heuristic(t, Gram(gram), *rest), x)
    np.testing.assert_array_equal(heuristic(t, gram, *rest), x)
    np.testing.assert_array_equal(t, before)


@pytest.mark.parametrize(("name", "heuristic", "given_"), every(9), ids=[call[0] for call in every()])
def test_rows_do_not_depend_on_each_other(
    name: str, heuristic: Callable[..., Any], given_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    t, gram, *rest = given_
    together = heuristic(t, gram, *rest)
    monkeypatch.setattr(tensors, "WORK_BYTES", 5000)
    np.testing.assert_allclose(heuristic(t, gram, *rest), together, rtol=1e-9)
    alone = [heuristic(t[[r]], gram, *rest)[0] for r in range(len(t))]
    np.testing.assert_allclose(alone, together, rtol=1e-9)


@pytest.mark.parametrize(("name", "heuristic", "given_"), every(dead=(1, 4)), ids=[call[0] for call in every()])
def test_dead_inputs_cost_nothing(name: str, heuristic: Callable[..., Any], given_: Any) -> None:
    """Leaving the dead columns out changes nothing on the others."""
    t, gram, *rest = given_
    live = [0, 2, 3, 5, 6, 7]
    x = heuristic(t, gram, *rest)
    if name.startswith("magnitude"):
        assert (np.count_nonzero(x, axis=1) <= rest[0]).all()
        return
    np.testing.assert_allclose(x[:, live], heuristic(t[:, live], gram[np.ix_(live, live)], *rest), rtol=1e-9)


@pytest.mark.parametrize(("name", "heuristic", "given_"), every(), ids=[call[0] for call in every()])
def test_singular_gram_is_no_obstacle(name: str, heuristic: Callable[..., Any], given_: Any) -> None:
    t, gram, *rest = given_
    gram = gram.copy()
    gram[5], gram[:, 5] = gram[2], gram[:, 2]
    gram[5, 5] = gram[2, 2]
    assert np.isfinite(np.asarray(heuristic(t, gram, *rest))).all()


def test_local_search_treats_a_singular_gram_from_a_given_start() -> None:
    t, gram = instance(4, 3, 0)
    gram = np.ones((3, 3))
    start = h.nearest(t, gram, -2, 1)
    problem = LeastSquares(gram, t, IntegerBox(-2, 1))
    assert (problem.error(np.asarray(h.local_search(t, gram, -2, 1, start=start))) <= problem.error(start)).all()


@pytest.mark.parametrize(("name", "heuristic", "given_"), every(), ids=[call[0] for call in every()])
def test_bad_arguments_are_refused(name: str, heuristic: Callable[..., Any], given_: Any) -> None:
    t, gram, *rest = given_
    hole = t.copy()
    hole[1, 2] = np.nan
    with pytest.raises(InputError, match="row 1, column 2"):
        heuristic(hole, gram, *rest)
    with pytest.raises(InputError, match="do not fit"):
        heuristic(t[:, :-1], gram, *rest)
    with pytest.raises(InputError, match="do not fit"):
        heuristic(t[0], gram, *rest)
    if len(rest) == 1:
        for keep in (-1, 9, 1.5, True):
            with pytest.raises(InputError, match="keep"):
                heuristic(t, gram, keep)
    else:
        for box in ((1, -2), (0.5, 3)):
            with pytest.raises(InputError, match="low and high"):
                heuristic(t, gram, *box)


def test_bad_options_are_refused() -> None:
    t, gram = instance(4, 5, 0)
    with pytest.raises(InputError, match="sorted_qr"):
        h.babai(t, gram, -2, 1, order="random")
    with pytest.raises(InputError, match="codes -2 … 1"):
        h.local_search(t, gram, -2, 1, start=np.full((4, 5), 0.5))
    with pytest.raises(InputError, match="codes -2 … 1"):
        h.local_search(t, gram, -2, 1, start=np.full((4, 5), 2.0))
    with pytest.raises(InputError, match=r"Sparse\(keep=2\)"):
        h.swaps(t, gram, 2, start=t)


def test_extremes_of_keep() -> None:
    w, gram = instance(3, 6, 2)
    for name, pruner in h.PRUNERS.items():
        np.testing.assert_array_equal(pruner(w, gram, 0), np.zeros_like(w), err_msg=name)
        np.testing.assert_array_equal(pruner(w, gram, 6), w, err_msg=name)
