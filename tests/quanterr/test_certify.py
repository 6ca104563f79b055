"""The pipeline: agreement with brute force, resume, order, executors, bad input."""

import dataclasses
import functools
import math
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

import bounds
import quanterr
from bounds import BranchAndBound
from quanterr import ChunkRefused, Layer, Outcome, Progress, QuanterrError, Report, Store, certify
from quanterr.contestants import keep_at
from quanterr.execution.forecast import memory
from quanterr.plan import ROWS_PER_UNIT

from .conftest import make_layer


def brute_force_pruning(layer: Layer, keep: int) -> float:
    total = 0.0
    for row in layer.weight:
        best = math.inf
        for support in combinations(range(layer.columns), keep):
            kept = list(support)
            w = np.zeros(layer.columns)
            if kept:
                w[kept] = np.linalg.solve(layer.gram[np.ix_(kept, kept)], layer.gram[kept] @ row)
            best = min(best, (w - row) @ layer.gram @ (w - row))
        total += best
    return total


def brute_force_quantization(layer: Layer, bits: int, scale: float) -> float:
    codes = np.array(list(product(range(-(2 ** (bits - 1)), 2 ** (bits - 1)), repeat=layer.columns)), dtype=float)
    return sum(
        float(np.einsum("ri,ij,rj->r", scale * codes - row, layer.gram, scale * codes - row).min())
        for row in layer.weight
    )


def test_both_sides_equal_brute_force() -> None:
    from quanterr.scaling import SCALES

    layer = make_layer(rows=4, columns=7)
    frame = certify([layer], bits=(2, 5), chunk=None).to_frame().set_index(["method", "bits"])
    scale = float(SCALES["mse"](layer.weight, 2))
    for (method, bits), truth in {
        ("quantization", 2): brute_force_quantization(layer, 2, scale),
        ("pruning", 2): brute_force_pruning(layer, keep_at(2, 7)),
        ("pruning", 5): brute_force_pruning(layer, keep_at(5, 7)),
    }.items():
        record = frame.loc[(method, bits)]
        assert record.error_lower <= truth * (1 + 1e-13)
        assert record.error_upper >= truth * (1 - 1e-13)
        assert record.error_upper - record.error_lower <= 1e-6 * record.error_upper
        assert record.status == "closed"
        assert record.energy == pytest.approx(layer.energy.sum())


def test_chunks_cover_the_layer_and_verdicts_follow() -> None:
    layer = make_layer(rows=5, columns=20)
    report = certify([layer], bits=(3,), chunk=8)
    frame = report.to_frame()
    assert frame[frame.method == "pruning"]["columns"].tolist() == [8, 8, 4]
    verdicts = report.verdicts()
    assert set(verdicts.verdict) <= {o.value for o in Outcome}
    for chunk, sides in frame.groupby("chunk"):
        q, p = (sides[sides.method == m].iloc[0] for m in ("quantization", "pruning"))
        verdict = verdicts[verdicts.chunk == chunk].iloc[0].verdict
        assert (verdict == "quantization") == (q.snr_db > p.snr_limit_db)
        assert (verdict == "pruning") == (p.snr_db > q.snr_limit_db)


def test_the_result_does_not_depend_on_where_it_runs() -> None:
    layers = [make_layer("a", 7, 10), make_layer("b", 6, 9, groups=3, seed=1)]
    here = _timeless(certify(layers, bits=(2, 4), chunk=6))
    with ThreadPoolExecutor(2) as executor:
        assert _timeless(certify(layers, bits=(2, 4), chunk=6, executor=executor)) == here
    assert _timeless(certify(layers, bits=(2, 4), chunk=6, jobs=2)) == here


def _timeless(report: Report) -> list[object]:
    return [dataclasses.replace(record, seconds=0.0) for record in report.records]


def test_groups_have_their_own_gram() -> None:
    grouped = make_layer("g", 6, 9, groups=3, seed=2)
    split = [Layer(f"g{i}", grouped.weight[2 * i : 2 * i + 2], grouped.gram[i], 400) for i in range(3)]
    whole = certify([grouped], bits=(3,)).to_frame().set_index("method")
    parts = certify(split, bits=(3,)).to_frame()
    assert whole.loc["pruning"].error_upper == pytest.approx(parts[parts.method == "pruning"].error_upper.sum())


