"""Decibels and verdicts."""

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quanterr import Outcome, QuanterrError, Record, Report
from quanterr.results.report import decibels, judge

BASE = Record("layer", 0, 4, "quantization", 3, 12, 10.0, 1.0, 0.9, 1.1, "closed", 0, "search", 0.1)
errors = st.floats(1e-300, 1e300)


def record(method: str, lower: float, upper: float) -> Record:
    return dataclasses.replace(BASE, method=method, error_lower=lower, error_upper=upper)


def test_decibels_at_the_ends() -> None:
    assert decibels(10.0, 1.0) == pytest.approx(10)
    assert decibels(1.0, 0.0) == math.inf
    assert decibels(0.0, 1.0) == -math.inf
    assert math.isnan(decibels(0.0, 0.0))


@given(st.tuples(errors, errors), st.tuples(errors, errors))
def test_a_verdict_is_a_strict_inequality_of_errors(q: tuple[float, float], p: tuple[float, float]) -> None:
    verdict = judge(record("quantization", min(q), max(q)), record("pruning", min(p), max(p)))
    q_wins = Fraction(max(q)) < Fraction(min(p))
    p_wins = Fraction(max(p)) < Fraction(min(q))
    expected = Outcome.QUANTIZATION if q_wins else Outcome.PRUNING if p_wins else Outcome.UNDECIDED
    assert verdict.outcome is expected
    assert (verdict.margin_db >= 0) == (q_wins or p_wins) or verdict.margin_db == pytest.approx(0, abs=1e-9)


def test_ties_are_undecided() -> None:
    assert judge(record("quantization", 1.0, 1.0), record("pruning", 1.0, 1.0)).outcome is Outcome.UNDECIDED
    nothing = judge(
        record("quantization", 0.0, 0.0),
        dataclasses.replace(BASE, method="pruning", energy=0.0, error_upper=0.0, error_lower=0.0),
    )
    assert nothing.outcome is Outcome.UNDECIDED


def test_frame_and_verdict_columns() -> None:
    report = Report((record("quantization", 0.9, 1.0), record("pruning", 2.0, 2.0)))
    columns = "layer chunk bits method rows columns energy error_upper error_lower snr_db snr_limit_db status seconds"
    assert list(report.to_frame().columns)[:13] == columns.split()
    assert list(report.verdicts().columns) == ["layer", "chunk", "bits", "verdict", "margin_db"]
    assert report.verdicts().verdict.tolist() == ["quantization"]
    assert report.verdicts().margin_db[0] == pytest.approx(10 * math.log10(2.0))


def test_records_survive_a_round_trip() -> None:
    report = Report((BASE,), "title")
    assert Report.from_dicts(report.to_dicts(), "title") == report  # type: ignore[arg-type]


def test_the_page_needs_a_place(tmp_path: Path) -> None:
    report = Report((record("quantization", 0.9, 1.0), record("pruning", 2.0, 2.0)))
    assert report.to_html(tmp_path / "report.html").read_text().startswith("<!doctype html>")
    with pytest.raises(QuanterrError, match="choose another place"):
        report.to_html(tmp_path / "absent" / "report.html")


def test_a_missing_side_is_named() -> None:
    with pytest.raises(QuanterrError, match=r"layer layer, chunk 0, 4 bits: no record of.*pruning"):
        Report((BASE,)).verdicts()


def test_nothing_has_the_same_columns() -> None:
    nothing = Report(())
    assert nothing.to_frame().empty
    assert {"layer", "bits", "snr_db", "error_lower_any_scale"} <= set(nothing.to_frame().columns)
    assert nothing.verdicts().empty
