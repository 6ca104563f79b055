"""The elimination core, OBQ and ExactOBS against the printed algorithms with a fresh inverse after every step."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from bounds import Gram, ProblemError  # noqa: E402
from quanterr import heuristics as h  # noqa: E402
from quanterr.errors import InputError  # noqa: E402
from quanterr.heuristics import elimination  # noqa: E402
from quanterr.heuristics.exact_obs import cheapest  # noqa: E402

from .textbook import instance, slow_obq, slow_trace  # noqa: E402

Array = NDArray[np.float64]
SEEDS = st.integers(0, 10_000)


@pytest.fixture(params=[(96, 48, 0.7), (1, 1, 1.0), (3, 2, 0.7), (2, 5, 0.0)], ids=str)
def schedule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the terms are taken off and the fixed columns dropped must not matter."""
    first, later, shrink = request.param
    monkeypatch.setattr(elimination, "FIRST_TERMS", first)
    monkeypatch.setattr(elimination, "TERMS", later)
    monkeypatch.setattr(elimination, "SHRINK", shrink)


@pytest.mark.parametrize("columns", [1, 2, 7, 40])
@pytest.mark.usefixtures("schedule")
def test_every_step_is_the_textbook_step(columns: int) -> None:
    for seed in range(4):
        w, gram = instance(5, columns, seed)
        order, losses = h.exact_obs_trace(w, gram)
        slow = [slow_trace(row, gram) for row in w]
        np.testing.assert_array_equal(order, [s[0] for s in slow])
        np.testing.assert_allclose(losses, [s[1] for s in slow], rtol=1e-9)