def test_more_rows_than_a_unit() -> None:
    layer = make_layer(rows=2 * ROWS_PER_UNIT + 3, columns=6)
    records = certify([layer], bits=(4,)).records
    assert [r.rows for r in records] == [layer.rows, layer.rows]


def test_a_second_run_reuses_everything(tmp_path: Path) -> None:
    layer = make_layer(rows=9)
    seen: list[Progress] = []
    with Store(tmp_path / "s") as store:
        first = certify([layer], bits=(2, 3), store=store)
        again = certify([layer], bits=(3, 2), store=store, progress=seen.append)
        assert again == first
        assert [(p.rows_reused, p.rows_done) for p in seen] == [(9 * 2 * 2, 9 * 2 * 2)]
        seen.clear()
        certify([layer], bits=(2, 3, 4), store=store, progress=seen.append)
        assert seen[0].rows_reused == seen[0].rows_total * 2 // 3
        title, records = store.last_run()
        assert Report.from_dicts(records, title).to_frame().bits.tolist() == [2, 2, 3, 3, 4, 4]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    layer = make_layer(rows=5)

    def interrupt(now: Progress) -> None:
        if now.rows_done > now.rows_total // 2:
            raise KeyboardInterrupt

    with Store(tmp_path / "s") as store:
        with pytest.raises(KeyboardInterrupt):
            certify([layer], bits=(2, 3, 6), chunk=6, store=store, progress=interrupt)
        kept = len(store)
        assert kept > 0
        seen: list[Progress] = []
        resumed = certify([layer], bits=(2, 3, 6), chunk=6, store=store, progress=seen.append)
        assert seen[0].rows_reused == kept * layer.rows
    assert _timeless(resumed) == _timeless(certify([layer], bits=(2, 3, 6), chunk=6))


def test_open_rows_are_bounded_not_guessed() -> None:
    layer = make_layer(rows=4, columns=24, seed=3)
    exact = certify([layer], bits=(4,), chunk=None).to_frame().set_index("method")
    rough = (
        certify([layer], bits=(4,), chunk=None, search=bounds.BranchAndBound(max_nodes=1))
        .to_frame()
        .set_index("method")
    )
    assert (rough.error_lower <= exact.error_upper).all()
    assert (rough.error_upper >= exact.error_lower).all()
    assert rough.open_rows.sum() > 0
    assert set(rough[rough.open_rows > 0].status) == {"node_limit"}


def test_dead_inputs_cost_nothing() -> None:
    layer = make_layer(rows=3, columns=8)
    gram = np.zeros((10, 10))
    alive = [0, 1, 2, 4, 5, 6, 8, 9]
    gram[np.ix_(alive, alive)] = layer.gram
    weight = np.ones((3, 10))
    weight[:, alive] = layer.weight
    wide = certify([Layer("wide", weight, gram, 400)], bits=(4,)).to_frame().set_index("method")
    keep = keep_at(4, 10)
    assert wide.loc["pruning"].error_upper == pytest.approx(brute_force_pruning(layer, keep), rel=1e-9)


