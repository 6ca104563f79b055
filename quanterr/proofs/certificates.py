"""One file a layer that states what was claimed about it and carries the proof: docs/certificate-format.md."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bounds.feasible
from bounds.feasible import Feasible
from bounds.gram import Array

from ..any_scale import EveryScale
from ..errors import CertificateFileError
from .archive import UNREADABLE, read_archive, short, write_archive
from .parts import PartProof, PartsProof, flatten, gather

FORMAT = "quanterr certificate"
VERSION = 1
SUFFIX = ".certificate.npz"
MOST_SCALES = 1000


@dataclass(frozen=True, eq=False)
class DiagonalProof:
    """A `(D, y)` for every row and chunk, and the value it proves.

    Attributes
    ----------
    diagonal : (groups, columns) shared by the rows of a group, or (rows, columns)
    y : (rows, columns) in units of the feasible set
    lower : (chunks, rows) at most what `(D, y)` prove exactly
    """

    diagonal: Array
    y: NDArray[np.floating[Any]]
    lower: Array


@dataclass(frozen=True, eq=False)
class Claim:
    """One contestant, all rows and chunks of a layer.

    Attributes
    ----------
    method, bits : as in `Contestant`: what it is compared as; `bits` is None for contestants that are named
    feasible : one set for each chunk; the row is `scale · x`, `x` in the set
    scale : (chunks, rows) weight units a code step, or None where the set holds weights
    x : (rows, columns) int codes, or float64 levels of a codebook or weights
    upper, lower : (chunks, rows) `lower ≤ optimum ≤ E(x) ≤ upper`
    by_dual : (chunks, rows) True where `lower` is what `proof` proves, False where it rests on the search
    search : the method and its budget, enough to run it again
    nodes : (chunks, rows) size of each search tree
    proof : DiagonalProof, PartsProof (wide problems), or None when only the search speaks for the lower values
    contestant : name of what is stored; empty in files from before it was kept
    any_scale : what holds for every scale, for each chunk; None where nothing is claimed
    """

    method: str
    bits: int | None
    feasible: tuple[Feasible, ...]
    scale: Array | None
    x: NDArray[Any]
    upper: Array
    lower: Array
    by_dual: NDArray[np.bool_]
    search: dict[str, Any]
    nodes: NDArray[np.int64]
    proof: DiagonalProof | PartsProof | None
    contestant: str = ""
    any_scale: tuple[EveryScale | None, ...] = ()

    @property
    def name(self) -> str:
        return claim_name(self.method, self.bits)

    @property
    def heading(self) -> str:
        """How messages call it."""
        return self.method if self.bits is None else f"{self.method} at {self.bits} bits"

    def scale_of(self, position: int, rows: slice) -> Array | None:
        """(rows,) in the chunk at that position; None where the set holds weights."""
        return None if self.scale is None else self.scale[position, rows]


@dataclass(frozen=True, eq=False)
class LayerCertificate:
    """All claims about a layer. `grams[c]` (groups, n, n) is the metric of the columns `chunks[c]` of each row.

    `indices[c]` is the chunk's number in the run; a refused chunk is missing. `damping` is part of the Grams.
    """

    layer: str
    title: str
    samples: int
    damping: float
    weight: Array
    grams: tuple[Array, ...]
    chunks: tuple[tuple[int, int], ...]
    indices: tuple[int, ...]
    claims: tuple[Claim, ...]
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> int:
        return int(self.grams[0].shape[0])

    def pieces(self) -> Iterator[tuple[int, int, slice, slice]]:
        """(chunk position, group, rows, columns) of every Gram matrix."""
        height = len(self.weight) // self.groups
        for position, (low, high) in enumerate(self.chunks):
            for group in range(self.groups):
                yield position, group, slice(group * height, (group + 1) * height), slice(low, high)


def claim_name(method: str, bits: int | None) -> str:
    """What the arrays of a claim are called."""
    return method if bits is None else f"{method}-{bits}"


def file_name(layer: str) -> str:
    """The name of a layer's file: the layer's where the file system allows it, else told apart by a hash."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", layer)[:100]
    if safe != layer or safe[:1] in ("", "."):
        safe = f"{safe.lstrip('.')}-{hashlib.sha256(layer.encode()).hexdigest()[:8]}"
    return safe + SUFFIX


def write(certificate: LayerCertificate, path: Path) -> str:
    """Write the file, whole or not at all, to a folder that is there, and return its identity.

    The same certificate gives the same bytes.

    Raises
    ------
    CertificateFileError
        The file cannot be written.
    """
    return write_archive(path, *_flatten(certificate))


def read(path: Path) -> tuple[LayerCertificate, str]:
    """The certificate in a file and its identity; every byte of content agrees with the hashes.

    Raises
    ------
    CertificateFileError
        Says whether the file is missing, foreign, damaged or of another version.
    """
    header, arrays, identity = read_archive(path, FORMAT, VERSION)
    try:
        return _gather(header, arrays), identity
    except (*UNREADABLE, AttributeError) as error:
        raise CertificateFileError(f"{path}: malformed certificate: {short(error)}") from error


