"""Quantisers beyond rounding: K-best, Klein, box-aware Babai, stochastic, Park and Boyd, local search; their scales."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

import bounds  # noqa: E402
from bounds import Gram, IntegerBox, LeastSquares  # noqa: E402
from quanterr import heuristics as h  # noqa: E402
from quanterr.code_grid import code_grid  # noqa: E402
from quanterr.errors import InputError  # noqa: E402
from quanterr.heuristics import nearest_plane, sampling, tensors  # noqa: E402

from .textbook import instance  # noqa: E402

Array = NDArray[np.float64]
SEEDS = st.integers(0, 10_000)
BOX_AWARE = {
    "babai": lambda *a, **k: h.babai(*a, box_aware=True, **k),
    "k_best": h.k_best,
    "k_best, plain": lambda *a, **k: h.k_best(*a, box_aware=False, **k),
    "klein": h.klein,
}
METHODS: dict[str, Callable[..., Any]] = {
    **h.QUANTIZERS,
    **BOX_AWARE,
    "park_boyd": lambda *a, **k: h.park_boyd(*a, draws=5, **k),
    "natural": lambda *a, **k: h.babai(*a, order="natural", **k),
    "1-opt": lambda *a, **k: h.local_search(*a, pairs=False, **k),
}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_no_method_beats_a_proven_limit(name: str) -> None:
    """Singular or not, at 2 and 3 bits: feasible, and above the safe dual bound and the proven optimum."""
    for seed, bits in itertools.product(range(3), (2, 3)):
        t, gram = instance(12, 9, seed)
        box = IntegerBox(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        problem = LeastSquares(gram, t * 2.0, box)
        upper = problem.upper(np.asarray(METHODS[name](t * 2.0, gram, box.low, box.high)))
        assert (upper >= bounds.lower_bound(problem, bounds.SemidefiniteDual()).value).all()
        assert (upper >= bounds.solve(problem, bounds.BranchAndBound()).lower).all()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_singular_inputs_are_made_up_for_exactly(name: str) -> None:
    """Duplicates, a dead input and fewer samples than columns: feasible, and (nearest apart) better than nearest."""
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((9, 14))
    inputs[:, 5] = inputs[:, 2]
    inputs[:, 7] = 0.0
    gram = inputs.T @ inputs / 9
    t = rng.standard_normal((8, 14)) * 2.0
    problem = LeastSquares(Gram(gram), t, IntegerBox(-8, 7))
    error = problem.upper(np.asarray(METHODS[name](t, gram, -8, 7))).sum()
    rounded = problem.upper(np.asarray(h.nearest(t, gram, -8, 7))).sum()
    assert error == rounded if name == "nearest" else error < 0.5 * rounded or name == "stochastic"


#: In an order of columns that does not depend on their scales.
SCALED: dict[str, Callable[..., Any]] = {
    **{n: METHODS[n] for n in ("nearest", "stochastic", "obq", "natural")},
    **{n: (lambda *a, n=n, **k: BOX_AWARE[n](*a, order="natural", **k)) for n in BOX_AWARE},
    "2-opt": lambda t, *a, **k: h.local_search(t, *a, start=np.zeros_like(t), **k),
    "1-opt": lambda t, *a, **k: h.local_search(t, *a, start=np.zeros_like(t), pairs=False, **k),
}


@pytest.mark.parametrize("name", sorted(SCALED))
def test_a_scale_per_column_belongs_into_the_gram(name: str) -> None:
    """One row at a time (seeds count rows): scaled codes are plain codes in the metric `diag(s) gram diag(s)`."""
    t, gram = instance(4, 10, 8)
    scale = 2.0 ** np.random.default_rng(1).integers(-2, 2, t.shape)
    for row in range(4):
        own = gram * np.outer(scale[row], scale[row])
        np.testing.assert_array_equal(
            SCALED[name](t[[row]], gram, -2, 1, scale=scale[[row]]), SCALED[name](t[[row]], own, -2, 1)
        )


def test_park_boyd_takes_scales_common_to_all_rows() -> None:
    t, gram = instance(4, 10, 8)
    scale = 2.0 ** np.random.default_rng(1).integers(-2, 2, 10)
    own = gram * np.outer(scale, scale)
    np.testing.assert_array_equal(h.park_boyd(t, gram, -2, 1, scale=scale), h.park_boyd(t, own, -2, 1))
    with pytest.raises(InputError, match="every row the same scales"):
        h.park_boyd(t, gram, -2, 1, scale=np.outer([1.0, 1.0, 1.0, 2.0], scale) + np.eye(4, 10))


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 12), order=st.sampled_from(sorted(nearest_plane.ORDERS)))
def test_a_beam_of_one_is_babai(seed: int, columns: int, order: str) -> None:
    t, gram = instance(5, columns, seed)
    one = h.k_best(t, gram, -2, 1, beam=1, order=order, box_aware=False)
    np.testing.assert_array_equal(one, h.babai(t, gram, -2, 1, order=order))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, box_aware=st.booleans())
def test_a_beam_wide_enough_is_exhaustive(seed: int, box_aware: bool) -> None:
    t, gram = instance(5, 5, seed)
    problem = LeastSquares(gram, t, IntegerBox(-1, 1))
    found = problem.error(np.asarray(h.k_best(t, gram, -1, 1, beam=3**5, box_aware=box_aware)))
    points = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=5)))
    step = points[None] - t[:, None]
    np.testing.assert_allclose(found, np.einsum("rci,ij,rcj->rc", step, gram, step).min(1), rtol=1e-9)


def slow_k_best(t: Array, gram: Array, low: int, high: int, beam: int) -> Array:
    """One row, natural order: each path's least error over the real rest, by a fresh Schur complement."""
    columns = len(t)
    paths = [np.zeros(0)]
    for k in range(columns):
        rest = slice(k + 1, columns)
        schur = gram[: k + 1, : k + 1]
        if k + 1 < columns:
            schur = schur - gram[: k + 1, rest] @ np.linalg.solve(gram[rest, rest], gram[rest, : k + 1])
        grown = [np.append(p, c) for p in paths for c in range(low, high + 1)]
        cost = [(p - t[: k + 1]) @ schur @ (p - t[: k + 1]) for p in grown]
        paths = [grown[i] for i in np.argsort(cost)[:beam]]
    return paths[0]


