"""Scales by the error of the output: better where inputs differ, never worse than those of the weights, kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import bounds
from bounds import BatchSearch
from quanterr import Layer, QuanterrError, Store, certify, gram_scale, verify
from quanterr.contestants import named
from quanterr.errors import ChunkRefused
from quanterr.proofs.certificates import read
from quanterr.scaling import contestant_scale
from quanterr.units import problem_of

from . import second_checker
from .conftest import make_layer


def uneven(seed: int = 0, rows: int = 5, columns: int = 8, groups: int = 1) -> Layer:
    """The largest weights meet hardly any input, so that clipping them costs nothing."""
    layer = make_layer("uneven", rows, columns, groups, seed)
    weight = layer.weight.copy()
    weight[:, 0] *= 40.0
    size = np.ones(columns)
    size[0] = 1e-3
    return dataclasses.replace(layer, weight=weight, gram=layer.gram * size * size[:, None])


def output_error(layer: Layer, name: str, scale: float) -> float:
    """What `BatchSearch` reaches on all rows."""
    total = 0.0
    for piece in next(layer.chunks(None)).pieces:
        step = np.full(len(piece.weight), scale)
        problem = problem_of(bounds.Gram(piece.gram), piece.weight, named(name).feasible(layer.columns), step)
        total += float(bounds.solve(problem, BatchSearch()).upper.sum())
    return total * scale**2


def chosen(layer: Layer, name: str) -> float:
    """For the layer as a whole."""
    start = contestant_scale(named(name), layer.weight, "mse")
    return gram_scale.gram_scale(gram_scale.ScaleJob(layer.name, next(layer.chunks(None)), named(name), start))


@pytest.mark.parametrize("name", ["int2", "int4", "nf4"])
@pytest.mark.parametrize(
    "layer", [make_layer(rows=80), uneven(), uneven(1, 6, 9, 3)], ids=["80 rows", "uneven", "groups"]
)
def test_never_worse_than_the_scale_of_the_weights(layer: Layer, name: str) -> None:
    found = chosen(layer, name)
    assert output_error(layer, name, found) <= output_error(
        layer, name, contestant_scale(named(name), layer.weight, "mse")
    )


@pytest.mark.parametrize("bits", [2, 4])
def test_the_optimum_is_far_better_where_large_weights_meet_small_inputs(bits: int) -> None:
    by_weight, by_output = (
        certify([uneven()], bits=(bits,), chunk=None, scale=scale).records[0].error_upper for scale in ("mse", "gram")
    )
    assert by_output < by_weight / 10


def test_no_neighbour_is_better_for_the_sampled_rows() -> None:
    layer = uneven(3)
    found = chosen(layer, "int3")
    here = output_error(layer, "int3", found)
    for step in (-1, 1):
        assert here <= output_error(layer, "int3", found * 2.0 ** (step / gram_scale.PARTS))


@pytest.mark.parametrize("name", ["int2", "int4", "nf4"])
def test_one_row_with_most_of_the_energy_is_seen(name: str) -> None:
    layer = make_layer(rows=150)
    weight, size = layer.weight.copy(), np.ones(layer.columns)
    weight[:, 5] *= 0.01
    weight[100, 5], size[5] = 2 * np.abs(weight).max(), 64.0
    massive = dataclasses.replace(layer, weight=weight, gram=layer.gram * size * size[:, None])
    scales = contestant_scale(named(name), weight, "mse") * 2.0 ** np.arange(-4, 13, 0.25)
    best = min(output_error(massive, name, scale) for scale in scales)
    assert output_error(massive, name, chosen(massive, name)) <= 1.02 * best


def test_each_chunk_has_its_own_scale_and_codes_that_are_pruned_have_one() -> None:
    layer = uneven()
    report = certify([layer], chunk=4, contestants=["int3", "int4+prune50", "2:4"], scale="gram")
    assert {record.chunk for record in report.records} == {0, 1}
    for chunk, columns in enumerate((slice(0, 4), slice(4, 8))):
        part = dataclasses.replace(layer, weight=layer.weight[:, columns], gram=layer.gram[columns, columns])
        start = contestant_scale(named("int3"), layer.weight, "mse")
        scale = gram_scale.gram_scale(gram_scale.ScaleJob("part", next(part.chunks(None)), named("int3"), start))
        (piece,) = next(part.chunks(None)).pieces
        problem = problem_of(bounds.Gram(piece.gram), piece.weight, named("int3").feasible(4), np.full(5, scale))
        best = float(bounds.solve(problem, bounds.Exhaustive()).upper.sum()) * scale**2
        (record,) = (r for r in report.records if r.method == "int3" and r.chunk == chunk)
        assert record.error_upper == pytest.approx(best, rel=1e-9)


def test_certificates_keep_the_scale_of_each_chunk(tmp_path: Path) -> None:
    certify([uneven()], bits=(2, 3), chunk=4, scale="gram", certificates=tmp_path)
    (path,) = tmp_path.iterdir()
    found, _ = read(path)
    scale = found.claims[0].scale
    assert scale is not None
    assert (scale == scale[:, :1]).all()
    assert scale[0, 0] != scale[1, 0]
    assert verify(path, rerun=True).holds
    assert second_checker.check(path) == (2 * 5 * 4, 2 * 5 * 4)


def test_kept_and_the_same_whatever_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [uneven(), dataclasses.replace(make_layer("even"), name="even")]
    with Store(tmp_path / "s") as store:
        first = certify(layers, bits=(2, 3), chunk=None, scale="gram", store=store)
        monkeypatch.setattr(gram_scale, "gram_scale", lambda *_: pytest.fail("known already"))
        again = certify(layers, bits=(2, 3), chunk=None, scale="gram", store=store)
    monkeypatch.undo()
    two = certify(layers, bits=(2, 3), chunk=None, scale="gram", jobs=2)
    for other in (again, two):
        for ours, theirs in zip(first.records, other.records, strict=True):
            assert dataclasses.replace(ours, seconds=0.0) == dataclasses.replace(theirs, seconds=0.0)


def test_a_gram_matrix_that_is_refused_stops_nothing_else() -> None:
    layers = [make_layer("good"), dataclasses.replace(make_layer("crooked"), gram=-np.eye(12))]
    with pytest.raises(ChunkRefused, match="layer crooked, chunk 0, rows 0–5, pruning at 2 bits"):
        certify(layers, bits=(2,), chunk=None, scale="gram")
    report = certify(layers, bits=(2,), chunk=None, scale="gram", skip_refused=True)
    assert {record.layer for record in report.records} == {"good"}
    assert any("search of a scale" in remark and "of the weights is used" in remark for remark in report.refused)
    with pytest.raises(QuanterrError, match="choose one of mse, max, lp, gram"):
        certify(layers[:1], scale="best")
