"""Block and interval proofs in certificate files: what is claimed is proven, in float64 and in fractions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bounds
from bounds.verbs import Relaxation
from quanterr import CertificateFileError, certify, verify
from quanterr.proofs.archive import read_archive, write_archive
from quanterr.proofs.certificates import FORMAT, LayerCertificate, read, write
from quanterr.proofs.parts import AnyCertificate, PartProof, PartsProof, compact, flatten, gather, recheck

from .conftest import make_layer

RELAXATIONS: dict[str, Relaxation] = {
    "diagonal": bounds.DiagonalSplit(),
    "block": bounds.BlockSplit(3, 2),
    "block, one D a row": bounds.BlockSplit(3, 2, row_rounds=2),
    "interval": bounds.IntervalSplit(width=3, rounds=2),
    "interval, columns one by one": bounds.DiagonalIntervals(loss=0.1),
}


def optimum(gram: Any, weight: Any, scale: Any, feasible: bounds.Feasible) -> list[float]:
    """By a search that shares nothing with the bounds."""
    found = bounds.solve(bounds.LeastSquares(gram, weight / scale[:, None], feasible), bounds.Exhaustive())
    return list(found.upper * scale**2)


@pytest.mark.parametrize("name", RELAXATIONS)
@pytest.mark.parametrize("feasible", [bounds.IntegerBox(-2, 1), bounds.Sparse(3)], ids=repr)
def test_kept_and_read_again_it_proves_the_same(name: str, feasible: bounds.Feasible) -> None:
    layer = make_layer(rows=3, columns=8, seed=5)
    scale = np.array([0.3, 0.7, 1.1]) if isinstance(feasible, bounds.IntegerBox) else None
    steps = np.ones(3) if scale is None else scale
    problem = bounds.LeastSquares(layer.gram, layer.weight / steps[:, None], feasible)
    relaxed = bounds.lower_bound(problem, RELAXATIONS[name])
    certificate, claimed = compact(problem, relaxed.certificate, scale)
    assert np.allclose(claimed, relaxed.value * steps**2, rtol=1e-3)
    entry, arrays = flatten(PartProof(0, slice(0, 3), certificate), "part/0")
    again = gather(entry, [(0, 8)], lambda member, kinds: arrays[member])
    assert again.kind == entry["kind"] == name.split(",")[0]
    for exactly in (False, True):
        proven = recheck(layer.gram, layer.weight, scale, feasible, again.certificate, exactly=exactly)
        best = optimum(layer.gram, layer.weight, steps, feasible)
        for value, claim, least in zip(proven, claimed, best, strict=True):
            assert isinstance(value, Fraction)
            assert claim <= value <= least
            assert float(value) == pytest.approx(claim, rel=1e-6)


def test_the_quotient_need_not_be_a_double() -> None:
    """A bound for the rounded quotient itself would be above one for the quotient: the exact value says so."""
    gram, feasible = np.eye(1) * 4.0, bounds.IntegerBox(-2, 1)
    weight, scale = np.array([[0.1]]), np.array([0.3])
    certificate = bounds.BlockCertificate((np.array([0]),), (np.array([[4.0]]),), np.zeros((1, 1)))
    (value,) = recheck(gram, weight, scale, feasible, certificate, exactly=True)
    truth = 4 * Fraction(0.1) ** 2
    assert isinstance(value, Fraction)
    assert truth * (1 - Fraction(1, 10**14)) < value <= truth


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer too wide for exact search, with a Gram matrix for each of two groups."""
    folder = tmp_path_factory.mktemp("wide")
    certify(
        [make_layer(rows=4, columns=66, groups=2, seed=8)], bits=(2, 4), chunk=None, refine="all", certificates=folder
    )
    return next(folder.iterdir())


def test_wide_layers_keep_their_blocks(file: Path) -> None:
    result = verify(file)
    assert result.holds, result.failures
    assert result.float_rows == result.row_bounds == 4 * 2 * 2
    for claim in result.certificate.claims:
        assert isinstance(claim.proof, PartsProof)
        kind = "block" if claim.method == "quantization" else "diagonal"
        assert [part.kind for part in claim.proof.parts] == [kind, kind]
        sums = result.sums[claim.method, 0, claim.bits]
        assert sums.dual is not None
        assert 0 < sums.dual < sums.upper


@pytest.mark.parametrize("name", ["dual", "y", "D"])
def test_an_altered_proof_is_refuted(name: str, file: Path, tmp_path: Path) -> None:
    genuine, _ = read(file)
    for index in range(len(genuine.claims)):
        certificate, _ = read(file)
        proof = certificate.claims[index].proof
        assert isinstance(proof, PartsProof)
        part = proof.parts[1].certificate
        assert isinstance(part, bounds.BlockCertificate | bounds.Certificate)
        if name == "dual":
            proof.lower[0, 3] *= 1 + 1e-4
        elif name == "y":
            part.y[1] *= 3.0
        elif isinstance(part, bounds.BlockCertificate):
            part.matrices[0][:] *= 1.5
        else:
            part.diagonal[1] *= 1.5
        write(certificate, tmp_path / "altered.npz")
        result = verify(tmp_path / "altered.npz")
        claim = genuine.claims[index]
        assert result.failures
        assert f"row 3, {claim.method} at {claim.bits} bits: " in result.failures[-1]


def changed_parts(certificate: LayerCertificate, change: Callable[[list[PartProof]], Any]) -> LayerCertificate:
    first, *rest = certificate.claims
    assert isinstance(first.proof, PartsProof)
    parts = list(first.proof.parts)
    change(parts)
    claim = dataclasses.replace(first, proof=PartsProof(tuple(parts), first.proof.lower))
    return dataclasses.replace(certificate, claims=(claim, *rest))


def moved(part: PartProof, first: int, last: int) -> PartProof:
    return PartProof(part.position, slice(first, last), part.certificate)


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.pop(),
        lambda parts: parts.append(parts[0]),
        lambda parts: parts.__setitem__(1, moved(parts[1], 1, 3)),
        lambda parts: parts.__setitem__(slice(0, 2), [moved(parts[0], 0, 4)]),
        lambda parts: parts.__setitem__(1, moved(parts[1], 2, 5)),
    ],
)
def test_every_row_has_one_proof(change: Callable[[list[PartProof]], Any], file: Path, tmp_path: Path) -> None:
    write(changed_parts(read(file)[0], change), tmp_path / "m.npz")
    with pytest.raises(CertificateFileError, match="parts miss or repeat rows, or mix groups"):
        verify(tmp_path / "m.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: part.update(kind="oracle"), "kind 'oracle', which this version cannot check"),
        (lambda part: part.update(chunk=1), "chunk 1, which is not there"),
        (lambda part: part.update(name="part/9"), "malformed certificate"),
    ],
)
def test_malformed_parts(change: Callable[..., Any], message: str, file: Path, tmp_path: Path) -> None:
    header, arrays, _ = read_archive(file, FORMAT, 1)
    change(header["claims"][0]["proof"]["parts"][0])
    write_archive(tmp_path / "m.npz", header, arrays)
    with pytest.raises(CertificateFileError, match=message):
        verify(tmp_path / "m.npz")


def test_shapes_that_do_not_fit_prove_nothing() -> None:
    certificate: AnyCertificate = bounds.BlockCertificate((np.arange(3),), (np.eye(3),), np.zeros((1, 4)))
    (reason,) = recheck(np.eye(4), np.ones((1, 4)), None, bounds.Sparse(2), certificate, exactly=False)
    assert "the blocks hold 3 columns" in str(reason)