@pytest.mark.parametrize("beam", [2, 3, 8])
def test_k_best_is_k_best(beam: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BLOCK", 4)
    monkeypatch.setattr(nearest_plane, "BLOCK", 3)
    for seed in range(5):
        t, gram = instance(3, 10, seed)
        x = h.k_best(t, gram, -4, 3, beam=beam, order="natural", box_aware=False)
        np.testing.assert_array_equal(x, [slow_k_best(row, gram, -4, 3, beam) for row in t])


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 10))
def test_multipliers_of_the_box_are_those_of_its_minimiser(seed: int, columns: int) -> None:
    """Converged ADMM meets the optimality conditions of the box QP: feasible, each multiplier on its own bound."""
    t, gram = instance(4, columns, seed)
    target, metric = torch.from_numpy(t.T.copy()) * 3.0, torch.from_numpy(gram)
    with mock.patch.multiple(nearest_plane, ADMM_STEPS=200_000, STILL=1e-10):
        slope = nearest_plane.box_multipliers(target, metric, None, -2, 1)
    v = target + torch.linalg.solve(metric, slope)
    bound = torch.where(slope < 0, 1.0, -2.0)
    assert ((slope == 0) | ((v - bound).abs() < 1e-6)).all()
    assert ((v < 1.0 + 1e-6) & (v > -2.0 - 1e-6)).all()


def test_box_awareness_changes_nothing_where_the_box_is_far() -> None:
    t, gram = instance(6, 12, 0)
    np.testing.assert_array_equal(h.babai(t, gram, -1000, 999, box_aware=True), h.babai(t, gram, -1000, 999))