def test_an_all_dead_chunk_is_undecided() -> None:
    report = certify([Layer("dead", np.ones((2, 3)), np.zeros((3, 3)), 5)], bits=(2,))
    assert report.verdicts().verdict.tolist() == ["undecided"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": ()}, "no bit-widths"),
        ({"bits": (0,)}, "bits = 0: quanterr quantises to whole numbers of bits from 1 to 16"),
        ({"bits": (17,)}, "bits = 17"),
        ({"bits": (2.5,)}, "bits = 2.5"),
        ({"chunk": 0}, "chunk = 0"),
        ({"scale": "best"}, "scale = 'best': choose one of mse"),
    ],
)
def test_bad_arguments(layer: Layer, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(QuanterrError, match=message):
        certify([layer], **arguments)  # type: ignore[arg-type]


def test_bad_layers_are_named() -> None:
    with pytest.raises(QuanterrError, match="no layers given"):
        certify([])
    with pytest.raises(QuanterrError, match="layer flat: every weight is zero"):
        certify([Layer("flat", np.zeros((2, 3)), np.eye(3), 5)])
    crooked = np.eye(3)
    crooked[0, 1] = 0.5
    with pytest.raises(QuanterrError, match=r"layer crooked, chunk 0.*asymmetric"):
        certify([Layer("crooked", np.ones((2, 3)), crooked, 5)])
    with pytest.raises(QuanterrError, match=r"layer saddle, chunk 0.*indefinite"):
        certify([Layer("saddle", np.ones((2, 2)), np.array([[1.0, 2.0], [2.0, 1.0]]), 5)])


def test_equal_problems_share_their_result(tmp_path: Path) -> None:
    """Six columns keep one weight at 3 bits and at 4: the second is found under the content of the first."""
    layer = make_layer(columns=6)
    seen: list[Progress] = []
    with Store(tmp_path / "s") as store:
        certify([layer], bits=(3,), store=store)
        renamed = dataclasses.replace(layer, name="another name")
        certify([renamed], bits=(4,), store=store, progress=seen.append)
    assert seen[0].rows_reused == layer.rows


def test_a_refused_chunk_does_not_stop_the_others(tmp_path: Path) -> None:
    good = make_layer(rows=3, columns=12)
    gram = good.gram.copy()
    gram[6, 6] = -1.0
    layer = Layer("half", good.weight, gram, 400)
    report = certify([layer], bits=(4,), chunk=6, skip_refused=True)
    assert {record.chunk for record in report.records} == {0}
    assert len(report.refused) == 1
    assert "layer half, chunk 1, rows 0–2" in report.refused[0]
    with Store(tmp_path / "s") as store:
        with pytest.raises(ChunkRefused, match=r"layer half, chunk 1.*column 0 has diagonal -1"):
            certify([layer], bits=(4,), chunk=6, store=store)
        assert len(store) == 2


def test_dependent_inputs_are_solved() -> None:
    """Three equal inputs are one, whose weight is their sum."""
    weight = np.random.default_rng(2).normal(size=(4, 5))
    inputs = np.random.default_rng(3).normal(size=(50, 3))
    merged = np.hstack([weight[:, :2], weight[:, 2:].sum(axis=1, keepdims=True)])
    wide = inputs[:, [0, 1, 2, 2, 2]]
    report = certify([Layer("twins", weight, wide.T @ wide / 50, 50)], bits=(4,))
    alone = certify([Layer("merged", merged, inputs.T @ inputs / 50, 50)], bits=(6,))
    pruned = [[r.error_upper for r in run.records if r.method == "pruning"] for run in (report, alone)]
    np.testing.assert_allclose(pruned[0], pruned[1], rtol=1e-9)
    assert all(record.error_lower > 0.99 * record.error_upper for record in report.records)
    assert report.refused == ()


def test_fewer_input_vectors_than_columns_leave_a_whole_layer_open_and_say_why(tmp_path: Path) -> None:
    """No refusal and no damping: what is achieved, a bound of zero, and the reason."""
    rng = np.random.default_rng(8)
    inputs = rng.normal(size=(9, 70))
    layer = Layer("head", rng.normal(size=(3, 70)), inputs.T @ inputs / 9, samples=9)
    report = certify([layer], bits=(2,), chunk=None, effort="normal", certificates=tmp_path)
    assert report.refused == ()
    assert report.verdicts().verdict.tolist() == ["undecided"]
    sides = report.to_frame().set_index("method")
    assert sides.loc["pruning"].error_lower == 0.0
    assert sides.loc["pruning"].evidence == "none"
    # 8 of 70 weights for 9 input vectors leave an error, 9 would not
    assert 0 < sides.loc["pruning"].error_upper < sides.loc["pruning"].energy
    assert 0 <= sides.loc["quantization"].error_lower < sides.loc["quantization"].error_upper
    assert [note[:32] for note in report.layers[0].notes] == ["9 input vectors for 70 columns: "]
    assert certify([layer], bits=(2,), chunk=8).layers[0].notes == ()
    result = quanterr.verify(next(tmp_path.iterdir()))
    assert result.holds, result.failures


def test_dependent_inputs_of_a_whole_layer_are_one_input() -> None:
    """Two inputs that see the same single vector are proportional, however many vectors there are."""
    rng = np.random.default_rng(9)
    inputs = rng.normal(size=(300, 70))
    inputs[:, [11, 40]] = 0.0
    inputs[7, [11, 40]] = 2.0, 0.3
    weight = rng.normal(size=(2, 70))
    merged = np.delete(weight, 40, axis=1)
    merged[:, 11] += 0.15 * weight[:, 40]
    one = np.delete(inputs, 40, axis=1)
    reports = [
        certify([Layer("one", w, x.T @ x / 300, 300)], bits=(2,), chunk=None, effort="quick")
        for w, x in ((weight, inputs), (merged, one))
    ]
    both, alone = (report.to_frame().set_index("method") for report in reports)
    assert reports[0].refused == ()
    # 8 of 70 weights are as good as 8 of 69
    assert both.loc["pruning"].error_lower == pytest.approx(alone.loc["pruning"].error_lower, rel=1e-3)
    assert both.loc["pruning"].evidence == "search"
    assert both.loc["quantization"].error_lower > 0.9 * alone.loc["quantization"].error_lower


def test_many_dependent_inputs_are_named() -> None:
    rng = np.random.default_rng(10)
    inputs = rng.normal(size=(200, 60)) @ rng.normal(size=(60, 70))
    layer = Layer("sums", rng.normal(size=(2, 70)), inputs.T @ inputs / 200, samples=200)
    report = certify([layer], bits=(2,), chunk=None, effort="quick")
    assert report.refused == ()
    assert "0, 1, 2, 3, 4, 5, … depend on each other" in report.layers[0].notes[0]


def test_whole_layers_are_bounded_from_both_sides() -> None:
    wide = make_layer(rows=2, columns=100)
    report = certify([wide], bits=(4,), chunk=None, effort="quick")
    assert all(0 < record.error_lower < record.error_upper for record in report.records)
    assert {record.status for record in report.records} == {"unproven"}
    assert {record.evidence for record in report.records} == {"dual"}
    assert {(record.columns, record.open_rows) for record in report.records} == {(100, 2)}


def test_more_effort_narrows_both_sides(tmp_path: Path) -> None:
    wide = make_layer(rows=2, columns=72)
    with Store(tmp_path / "s") as store:
        quick = certify([wide], bits=(2, 4), chunk=None, effort="quick", store=store)
        held = len(store)
        more = certify([wide], bits=(2, 4), chunk=None, effort="normal", refine="all", store=store)
        assert len(store) == 2 * held  # both efforts stay
        again = certify([wide], bits=(2, 4), chunk=None, effort="normal", refine="all", store=store)
    assert again == more
    for before, after in zip(quick.records, more.records, strict=True):
        assert before.error_lower <= after.error_lower <= after.error_upper <= before.error_upper
    assert any(a.error_lower > b.error_lower for a, b in zip(more.records, quick.records, strict=True))


def test_only_undecided_comparisons_are_refined() -> None:
    wide = make_layer(rows=2, columns=72)
    quick = certify([wide], bits=(2, 12), chunk=None, effort="quick")
    decided = {v.bits for v in quick.judged() if v.outcome != "undecided"}
    assert decided == {12}
    more = certify([wide], bits=(2, 12), chunk=None)
    for before, after in zip(quick.records, more.records, strict=True):
        assert before.error_lower <= after.error_lower <= after.error_upper <= before.error_upper
        if after.bits in decided:
            assert dataclasses.replace(after, seconds=before.seconds) == before
    behind = "pruning" if _quantization_leads(quick, 2) else "quantization"
    pairs = zip(quick.records, more.records, strict=True)
    [(before, after)] = [pair for pair in pairs if (pair[0].bits, pair[0].method) == (2, behind)]
    assert after.error_lower > before.error_lower
    assert after.error_upper == before.error_upper  # only the bound of the one behind was worked on


def test_a_budget_of_minutes_ends_the_refinement_and_a_second_run_goes_on(tmp_path: Path) -> None:
    wide = make_layer(rows=2, columns=72)
    with Store(tmp_path / "s") as store:
        run = functools.partial(certify, [wide], bits=(2, 3), chunk=None, refine="all", store=store)
        quick = run(effort="quick")
        short = run(minutes=1e-9)
        assert short.records == quick.records, "nothing begins after the end"
        assert any("budget of minutes" in note for note in short.layers[0].notes)
        whole = run()
        assert not any("budget of minutes" in note for note in whole.layers[0].notes)
        assert any(a.error_lower > b.error_lower for a, b in zip(whole.records, quick.records, strict=True))
        assert whole.records == certify([wide], bits=(2, 3), chunk=None, refine="all", store=store).records


def test_a_budget_of_minutes_ends_the_pass_over_every_scale_too(tmp_path: Path) -> None:
    """Codes of the largest weight's scale lose here: what the other scales give comes with the second run."""
    layer = make_layer("outlier", 6, 8, seed=5)
    layer = dataclasses.replace(layer, weight=np.random.default_rng(5).standard_t(1.1, (6, 8)))
    phases: list[tuple[str, int, int]] = []
    with Store(tmp_path / "s") as store:
        run = functools.partial(certify, [layer], bits=(2, 3), chunk=None, scale="max", store=store)
        short = run(minutes=1e-9)
        assert {record.error_lower_any_scale for record in short.records} == {0.0, None}
        assert any("budget of minutes" in note for note in short.layers[0].notes)
        whole = run(progress=lambda now: phases.append((now.phase, now.rows_done, now.rows_total)))
    assert not any("budget of minutes" in note for note in whole.layers[0].notes)
    assert any(record.error_lower_any_scale for record in whole.records)
    at_once = certify([layer], bits=(2, 3), chunk=None, scale="max")
    for early, late in zip(at_once.records, whole.records, strict=True):
        assert dataclasses.replace(early, seconds=0.0) == dataclasses.replace(late, seconds=0.0)
    every_scale = [(done, total) for phase, done, total in phases if phase == "every scale"]
    assert every_scale[0] == (0, 12)
    assert every_scale[-1] == (12, 12)


def test_a_budget_of_no_minutes_is_refused() -> None:
    wide = make_layer(rows=2, columns=72)
    with pytest.raises(QuanterrError, match="minutes = 0: use a positive number"):
        certify([wide], minutes=0)


def _quantization_leads(report: Report, bits: int) -> bool:
    """Whether quantisation has the smaller error so far."""
    error = {r.method: r.error_upper for r in report.records if r.bits == bits}
    return error["quantization"] < error["pruning"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"effort": "all"}, "choose one of quick, normal, thorough"), ({"refine": "some"}, "undecided, all")],
)
def test_unknown_efforts_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(QuanterrError, match=message):
        certify([make_layer()], bits=(4,), chunk=None, **options)  # type: ignore[arg-type]


