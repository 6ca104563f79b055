"""Wide units in parts: the same rows, the same `D`, the same results, whatever is cut, lost or reused."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import quanterr.plan
from bounds import (
    BlockSplit,
    BoundsDisagree,
    DiagonalIntervals,
    DiagonalSplit,
    IntervalSplit,
    LeastSquares,
    Sparse,
    lower_bound,
)
from bounds.gram import Gram
from quanterr import Layer, Report, Store, certify, verify
from quanterr.contestants import at_storage
from quanterr.efforts import effort
from quanterr.execution.forecast import expected, work
from quanterr.plan import parts, raised, units
from quanterr.settling import SettledCache, Settling
from quanterr.tally import Tally
from quanterr.units import RowResults, Unit, solve_unit

from .conftest import make_layer

LAYER = make_layer("wide", 10, 66, groups=2, seed=3)
SOME: list[tuple[int, int]] = [(0, 3), (3, 6), (6, 7), (7, 10)]


def whole_units(layer: Layer = LAYER, level: str = "normal") -> list[Unit]:
    """One of each method, all rows, refined."""
    plan = units(layer, at_storage(3), None, "mse", None)
    return [raised(unit, 0, effort(level)) for unit in plan]


def quick_units(layer: Layer = LAYER) -> list[Unit]:
    return list(units(layer, at_storage(3), None, "mse", None))


def same(found: RowResults, wanted: RowResults) -> None:
    """Up to the order of sums in products of matrices with more or fewer rows."""
    for name in ("error_upper", "error_lower", "error_start"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(found.x.astype(float), wanted.x.astype(float), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.status, wanted.status)
    np.testing.assert_array_equal(found.dual, wanted.dual)


@pytest.fixture(scope="module")
def solved() -> list[tuple[Unit, RowResults]]:
    return [(unit, solve_unit(unit)[0]) for unit in whole_units()]


@pytest.mark.parametrize("cut", [SOME, [(0, 10)], [(i, i + 1) for i in range(10)]])
def test_rows_do_not_depend_on_the_part_they_are_solved_in(
    cut: Sequence[tuple[int, int]], solved: list[tuple[Unit, RowResults]]
) -> None:
    for unit, wanted in solved:
        for first, stop in cut:
            part = unit.among(first, stop)
            assert (part.first_row, part.last_row, part.rows) == (first, stop, stop - first)
            assert part.scales.shape == (1, stop - first)
            same(solve_unit(part)[0], wanted.among(first, stop))


def test_a_d_of_fewer_rows_would_be_another(solved: list[tuple[Unit, RowResults]]) -> None:
    """What the test above would find if parts tuned their own."""
    unit, wanted = solved[1]
    alone = dataclasses.replace(unit.among(0, 3), whole=None)
    assert not np.allclose(solve_unit(alone)[0].error_lower, wanted.error_lower[:3], rtol=1e-6)


@pytest.mark.parametrize(
    "method",
    [
        BlockSplit(4, 3),
        DiagonalSplit(40, tune=2),
        DiagonalIntervals(20, 6, tune=2, loss=0.1),
        IntervalSplit(4, 3, loss=0.1, intervals=4),
        BlockSplit(4, 3, row_rounds=2),
    ],
)
def test_a_settled_relaxation_keeps_its_d(method: Settling) -> None:
    layer = make_layer(rows=6, columns=66)
    problem = LeastSquares(Gram(layer.gram), layer.weight, Sparse(13))
    settled = method.settled(problem)
    wanted = lower_bound(problem, method).value
    np.testing.assert_array_equal(lower_bound(problem, settled).value, wanted)
    for row in range(problem.rows):
        np.testing.assert_allclose(lower_bound(problem.restrict(row), settled).value, wanted[row], rtol=1e-6)


def test_every_worker_tunes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = BlockSplit.tune

    def tune(self: BlockSplit, problem: LeastSquares) -> object:
        asked.append(problem.rows)
        return original(self, problem)

    monkeypatch.setattr(BlockSplit, "tune", tune)
    monkeypatch.setattr("quanterr.units.settled", SettledCache())
    unit = whole_units(make_layer(rows=8, columns=66, seed=8))[0]
    for first in range(0, 8, 2):
        solve_unit(unit.among(first, first + 2))
    assert asked == [8]


def test_few_are_kept_and_points_of_the_set_tune_nothing() -> None:
    cache = SettledCache(most=2)
    layer = make_layer(rows=4, columns=66)
    problem = LeastSquares(Gram(layer.gram), layer.weight, Sparse(9))
    for rounds in range(1, 5):
        cache(BlockSplit(4, rounds), problem)
        assert len(cache) == min(rounds, 2)
    inside = LeastSquares(Gram(layer.gram), layer.weight, Sparse(66))
    assert cache(BlockSplit(4, 1), inside) == BlockSplit(4, 1)


def test_parts_hold_every_row_once_and_take_about_a_minute_or_their_tuning() -> None:
    layer = Layer("big", np.random.default_rng(0).normal(size=(700, 1100)), np.eye(1100), 1)
    for unit in whole_units(layer):
        found = list(parts(unit))
        prepared, solving = expected(unit)
        assert [p.first_row for p in found] == [unit.first_row, *(p.last_row for p in found)][:-1]
        assert found[-1].last_row == unit.last_row
        assert max(p.rows for p in found) - min(p.rows for p in found) <= 1
        assert len(found) == 1 or solving / len(found) >= max(prepared, 60)
        assert solving / len(found) < 2 * max(prepared, 60)
        assert sum(work(p) for p in found) == pytest.approx(work(unit))
    assert len(list(parts(whole_units(layer)[0]))) > 1


def test_parts_know_their_size_and_have_keys_of_their_own() -> None:
    unit = whole_units()[0]
    found = [unit.among(first, stop) for first, stop in SOME]
    assert len({unit.key(0), *(part.key(0) for part in found)}) == len(SOME) + 1
    renamed = dataclasses.replace(unit, layer="other", chunk=7)
    assert [renamed.among(*rows).key(0) for rows in SOME] == [part.key(0) for part in found]
    moved = [part.among(first, stop).key(0) for part, (first, stop) in zip(found, SOME, strict=True)]
    assert moved == [part.key(0) for part in found]
    for part in found:
        assert part.nbytes >= LAYER.weight.nbytes + LAYER.gram[0].nbytes
        assert part.only([0]).key(0) == part.key(0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_a_tally_puts_parts_together_again(order: Sequence[int], solved: list[tuple[Unit, RowResults]]) -> None:
    tally, wanted = Tally(), Tally()
    quick = [(unit, solve_unit(unit)) for unit in quick_units()]
    for unit, results in quick:
        tally.add(unit, results)
        wanted.add(unit, results)
    for unit, result in solved:
        wanted.improve(unit, [result])
        for index in order:
            tally.improve(unit.among(*SOME[index]), [result.among(*SOME[index])])
    for contestant, [(unit, result)] in wanted.parts.items():
        [(found, joined)] = tally.parts[contestant]
        assert found.key(0) == unit.key(0)
        same(joined, result)
        assert joined.seconds == pytest.approx(result.seconds)


def test_a_tally_with_a_part_missing_keeps_the_quick_rows(solved: list[tuple[Unit, RowResults]]) -> None:
    tally = Tally()
    quick = [(unit, solve_unit(unit)) for unit in quick_units()]
    for unit, results in quick:
        tally.add(unit, results)
    for unit, result in solved:
        for first, stop in (SOME[3], SOME[1], SOME[0]):
            tally.improve(unit.among(first, stop), [result.among(first, stop)])
    for (unit, (before,)), (better, result) in zip(quick, solved, strict=True):
        (contestant,) = unit.contestants
        found = tally.parts[contestant]
        assert [(u.first_row, u.last_row) for u, _ in found] == [(0, 6), (6, 7), (7, 10)]
        assert [u.relaxation for u, _ in found] == [better.relaxation, unit.relaxation, better.relaxation]
        wanted = before.joined(result)
        for part, rows in found:
            first, stop = part.first_row, part.last_row
            same(rows, (before if first == 6 else wanted).among(first, stop))
            assert (rows.error_lower <= rows.error_upper).all()


def test_a_part_that_contradicts_the_rows_is_told(solved: list[tuple[Unit, RowResults]]) -> None:
    tally = Tally()
    unit, result = solved[0]
    (quick, results), *_ = [(u, solve_unit(u)) for u in quick_units()]
    tally.add(quick, results)
    wrong = dataclasses.replace(result, error_lower=2 * results[0].error_upper, error_upper=3 * results[0].error_upper)
    tally.improve(unit.among(3, 6), [wrong.among(3, 6)])
    with pytest.raises(BoundsDisagree, match="lower bound"):
        _ = tally.parts


def timeless(report: Report) -> list[object]:
    return [dataclasses.replace(record, seconds=0.0) for record in report.records]


def test_runs_in_parts_resume_and_reuse_what_was_solved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer("wide", 6, 66, seed=4)

    def run(**options: object) -> Report:
        return certify([layer], bits=(2, 3), chunk=None, refine="all", **options)  # type: ignore[arg-type]

    with Store(tmp_path / "whole") as store:
        whole = run(store=store)
        held = len(store)
        monkeypatch.setattr(quanterr.plan, "expected", lambda _: (0.0, 200.0))
        assert run(store=store) == whole
        assert len(store) == held  # nothing was solved again in parts
    with Store(tmp_path / "parts") as store:
        short = run(store=store, minutes=1e-9)
        some = len(store)
        assert any("budget of minutes" in note for note in short.layers[0].notes)
        cut = run(store=store)
        assert len(store) == held // 2 + 3 * (held // 2) > some
        assert run(store=store) == cut
        assert len(store) == held // 2 + 3 * (held // 2)
    assert timeless(run(jobs=2)) == timeless(cut)
    for a, b, c in zip(whole.records, cut.records, short.records, strict=True):
        assert b.error_lower == pytest.approx(a.error_lower, rel=1e-9)
        assert b.error_upper == pytest.approx(a.error_upper, rel=1e-9)
        assert c.error_lower <= b.error_lower <= b.error_upper <= c.error_upper


@pytest.mark.parametrize("minutes", [None, 1e-9])
def test_certificates_of_parts_verify(minutes: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the budget of minutes left some rows with the quick bounds."""
    monkeypatch.setattr(quanterr.plan, "expected", lambda _: (0.0, 200.0))
    report = certify([make_layer("wide", 6, 66, groups=2, seed=3)], bits=(3,), chunk=None, refine="all",
                     minutes=minutes, certificates=tmp_path)  # fmt: skip
    (path,) = tmp_path.iterdir()
    checked = verify(path)
    assert checked.holds, checked.failures
    for record in report.records:
        sums = checked.sums[record.method, 0, record.bits]
        assert sums.dual is not None
        assert record.error_lower * (1 - 1e-4) <= float(sums.dual) <= record.error_upper
