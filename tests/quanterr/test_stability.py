"""Statistics of verdicts: identities, constructed flips, brute force, coverage on inputs whose truth is known."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

import quanterr
from bounds import BranchAndBound, Exhaustive, IntegerBox, LeastSquares, Sparse, solve
from quanterr import Layer, QuanterrError, Report, Stability, StoreError
from quanterr.cli import app
from quanterr.errors import ChunkRefused
from quanterr.layers import LayerFolds
from quanterr.resampling import FEWEST, Resamples, advantage, bias, needed
from quanterr.scaling import mse_grid
from quanterr.store import Store

RUNNER = CliRunner()
TINY = ("--model", "tests.quanterr.tiny:network", "--inputs", "tests.quanterr.tiny:batches")


def folded(sums: Any, weight: Any, vectors: int = 50, name: str = "toy") -> LayerFolds:
    """A layer whose parts have these sums, each of one input with so many vectors."""
    parts, total = np.asarray(sums, dtype=float), vectors * len(sums)
    layer = Layer(name, np.asarray(weight, dtype=float), parts.sum(axis=0) / total, total)
    return LayerFolds(layer, parts, (vectors,) * len(parts), (1,) * len(parts))


def drawn(parts: int, columns: int = 8, rows: int = 5, vectors: int = 50, seed: int = 0) -> LayerFolds:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(parts, vectors, columns)) @ (np.eye(columns) + 0.3 * rng.normal(size=(columns, columns)))
    return folded(np.einsum("fsi,fsj->fij", x, x), rng.standard_t(4, size=(rows, columns)), vectors)


def test_equal_parts_have_no_spread() -> None:
    one = drawn(1)
    found = quanterr.stability([folded(np.repeat(one.sums, 12, axis=0), one.layer.weight)], (2, 4))
    assert len(found.spreads) == 2
    for spread in found.spreads:
        assert spread.advantage_db is not None
        for value in (*spread.split_db, spread.low_db, spread.high_db):
            assert value == pytest.approx(spread.advantage_db, abs=1e-5)
        for value in (spread.bias_db, spread.quantization_transfer_db, spread.pruning_transfer_db):
            assert value == pytest.approx(0, abs=1e-5)
        for value in spread.held_out_db:
            assert value == pytest.approx(spread.advantage_db, abs=1e-5)
        assert set(spread.split_verdicts) == {spread.verdict}
        assert (spread.flip_probability, spread.inputs_needed) == (0.0, FEWEST)
        assert spread.settled
    assert found.flips == found.unsettled == ()


def opposed() -> LayerFolds:
    """Six inputs move one large weight, which codes miss and pruning keeps, the last two those that pruning loses."""
    large = np.eye(8) * 1e-3
    large[0, 0] = 1.0
    small = np.eye(8)
    small[0, 0] = 1e-3
    return folded([large * 50] * 6 + [small * 50] * 2, [[4.3, -1.0, 0.9, 1.1, -1.2, 0.8, 1.0, -0.9]])


def test_a_verdict_that_must_flip() -> None:
    folds = opposed()
    (spread,) = quanterr.stability([folds], (3,), splits=2).spreads
    (first,) = quanterr.certify([folds.part(range(4))], (3,)).judged()
    (second,) = quanterr.certify([folds.part(range(4, 8))], (3,)).judged()
    alone = tuple(verdict.at_scale or verdict.outcome for verdict in (first, second))
    assert set(alone) == {"quantization", "pruning"}
    assert spread.split_verdicts == alone
    assert len(spread.flips) == 1
    assert spread.split_verdicts[spread.flips[0]] != spread.verdict
    assert not spread.settled
    assert spread.inputs_needed is not None
    assert spread.inputs_needed > spread.inputs == 8
    assert spread.flip_probability is not None
    assert spread.flip_probability > 0.02
    (four,) = quanterr.stability([folds], (3,), splits=4).spreads
    assert four.split_verdicts == ("pruning", "pruning", "pruning", "quantization")


@pytest.mark.parametrize("groups", [1, 2])
def test_splits_are_what_certify_proves_there(groups: int) -> None:
    """An independent route: cut the inputs by hand and certify them."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(9, groups, 40, 10)) * np.exp(rng.normal(size=(9, 1, 1, 10)))
    sums = np.einsum("fgsi,fgsj->fgij", x, x)
    layer = Layer("g", rng.normal(size=(4, 10)), sums.sum(0) / 360, 360)
    folds = LayerFolds(layer, sums, (40,) * 9, (1,) * 9)
    if groups == 1:
        folds = folded(sums[:, 0], layer.weight, 40)
    found = quanterr.stability([folds], (2, 3), 5, splits=3)
    assert [(s.chunk, s.bits) for s in found.spreads] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    everything = {(v.chunk, v.bits): v for v in quanterr.certify([folds.layer], (2, 3), 5).judged()}
    parts = [
        {(v.chunk, v.bits): v for v in quanterr.certify([folds.part(range(i, i + 3))], (2, 3), 5).judged()}
        for i in (0, 3, 6)
    ]
    for spread in found.spreads:
        place = spread.chunk, spread.bits
        assert spread.verdict == everything[place].outcome
        assert spread.advantage_db is not None
        assert abs(spread.advantage_db) == pytest.approx(everything[place].margin_db, abs=1e-5)
        for i, part in enumerate(parts):
            sign = {"quantization": 1, "pruning": -1}[part[place].outcome]
            assert spread.split_verdicts[i] == part[place].outcome
            assert spread.split_db[i] == pytest.approx(sign * part[place].margin_db, abs=1e-5)


