"""Heuristics beside what is proven: the judge recomputes, nobody beats a limit, refusals are named."""

import math

import numpy as np
import pytest
from typer.testing import CliRunner

import bounds
import quanterr
from quanterr.cli import app
from quanterr.compare import Comparison, compare, order
from quanterr.contestants import Method
from quanterr.heuristics import PRUNERS, QUANTIZERS
from quanterr.layers import Layer


def a_layer(rows: int = 6, columns: int = 20, *, name: str = "dense", rank: int | None = None) -> Layer:
    rng = np.random.default_rng(columns)
    mix = rng.normal(size=(columns, columns)) / 4 + np.eye(columns)
    inputs = rng.normal(size=(rank or 5 * columns, columns)) @ mix
    return Layer(name, rng.normal(size=(rows, columns)), inputs.T @ inputs / len(inputs), samples=len(inputs))


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compare([a_layer()], bits=(2, 3), chunk=8, chunks=2, rows=4)


def test_every_heuristic_meets_every_problem(found: Comparison) -> None:
    names = [*QUANTIZERS, *PRUNERS]
    assert len(found.trials) == len(names) * 2 * 2  # bits × (chunks, whole layer)
    assert {t.heuristic for t in found.trials} == set(names)
    assert {(t.rows, t.columns, t.exact) for t in found.trials} == {(4, 12, True), (4, 20, False)}


def test_nobody_beats_a_proven_limit(found: Comparison) -> None:
    for trial in found.trials:
        assert trial.error >= trial.error_lower > 0, trial
        assert trial.left_db >= 0
        assert math.isclose(trial.left_db, trial.snr_limit_db - trial.snr_db)


def test_the_judge_is_bounds(found: Comparison) -> None:
    layer = a_layer()
    step = float(quanterr.scaling.SCALES["mse"](layer.weight, 3))
    rows = layer.weight[[0, 1, 3, 5]]
    problem = bounds.LeastSquares(layer.gram, rows / step, bounds.IntegerBox(-4, 3))
    error = problem.upper(problem.feasible.nearest(rows / step)).sum() * step**2
    [trial] = [t for t in found.trials if (t.heuristic, t.bits, t.exact) == ("nearest", 3, False)]
    assert math.isclose(trial.error, error, rel_tol=1e-12)
    assert math.isclose(trial.energy, np.einsum("ri,ij,rj->", rows, layer.gram, rows), rel_tol=1e-12)


def test_the_best_comes_last_in_order_and_alone_in_best(found: Comparison) -> None:
    for method in Method:
        names = order(t for t in found.trials if t.method == method)
        mine = [t for t in found.trials if t.method == method and t.exact]
        means = [np.mean([t.left_db for t in mine if t.heuristic == name]) for name in names]
        assert means == sorted(means, reverse=True)
        assert names[-1] not in ("nearest", "stochastic", "magnitude")
        assert len(set(names)) == len(names)
    best = found.best()
    assert len(best) == 8
    frame = found.to_frame()
    for line in best.itertuples():
        group = frame[(frame.scope == line.scope) & (frame.bits == line.bits) & (frame.method == line.method)]
        assert line.snr_db == group.snr_db.max()


def test_a_refusal_is_named_and_stops_nobody_else() -> None:
    found = compare([a_layer(rank=12)], bits=(3,), chunk=10, chunks=1, rows=3)
    assert found.refused
    assert all("dense, whole layer, 20 columns, 3 bits" in line for line in found.refused)
    assert {t.heuristic for t in found.trials if t.exact} == {*QUANTIZERS, *PRUNERS}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 65}, "exact optimum needs 1 … 64"),
        ({"rows": 0}, "must be positive"),
        ({"chunks": 0}, "must be positive"),
        ({"scale": "best"}, "choose one of mse"),
        ({"heuristics": ["gptq9"]}, "no heuristic is called 'gptq9'"),
        ({"bits": (0,)}, "bits"),
        ({"effort": "all"}, "choose one of quick"),
    ],
)
def test_bad_words_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(quanterr.QuanterrError, match=message):
        compare([a_layer()], **options)  # type: ignore[arg-type]


def test_no_layer_is_an_error() -> None:
    with pytest.raises(quanterr.QuanterrError, match="nothing to compare"):
        compare([])


def test_figure_has_a_panel_for_each_side_and_scope(found: Comparison) -> None:
    figure = found.plot()
    assert len(figure.axes) == 4
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == [*order(t for t in found.trials if t.method == Method.QUANTIZATION), "optimum"]
    assert figure.axes[1].get_yticklabels()[-1].get_text() == "proven limit"


def test_summary_has_the_best_first_and_the_means_of_its_trials(found: Comparison) -> None:
    table, frame = found.summary(), found.to_frame()
    assert len(table) == len(QUANTIZERS) + len(PRUNERS)
    for method, lines in table.groupby("method"):
        assert list(lines.heuristic) == order(t for t in found.trials if t.method == method)[::-1]
    for line in table.itertuples():
        mine = frame[frame.heuristic == line.heuristic]
        assert line.lost_db == pytest.approx(mine[mine.exact].left_db.mean())
        assert line.lost_most_db == mine[mine.exact].left_db.max()
        assert line.at_most_db == pytest.approx(mine[~mine.exact].left_db.mean())
        assert 0 <= line.behind_db <= line.at_most_db


def test_whoever_is_best_is_behind_nobody(found: Comparison) -> None:
    frame = found.to_frame()
    for _, group in frame.groupby(["layer", "scope", "bits", "method"]):
        assert group.behind_db.min() == 0
        assert group.behind_db.to_numpy() == pytest.approx((group.snr_db.max() - group.snr_db).to_numpy())


def test_command_prints_both_tables_and_writes_the_trials(tmp_path: object) -> None:
    csv, stem = f"{tmp_path}/trials.csv", f"{tmp_path}/left"
    words = ["--model", "tests.quanterr.tiny:network", "--inputs", "tests.quanterr.tiny:batches", "--bits", "3"]
    result = CliRunner().invoke(app, ["compare", *words, "--rows", "3", "--csv", csv, "--figure", stem])
    assert result.exit_code == 0, result.output
    assert "Quantisation: dB left on the table" in result.output
    assert "Pruning: dB left on the table" in result.output
    with open(csv) as file:
        assert file.readline().startswith("layer,scope,bits,method,heuristic,")


def test_command_fails_before_work_when_the_folder_is_missing() -> None:
    result = CliRunner().invoke(app, ["compare", "--preset", "efficientnet-lite0", "--csv", "/nowhere/at/all.csv"])
    assert result.exit_code == 1
