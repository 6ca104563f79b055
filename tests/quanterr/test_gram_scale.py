"""Scales by the error of the output: better where inputs differ, never worse than those of the weights, kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import bounds
from bounds import BatchSearch
from quanterr import Layer, QuanterrError, Store, certify, gram_scale
from quanterr.contestants import named
from quanterr.errors import ChunkRefused
from quanterr.scaling import contestant_scale
from quanterr.units import problem_of

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


@pytest.mark.parametrize("name", ["int2", "int4", "nf4"])
@pytest.mark.parametrize(
    "layer", [make_layer(rows=80), uneven(), uneven(1, 6, 9, 3)], ids=["80 rows", "uneven", "groups"]
)
def test_never_worse_than_the_scale_of_the_weights(layer: Layer, name: str) -> None:
    found = gram_scale.gram_scale(layer, named(name))
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
    found = gram_scale.gram_scale(layer, named("int3"))
    here = output_error(layer, "int3", found)
    for step in (-1, 1):
        assert here <= output_error(layer, "int3", found * 2.0 ** (step / gram_scale.PARTS))


def test_all_chunks_share_the_scale_of_the_layer_and_codes_that_are_pruned_have_one() -> None:
    layer = uneven()
    report = certify([layer], chunk=4, contestants=["int3", "int4+prune50", "2:4"], scale="gram")
    assert {record.chunk for record in report.records} == {0, 1}
    scale = gram_scale.gram_scale(layer, named("int3"))
    (record,) = (r for r in report.records if r.method == "int3" and r.chunk == 1)
    part = dataclasses.replace(layer, weight=layer.weight[:, 4:], gram=layer.gram[4:, 4:])
    (piece,) = next(part.chunks(None)).pieces
    problem = problem_of(bounds.Gram(piece.gram), piece.weight, named("int3").feasible(4), np.full(5, scale))
    best = float(bounds.solve(problem, bounds.Exhaustive()).upper.sum()) * scale**2
    assert record.error_upper == pytest.approx(best, rel=1e-9)


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


def test_a_gram_matrix_that_is_refused_names_the_layer() -> None:
    layer = dataclasses.replace(make_layer("crooked"), gram=-np.eye(12))
    with pytest.raises(ChunkRefused, match='layer crooked, scale "gram" of quantization at 2 bits'):
        certify([layer], bits=(2,), chunk=None, scale="gram")
    with pytest.raises(QuanterrError, match="choose one of mse, max, lp, gram"):
        certify([layer], scale="best")
