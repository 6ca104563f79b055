"""Proofs of wide problems in a certificate file: a certificate of `bounds` for consecutive rows of one Gram matrix.

A value claimed for it lies `MARGIN` below what float64 with its allowance proves, so that another machine, which may
round otherwise, proves it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bounds
from bounds import BlockCertificate, Certificate, Feasible, IntervalCertificate, LeastSquares
from bounds.gram import UNIT_ROUNDOFF, Array

MARGIN = 1e-7
#: Share of a bound that may be lost by keeping `y` in single precision.
SINGLE = 1e-4
Arrays = dict[str, NDArray[Any]]
AnyCertificate = Certificate | BlockCertificate | IntervalCertificate
KINDS: dict[type[AnyCertificate], str] = {
    Certificate: "diagonal", BlockCertificate: "block", IntervalCertificate: "interval",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PartProof:
    """The `certificate` of the rows `rows` of the layer in the chunk at `position`, in units of the feasible set."""

    position: int
    rows: slice
    certificate: AnyCertificate

    @property
    def kind(self) -> str:
        return KINDS[type(self.certificate)]


@dataclass(frozen=True, eq=False)
class PartsProof:
    """Parts that hold every row and chunk once, and `lower` (chunks, rows): at most what they prove."""

    parts: tuple[PartProof, ...]
    lower: Array


def proven_value(problem: LeastSquares, certificate: AnyCertificate, scale: Array | None) -> Array:
    """What is proven for the weights themselves, in squared output units, (rows,): float64 less its allowances.

    `problem.target` holds the rounded quotients of the weights by `scale` (rows,), None where there is no scale.
    """
    if isinstance(certificate, Certificate) and not certificate.diagonal.any() and not certificate.y.any():
        return np.zeros(problem.rows)  # no error is negative: this claims nothing
    if scale is None:
        return bounds.safe_value(problem, certificate)
    blur = UNIT_ROUNDOFF * np.abs(problem.target) + 2.0**-1074
    value = scale * scale * bounds.safe_value(problem, certificate, blur)
    return np.asarray(value - 8 * UNIT_ROUNDOFF * np.abs(value))


def exact_value(problem: LeastSquares, certificate: AnyCertificate, scale: Array | None) -> list[Fraction]:
    """The same in rational arithmetic, without any rounding: seconds a row for blocks of integers."""
    values = bounds.verify(problem, certificate)
    if scale is None:
        return values
    return [_moved(problem, row, value, Fraction(float(scale[row]))) for row, value in enumerate(values)]


def _moved(problem: LeastSquares, row: int, value: Fraction, scale: Fraction) -> Fraction:
    """From a target `t` to the quotient it was rounded from: `√E` moves by at most `‖t − quotient‖ ≤ √move`."""
    if value <= 0:
        return Fraction(0)
    blur = [abs(Fraction(float(t))) / 2**53 + Fraction(1, 2**1074) for t in problem.target[row]]
    move = Fraction(0)
    for size, line in zip(blur, np.abs(problem.gram.array).tolist(), strict=True):
        move += size * sum((Fraction(g) * b for g, b in zip(line, blur, strict=True)), Fraction(0))
    root = _root_below(value) - _root_below(move) - Fraction(1, 2**200)
    return scale * scale * max(root, Fraction(0)) ** 2


def _root_below(value: Fraction) -> Fraction:
    """The square root, at most 2⁻²⁰⁰ too small."""
    return Fraction(math.isqrt(math.floor(value * 4**200)), 2**200)


def in_single(problem: LeastSquares, certificate: AnyCertificate, scale: Array | None) -> tuple[AnyCertificate, Array]:
    """The certificate with `y` in single precision where that costs little, and what it proves, (rows,)."""
    value = proven_value(problem, certificate, scale)
    single = _rounded(certificate)
    rounded = proven_value(problem, single, scale)
    return (single, rounded) if (rounded >= value - SINGLE * np.abs(value)).all() else (certificate, value)


def compact(problem: LeastSquares, certificate: AnyCertificate, scale: Array | None) -> tuple[AnyCertificate, Array]:
    """`in_single`, and the value to claim, (rows,)."""
    certificate, value = in_single(problem, certificate, scale)
    return certificate, np.asarray(value - MARGIN * np.abs(value))


def narrowed(y: Array) -> NDArray[np.floating[Any]]:
    """In single precision where that changes nothing, which halves the file."""
    with np.errstate(over="ignore"):
        narrow = y.astype(np.float32)
    return narrow if np.array_equal(narrow, y) else y


def _rounded(certificate: AnyCertificate) -> AnyCertificate:
    def single(y: Array) -> Array:
        with np.errstate(over="ignore"):
            short = y.astype(np.float32).astype(np.float64)
        return np.where(np.isfinite(short), short, y)

    c = certificate
    if isinstance(c, IntervalCertificate):
        y = tuple(single(points) for points in c.y)
        return replace(c, y=y)
    if isinstance(c, BlockCertificate):
        return BlockCertificate(c.blocks, c.matrices, single(c.y))
    return Certificate(c.diagonal, single(c.y))


def flatten(part: PartProof, name: str) -> tuple[dict[str, Any], Arrays]:
    """The entry of the header and the arrays, called `name/…`."""
    c = part.certificate
    arrays: Arrays = {}
    if isinstance(c, Certificate):
        arrays["diagonal"] = c.diagonal
    else:
        arrays["columns"] = np.concatenate([*c.blocks, np.zeros(0, dtype=np.intp)]).astype(np.int32)
        arrays["widths"] = np.array([block.size for block in c.blocks], dtype=np.int32)
        lower = [d[..., *np.tril_indices(d.shape[-1])] for d in c.matrices]
        arrays["matrices"] = np.concatenate(lower, axis=-1) if lower else np.zeros(0)
    if isinstance(c, IntervalCertificate):
        arrays["direction"], arrays["lift_and_tail"] = c.direction, np.array([c.lift, c.tail])
        arrays["intervals"] = np.array([len(points) for points in c.y], dtype=np.int32)
        arrays["edges"], arrays["centres"] = np.concatenate(c.edges), np.concatenate(c.centres)
    y = np.concatenate(c.y) if isinstance(c, IntervalCertificate) else c.y
    arrays["y"] = narrowed(y)
    entry = {"chunk": part.position, "rows": [part.rows.start, part.rows.stop], "kind": part.kind, "name": name}
    return entry, {f"{name}/{key}": array for key, array in arrays.items()}


def gather(
    entry: dict[str, Any], chunks: Sequence[tuple[int, int]], take: Callable[[str, str], NDArray[Any]]
) -> PartProof:
    """The proof that `flatten` wrote; `take(name, kinds)` hands out an array of one of these kinds of dtype.

    `bounds` checks shapes and values when the proof is used.

    Raises
    ------
    ValueError
        An unknown kind, or a chunk that is not there.
    """

    def array(key: str, kinds: str = "f") -> NDArray[Any]:
        found = take(f"{entry['name']}/{key}", kinds)
        return found.astype(np.float64) if kinds == "f" else found.astype(np.intp)

    kind, y = entry["kind"], array("y")
    first, last = (int(v) for v in entry["rows"])
    place = int(entry["chunk"]), slice(first, last)
    if not 0 <= place[0] < len(chunks):
        raise ValueError(f"a proof of chunk {place[0]}, which is not there")
    columns = chunks[place[0]][1] - chunks[place[0]][0]
    if kind == "diagonal":
        return PartProof(*place, Certificate(array("diagonal"), y))
    if kind not in KINDS.values():
        raise ValueError(f"a proof of kind {kind!r}, which this version cannot check")
    ends = np.cumsum(array("widths", "i"))
    blocks = tuple(np.split(array("columns", "i"), ends[:-1])) if len(ends) else ()
    matrices = tuple(_squares(array("matrices"), [block.size for block in blocks]))
    if kind == "block":
        return PartProof(*place, BlockCertificate(blocks, matrices, y))
    lift, tail = array("lift_and_tail").tolist()
    count = array("intervals", "i")
    edges = np.split(array("edges"), np.cumsum(count + 1)[:-1])
    centres = np.split(array("centres"), np.cumsum(count)[:-1])
    points = np.split(y.reshape(-1, columns), np.cumsum(count)[:-1])
    return PartProof(
        *place,
        IntervalCertificate(
            array("direction"), lift, tail, blocks, matrices, tuple(edges), tuple(centres), tuple(points)
        ),
    )


def _squares(flat: Array, widths: list[int]) -> Iterator[Array]:
    """Symmetric matrices (…, width, width) from their lower triangles one after the other."""
    start = 0
    for width in widths:
        rows, columns = np.tril_indices(width)
        square = np.zeros((*flat.shape[:-1], width, width))
        part = flat[..., start : start + rows.size]
        square[..., rows, columns] = part
        square[..., columns, rows] = part
        start += rows.size
        yield square


def recheck(
    gram: Array, weight: Array, scale: Array | None, feasible: Feasible, certificate: AnyCertificate, *, exactly: bool
) -> list[Fraction | str]:
    """What a certificate proves about each row, or why it proves nothing."""
    try:
        problem = LeastSquares(gram, weight if scale is None else weight / scale[:, None], feasible)
        if exactly:
            return list(exact_value(problem, certificate, scale))
        value = proven_value(problem, certificate, scale)
    except (bounds.ProblemError, bounds.CertificateError) as error:
        return [f"prove nothing: {error}"] * len(weight)
    return [Fraction(v) if np.isfinite(v) else "prove nothing: no minimum is proven" for v in value.tolist()]