def content_hash(array: Array) -> str:
    """SHA-256 of the entries as little-endian doubles in C order."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f8").tobytes()).hexdigest()


def _flatten(certificate: LayerCertificate) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    narrow = certificate.weight.astype(np.float32)
    exact = bool((narrow.astype(np.float64) == certificate.weight).all())
    arrays: dict[str, NDArray[Any]] = {"weight": narrow if exact else certificate.weight}
    for position, gram in enumerate(certificate.grams):
        rows, columns = np.tril_indices(gram.shape[1])
        arrays[f"gram/{position}"] = gram[:, rows, columns]
    diagonals: dict[bytes, str] = {}
    parts = 0
    claims = []
    for claim in certificate.claims:
        entry: dict[str, Any] = {
            "method": claim.method, "bits": claim.bits, "contestant": claim.contestant,
            "feasible": [_set(f) for f in claim.feasible], "scaled": claim.scale is not None, "search": claim.search,
            "proof": None, "any_scale": [None if free is None else free.lower for free in claim.any_scale],
        }  # fmt: skip
        for position, free in enumerate(claim.any_scale):
            if free is not None:
                for name in ("scales", "sums", "floors"):
                    arrays[f"{claim.name}/{name}/{position}"] = getattr(free, name)
        for name in ("x", "upper", "lower", "by_dual", "nodes"):
            arrays[f"{claim.name}/{name}"] = getattr(claim, name)
        if claim.scale is not None:
            alike = (claim.scale == claim.scale[0]).all()
            arrays[f"{claim.name}/scale"] = claim.scale[0] if alike else claim.scale
        if isinstance(claim.proof, PartsProof):
            arrays[f"{claim.name}/dual"] = claim.proof.lower
            entry["proof"] = {"kind": "parts", "parts": []}
            for part in claim.proof.parts:
                line, members = flatten(part, f"part/{parts}")
                parts += 1
                entry["proof"]["parts"].append(line)
                arrays |= members
        elif claim.proof is not None:
            new = f"diagonal/{len(diagonals)}"
            place = diagonals.setdefault(claim.proof.diagonal.tobytes(), new)
            arrays.setdefault(place, claim.proof.diagonal)
            arrays[f"{claim.name}/y"], arrays[f"{claim.name}/dual"] = claim.proof.y, claim.proof.lower
            entry["proof"] = {"kind": "diagonal", "diagonal": place}
        claims.append(entry)
    header = {
        "format": FORMAT, "version": VERSION, "layer": certificate.layer, "title": certificate.title,
        "samples": certificate.samples, "damping": certificate.damping, "rows": certificate.weight.shape[0],
        "columns": certificate.weight.shape[1], "groups": certificate.groups,
        "weight_sha256": content_hash(certificate.weight),
        "chunks": [
            {"index": index, "columns": list(columns), "gram_sha256": content_hash(gram)}
            for index, columns, gram in zip(certificate.indices, certificate.chunks, certificate.grams, strict=True)
        ],
        "claims": claims, "versions": certificate.versions,
    }  # fmt: skip
    return header, arrays


def _gather(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> LayerCertificate:
    """The certificate, every shape, type and hash of content checked."""
    rows, columns, groups = (int(header[name]) for name in ("rows", "columns", "groups"))
    count = len(header["chunks"])
    _require(min(rows, columns, groups, count) > 0 and rows % groups == 0, "rows, columns, groups or chunks")
    used: set[str] = set()

    def member(name: str, kinds: str) -> NDArray[Any]:
        used.add(name)
        array = arrays[name]
        _require(array.dtype.kind in kinds, f"{name} has type {array.dtype}{array.shape}")
        _require(array.dtype.kind != "f" or bool(np.isfinite(array).all()), f"{name} holds NaN or infinity")
        return array

    def take(name: str, shapes: set[tuple[int, ...]], kinds: str) -> NDArray[Any]:
        array = member(name, kinds)
        _require(array.shape in shapes, f"{name} has type {array.dtype}{array.shape}")
        return array

    def doubles(name: str, *shapes: tuple[int, ...]) -> Array:
        return take(name, set(shapes), "f").astype(np.float64)

    weight = doubles("weight", (rows, columns))
    _require(content_hash(weight) == header["weight_sha256"], "weight_sha256 is of another weight")
    grams: list[Array] = []
    chunks: list[tuple[int, int]] = []
    for position, chunk in enumerate(header["chunks"]):
        low, high = (int(v) for v in chunk["columns"])
        _require((chunks[-1][1] if chunks else 0) <= low < high <= columns, "chunks overlap or are out of order")
        grams.append(_square(doubles(f"gram/{position}", (groups, (high - low) * (high - low + 1) // 2)), high - low))
        _require(content_hash(grams[-1]) == chunk["gram_sha256"], f"gram_sha256 is not of gram/{position}")
        chunks.append((low, high))
    indices = [int(chunk["index"]) for chunk in header["chunks"]]
    _require(indices == sorted(set(indices)), "chunk numbers are not ascending")
    claims = []
    for entry in header["claims"]:
        bits = None if entry["bits"] is None else int(entry["bits"])
        name, scaled = claim_name(str(entry["method"]), bits), entry["scaled"]
        # one of the tensor stands for all chunks
        shapes = (rows,), (count, rows)
        scale = np.array(np.broadcast_to(doubles(f"{name}/scale", *shapes), shapes[1])) if scaled else None
        _require(scale is None or bool((scale > 0).all()), f"{name}/scale is not positive")
        sets = tuple(_feasible(f) for f in entry["feasible"])
        _require(len(sets) == count, f"{name} has {len(sets)} sets for {count} chunks")
        for allowed, (low, high) in zip(sets, chunks, strict=True):
            allowed.check(high - low)
        proof: DiagonalProof | PartsProof | None = None
        kind = (entry["proof"] or {}).get("kind")
        if kind == "parts":
            parts = tuple(gather(line, chunks, member) for line in entry["proof"]["parts"])
            _require(_once(parts, count, rows, groups), f"{name}: parts miss or repeat rows, or mix groups")
            proof = PartsProof(parts, doubles(f"{name}/dual", (count, rows)))
        elif kind == "diagonal":
            diagonal = doubles(entry["proof"]["diagonal"], (groups, columns), (rows, columns))
            y = take(f"{name}/y", {(rows, columns)}, "f")
            proof = DiagonalProof(diagonal, y, doubles(f"{name}/dual", (count, rows)))
        else:
            _require(kind is None, f"{name} has a proof of kind {kind!r}, which this version cannot check")
        lowers = entry.get("any_scale") or [None] * count
        _require(len(lowers) == count and (scaled or lowers == [None] * count), f"{name} has a wrong any_scale")
        free = []
        for position, least in enumerate(lowers):
            sizes = {(k,) for k in range(1, MOST_SCALES + 1)}
            tables = () if least is None else (
                doubles(f"{name}/scales/{position}", *sizes), doubles(f"{name}/sums/{position}", *sizes),
                doubles(f"{name}/floors/{position}", (groups,)),
            )  # fmt: skip
            free.append(EveryScale(float(least), *tables) if tables else None)
        by_dual = take(f"{name}/by_dual", {(count, rows)}, "b")
        _require(proof is not None or not by_dual.any(), f"{name}/by_dual names a proof that is not there")
        claims.append(
            Claim(
                str(entry["method"]), bits, sets, scale, take(f"{name}/x", {(rows, columns)}, _kind(sets[0], scaled)),
                doubles(f"{name}/upper", (count, rows)), doubles(f"{name}/lower", (count, rows)), by_dual,
                dict(entry["search"]), take(f"{name}/nodes", {(count, rows)}, "i"), proof,
                str(entry.get("contestant", "")), tuple(free),
            )
        )  # fmt: skip
    _require(used == arrays.keys(), f"members that nothing refers to: {sorted(arrays.keys() - used)}")
    _require(len({claim.name for claim in claims}) == len(claims), "two claims of one name")
    return LayerCertificate(
        str(header["layer"]), str(header["title"]), int(header["samples"]), float(header["damping"]), weight,
        tuple(grams), tuple(chunks), tuple(indices), tuple(claims),
        dict(header["versions"]),
    )  # fmt: skip


def _once(parts: tuple[PartProof, ...], count: int, rows: int, groups: int) -> bool:
    """Whether every row of every chunk is in exactly one part, and every part in one group."""
    held, height = np.zeros((count, rows), dtype=np.int64), rows // groups
    for part in parts:
        first, last = part.rows.start, part.rows.stop
        if not (0 <= first < last <= rows and first // height == (last - 1) // height):
            return False
        held[part.position, part.rows] += 1
    return bool((held == 1).all())


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _square(packed: Array, n: int) -> Array:
    """Symmetric matrices (groups, n, n) from their lower triangles, row by row."""
    rows, columns = np.tril_indices(n)
    full = np.zeros((len(packed), n, n))
    full[:, rows, columns] = packed
    full[:, columns, rows] = packed
    return full


def _kind(feasible: Feasible, scaled: bool) -> str:
    """Integer codes are integers; levels and weights are doubles."""
    return "i" if scaled and not isinstance(feasible, bounds.feasible.Codebook) else "f"


def _set(feasible: Feasible) -> dict[str, Any]:
    fields: dict[str, Any] = asdict(feasible)  # type: ignore[call-overload]
    return {"set": type(feasible).__name__, **fields}


def _feasible(entry: dict[str, Any]) -> Feasible:
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items() if name != "set"}
    _require(entry["set"] in bounds.feasible.__all__ and entry["set"] != "Feasible", f"unknown set {entry['set']!r}")
    make: Callable[..., Feasible] = getattr(bounds.feasible, entry["set"])
    return make(**fields)
