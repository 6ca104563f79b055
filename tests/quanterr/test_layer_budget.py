"""Pruning with one budget for all rows, through the pipeline: brute force, resume, order, refusals, what shows it."""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import quanterr.plan
from bounds import BranchAndBound, allocate
from quanterr import Layer, Progress, QuanterrError, Report, Store, certify, verify
from quanterr.contestants import named
from quanterr.efforts import effort
from quanterr.layer_budget import LayerBudgets
from quanterr.plan import ROWS_PER_UNIT, units
from quanterr.results.table import summary, verdict_table
from quanterr.units import RowResults, Unit, solve_unit

from .conftest import make_layer
from .test_cli import certify_tiny

LAYER = "pruning_layer"


def curve(gram: np.ndarray, row: np.ndarray) -> Iterator[float]:
    """The least error of a row with 0, 1, … weights, over all supports."""
    for keep in range(len(row) + 1):
        best = math.inf
        for support in combinations(range(len(row)), keep):
            kept = list(support)
            w = np.zeros(len(row))
            if kept:
                w[kept] = np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept] @ row)
            best = min(best, (w - row) @ gram @ (w - row))
        yield max(best, 0.0) if keep < len(row) else 0.0


def truth(layer: Layer, keep: int) -> float:
    """The least error with `keep` weights in all, by the plain min-plus product of brute-force curves."""
    height = layer.rows // layer.groups
    grams = layer.gram if layer.groups > 1 else layer.gram[None]
    best = np.full(keep + 1, np.inf)
    best[0] = 0.0
    for r, row in enumerate(layer.weight):
        after = np.full(keep + 1, np.inf)
        for k, error in list(enumerate(curve(grams[r // height], row)))[: keep + 1]:
            after[k:] = np.minimum(after[k:], best[: keep + 1 - k] + error)
        best = after
    return float(best.min())


def timeless(report: Report) -> list[object]:
    return [dataclasses.replace(record, seconds=0.0) for record in report.records]


def test_equals_brute_force_and_beats_budgets_of_rows() -> None:
    layer = make_layer(rows=5, columns=7)
    report = certify([layer], bits=(2, 5), chunk=None, budget="both")
    frame = report.to_frame().set_index(["method", "bits"])
    for bits in (2, 5):
        record, by_row = frame.loc[(LAYER, bits)], frame.loc[("pruning", bits)]
        keep = 5 * 7 * bits // 16
        exact = truth(layer, keep)
        assert record.error_lower <= exact * (1 + 1e-13)
        assert record.error_upper >= exact * (1 - 1e-13)
        assert record.error_upper - record.error_lower <= 1e-6 * record.error_upper
        assert record.error_upper <= by_row.error_upper
        assert record.error_start >= exact * (1 - 1e-9)
        assert (record.status, record.open_rows, record.evidence) == ("closed", 0, "search")
        assert record.energy == by_row.energy
        assert record.storage == pytest.approx(16 * keep / 35)
    assert [r.method for r in report.records] == ["quantization", "pruning", LAYER] * 2


def test_groups_spend_one_budget_with_a_gram_each() -> None:
    layer = make_layer("g", 6, 5, groups=3, seed=2)
    record = certify([layer], bits=(4,), budget="both").records[-1]
    assert record.method == LAYER
    assert record.error_upper == pytest.approx(truth(layer, 6 * 5 * 4 // 16), rel=1e-9)


def test_the_mask_and_named_contestants_have_their_own_budgets() -> None:
    layer = make_layer(rows=4, columns=6)
    paid = certify([layer], bits=(5,), budget="both", mask_cost=1).records[-1]
    assert paid.error_upper == pytest.approx(truth(layer, 4 * 6 * 4 // 16), rel=1e-9)
    records = certify([layer], contestants=["prune70", "2:3"], budget="both").records
    assert [r.method for r in records] == ["prune70", "prune70_layer", "2:3"]
    assert records[1].error_upper == pytest.approx(truth(layer, math.floor(0.3 * 24)), rel=1e-9)


def test_the_result_does_not_depend_on_where_it_runs() -> None:
    layers = [make_layer("a", 7, 10), make_layer("b", 6, 9, groups=3, seed=1)]
    here = timeless(certify(layers, bits=(2, 4), chunk=6, budget="both"))
    with ThreadPoolExecutor(2) as executor:
        assert timeless(certify(layers, bits=(2, 4), chunk=6, budget="both", executor=executor)) == here
    assert timeless(certify(layers, bits=(2, 4), chunk=6, budget="both", jobs=2)) == here


def test_more_rows_than_a_unit_are_one_budget() -> None:
    layer = make_layer(rows=ROWS_PER_UNIT + 5, columns=6)
    halves = [dataclasses.replace(layer, name=str(i), weight=layer.weight[i::2]) for i in range(2)]
    record = certify([layer], bits=(4,), budget="both").records[-1]
    assert record.rows == layer.rows
    parts = [certify([half], bits=(4,), budget="both").records[-1] for half in halves]
    assert record.error_upper <= sum(part.error_upper for part in parts)


def test_a_run_stopped_anywhere_goes_on_where_it_was(tmp_path: Path) -> None:
    layer = make_layer(rows=5, columns=12)
    whole = timeless(certify([layer], bits=(2, 6), chunk=6, budget="both"))
    shown = 0

    def interrupt(_: Progress) -> None:
        nonlocal shown
        shown += 1
        if shown == 4:
            raise KeyboardInterrupt

    with Store(tmp_path / "s") as store:
        kept, finished = 0, False
        for _ in range(40):
            shown = 0
            try:
                resumed = certify([layer], bits=(2, 6), chunk=6, budget="both", store=store, progress=interrupt)
                finished = True
                break
            except KeyboardInterrupt:
                assert len(store) >= kept
                kept = len(store)
        if not finished:
            resumed = certify([layer], bits=(2, 6), chunk=6, budget="both", store=store)
        assert timeless(resumed) == whole
        solved = len(store)
        again = certify([layer], bits=(2, 6), chunk=6, budget="both", store=store)
        assert len(store) == solved
        assert again == certify([layer], bits=(2, 6), chunk=6, budget="both", store=store)
        title, records = store.last_run()
        assert timeless(Report.from_dicts(records, title)) == whole


def test_a_search_cut_short_leaves_an_interval() -> None:
    layer = make_layer(rows=6, columns=24, seed=3)
    whole = certify([layer], bits=(4,), chunk=None, budget="both").records[-1]
    cut = certify([layer], bits=(4,), chunk=None, budget="both", search=BranchAndBound(max_nodes=1)).records[-1]
    assert (whole.status, cut.status) == ("closed", "node_limit")
    assert cut.open_rows == 6
    assert cut.error_lower <= whole.error_upper
    assert cut.error_upper >= whole.error_lower


def test_wide_layers_are_bounded_from_both_sides() -> None:
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(600, 70)) @ (np.eye(70) + 0.03 * rng.normal(size=(70, 70)))
    layer = Layer("wide", rng.standard_t(4, size=(5, 70)), inputs.T @ inputs / 600, 600)
    rivals = {"contestants": ["prune60", "prune75"], "chunk": None, "budget": "both"}
    quick = certify([layer], **rivals, effort="quick").records  # type: ignore[arg-type]
    best = certify([layer], **rivals, effort="normal", refine="all").records  # type: ignore[arg-type]
    for by_row, whole in (quick[:2], quick[2:], best[:2], best[2:]):
        assert whole.method == by_row.method + "_layer"
        assert (whole.evidence, whole.status, whole.open_rows) == ("dual", "unproven", 5)
        assert whole.error_lower <= whole.error_upper <= by_row.error_upper
        assert whole.error_upper < 3 * whole.error_lower
    for first, second in zip(quick, best, strict=True):
        assert second.error_lower >= first.error_lower
        assert second.error_upper <= first.error_upper
    assert best[1].error_lower > quick[1].error_lower


def test_longer_work_on_wide_layers_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer("wide", 6, 66, groups=2, seed=2)
    run = partial(certify, [layer], contestants=["prune60", "prune75"], chunk=None, budget="both", refine="all")
    whole = run()
    solved = list[int]()
    original = LayerBudgets._run

    def count(self: LayerBudgets, work: Iterator[tuple[object, Unit]]) -> None:
        todo = list(work)
        solved.extend(unit.rows for _, unit in todo)
        original(self, iter(todo))  # type: ignore[arg-type]

    monkeypatch.setattr(LayerBudgets, "_run", count)
    monkeypatch.setattr(quanterr.plan, "expected", lambda _: (0.0, 200.0))
    with Store(tmp_path / "s") as store:
        cut = run(store=store)
        held = len(store)
        assert set(solved) == {6, 2}
        assert run(store=store) == cut
        assert len(store) == held
    with ThreadPoolExecutor(2) as executor:
        assert timeless(run(executor=executor)) == timeless(cut)
    for a, b in zip(whole.records, cut.records, strict=True):
        assert b.error_upper == pytest.approx(a.error_upper, rel=1e-9)  # points do not depend on other rows
        assert b.error_lower == pytest.approx(a.error_lower, rel=0.2)  # of layers: each part tunes its own D
        assert b.error_lower <= a.error_upper
        if not b.method.endswith("_layer"):
            assert b.error_lower == pytest.approx(a.error_lower, rel=1e-9)


def test_the_end_of_a_budget_of_minutes_goes_where_units_run_and_names_what_is_late() -> None:
    layers = [make_layer(name, 2, 70, seed=seed) for seed, name in enumerate("ab")]
    rivals = [named("prune60")]
    plan = [unit for layer in layers for unit in units(layer, rivals, None, "mse", None)]
    ends, solved = [], Counter[str]()

    def go(todo: list[Unit], /, *, until: float) -> Iterator[tuple[Unit, list[RowResults]]]:
        ends.append(until)
        for unit in todo:
            if until < math.inf and solved["refined"] == 3:
                return  # as `run` does at the end
            solved["refined"] += until < math.inf
            yield unit, solve_unit(unit)

    whole = LayerBudgets(plan, (), go)  # type: ignore[arg-type]
    whole.solve({})
    assert set(ends) == {math.inf}
    until = time.monotonic() + 3600
    sides = {(name, 0, LAYER.replace("pruning", "prune60"), None) for name in "ab"}
    whole.refine(sides, sides, effort("normal"), until)
    assert until in ends
    assert whole.late == {"a", "b"}  # the first step and half of the second were all there was time for
    assert solved["refined"] == 3
    before = len(ends)
    whole.refine(sides, sides, effort("normal"), until=0.0)
    assert len(ends) == before  # over already: nothing begins


def test_dead_and_singular_inputs() -> None:
    dead = Layer("dead", np.ones((2, 3)), np.zeros((3, 3)), 5)
    assert certify([dead], bits=(8,), budget="both").records[-1].error_upper == 0.0
    good = make_layer("good", 3, 6)
    bad = Layer("bad", good.weight, np.ones((6, 6)), 5)
    report = certify([good, bad], bits=(4,), budget="both")
    assert {record.layer for record in report.records if record.method == LAYER} == {"good"}
    assert {record.layer for record in report.records if record.method == "pruning"} == {"good", "bad"}
    (remark,) = report.refused
    assert "layer bad" in remark
    assert remark.endswith("no layer-wide budget")
    assert report.verdicts(LAYER).layer.tolist() == ["good"]
    assert "One budget for all rows" in summary(report)


def test_a_layer_that_only_the_layer_budget_refuses_is_named() -> None:
    """Wide problems with dependent inputs have points and bounds row by row, but no lower curves."""
    layer = make_layer(rows=3, columns=66, seed=5)
    gram = layer.gram.copy()
    gram[65], gram[:, 65] = gram[64], gram[:, 64]
    gram[65, 65] = gram[64, 64]
    report = certify([Layer("twins", layer.weight, gram, 5)], bits=(4,), chunk=None, budget="both", effort="quick",
                     skip_refused=True)  # fmt: skip
    assert LAYER not in {record.method for record in report.records}
    assert report.refused


def test_verdicts_table_page_and_figure_know_it(tmp_path: Path) -> None:
    report = certify([make_layer(rows=8)], bits=(2, 4), budget="both", title="toy")
    both, rows = report.verdicts(LAYER), report.verdicts()
    assert both[["layer", "chunk", "bits"]].equals(rows[["layer", "chunk", "bits"]])
    for verdict, margin in zip(rows.verdict, rows.margin_db - both.margin_db, strict=True):
        if verdict == "quantization":
            assert margin > 0  # the stronger opponent
    duels = report.duels()
    assert set(duels[duels.second == LAYER]["first"]) == {"quantization", "pruning"}
    assert "One budget for all rows makes pruning" in summary(report)
    assert "for layer-wide pruning" in summary(report)
    assert "One budget" not in summary(certify([make_layer(rows=8)], bits=(2,)))
    verdict_table(report)
    assert report.to_html(tmp_path / "page.html").stat().st_size > 1000
    report.save_figure(tmp_path / "figure")


def test_certificates_leave_it_out_and_still_verify(tmp_path: Path) -> None:
    certify([make_layer(rows=4, columns=8)], bits=(3,), budget="both", certificates=tmp_path)
    (path,) = tmp_path.iterdir()
    checked = verify(path)
    assert checked.holds
    assert {method for method, *_ in checked.sums} == {"quantization", "pruning"}


def test_other_budgets_are_refused() -> None:
    with pytest.raises(QuanterrError, match="budget = 'layer': choose one of row, both"):
        certify([make_layer()], budget="layer")


def test_the_command_takes_a_budget(tmp_path: Path) -> None:
    out = tmp_path / "tiny.sqlite"
    first = certify_tiny(out, "--budget", "both")
    assert first.returncode == 0, first.stderr
    assert "One budget for all rows makes pruning" in first.stdout


def test_every_row_curve_is_used_not_the_mean() -> None:
    """A row that is worth nothing gives its budget away."""
    layer = make_layer(rows=4, columns=8)
    weight = layer.weight.copy()
    weight[0] *= 1e-6
    weight[1:] *= 10.0
    records = certify([dataclasses.replace(layer, weight=weight)], bits=(4,), budget="both").records
    errors = np.array([list(curve(layer.gram, row)) for row in weight])
    assert records[2].error_upper == pytest.approx(allocate(np.maximum(errors, 0.0), 8).value, rel=1e-8)
    assert records[2].error_upper < 0.9 * records[1].error_upper