def test_held_out_and_transfer_by_brute_force() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(6, 3, 4))
    folds = folded(np.einsum("fsi,fsj->fij", x, x), rng.normal(size=(1, 4)), 3)
    (spread,) = quanterr.stability([folds], (4,), splits=3).spreads
    scale, weight = mse_grid(folds.layer.weight, 4), folds.layer.weight
    grams = [folds.sums[i : i + 2].sum(0) / 6 for i in (0, 2, 4)]

    def optimum(gram: Any, quantised: bool) -> tuple[Any, float]:
        kind: Any = IntegerBox(-8, 7) if quantised else Sparse(1)
        step = scale if quantised else 1.0
        point = solve(LeastSquares(gram, weight / step, kind), Exhaustive()).x * step - weight
        return point, float((point @ gram @ point.T)[0, 0])

    best = {(i, q): optimum(gram, q) for i, gram in enumerate(grams) for q in (True, False)}
    cost = {
        (i, j, q): float((best[i, q][0] @ grams[j] @ best[i, q][0].T)[0, 0])
        for i, j in permutations(range(3), 2)
        for q in (True, False)
    }
    assert spread.verdict == "quantization"
    for i in range(3):
        pruned, quantised = (sum(cost[i, j, q] for j in range(3) if j != i) for q in (False, True))
        assert spread.held_out_db[i] == pytest.approx(10 * math.log10(pruned / quantised), abs=1e-4)
    for q, value in ((True, spread.quantization_transfer_db), (False, spread.pruning_transfer_db)):
        lost = [10 * math.log10(cost[i, j, q] / best[j, q][1]) for i, j in permutations(range(3), 2)]
        assert value == pytest.approx(np.mean(lost), abs=1e-4)
        assert value is not None
        assert value >= -1e-6, "nothing beats the optimum"