@pytest.mark.parametrize("order", sorted(nearest_plane.ORDERS))
def test_the_plane_splits_the_error_into_columns(order: str) -> None:
    """Σ r_kk² (c_k − x_k)² is the error, whatever is chosen: the identity that nearest plane, K-best, Klein rest on."""
    t, gram = instance(5, 9, 1)
    unit = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 2.0, t.shape))
    plane = nearest_plane.Plane(torch.from_numpy(t), torch.from_numpy(gram), unit, order)
    total = torch.zeros(5, dtype=torch.float64)

    def choose(k: int, centre: Any) -> Any:
        x = torch.round(centre * 0.7)
        total.add_(plane.firmness[k] * ((centre - x) * plane.unit[k]) ** 2)
        return x

    step = (plane.back(plane.walk(choose)) - torch.from_numpy(t)) * unit
    np.testing.assert_allclose(total, tensors.errors(step, torch.from_numpy(gram)), rtol=1e-10)


def test_seeds_decide_and_draws_only_help() -> None:
    t, gram = instance(20, 12, 2)
    problem = LeastSquares(gram, t, IntegerBox(-4, 3))
    base = problem.error(np.asarray(h.babai(t, gram, -4, 3, box_aware=True)))
    for method in (h.stochastic, h.klein, h.park_boyd):
        one = method(t, gram, -4, 3, seed=1, draws=3)
        np.testing.assert_array_equal(one, method(t, gram, -4, 3, seed=1, draws=3))
        assert not np.array_equal(method(t, gram, -4, 3, seed=2, draws=1), h.stochastic(t, gram, -4, 3, seed=1))
        more = problem.error(np.asarray(method(t, gram, -4, 3, seed=1, draws=12)))
        assert (more <= problem.error(np.asarray(one)) * (1 + 1e-12)).all()
        with pytest.raises(InputError, match="draws = 0"):
            method(t, gram, -4, 3, draws=0)
    assert (problem.error(np.asarray(h.klein(t, gram, -4, 3))) <= base * (1 + 1e-12)).all()


def test_stochastic_rounding_is_unbiased_inside_the_box() -> None:
    t = np.tile([[-1.25, 0.0, 0.5, 0.9]], (40_000, 1))
    mean = np.asarray(h.stochastic(t, np.eye(4), -2, 1)).mean(axis=0)
    np.testing.assert_allclose(mean, t[0], atol=0.015)
    assert mean[1] == 0.0


def test_nearest_plane_survives_one_column_no_rows_and_one_code() -> None:
    for method in METHODS.values():
        assert method(np.zeros((0, 3)), np.eye(3), -2, 1).shape == (0, 3)
        np.testing.assert_array_equal(method(np.array([[0.8], [-3.0]]), np.eye(1), 0, 0), [[0.0], [0.0]])
        assert np.isin(method(np.array([[0.2]]), np.array([[2.0]]), -2, 1), [0.0, 1.0]).all()
        assert method(np.ones((2, 3)), np.zeros((3, 3)), -2, 1).shape == (2, 3)


CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_dtypes_and_devices(dtype: Any, device: str) -> None:
    t, gram = (torch.from_numpy(a).to(dtype) for a in instance(5, 12, 3))
    for name, method in METHODS.items():
        x = method(t, gram, -2, 1, device=device)
        assert x.dtype == torch.float64, name
        assert x.device == t.device
        np.testing.assert_array_equal(x, method(t.double().numpy(), gram.double().numpy(), -2, 1), err_msg=name)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per", ["tensor", "channel", 4, 5])
@pytest.mark.parametrize("search", ["max", "mse", "lp", "gram"])
def test_grids_reduce_to_codes(search: str, per: str | int, symmetric: bool) -> None:
    """The error in weight units is that of the codes problem in the scaled Gram matrix, whatever the grid."""
    w, gram = instance(6, 13, 0)
    grid = code_grid(w, 3, per=per, symmetric=symmetric, search=search, gram=gram)
    assert (grid.low, grid.high) == ((-4, 3) if symmetric else (0, 7))
    assert grid.scale.shape == ((1 if per == "tensor" else 6), {"tensor": 1, "channel": 1, 4: 4, 5: 3}[per])
    np.testing.assert_allclose(grid.weight(grid.target(w)), w, atol=1e-12)
    np.testing.assert_array_equal(grid.weight(np.broadcast_to(grid._stretched(grid.zero), w.shape)), 0.0 * w)
    codes = np.asarray(h.obq(grid.target(w), gram, grid.low, grid.high, scale=grid.step()))
    step = np.broadcast_to(grid.step(), w.shape)
    for row in range(6):
        own = LeastSquares(gram * np.outer(step[row], step[row]), grid.target(w)[row], IntegerBox(grid.low, grid.high))
        miss = grid.weight(codes)[row] - w[row]
        np.testing.assert_allclose(own.error(codes[[row]])[0], miss @ gram @ miss, rtol=1e-9)


