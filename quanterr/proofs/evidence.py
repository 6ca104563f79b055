"""From the results of a run to certificates: a dual bound beside every search, one file a layer."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bounds
from bounds import BoundsDisagree, Certificate, CertificateError, DiagonalSplit, ProblemError
from bounds.gram import Array
from bounds.verbs import Relaxation

from ..any_scale import EveryScale
from ..contestants import Contestant
from ..errors import QuanterrError
from ..every_scale import Place
from ..execution.running import result_of
from ..layers.layer import Chunk, Layer, Piece
from ..scale_free import ScaleFree
from ..units import RowResults, Unit, certified
from .certificates import Claim, DiagonalProof, LayerCertificate, file_name, write
from .parts import AnyCertificate, PartProof, PartsProof, compact, in_single, narrowed

#: Steps on `y`: 300 instead of 80 gain 0.03 … 0.15 dB on pruned rows for three times the time.
ROUNDS = 80
#: The relaxation behind every name; the semidefinite one knows integer codes only, what else there is gets a diagonal.
DUALS: dict[str, Relaxation | None] = {
    "diagonal": DiagonalSplit(rounds=ROUNDS), "semidefinite": bounds.SemidefiniteDual(), "none": None,
}  # fmt: skip

Parts = Mapping[Contestant, list[tuple[Unit, RowResults]]]
Key = tuple[str, int]


@dataclass(frozen=True)
class ProvenRows:
    """Dual evidence for the rows of a unit: D for each piece (pieces, columns) or each row, y (rows, columns)."""

    diagonal: Array
    y: NDArray[np.floating[Any]]
    lower: Array


@dataclass(frozen=True)
class ProvenParts:
    """Dual evidence of any kind for the rows of a wide unit: a certificate for the rows of each Gram matrix."""

    parts: tuple[tuple[slice, AnyCertificate], ...]
    lower: Array


Proven = ProvenRows | ProvenParts


def prove_unit(unit: Unit, dual: str, thorough: bool) -> ProvenRows:
    """The dual bound of every row of a unit with one contestant, in squared output units per sample.

    Raises
    ------
    QuanterrError
        The relaxation refuses the problem; names layer, chunk and rows.
    """
    named = DUALS[dual if isinstance(unit.feasible(0), bounds.IntegerBox) else "diagonal"]
    assert named is not None
    relaxation = DiagonalSplit() if thorough and dual == "diagonal" else named
    found = [_diagonal(problem, c, scale) for _, problem, c, scale in _relaxed(replace(unit, relaxation=relaxation))]
    diagonals, ys, lowers = zip(*found, strict=True)
    return ProvenRows(np.concatenate([np.atleast_2d(d) for d in diagonals]), np.concatenate(ys), np.concatenate(lowers))


def prove_parts(unit: Unit) -> ProvenParts:
    """The bound of the unit's own relaxation once more, with all that is needed to check it; errors as above."""
    found = [(piece.rows, *compact(problem, c, scale)) for piece, problem, c, scale in _relaxed(unit)]
    return ProvenParts(tuple((rows, c) for rows, c, _ in found), np.concatenate([lower for _, _, lower in found]))


def _relaxed(unit: Unit) -> Iterator[tuple[Piece, bounds.LeastSquares, AnyCertificate, Array | None]]:
    """Each piece with its problem, the certificate of its bound and the scale of its rows."""
    row = 0
    for piece in unit.pieces:
        scale = unit.scales[0, row : row + len(piece.weight)] if unit.scaled else None
        row += len(piece.weight)
        try:
            problem = unit.problem(0, piece)
            yield piece, problem, _certificate(problem, unit.settled(0, piece)), scale
        except (ProblemError, CertificateError) as error:
            raise QuanterrError(
                f"layer {unit.layer}, chunk {unit.chunk}, rows {piece.rows.start}–{piece.rows.stop - 1}, "
                f"{unit.contestants[0].heading}: no dual bound: {error}; or leave it out: dual = none"
            ) from error


def _certificate(problem: bounds.LeastSquares, relaxation: Relaxation) -> AnyCertificate:
    """What `units.solve_rows` rests on; zero, which claims nothing, where a singular Gram leaves no other."""
    free = isinstance(problem.feasible, bounds.Sparse | bounds.NofM | bounds.BlockSparse)
    found = None if problem.gram.singular and free else certified(problem, relaxation)
    return Certificate(np.zeros(problem.columns), np.zeros_like(problem.target)) if found is None else found.certificate


def _diagonal(
    problem: bounds.LeastSquares, found: AnyCertificate, scale: Array | None
) -> tuple[Array, NDArray[np.floating[Any]], Array]:
    """D, y and the bound that holds for the quotients by `scale` themselves, not only for their rounding."""
    kept, value = in_single(problem, found, scale)
    assert isinstance(kept, Certificate), "DUALS are diagonal"
    return kept.diagonal, narrowed(kept.y), value


