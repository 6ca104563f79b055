"""Verdicts against codes hold for every scale: fine scans, what is left open, certificates that are altered."""

import dataclasses
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bounds
from bounds import Codebook, IntegerBox, LeastSquares, SparseIntegerBox
from quanterr import Layer, Outcome, Report, Store, certify, verify
from quanterr.any_scale import bound_for_every_scale, lower_root, surroundings, tent, upper_root
from quanterr.contestants import named
from quanterr.results.report import judge
from quanterr.scale_free import ScaleFreeJob, solve_scale_free
from quanterr.scaling import contestant_scale
from quanterr.units import Unit

from .conftest import make_layer
from .test_verify import repacked


def heavy(seed: int = 0, rows: int = 6, columns: int = 8, groups: int = 1, freedom: float = 1.1) -> Layer:
    """A few large weights among many small ones."""
    layer = make_layer("heavy", rows, columns, groups, seed)
    return dataclasses.replace(layer, weight=np.random.default_rng(seed).standard_t(freedom, size=(rows, columns)))


def optimum(layer: Layer, codes: Any, scale: float) -> float:
    """The sum over the rows, by trying every code."""
    levels = codes.array if isinstance(codes, Codebook) else np.arange(codes.low, codes.high + 1.0)
    points = np.stack(np.meshgrid(*[levels] * layer.columns, indexing="ij"), axis=-1).reshape(-1, layer.columns)
    if isinstance(codes, SparseIntegerBox):
        points = points[np.count_nonzero(points, axis=1) <= codes.keep]
    total = 0.0
    for row in layer.weight:
        step = scale * points - row
        total += float(np.einsum("ri,ri->r", step @ layer.gram, step).min())
    return total


@pytest.mark.parametrize("name", ["int2", "int3", "ternary", "int3+prune50"])
@pytest.mark.parametrize("seed", range(3))
def test_no_scale_of_a_fine_scan_is_below(name: str, seed: int) -> None:
    layer = heavy(seed, rows=5, columns=4)
    contestant = named(name)
    scale = contestant_scale(contestant, layer.weight, "mse")
    (piece,) = next(layer.chunks(None)).pieces
    unit = Unit("heavy", 0, (contestant,), (piece,), np.full((1, 5), scale), bounds.BranchAndBound())
    achieved = optimum(layer, contestant.feasible(4), scale)
    found = solve_scale_free(ScaleFreeJob((unit,), (0.3 * achieved,), achieved * (1 + 1e-9)))
    scan = np.geomspace(found.scales[0] / 4, 2 * found.scales[-1], 600)
    values = np.array([optimum(layer, contestant.feasible(4), s) for s in scan])
    assert found.lower <= values.min() * (1 + 1e-12)
    for s, low in zip(found.scales, found.sums, strict=True):
        assert low <= optimum(layer, contestant.feasible(4), s) * (1 + 1e-12)
    if values.min() > 0.3 * achieved * 1.05:
        assert found.lower >= 0.3 * achieved, "a goal in reach is reached"


def test_wins_that_need_no_luck_with_the_scale() -> None:
    """The scale by the largest weight is a bad one: pruning beats it, but not every scale."""
    outlier = make_layer("outlier", 6, 8, seed=5)
    weight = np.random.default_rng(5).normal(size=(6, 8))
    weight[0, 0] = 9.0
    outlier = dataclasses.replace(outlier, weight=weight)
    report = certify([outlier], bits=(2,), chunk=None, scale="max")
    (verdict,) = report.judged()
    assert (verdict.outcome, verdict.at_scale) == (Outcome.UNDECIDED, Outcome.PRUNING)
    assert verdict.margin_db < 0
    frame = report.to_frame().set_index("method")
    pruned = frame.loc["pruning"].error_upper
    assert frame.loc["quantization"].error_lower > pruned > frame.loc["quantization"].error_lower_any_scale
    scan = np.geomspace(0.05, 10, 200)
    assert min(optimum(outlier, IntegerBox(-2, 1), s) for s in scan) < pruned, "rightly left open"
    assert report.duels().at_scale.tolist() == ["pruning"]

    (verdict,) = certify([heavy()], bits=(3,), chunk=None).judged()
    assert (verdict.outcome, verdict.at_scale) == (Outcome.PRUNING, None)
    frame = certify([heavy()], bits=(3,), chunk=None).to_frame().set_index("method")
    least = min(optimum_by_search(heavy(), IntegerBox(-4, 3), s) for s in np.geomspace(1e-3, 1e3, 300))
    assert least > frame.loc["pruning"].error_upper
    assert verdict.margin_db <= 10 * math.log10(least / frame.loc["pruning"].error_upper)


def optimum_by_search(layer: Layer, codes: Any, scale: float) -> float:
    found = bounds.solve(LeastSquares(layer.gram, layer.weight / scale, codes), bounds.BranchAndBound())
    return float(found.upper.sum()) * scale**2


def test_groups_chunks_and_units_share_one_scale() -> None:
    layer = heavy(2, rows=6, columns=8, groups=3)
    report = certify([layer], bits=(2,), chunk=4)
    for record in report.records:
        if record.method != "quantization" or not record.error_lower_any_scale:
            continue
        chunk = list(layer.chunks(4))[record.chunk]
        for s in np.geomspace(1e-3, 1e3, 100):
            parts = [Layer("p", piece.weight, piece.gram, 1) for piece in chunk.pieces]
            assert sum(optimum_by_search(p, IntegerBox(-2, 1), s) for p in parts) >= record.error_lower_any_scale