def test_searches_find_the_best_of_their_candidates() -> None:
    w, gram = instance(5, 12, 1)

    def rounding(grid: Any) -> Array:
        return grid.weight(np.clip(np.floor(grid.target(w) + 0.5), grid.low, grid.high)) - w

    def scores(grid: Any) -> dict[str, Array]:
        miss = rounding(grid)
        return {
            "mse": (miss**2).sum(1),
            "lp": (np.abs(miss) ** 2.4).sum(1),
            "gram": np.einsum("ri,ij,rj->r", miss, gram, miss),
        }

    for symmetric in (True, False):
        whole = code_grid(w, 3, search="max", symmetric=symmetric)
        found = {s: code_grid(w, 3, search=s, gram=gram, symmetric=symmetric) for s in ("mse", "lp", "gram")}
        for name, grid in found.items():
            assert (scores(grid)[name] <= scores(whole)[name] * (1 + 1e-12)).all()
        assert (scores(found["gram"])["gram"] <= scores(found["lp"])["gram"] * (1 + 1e-12)).all()
        assert (scores(found["lp"])["lp"] <= scores(found["gram"])["lp"] * (1 + 1e-12)).all()


def test_zero_weights_get_a_scale_and_stay_zero() -> None:
    w = np.array([[0.0, 0.0, 1.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    for symmetric in (True, False):
        grid = code_grid(w, 4, per=2, symmetric=symmetric)
        codes = np.clip(np.floor(grid.target(w) + 0.5), grid.low, grid.high)
        assert (grid.weight(codes)[w == 0.0] == 0.0).all()
        assert grid.scale[0, 0] == grid.scale[1, 1] == 1.0


@pytest.mark.parametrize("per", ["tensor", "channel", 4])
@pytest.mark.parametrize("symmetric", [True, False])
def test_alternation_never_loses(per: str | int, symmetric: bool) -> None:
    w, gram = instance(6, 12, 7)
    grid = code_grid(w, 2, per=per, symmetric=symmetric)

    def error(g: Any, codes: Any) -> Array:
        miss = g.weight(np.asarray(codes)) - w
        return np.einsum("ri,ij,rj->r", miss, gram, miss)

    start = error(grid, h.obq(grid.target(w), gram, grid.low, grid.high, scale=grid.step()))
    once = error(*h.alternate(w, gram, grid, rounds=0))
    better, codes = h.alternate(w, gram, grid)
    after = error(better, codes)
    assert (codes >= grid.low).all()
    assert (codes <= grid.high).all()
    if per == "tensor":
        assert after.sum() <= once.sum() * (1 + 1e-9) <= start.sum() * (1 + 1e-8)
        return
    assert (once <= start * (1 + 1e-9)).all()
    assert (after <= once * (1 + 1e-9)).all()
    for group in range(better.scale.shape[1]):  # the scales are the least-squares ones
        for nudge in (0.999, 1.001):
            other = better.scale.copy()
            other[:, group] *= nudge
            assert (error(better.scaled(other), codes) >= after * (1 - 1e-9)).all()


def test_bad_options_are_refused() -> None:
    w, gram = instance(4, 6, 0)
    for options, message in (
        ({"per": "row"}, "per = 'row'"),
        ({"per": 0}, "per = 0"),
        ({"search": "best"}, "search = 'best'"),
        ({"search": "gram"}, "needs a Gram matrix"),
        ({"search": "lp", "p": -1.0}, "p = -1"),
    ):
        with pytest.raises(InputError, match=message):
            code_grid(w, 3, **options)
    with pytest.raises(InputError, match="finite"):
        code_grid(w * np.nan, 3)
    with pytest.raises(InputError, match="beam = 0"):
        h.k_best(w, gram, -2, 1, beam=0)
    with pytest.raises(InputError, match="scales are positive"):
        h.nearest(w, gram, -2, 1, scale=-1.0)
