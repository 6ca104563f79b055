"""Which relaxation a problem gets."""

import numpy as np
import pytest

from bounds import DiagonalIntervals, DiagonalSplit, Gram, LeastSquares, Sparse, lower_bound
from bounds.relaxation.diagonal import KnownDiagonal
from quanterr import QuanterrError, efforts
from quanterr.efforts import ByShape, effort

from .conftest import make_layer

CHOICE = ByShape(DiagonalSplit(60, tune=3, row_rounds=1), DiagonalIntervals(), beyond=DiagonalSplit(60, tune=2))


def problem(rows: int = 4, columns: int = 80) -> LeastSquares:
    layer = make_layer(rows=rows, columns=columns)
    return LeastSquares(Gram(layer.gram), layer.weight, Sparse(columns // 4))


def test_the_usual_where_no_direction_stands_alone() -> None:
    settled = CHOICE.settled(problem())
    assert isinstance(settled, KnownDiagonal)
    assert (settled.rounds, settled.row_rounds) == (60, 1)
    np.testing.assert_array_equal(lower_bound(problem(), CHOICE).value, lower_bound(problem(), CHOICE.usual).value)


def test_intervals_where_one_does() -> None:
    few = problem()
    values, vectors = np.linalg.eigh(few.gram.array)
    values[0] = values[1] / 100
    flat = LeastSquares(Gram((vectors * values) @ vectors.T), few.target, few.feasible)
    assert isinstance(CHOICE.settled(flat), DiagonalIntervals)


def test_wide_ones_are_tuned_for_all_rows_and_not_for_each_set_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efforts, "WIDEST_OWN", 70)
    wide = problem()
    settled = CHOICE.settled(wide)
    assert isinstance(settled, KnownDiagonal)
    assert settled.row_rounds == 0
    plain = lower_bound(wide, DiagonalSplit(60)).value
    np.testing.assert_array_equal(lower_bound(wide, CHOICE).value, plain)
    assert lower_bound(wide, settled).value.sum() > 1.01 * plain.sum()


def test_unknown_efforts_are_refused() -> None:
    with pytest.raises(QuanterrError, match="quick, normal, thorough"):
        effort("some")