def test_results_do_not_depend_on_the_place_and_are_reused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"contestants": ["int3", "fp4", "prune75", "int3+prune50"], "chunk": 4}
    here = [dataclasses.replace(r, seconds=0.0) for r in certify([heavy()], **options).records]
    with Store(tmp_path / "s") as store:
        for _ in range(2):
            again = certify([heavy()], jobs=2, store=store, **options).records
            assert [dataclasses.replace(r, seconds=0.0) for r in again] == here
    assert any(r.error_lower_any_scale for r in here)


def test_runs_from_before_claim_nothing_about_other_scales() -> None:
    report = certify([heavy()], bits=(3,), chunk=None)
    new = {"error_lower_any_scale", "contestant", "storage", "mask_bits"}
    dicts = [{k: v for k, v in d.items() if k not in new} for d in report.to_dicts()]
    (verdict,) = Report.from_dicts(dicts).judged()
    assert (verdict.outcome, verdict.at_scale) == (Outcome.UNDECIDED, Outcome.PRUNING)


@given(st.floats(0.5, 2), st.floats(0.1, 3), st.floats(0, 1), st.floats(0, 1))
def test_the_tent_is_the_least_of_what_both_ends_hold_up(a: float, width: float, low: float, high: float) -> None:
    b = a + width
    least, at = tent(a, low, b, high, 1.0)
    assert a <= at <= b
    s = np.linspace(a, b, 301)
    held = np.maximum(1 - s / a * (1 - low), s / b * (1 + high) - 1)
    assert least <= held.min() + 1e-12
    assert least >= held.min() - (b - a) / 100 * (1 / a + 2 / b)


@given(st.fractions(0, 10**6))
def test_roots_are_safe_and_close(value: Fraction) -> None:
    low, high = lower_root(value), upper_root(value)
    assert low * low <= value <= high * high
    assert high - low <= high / 10**20 or value < Fraction(1, 10**30)


def test_too_few_scales_prove_nothing() -> None:
    around = surroundings(IntegerBox(-2, 1), [np.eye(2)], [[(Fraction(4), Fraction(4))]], [Fraction(1, 2)])
    assert around is not None
    assert bound_for_every_scale([], [], around) == 0
    assert bound_for_every_scale([0.5], [3.0], around) == 0, "scales above are open"
    assert bound_for_every_scale([2.0, 1.0, 100.0], [3.0] * 3, around) == 0
    assert bound_for_every_scale([1e-9, 100.0], [4.0, 4.0], around) > 3.9
    assert surroundings(IntegerBox(-2, 1), [np.eye(2)], [[(Fraction(4), Fraction(4))]], [Fraction(0)]) is None
    assert surroundings(Codebook([1.0, 2.0]), [np.eye(2)], [[(Fraction(4), Fraction(4))]], [Fraction(1)]) is None


def _altered(header: dict[str, Any], arrays: dict[str, Any], what: str) -> None:
    names = [name for name in arrays if name.split("/")[1:2] == [what]]
    assert names
    for name in names:
        arrays[name] = arrays[name] * (1.01 if what == "sums" else 4.0)


def test_a_certificate_holds_for_every_scale_or_is_refuted(tmp_path: Path) -> None:
    layer = heavy(groups=2)
    report = certify([layer], bits=(3,), chunk=None, certificates=tmp_path)
    (path,) = tmp_path.iterdir()
    expected = {(v.chunk, v.bits): v.outcome.value for v in report.judged()}
    assert "pruning" in expected.values()
    for rerun in (False, True):
        result = verify(path, rerun=rerun)
        assert result.holds, result.failures
        assert {place: name for place, (name, _) in result.margins(proven=False).items()} == expected
        assert result.scales > 10
    assert {name for name, _ in verify(path).margins(proven=True).values()} == {"undecided"}, "it rests on searches"

    def claim_more(header: dict[str, Any], arrays: dict[str, Any]) -> None:
        claim = next(c for c in header["claims"] if c["method"] == "quantization")
        claim["any_scale"] = [None if v is None else 1.001 * v for v in claim["any_scale"]]

    more = verify(repacked(path, tmp_path / "more.npz", claim_more))
    assert "for every scale, not the" in more.failures[0]
    floors = verify(repacked(path, tmp_path / "floors.npz", lambda h, a: _altered(h, a, "floors")))
    assert "λ diag(gram)" in floors.failures[0]
    sums = repacked(path, tmp_path / "sums.npz", lambda h, a: _altered(h, a, "sums"))
    assert any("the search proves" in failure for failure in verify(sums, rerun=True).failures)


def test_judging_needs_both_the_scale_at_hand_and_all_others() -> None:
    q, p = certify([heavy()], bits=(3,), chunk=None).records
    assert judge(q, p).outcome is Outcome.PRUNING
    for lower, outcome in ((None, Outcome.PRUNING), (0.0, Outcome.UNDECIDED), (p.error_upper, Outcome.UNDECIDED)):
        assert judge(dataclasses.replace(q, error_lower_any_scale=lower), p).outcome is outcome