@pytest.mark.parametrize("parts", [8, 16])
def test_the_interval_holds_the_truth(parts: int) -> None:
    """Gaussian inputs of a known covariance: about as often as promised, and not by being endless."""
    rng = np.random.default_rng(parts)
    columns, rows, repeats = 6, 4, 60
    root = np.eye(columns) + 0.4 * rng.normal(size=(columns, columns))
    weight = rng.standard_t(4, size=(rows, columns))
    truth = Layer("truth", weight, root.T @ root, 1)
    (known,) = quanterr.certify([truth], (3,)).judged()
    sign = {"quantization": 1, "pruning": -1}[known.outcome]
    hits, width, values = 0, 0.0, []
    for _ in range(repeats):
        x = rng.normal(size=(parts, 40, columns)) @ root
        (spread,) = quanterr.stability([folded(np.einsum("fsi,fsj->fij", x, x), weight, 40)], (3,)).spreads
        assert spread.low_db is not None
        assert spread.high_db is not None
        hits += spread.low_db <= sign * known.margin_db <= spread.high_db
        width += (spread.high_db - spread.low_db) / repeats
        values.append(spread.advantage_db)
    assert 0.88 * repeats <= hits
    assert width < 2.2 * 2 * 1.96 * np.std(np.array(values, dtype=float))


def test_reach_and_turn_on_normal_deviations() -> None:
    """The expanded percentile is √(n/(n−1)) t standard deviations out, and a turn has the chance of a difference."""
    deviations = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    resamples = Resamples.draw(8, 100, 0.95, 0)
    low, high = resamples.reach(deviations)
    expected = math.sqrt(8 / 7) * stats.t.ppf(0.975, 7)
    assert (low, high) == pytest.approx((-expected, expected), rel=1e-2)
    shuffled = np.random.default_rng(0).permutation(deviations)
    assert resamples.turned(shuffled, 0.0) == pytest.approx(0.5, abs=0.01)
    chance = stats.norm.cdf(-1.0 / math.sqrt(2 * 8 / 7))
    assert resamples.turned(shuffled, 1.0) == pytest.approx(chance, abs=0.01)


def test_deviations_are_those_of_joined_inputs() -> None:
    resamples = Resamples.draw(5, 400, 0.9, 1)
    assert (resamples.draws.sum(axis=1) == 5).all()
    rng = np.random.default_rng(2)
    q, p = rng.random((2, 5))
    again = np.repeat(np.arange(5), resamples.draws[7])
    expected = 10 * np.log10(p[again].sum() / q[again].sum()) - 10 * np.log10(p.sum() / q.sum())
    assert resamples.deviations(q, p)[7] == pytest.approx(expected)
    silent = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    left = resamples.deviations(silent, silent)
    assert not np.isnan(left).any()
    assert len(left) == np.count_nonzero(resamples.draws[:, 4])


def test_a_side_that_errs_nowhere_in_some_inputs() -> None:
    """Resamples without the others are infinitely far out, which an interval says and arithmetic survives."""
    resamples = Resamples.draw(4, 2000, 0.95, 0)
    deviations = resamples.deviations(np.array([0.0, 0.0, 0.0, 1.0]), np.ones(4))
    assert np.isinf(deviations).any()
    low, high = resamples.reach(deviations)
    assert math.isfinite(low)
    assert high == math.inf
    assert 0.0 <= resamples.turned(deviations, 1.0) < 0.5


def test_small_formulas() -> None:
    assert advantage(1.0, 10.0) == pytest.approx(10)
    assert advantage(0.0, 1.0) == math.inf
    assert advantage(1.0, 0.0) == -math.inf
    assert advantage(0.0, 0.0) is None
    assert needed(16, 2.0, 1.0) == 4
    assert needed(16, 0.5, 1.0) == 64
    assert needed(64, 0.5, 0.5) == 64, "four times as many inputs, half the reach: the same answer"
    assert needed(16, 1.0, -0.3) == FEWEST
    assert bias(1.0, (1.5, 1.5, 1.5, 1.5)) == pytest.approx(0.5)
    assert bias(1.0, (1.5, None)) is None
    assert bias(1.0, (1.5, math.inf)) is None