def write_certificates(
    layers: Iterable[Layer],
    width: int | None,
    solved: Mapping[Key, Parts],
    folder: Path,
    *,
    dual: str,
    any_scale: Mapping[Place, ScaleFree],
    title: str,
    pool: Executor,
    begins: Callable[[str], object] | None = None,
) -> list[Path]:
    """Write one file for every layer of `solved`: results by (layer, chunk), then contestant.

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
    for layer in layers:
        chunks = [c for c in layer.chunks(width) if (layer.name, c.index) in solved]
        if not chunks:
            continue  # every chunk was refused, and is named as such
        if begins is not None:
            begins(layer.name)
        claims = tuple(_claims(layer, chunks, solved, dual, pool, any_scale))
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
    layer: Layer, chunks: list[Chunk], solved: Mapping[Key, Parts], dual: str, pool: Executor,
    any_scale: Mapping[Place, ScaleFree],
) -> Iterator[Claim]:  # fmt: skip
    for contestant in solved[layer.name, chunks[0].index]:
        parts = [solved[layer.name, chunk.index][contestant] for chunk in chunks]
        single = [[(u.only([u.contestants.index(contestant)]), result) for u, result in part] for part in parts]
        claim = _claim(layer, chunks, contestant, single, _proofs(single, dual, pool))
        found = [any_scale.get((layer.name, chunk.index, contestant)) for chunk in chunks]
        free = [None if f is None else _every_scale(layer, p, f) for p, f in zip(single, found, strict=True)]
        yield replace(claim, any_scale=tuple(free))


def _every_scale(layer: Layer, parts: list[tuple[Unit, RowResults]], free: ScaleFree) -> EveryScale:
    """The floors of pieces as those of groups."""
    height = layer.rows // layer.groups
    floors = np.full(layer.groups, np.inf)
    for piece, floor in zip((piece for unit, _ in parts for piece in unit.pieces), free.floors, strict=True):
        group = piece.rows.start // height
        floors[group] = min(floors[group], floor)
    return EveryScale(free.lower, free.scales, free.sums, floors)


def _proofs(parts: list[list[tuple[Unit, RowResults]]], dual: str, pool: Executor) -> list[list[Proven | None]]:
    """All proofs of one claim are of one class: any wide unit that has more than a diagonal makes them parts."""
    if DUALS[dual] is None:
        return [[None] * len(part) for part in parts]
    flying: list[list[tuple[Unit, Future[Proven]]]]
    if any(unit.wide and not isinstance(unit.relaxation, DiagonalSplit) for part in parts for unit, _ in part):
        flying = [[(unit, pool.submit(prove_parts, unit)) for unit, _ in part] for part in parts]
    else:
        flying = [[(u, pool.submit(prove_unit, u, dual, bool(r.dual.any()))) for u, r in part] for part in parts]
    return [[result_of(future, str(unit)) for unit, future in futures] for futures in flying]


def _claim(
    layer: Layer, chunks: list[Chunk], contestant: Contestant, parts: list[list[tuple[Unit, RowResults]]],
    proofs: list[list[Proven | None]],
) -> Claim:  # fmt: skip
    """Everything about one contestant in arrays of the whole layer."""
    shape, table = layer.weight.shape, (len(chunks), layer.rows)
    first = parts[0][0][0]
    x = np.zeros(shape, dtype=_type_of(contestant))
    upper, lower, proven = np.empty(table), np.empty(table), np.empty(table)
    by_dual, nodes = np.zeros(table, dtype=np.bool_), np.zeros(table, dtype=np.int64)
    scale = np.empty(table)
    y = np.zeros(
        shape, dtype=np.result_type(np.float32, *(p.y for ps in proofs for p in ps if isinstance(p, ProvenRows)))
    )
    # one D a group while the relaxation shares it among rows, else one a row
    shared = all(not isinstance(p, ProvenRows) or len(p.diagonal) == len(u.pieces)
                 for ps, us in zip(proofs, parts, strict=True) for p, (u, _) in zip(ps, us, strict=True))  # fmt: skip
    pieces: list[PartProof] = []
    diagonal = np.zeros((layer.groups if shared else layer.rows, layer.columns))
    height = layer.rows // layer.groups
    for position, chunk in enumerate(chunks):
        for (unit, result), proof in zip(parts[position], proofs[position], strict=True):
            rows, columns = slice(unit.first_row, unit.first_row + unit.rows), chunk.columns
            x[rows, columns] = result.x
            scale[position, rows] = unit.scales[0]
            upper[position, rows], lower[position, rows] = result.error_upper, result.error_lower
            by_dual[position, rows], nodes[position, rows] = result.dual, result.nodes
            if proof is None:
                by_dual[position, rows] = False
                continue
            proven[position, rows] = proof.lower
            if isinstance(proof, ProvenParts):
                pieces += [PartProof(position, place, certificate) for place, certificate in proof.parts]
                continue
            y[rows, columns] = proof.y
            if shared:
                places = [piece.rows.start // height for piece in unit.pieces]
                diagonal[places, columns] = proof.diagonal
            else:
                diagonal[rows, columns] = proof.diagonal
    kept: DiagonalProof | PartsProof | None = None
    if proofs[0][0] is not None:
        kept = PartsProof(tuple(pieces), proven) if pieces else DiagonalProof(diagonal, y, proven)
        # the file claims what it proves: its (D, y) may be a rounding below those of the run
        lower = np.where(by_dual, proven, lower)
        if np.any(proven > upper):
            chunk_index, row = (int(i) for i in np.argwhere(proven > upper)[0])
            raise BoundsDisagree(
                f"layer {layer.name}, chunk {chunks[chunk_index].index}, row {row}, {contestant.heading}: "
                f"dual bound {proven[chunk_index, row]!r} exceeds the error {upper[chunk_index, row]!r}"
            )
    sets = tuple(contestant.feasible(chunk.columns.stop - chunk.columns.start) for chunk in chunks)
    return Claim(
        contestant.method, contestant.bits, sets, scale if first.scaled else None, x, upper, lower, by_dual,
        _search(first.search), nodes, kept, contestant.name,
    )  # fmt: skip


def _type_of(contestant: Contestant) -> type[np.generic]:
    """The smallest of int8, int16 that holds integer codes; levels of a codebook and weights are doubles."""
    if not isinstance(contestant.codes, bounds.IntegerBox):
        return np.float64
    return np.int8 if contestant.codes.low >= -128 and contestant.codes.high < 128 else np.int16


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
