"""From the results of a run to certificates: a dual bound beside every search, one file a layer."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bounds
from bounds import BoundsDisagree, Certificate, CertificateError, DiagonalSplit, ProblemError
from bounds.gram import UNIT_ROUNDOFF, Array
from bounds.verbs import Relaxation

from .certificates import Claim, DiagonalProof, LayerCertificate, file_name, write
from .contestants import Method, feasible_set
from .errors import QuanterrError
from .layers.layer import Chunk, Layer
from .units import RowResults, Unit, problem_of, shared_gram
from .workers import local_executor

#: Steps on `y`: 300 instead of 80 gain 0.03 … 0.15 dB on pruned rows for three times the time.
ROUNDS = 80
#: Share of a bound that may be lost by keeping `y` in single precision, which halves the file.
SINGLE = 1e-4
DUALS: dict[str, dict[Method, Relaxation]] = {
    "diagonal": dict.fromkeys(Method, DiagonalSplit(rounds=ROUNDS)),
    "semidefinite": {Method.QUANTIZATION: bounds.SemidefiniteDual(), Method.PRUNING: DiagonalSplit(rounds=ROUNDS)},
    "none": {},
}

Parts = Mapping[int, list[tuple[Unit, RowResults]]]
Key = tuple[str, int, Method]


@dataclass(frozen=True)
class ProvenRows:
    """Dual evidence for the rows of a unit: D for each piece (pieces, columns) or each row, y (rows, columns)."""

    diagonal: Array
    y: NDArray[np.floating[Any]]
    lower: Array


def prove_unit(unit: Unit, dual: str, thorough: bool) -> ProvenRows:
    """The dual bound of every row of a unit with one bit-width, in squared output units per sample.

    Raises
    ------
    QuanterrError
        The relaxation refuses the problem; names layer, chunk and rows.
    """
    relaxation = DiagonalSplit() if thorough and dual == "diagonal" else DUALS[dual][unit.method]
    parts, row = [], 0
    for piece in unit.pieces:
        scale = unit.scales[0, row : row + len(piece.weight)] if unit.scaled else None
        row += len(piece.weight)
        try:
            gram = shared_gram(np.ascontiguousarray(piece.gram).tobytes(), len(piece.gram))
            feasible = feasible_set(unit.method, unit.bits[0], unit.columns)
            problem = problem_of(gram, piece.weight, feasible, scale)
            parts.append(_prove_rows(problem, relaxation, scale))
        except (ProblemError, CertificateError) as error:
            raise QuanterrError(
                f"layer {unit.layer}, chunk {unit.chunk}, rows {piece.rows.start}–{piece.rows.stop - 1}, "
                f"{unit.method.value} at {unit.bits[0]} bits: no dual bound: {error}; or leave it out: dual = none"
            ) from error
    diagonals, ys, lowers = zip(*parts, strict=True)
    return ProvenRows(np.concatenate([np.atleast_2d(d) for d in diagonals]), np.concatenate(ys), np.concatenate(lowers))


def _prove_rows(
    problem: bounds.LeastSquares, relaxation: Relaxation, scale: Array | None
) -> tuple[Array, NDArray[np.floating[Any]], Array]:
    """D, y and the bound that holds for the quotients by `scale` themselves, not only for their rounding."""
    if problem.gram.singular and isinstance(problem.feasible, bounds.Sparse):
        # free weights along a null direction leave no (D, y) but this one
        nothing = np.zeros(problem.target.shape, dtype=np.float32)
        return np.zeros(problem.columns), nothing, np.zeros(problem.rows)
    found = bounds.lower_bound(problem, relaxation).certificate
    assert isinstance(found, Certificate), "DUALS are diagonal"
    blur = None if scale is None else UNIT_ROUNDOFF * np.abs(problem.target) + 2.0**-1074
    value = bounds.safe_value(problem, found, blur)
    y: NDArray[np.floating[Any]] = found.y
    with np.errstate(over="ignore"):
        single = found.y.astype(np.float32)
    if np.isfinite(single).all():
        rounded = bounds.safe_value(problem, Certificate(found.diagonal, single.astype(np.float64)), blur)
        if (rounded >= value - SINGLE * np.abs(value)).all():
            y, value = single, rounded
    if scale is not None:
        value = scale * scale * value
        value -= 8 * UNIT_ROUNDOFF * np.abs(value)
    return found.diagonal, y, value


def write_certificates(
    layers: Iterable[Layer],
    width: int | None,
    solved: Mapping[Key, Parts],
    folder: Path,
    *,
    dual: str,
    title: str,
    executor: Executor | None,
    jobs: int,
    begins: Callable[[str], object] | None = None,
) -> list[Path]:
    """Write one file for every layer of `solved`: results by (layer, chunk, method), then bit-width.

    `begins` is called with the name of each layer.

    Raises
    ------
    QuanterrError
        A relaxation refuses a problem.
    CertificateFileError
        A file cannot be written.
    BoundsDisagree
        A dual bound above the error achieved.
    """
    paths = []
    with local_executor(jobs) if executor is None else nullcontext(executor) as pool:
        for layer in layers:
            chunks = [c for c in layer.chunks(width) if any((layer.name, c.index, m) in solved for m in Method)]
            if not chunks:
                continue  # every chunk was refused, and is named as such
            if begins is not None:
                begins(layer.name)
            claims = tuple(_claims(layer, chunks, solved, dual, pool))
            certificate = LayerCertificate(
                layer.name, title, layer.samples, layer.damping, layer.weight,
                tuple(np.stack([_symmetric(piece.gram) for piece in chunk.pieces]) for chunk in chunks),
                tuple((chunk.columns.start, chunk.columns.stop) for chunk in chunks),
                tuple(chunk.index for chunk in chunks), claims, _versions(),
            )  # fmt: skip
            paths.append(folder / file_name(layer.name))
            write(certificate, paths[-1])
    return paths


def _claims(
    layer: Layer, chunks: list[Chunk], solved: Mapping[Key, Parts], dual: str, pool: Executor
) -> Iterator[Claim]:
    widths = sorted({bits for chunk, m in product(chunks, Method) for bits in solved[layer.name, chunk.index, m]})
    for method, bits in product(Method, widths):
        parts = [solved[layer.name, chunk.index, method][bits] for chunk in chunks]
        single = [[(u.only([u.bits.index(bits)]), result) for u, result in part] for part in parts]
        yield _claim(layer, chunks, method, bits, single, _proofs(single, dual, pool))


def _proofs(parts: list[list[tuple[Unit, RowResults]]], dual: str, pool: Executor) -> list[list[ProvenRows | None]]:
    if not DUALS[dual]:
        return [[None] * len(part) for part in parts]
    flying = [[pool.submit(prove_unit, u, dual, bool(r.dual.any())) for u, r in part] for part in parts]
    return [[future.result() for future in futures] for futures in flying]


def _claim(
    layer: Layer, chunks: list[Chunk], method: Method, bits: int, parts: list[list[tuple[Unit, RowResults]]],
    proofs: list[list[ProvenRows | None]],
) -> Claim:  # fmt: skip
    """Everything about one method at one bit-width in arrays of the whole layer."""
    shape, table = layer.weight.shape, (len(chunks), layer.rows)
    first = parts[0][0][0]
    code = np.int8 if bits <= 8 else np.int16
    x = np.zeros(shape, dtype=code if first.scaled else np.float64)
    upper, lower, proven = np.empty(table), np.empty(table), np.empty(table)
    by_dual, nodes = np.zeros(table, dtype=np.bool_), np.zeros(table, dtype=np.int64)
    scale = np.empty(layer.rows)
    y = np.zeros(shape, dtype=np.result_type(np.float32, *(p.y for ps in proofs for p in ps if p is not None)))
    # one D a group while the relaxation shares it among rows, else one a row
    shared = all(p is None or len(p.diagonal) == len(u.pieces) for ps, us in zip(proofs, parts, strict=True)
                 for p, (u, _) in zip(ps, us, strict=True))  # fmt: skip
    diagonal = np.zeros((layer.groups if shared else layer.rows, layer.columns))
    height = layer.rows // layer.groups
    for position, chunk in enumerate(chunks):
        for (unit, result), proof in zip(parts[position], proofs[position], strict=True):
            rows, columns = slice(unit.first_row, unit.first_row + unit.rows), chunk.columns
            x[rows, columns] = result.x
            scale[rows] = unit.scales[0]
            upper[position, rows], lower[position, rows] = result.error_upper, result.error_lower
            by_dual[position, rows], nodes[position, rows] = result.dual, result.nodes
            if proof is None:
                by_dual[position, rows] = False
                continue
            y[rows, columns], proven[position, rows] = proof.y, proof.lower
            if shared:
                places = [piece.rows.start // height for piece in unit.pieces]
                diagonal[places, columns] = proof.diagonal
            else:
                diagonal[rows, columns] = proof.diagonal
    kept = None
    if proofs[0][0] is not None:
        kept = DiagonalProof(diagonal, y, proven)
        # the file claims what it proves: its (D, y) may be a rounding below those of the run
        lower = np.where(by_dual, proven, lower)
        if np.any(proven > upper):
            chunk_index, row = (int(i) for i in np.argwhere(proven > upper)[0])
            raise BoundsDisagree(
                f"layer {layer.name}, chunk {chunks[chunk_index].index}, row {row}, {method.value} at {bits} bits: "
                f"dual bound {proven[chunk_index, row]!r} exceeds the error {upper[chunk_index, row]!r}"
            )
    sets = tuple(feasible_set(method, bits, chunk.columns.stop - chunk.columns.start) for chunk in chunks)
    return Claim(
        method.value, bits, sets, scale if first.scaled else None, x, upper, lower, by_dual, _search(first.search),
        nodes, kept,
    )  # fmt: skip


def _search(search: Any) -> dict[str, Any]:
    """JSON has no infinity: no limit is null."""
    fields = {name: None if value == float("inf") else value for name, value in asdict(search).items()}
    return {"method": type(search).__name__, **fields}


def _symmetric(gram: Array) -> Array:
    """As `bounds.Gram` keeps it."""
    return np.asarray(gram / 2 + gram.T / 2)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("quanterr", "numpy", "numba", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