def test_the_same_bits_again_and_with_workers() -> None:
    folds = drawn(9)
    once, twice = (quanterr.stability([folds], (2, 3), 4, jobs=jobs) for jobs in (1, 2))
    assert once == twice
    other = quanterr.stability([folds], (2, 3), 4, seed=1)
    assert other.spreads[0].split_db == once.spreads[0].split_db
    assert other.spreads[0].low_db != once.spreads[0].low_db


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    folds = drawn(8)
    with Store(tmp_path / "s.sqlite") as store:
        report = quanterr.certify([folds.layer], (2, 16), store=store, title="mine")
        assert Report.from_dicts(*reversed_pair(store), store.last_facts()).stability is None, "runs that did not ask"
        found = quanterr.stability([folds], (2, 16), store=store)
        store.extend_run("mine", replace(report, stability=found).facts())
        again = Report.from_dicts(*reversed_pair(store), store.last_facts())
        assert again.stability == found
        assert again.layers == report.layers
        assert store.unused() == (0, 0), "results of the splits belong to the run"
        seen: list[Any] = []
        quanterr.stability([folds], (2, 16), store=store, progress=seen.append)
        assert seen[0].rows_reused == seen[0].rows_total
        with pytest.raises(StoreError, match="no finished run called 'other'"):
            store.extend_run("other", {})
    infinite = found.spreads[1]
    assert (infinite.bits, infinite.verdict, infinite.advantage_db) == (16, "pruning", -math.inf)
    assert infinite.settled
    assert Stability.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert b"\xe2\x88\x9e" in again.to_html(tmp_path / "r.html").read_bytes()


def reversed_pair(store: Store) -> tuple[list[dict[str, Any]], str]:
    title, records = store.last_run()
    return records, title


def test_a_refused_split_has_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from quanterr.execution import running

    original = running.solve_unit

    def refuse(unit: Any) -> Any:
        if unit.layer.endswith("split 2 of 4") and unit.chunk == 1:
            raise ChunkRefused(f"layer {unit.layer}, chunk {unit.chunk}: no")
        return original(unit)

    monkeypatch.setattr(running, "solve_unit", refuse)
    found = quanterr.stability([drawn(8)], (2,), 4)
    assert found.refused == ("layer toy, split 2 of 4, chunk 1: no",)
    first, second = found.spreads
    assert "refused" not in first.split_verdicts
    assert second.split_verdicts[1] == "refused"
    assert second.split_db[1] is second.held_out_db[1] is None
    assert second.held_out_db[0] is not None
    assert second.bias_db is None
    assert 1 not in second.flips


def test_wide_layers_keep_what_the_bounds_leave_open() -> None:
    folds = drawn(6, columns=70, rows=2, vectors=60)
    (spread,) = quanterr.stability([folds], (2,), None, splits=2).spreads
    q, p = quanterr.certify([folds.layer], (2,), None, effort="quick").records
    assert spread.low_db is not None
    assert spread.high_db is not None
    assert spread.low_db <= 10 * math.log10(p.error_lower / q.error_upper)
    assert spread.high_db >= 10 * math.log10(p.error_upper / q.error_lower)


def test_zero_weights_and_undecided_have_no_numbers() -> None:
    """Two weights on the grid that pruning keeps as well: both errors are zero, and nobody wins."""
    folds = folded(drawn(6, columns=2).sums, [[1.0, -1.0]])
    (spread,) = quanterr.stability([folds], (16,)).spreads
    assert (spread.verdict, spread.inputs_needed, spread.flip_probability) == ("undecided", None, None)
    assert not spread.settled
    assert spread.flips == ()
    assert spread.held_out_db == (None,) * 4