def test_every_step_on_inputs_with_a_long_tail() -> None:
    """Like a real layer: eigenvalues over six decades and more columns than one block of terms."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((600, 150)) * np.logspace(0, -3, 150) @ rng.standard_normal((150, 150))
    w, gram = rng.standard_normal((2, 150)), inputs.T @ inputs / 600
    order, losses = h.exact_obs_trace(w, gram)
    slow = [slow_trace(row, gram) for row in w]
    np.testing.assert_array_equal(order, [s[0] for s in slow])
    np.testing.assert_allclose(losses, [s[1] for s in slow], rtol=1e-6)
    t = w / 0.2
    np.testing.assert_array_equal(h.obq(t, gram, -8, 7), [slow_obq(row, gram, -8, 7) for row in t])


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
@pytest.mark.usefixtures("schedule")
def test_obq_is_the_textbook_obq(spread: float) -> None:
    """Wide spreads push weights beyond the grid, where the rule for outliers decides the order."""
    for seed, columns in enumerate([1, 2, 9, 40]):
        t, gram = instance(6, columns, seed)
        t *= spread
        t[:, ::4] = 0.0
        np.testing.assert_array_equal(h.obq(t, gram, -2, 1), [slow_obq(row, gram, -2, 1) for row in t])


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 14), rows=st.integers(0, 4))
def test_lemma_1_removes_a_row_and_a_column_from_the_inverse(seed: int, columns: int, rows: int) -> None:
    """After any removals the diagonal is that of the inverse of what is left, and the weights are its refit."""
    w, gram = instance(rows, columns, seed)
    rng = np.random.default_rng(seed)
    state = elimination.Elimination(torch.from_numpy(w), torch.from_numpy(np.linalg.inv(gram)))
    left = [list(range(columns)) for _ in range(rows)]
    for _ in range(columns - 1):
        gone = [int(rng.choice(row)) for row in left]
        at = torch.tensor([int((state.columns[r] == c).nonzero()[0, 0]) for r, c in enumerate(gone)], dtype=torch.int64)
        state.fix(at, 0.0)
        for row, column in enumerate(gone):
            left[row].remove(column)
            alive = state.diagonal[row] > 0
            assert state.columns[row][alive].tolist() == left[row]
            part = np.linalg.inv(gram[np.ix_(left[row], left[row])])
            np.testing.assert_allclose(state.diagonal[row][alive], part.diagonal(), rtol=1e-8)
            np.testing.assert_allclose(
                state.weight[row][alive], part @ (gram @ w[row])[left[row]], rtol=1e-7, atol=1e-9
            )


def test_lemma_1_in_exact_rationals() -> None:
    """The printed identity itself, eq. (4), on the Hilbert matrix of order 5, whose inverse is integer."""
    inverse = [[Fraction(x) for x in row] for row in np.round(np.linalg.inv(hilbert(5))).astype(int).tolist()]
    gram = [[Fraction(1, i + j + 1) for j in range(5)] for i in range(5)]
    assert product(gram, inverse) == identity(5)
    for p in range(5):
        left = [i for i in range(5) if i != p]
        reduced = [[inverse[i][j] - inverse[i][p] * inverse[p][j] / inverse[p][p] for j in left] for i in left]
        assert product([[gram[i][j] for j in left] for i in left], reduced) == identity(4)


def hilbert(n: int) -> Array:
    return 1.0 / (np.add.outer(np.arange(n), np.arange(n)) + 1.0)


def product(a: list[list[Fraction]], b: list[list[Fraction]]) -> list[list[Fraction]]:
    inner = range(len(b))
    return [[sum((row[k] * b[k][j] for k in inner), Fraction(0)) for j in range(len(b[0]))] for row in a]


def identity(n: int) -> list[list[Fraction]]:
    return [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 12), data=st.data())
def test_the_losses_add_up_to_the_error(seed: int, columns: int, data: st.DataObject) -> None:
    w, gram = instance(4, columns, seed)
    keep = data.draw(st.integers(0, columns))
    order, losses = h.exact_obs_trace(w, gram)
    x = np.asarray(h.exact_obs(w, gram, keep))
    step = x - w
    np.testing.assert_allclose(
        losses[:, : columns - keep].sum(1), np.einsum("ri,ij,rj->r", step, gram, step), rtol=1e-8
    )
    assert (np.take_along_axis(x, np.asarray(order)[:, : columns - keep], 1) == 0.0).all()
    assert (np.sort(order, axis=1) == np.arange(columns)).all()


def test_ties_go_to_the_first_column() -> None:
    """Equal weights with interchangeable inputs: rounding makes some losses larger by a bit, the order stays."""
    gram = 0.3 * np.ones((9, 9)) + 0.7 * np.eye(9)
    order, _ = h.exact_obs_trace(np.full((2, 9), 0.1), gram)
    np.testing.assert_array_equal(order, [np.arange(9)] * 2)
    order, losses = h.exact_obs_trace(np.array([[1.0, 0.0, 2.0, 0.0]]), np.eye(4))
    np.testing.assert_array_equal(order, [[1, 3, 0, 2]])
    np.testing.assert_array_equal(losses, [[0.0, 0.0, 1.0, 4.0]])


def test_codes_that_are_there_already_stay() -> None:
    """Zeros go first, before outliers; so pruned weights stay pruned."""
    t, gram = instance(6, 12, 5)
    t *= 2.0
    t[:, [2, 5, 6]] = 0.0
    assert (np.asarray(h.obq(t, gram, -2, 1))[:, [2, 5, 6]] == 0.0).all()


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_redundant_inputs_go_first_at_no_cost(seed: int) -> None:
    """A dead input, a duplicate and a sum: the rest then is a problem of full rank, with the merged weights."""
    _, gram = instance(4, 6, seed)
    lift = np.zeros((6, 9))
    lift[:, [0, 2, 3, 5, 6, 7]] = np.eye(6)
    lift[:, 4] = lift[:, 2] * 2.0
    lift[:, 8] = lift[:, 5] - lift[:, 3]
    wide = np.random.default_rng(seed).standard_normal((4, 9))
    big = lift.T @ gram @ lift
    order, losses = h.exact_obs_trace(wide, big)
    assert (np.asarray(order)[:, 0] == 1).all()
    np.testing.assert_array_equal(losses[:, :3], 0.0)
    for keep in (0, 2, 5, 6, 8, 9):
        x = np.asarray(h.exact_obs(wide, big, keep))
        step = x - wide
        assert (np.count_nonzero(x, axis=1) <= keep).all()
        error = np.einsum("ri,ij,rj->r", step, big, step)
        np.testing.assert_allclose(error, np.asarray(losses)[:, : 9 - keep].sum(1), rtol=1e-6, atol=1e-10)
    # the weights that remain after the redundant ones produce the same outputs
    merged = wide @ lift.T
    best = np.array([slow_trace(row, gram)[1].sum() for row in merged])
    np.testing.assert_allclose(np.asarray(losses).sum(1), best, rtol=1e-7)


def test_obq_on_duplicates_is_obq_on_the_merged_input() -> None:
    """Two copies of an input: the first found redundant takes its nearest code, the other makes up for it."""
    t, gram = instance(5, 6, 1)
    double = gram[np.ix_([0, 1, 2, 3, 4, 5, 2], [0, 1, 2, 3, 4, 5, 2])]
    extra = np.random.default_rng(0).standard_normal((5, 1))
    x = np.asarray(h.obq(np.hstack([t, extra]), double, -8, 7))
    for copy, other in ((6, 2), (2, 6)):
        wide = np.hstack([t, extra])
        code = np.floor(wide[:, copy] + 0.5)
        merged = np.delete(wide, copy, 1)
        merged[:, other - (copy < other)] += wide[:, copy] - code
        kept = [c for c in range(7) if c != copy]
        expected = np.asarray(h.obq(merged, double[np.ix_(kept, kept)], -8, 7))
        if np.array_equal(x[:, kept], expected) and np.array_equal(x[:, copy], code):
            return
    raise AssertionError(x)


def test_damping_is_an_explicit_change_of_the_metric() -> None:
    t, gram = instance(4, 8, 2)
    gram[5], gram[:, 5] = gram[2], gram[:, 2]
    gram[5, 5] = gram[2, 2]
    damped = gram + 0.01 * gram.diagonal().mean() * np.eye(8)
    np.testing.assert_array_equal(h.obq(t, gram, -2, 1, damping=0.01), h.obq(t, damped, -2, 1))
    np.testing.assert_array_equal(h.exact_obs_trace(t, gram, damping=0.01)[0], h.exact_obs_trace(t, damped)[0])
    with pytest.raises(InputError, match="damping = -1"):
        h.obq(t, gram, -2, 1, damping=-1.0)


def test_a_scale_per_column_is_the_gram_in_code_units() -> None:
    """Row by row, the scale belongs into the Gram matrix; a scale per row changes nothing."""
    t, gram = instance(5, 12, 4)
    scale = np.random.default_rng(0).uniform(0.3, 2.0, t.shape)
    x = h.obq(t, gram, -2, 1, scale=scale)
    np.testing.assert_array_equal(
        x, [np.asarray(h.obq(t[[r]], gram * np.outer(scale[r], scale[r]), -2, 1))[0] for r in range(5)]
    )
    np.testing.assert_array_equal(h.obq(t, gram, -2, 1, scale=scale[:, :1]), h.obq(t, gram, -2, 1))
    with pytest.raises(InputError, match="row 1, column 3"):
        h.obq(t, gram, -2, 1, scale=np.where((np.arange(5)[:, None] == 1) & (np.arange(12) == 3), -1.0, scale))
    with pytest.raises(InputError, match="stretch"):
        h.obq(t, gram, -2, 1, scale=np.ones(7))


def test_memory_is_that_of_the_rows_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    w, gram = instance(9, 6, 0)
    whole = h.exact_obs_trace(w, Gram(gram))
    monkeypatch.setattr(elimination, "MEMORY_BYTES", 16 * 36 * 2)
    assert [b.stop - b.start for b in elimination.blocks(torch.zeros(9, 6))] == [2, 2, 2, 2, 1]
    for one, other in zip(h.exact_obs_trace(w, Gram(gram)), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_pivot_lost_to_rounding_is_an_error() -> None:
    weight = torch.ones(1, 2, dtype=torch.float64)
    with pytest.raises(ProblemError, match="row 0 met a pivot"):
        elimination.eliminate(weight, torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64), 2, cheapest)
