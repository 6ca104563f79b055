"""Contestants: names and sets, storage, scales of codebooks, brute force, duels, keys that outlive a version."""

import hashlib
import math
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bounds import BlockSparse, BranchAndBound, Codebook, IntegerBox, NofM, Sparse, SparseIntegerBox
from quanterr import Layer, QuanterrError, Report, Store, certify, verify
from quanterr.cli import app
from quanterr.contestants import at_storage, named, rivals
from quanterr.errors import InputError
from quanterr.layers.layer import Piece
from quanterr.results.judging import mask_cost, winners
from quanterr.results.table import verdict_table
from quanterr.scaling import SCALES, contestant_scale, level_errors
from quanterr.units import RESULT_VERSION, Unit

from .conftest import make_layer

NAMES = {
    "int4": (IntegerBox(-8, 7), 4.0, 0.0),
    "FP4": (Codebook.fp4_e2m1(), 4.0, 0.0),
    "e5m2": (Codebook.fp8_e5m2(), 8.0, 0.0),
    "fp8-e4m3": (Codebook.fp8_e4m3(), 8.0, 0.0),
    "nf4": (Codebook.nf4(), 4.0, 0.0),
    "ternary": (Codebook.ternary(), 1.6, 0.0),
    "prune75": (Sparse(6), 4.0, 1.0),
    "prune62.5": (Sparse(9), 6.0, 1.0),
    "prune200/3": (Sparse(8), 16 / 3, 1.0),
    "prune50x4": (BlockSparse(3, 4), 8.0, 0.25),
    "2:4": (NofM(2, 4), 8.0, 0.75),
    "4:8": (NofM(4, 8), 8.0, 7 / 8),
    "prune50 + int4": (SparseIntegerBox(-8, 7, 12), 2.0, 1.0),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_name_means(name: str) -> None:
    feasible, storage, mask = NAMES[name]
    found = named(name)
    assert found.feasible(24) == feasible
    assert (found.storage(24), found.mask_bits) == pytest.approx((storage, mask))
    assert named(found.name) == found
    assert found.method == found.name
    assert found.bits is None
    assert found.scaled is not isinstance(feasible, Sparse | NofM | BlockSparse)


BAD = "int int0 int17 prune101 prune1/0 4:2 2:2 0:4 int4+2:4 fp4+prune50 int4+int8 a+b+c prune50x0 +"


@pytest.mark.parametrize("name", ["", *BAD.split(" ")])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        named(name)


@given(st.one_of(st.text(max_size=12), st.from_regex(r"(int|prune|fp)?\d{0,3}[:/.x+]?\d{0,3}", fullmatch=True)))
def test_the_parser_refuses_or_gives_a_name_that_comes_back(text: str) -> None:
    try:
        found = named(text)
    except InputError:
        return
    assert named(found.name) == found
    assert 0 <= found.storage(96) <= 16


@given(st.integers(1, 16), st.sampled_from([0, 1]), st.integers(1, 200))
def test_nothing_stores_more_than_it_may(bits: int, cost: int, columns: int) -> None:
    quantised, pruned, both = at_storage(bits, mask_cost=cost, compound=True)
    assert quantised.feasible(columns) == IntegerBox(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert pruned.feasible(columns) == Sparse(columns * (bits - cost) // 16)
    for contestant in (quantised, pruned, both):
        paid = cost * (contestant.keep < 1)
        assert contestant.storage(columns) + paid <= bits
        assert named(contestant.name).feasible(columns) == contestant.feasible(columns)


def test_what_cannot_be_compared_is_refused() -> None:
    for names, message in (
        (["int4"], "at least two"),
        (["fp8", "fp8-e4m3"], "twice"),
        (["int4", "nf5"], "no contestant is called 'nf5'"),
    ):
        with pytest.raises(InputError, match=message):
            rivals((), names)
    with pytest.raises(InputError, match="name what you mean"):
        rivals((), ["int4", "2:4"], compound=True)
    with pytest.raises(InputError, match="choose 0"):
        rivals((4,), mask_cost=2)


def test_keys_of_earlier_results_are_kept() -> None:
    """As they were computed when a unit knew two methods only."""
    weight, gram = np.ones((2, 6)), np.eye(6)
    pieces, scales = (Piece(gram, weight, slice(0, 2)),), np.full((1, 2), 0.25)
    for contestant, kind, step in zip(at_storage(4), ("quantization", "pruning"), (True, False), strict=True):
        unit = Unit("name", 3, (contestant,), pieces, scales, BranchAndBound())
        digest = hashlib.sha256(repr((RESULT_VERSION, kind, contestant.feasible(6))).encode())
        if step:
            digest.update(scales[0].tobytes())
        for part in (repr(weight.shape).encode(), gram.tobytes(), weight.tobytes()):
            digest.update(part)
        assert unit.key(0) == digest.hexdigest()
    keys = {Unit("n", 0, (named(n),), pieces, scales, BranchAndBound()).key(0) for n in ("fp8", "e5m2", "nf4", "int4")}
    assert len(keys) == 4


@pytest.mark.parametrize("rule", ["mse", "lp"])
def test_the_scale_of_a_codebook_is_the_best_of_its_candidates(rule: str) -> None:
    weight, power = np.random.default_rng(0).standard_t(3, size=(7, 11)), 2.0 if rule == "mse" else 2.4
    for contestant in (named("nf4"), named("fp8"), named("ternary")):
        assert isinstance(contestant.codes, Codebook)
        levels = contestant.codes.array
        fractions = np.geomspace(1, 0.01, 400) if rule == "mse" else 1 - np.arange(80) / 100
        top = np.abs(weight).max() / np.abs(levels).max()
        miss = np.abs(weight.ravel()[:, None, None] - (top * fractions)[:, None] * levels).min(axis=2)
        errors = (miss**power).sum(axis=0)
        assert level_errors(np.sort(weight.ravel()), top * fractions, levels, power) == pytest.approx(errors)
        assert contestant_scale(contestant, weight, rule) == pytest.approx(top * fractions[errors.argmin()], rel=1e-12)
        assert contestant_scale(contestant, weight, "max") == pytest.approx(top)


def test_pruned_codes_are_scaled_for_what_is_kept() -> None:
    weight = np.random.default_rng(1).normal(size=(6, 10))
    kept = np.where(np.abs(weight) >= np.sort(np.abs(weight).ravel())[30], weight, 0.0)
    assert contestant_scale(named("int4+prune50"), weight, "mse") == SCALES["mse"](kept, 4)
    assert contestant_scale(named("int4"), weight, "mse") == SCALES["mse"](weight, 4)
    assert contestant_scale(named("2:4"), weight, "mse") == 1.0


def brute(layer: Layer, name: str) -> float:
    """The optimum of all rows by trying every code or every mask."""
    contestant, n, total = named(name), layer.columns, 0.0
    feasible, scale = contestant.feasible(n), contestant_scale(contestant, layer.weight, "mse")
    if contestant.codes is not None:
        levels = (
            contestant.codes.array
            if isinstance(contestant.codes, Codebook)
            else np.arange(contestant.codes.low, contestant.codes.high + 1.0)
        )
        points = np.array(list(product(levels, repeat=n)))
        if isinstance(feasible, SparseIntegerBox):
            points = points[np.count_nonzero(points, axis=1) <= feasible.keep]
        for row in layer.weight:
            step = scale * points - row
            total += float(np.einsum("ri,ri->r", step @ layer.gram, step).min())
        return total
    masks = [m for k in range(n + 1) for m in combinations(range(n), k)]
    indicator = np.array([[i in m for i in range(n)] for m in masks], dtype=float)
    allowed = [m for m, inside in zip(masks, feasible.contains(indicator), strict=True) if inside]
    for row in layer.weight:
        best = math.inf
        for mask in map(list, allowed):
            w = np.zeros(n)
            if mask:
                w[mask] = np.linalg.solve(layer.gram[np.ix_(mask, mask)], layer.gram[mask] @ row)
            best = min(best, float((w - row) @ layer.gram @ (w - row)))
        total += best
    return total


def test_every_kind_equals_brute_force() -> None:
    layer = make_layer(rows=3, columns=4)
    names = ["int3", "fp4", "nf4", "ternary", "prune50", "2:4", "int3+prune50", "prune50x2"]
    report = certify([layer], contestants=names, chunk=None)
    assert [record.method for record in report.records] == names
    for record in report.records:
        truth = brute(layer, record.method)
        assert record.error_lower <= truth * (1 + 1e-12)
        assert record.error_upper >= truth * (1 - 1e-12)
        assert record.error_upper - record.error_lower <= 1e-6 * record.error_upper, record.method


def test_every_two_are_compared() -> None:
    layers = [make_layer("a", 4, 12), make_layer("b", 4, 12, seed=1)]
    report = certify(layers, contestants=["int4", "nf4", "2:4", "prune75"], chunk=4)
    frame = report.duels()
    assert len(frame) == 2 * 3 * 6
    assert frame.bits.isna().all()
    assert set(frame.better) <= {"int4", "nf4", "2:4", "prune75", "undecided"}
    records = {(r.layer, r.chunk, r.method): r for r in report.records}
    for line in frame.itertuples():
        first, second = (records[line.layer, line.chunk, name] for name in (line.first, line.second))
        assert (line.storage_first, line.mask_bits_second) == (first.storage, second.mask_bits)
        if line.better == line.first:
            assert first.error_upper < second.error_lower
            assert line.margin_db >= 0
        for side in (first, second):
            assert (side.error_lower_any_scale is None) == (side.method in ("2:4", "prune75"))
    assert report.verdicts().empty
    assert "best of all" in _text(report)
    assert "prune75 4 + 1 for the mask" in _text(report)
    assert Report.from_dicts(report.to_dicts(), facts=report.facts()) == report
    assert "int4 · nf4" in report._repr_html_()


def test_a_winner_beats_all_others() -> None:
    report = certify([make_layer(rows=5, columns=12)], contestants=["int2", "int3", "int6"], chunk=6)
    duels = {(d.first.chunk, d.first.method, d.second.method): d for d in report.pairs()}
    for winner in winners(report):
        assert winner.method == "int6"
        assert winner.unbeaten == ("int6",)
        assert winner.margin_db == min(duels[winner.chunk, m, "int6"].margin_db for m in ("int2", "int3"))
    same = certify([make_layer(rows=5, columns=12)], contestants=["int16", "int16+prune0"], chunk=None)
    assert [w.method for w in winners(same)] == [""]
    assert [w.unbeaten for w in winners(same)] == [("int16", "int16+prune0")]


def test_a_compound_and_the_cost_of_masks_at_equal_storage() -> None:
    layer = make_layer(rows=4, columns=32)
    free = certify([layer], bits=(2, 4), chunk=16)
    paid = certify([layer], bits=(2, 4), chunk=16, mask_cost=1, compound=True)
    plain, full = (r.to_frame().set_index(["chunk", "bits", "method"]) for r in (free, paid))
    assert list(full.loc[(0, 4)].index) == ["quantization", "pruning", "compound"]
    for bits in (2, 4):
        assert full.loc[(0, bits, "quantization")].error_upper == plain.loc[(0, bits, "quantization")].error_upper
        assert full.loc[(0, bits, "pruning")].error_lower > plain.loc[(0, bits, "pruning")].error_upper
        stored = full.loc[(0, bits)]
        assert (stored.storage + stored.mask_bits <= bits).all()
    # more may be kept as codes than as weights of 16 bits, and codes are still fewer than all weights
    assert full.loc[(0, 4, "compound")].contestant == "int8+prune62.5"
    assert (mask_cost(free.records), mask_cost(paid.records)) == (0, 1)
    assert "without the mask" in _text(free)
    assert "mask of one bit" in _text(paid)
    assert len(paid.duels()) == 2 * 2 * 3
    assert len(paid.verdicts()) == 4


def test_names_share_the_results_of_equal_storage(tmp_path: Path) -> None:
    layer = make_layer(rows=6, columns=16)
    with Store(tmp_path / "s") as store:
        certify([layer], bits=(4,), chunk=8, store=store)
        seen: list[int] = []
        certify([layer], contestants=["prune75", "int4"], chunk=8, store=store,
                progress=lambda now: seen.append(now.rows_reused))  # fmt: skip
        assert seen[0] == 2 * 2 * 6


def test_a_set_too_wide_to_search_is_refused_at_the_start() -> None:
    layer = make_layer(rows=2, columns=72)
    with pytest.raises(QuanterrError, match=r"int4\+prune50: no local search"):
        certify([layer], contestants=["int4+prune50", "int4"], chunk=None)
    report = certify([layer], contestants=["nf4", "2:4"], chunk=None, effort="quick")
    assert {record.status for record in report.records} == {"unproven"}


def test_certificates_of_every_kind_hold(tmp_path: Path) -> None:
    layer = make_layer("kinds", 2, 8, groups=2)
    names = ["int4", "fp4", "2:4", "prune50", "int3+prune50", "prune50x2"]
    report = certify([layer], contestants=names, chunk=4, certificates=tmp_path)
    (path,) = tmp_path.iterdir()
    for rerun in (False, True):
        result = verify(path, rerun=rerun)
        assert result.holds, result.failures
    found = result.duels(proven=True)
    assert len(found) == 2 * 15
    for duel in report.pairs():
        proven = found[(duel.first.chunk, None), (duel.first.method, duel.second.method)][0]
        assert proven in (duel.better or "undecided", "undecided")
    shown = _here("verify", path)
    assert shown.exit_code == 0
    assert "int4 · fp4" in shown.output


def test_the_command_line_takes_names(tmp_path: Path) -> None:
    out = tmp_path / "named.sqlite"
    tiny = ("--model", "tests.quanterr.tiny:network(width=6)", "--inputs", "tests.quanterr.tiny:batches")
    some = ("--layers", "4", "--chunk", "12", "--jobs", "1", "--out", out)
    refused = _here("certify", *tiny, *some, "--contestants", "int4,flot8")
    assert refused.exit_code == 1
    assert "no contestant is called 'flot8'" in refused.output
    assert _here("certify", *tiny, *some, "--mask-cost", 3).exit_code == 1
    done = _here("certify", *tiny, *some, "--contestants", "int3, 2:4,prune75")
    assert done.exit_code == 0, done.output
    assert "int3" in done.output
    assert "Every two of them" in done.output
    again = _here("show", out, "--csv", tmp_path / "t.csv", "--figure", tmp_path / "f")
    assert again.exit_code == 0
    assert "prune75" in again.output
    assert (tmp_path / "f.png").stat().st_size > 1000
    page = _here("report", out, "-o", tmp_path / "r.html")
    assert page.exit_code == 0
    assert "int3 · 2:4" in (tmp_path / "r.html").read_text()
    assert _here("store", "export", out, "--csv", tmp_path / "e.csv").exit_code == 0
    assert "storage,mask_bits" in (tmp_path / "e.csv").read_text()
    assert "int3,2:4,prune75" in _here("store", "ls", out).output


def test_fractions_of_storage_are_exact() -> None:
    assert named("prune87.5").keep == Fraction(1, 8)
    assert at_storage(3, mask_cost=1, compound=True)[2].name == "int6+prune200/3"


def _here(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})


def _text(report: Report) -> str:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=200)
    console.print(verdict_table(report))
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