@pytest.mark.parametrize(
    ("layers", "options", "words"),
    [
        ([], {}, "no layers given"),
        ([drawn(3)], {"splits": 4}, r"4 splits of 3 parts \(3 inputs\)"),
        ([drawn(1)], {"splits": 2}, r"2 splits of 1 parts \(1 inputs\)"),
        ([drawn(8)], {"splits": 1}, "2 splits or more"),
        ([drawn(3)], {"splits": 2}, "give 4 independent inputs or more"),
        ([drawn(8), drawn(8)], {}, "two layers are called 'toy'"),
        ([drawn(8), replace(drawn(9), layer=replace(drawn(9).layer, name="b"))], {}, "different captures"),
        ([drawn(8)], {"bits": ()}, "no bit-widths"),
        ([drawn(8)], {"bits": (17,)}, "bits = 17"),
        ([drawn(8)], {"level": 1.0}, "level = 1.0"),
        ([drawn(8)], {"level": float("nan")}, "level = nan"),
        ([drawn(8)], {"resamples": 10}, "resamples = 10"),
        ([drawn(8)], {"scale": "none"}, "scale = 'none'"),
    ],
)
def test_bad_input_is_named(layers: Sequence[LayerFolds], options: dict[str, Any], words: str) -> None:
    with pytest.raises(QuanterrError, match=words):
        quanterr.stability(layers, **options)


def test_table_and_figure(tmp_path: Path) -> None:
    found = quanterr.stability([opposed(), replace(drawn(8), layer=replace(drawn(8).layer, name="b"))], (3, 16), 4)
    frame = found.to_frame()
    assert len(frame) == len(found.spreads)
    assert {"advantage_db", "low_db", "settled", "flips", "split_3_db", "held_out_0_db"} <= set(frame.columns)
    assert frame.flips.sum() == sum(len(s.flips) for s in found.flips)
    assert "advantage_db" in found._repr_html_()
    paths = found.save_figure(tmp_path / "figure")
    assert [path.suffix for path in paths] == [".pdf", ".svg", ".png"]


def test_command(tmp_path: Path) -> None:
    out = str(tmp_path / "s.sqlite")
    options = [*TINY, "--layers", "0", "--bits", "2", "--bootstrap", "200", "--out", out]
    csv = tmp_path / "s.csv"
    first = RUNNER.invoke(app, ["stability", *options, "--csv", str(csv), "--figure", str(tmp_path / "f")])
    assert first.exit_code == 0, first.output
    assert "48 independent inputs in 12 parts" in " ".join(first.output.split())
    assert len(csv.read_text().splitlines()) == 2
    assert (tmp_path / "f.svg").is_file()
    again = RUNNER.invoke(app, ["report", out, "-o", str(tmp_path / "r.html")])
    assert again.exit_code == 0, again.output
    assert "4 disjoint parts of 48 independent calibration inputs" in (tmp_path / "r.html").read_text()
    grouped = RUNNER.invoke(app, ["stability", *options, "--group", "16"])
    assert grouped.exit_code == 1
    assert "--splits 4: the inputs make 3 parts" in " ".join(grouped.output.split())
    poisoned = ["--model", TINY[1], "--inputs", "tests.quanterr.tiny:poisoned_batches", "--out", out]
    failed = RUNNER.invoke(app, ["stability", *poisoned])
    assert failed.exit_code == 1
    assert "sample 3 of batch 1" in " ".join(failed.output.split())


def test_flips_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quanterr.layers.folding.capture_folds", lambda *args, **options: [opposed()])
    out = str(tmp_path / "s.sqlite")
    result = RUNNER.invoke(app, ["stability", *TINY, "--bits", "3", "--splits", "2", "--out", out])
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "flip: toy, chunk 0, 3 bits:" in text
    assert "1 comparison: 1 with another verdict in some split; 0 with an interval on one side of zero" in text


def test_searches_share_nothing_between_samples() -> None:
    """Plans of two samples of one layer differ by name, so that no result of one is counted for the other."""
    from quanterr.samples import Sample

    folds = drawn(8)
    units = [
        unit
        for name, parts in (("toy", range(8)), ("toy, split 1 of 2", range(4)))
        for unit in Sample(folds, name, parts).plan((2,), None, "mse", BranchAndBound())
    ]
    assert len({(unit.layer, unit.scaled) for unit in units}) == len(units) == 4