def test_a_search_of_nodes_has_a_widest_problem() -> None:
    with pytest.raises(QuanterrError, match="layer toy: 129 columns are too wide for a search of nodes"):
        certify([make_layer(columns=129)], bits=(4,), chunk=None, search=BranchAndBound(max_nodes=9))


def test_memory_is_known_before_the_start() -> None:
    layers = [make_layer(columns=12), make_layer(columns=1000, rows=2)]
    assert memory(layers, 12) < 1.01 * memory(layers[:1], None)
    assert memory(layers, None) - memory(layers[:1], None) == 16 * 8 * (1000**2 - 12**2)


def test_thorough_effort_branches_on_a_near_null_direction() -> None:
    layer = make_layer(rows=1, columns=66)
    deviation = np.sqrt(layer.gram.diagonal())
    flat = np.eye(66) - np.ones((66, 66)) * (1 - 1e-3) / 66
    squeezed = flat @ (layer.gram / deviation / deviation[:, None]) @ flat * deviation * deviation[:, None]
    layer = Layer("flat", layer.weight, squeezed / 2 + squeezed.T / 2, 400)
    quick = certify([layer], bits=(3,), chunk=None, effort="quick")
    more = certify([layer], bits=(3,), chunk=None, effort="thorough", refine="all")
    assert not more.refused
    for before, after in zip(quick.records, more.records, strict=True):
        assert before.error_lower < after.error_lower <= after.error_upper <= before.error_upper
        assert after.snr_limit_db < before.snr_limit_db - 10  # the diagonal is crippled, the intervals are not
