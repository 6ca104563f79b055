"""Recheck a certificate in exact arithmetic. Nothing here solves, optimises or trusts a rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np

from bounds.feasible import Feasible

from ..any_scale import at_any_scale, bound_for_every_scale, surroundings
from ..contestants import MASK_COSTS, at_storage, named
from ..errors import InputError
from .certificates import Claim, LayerCertificate, read
from .exact_rows import achieved, dual_values, why_not_proven
from .parts import PartsProof, recheck

#: Where a verdict is passed: (chunk number in the run, bit-width, None for contestants that are named).
Place = tuple[int, int | None]


@dataclass
class Sums:
    """One contestant on one chunk, summed over the rows.

    Attributes
    ----------
    upper : the exact error of the weights in the file: achieved
    dual : lower value proven here, None where the file has no proof of some row
    lower : lower value claimed, which may need a rerun
    search_rows : rows whose claimed lower value rests on a search
    float_rows : rows whose dual value was checked in float64 with an allowance for every rounding, not in rationals
    any_scale : lower value claimed for every scale, 0 where nothing is; None where there is no scale to choose
    """

    rows: int = 0
    upper: Fraction = Fraction(0)
    dual: Fraction | None = Fraction(0)
    lower: Fraction = Fraction(0)
    search_rows: int = 0
    float_rows: int = 0
    any_scale: Fraction | None = None


@dataclass
class Verification:
    """What a certificate was found to prove; `failures` names every claim that is false."""

    path: Path
    identity: str
    certificate: LayerCertificate
    sums: dict[tuple[str, int, int | None], Sums] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    rerun: bool = False

    @property
    def holds(self) -> bool:
        """Nothing in the file was refuted."""
        return not self.failures

    @property
    def row_bounds(self) -> int:
        return sum(s.rows for s in self.sums.values())

    @property
    def search_rows(self) -> int:
        """Claimed lower values that rest on a search."""
        return sum(s.search_rows for s in self.sums.values())

    @property
    def float_rows(self) -> int:
        """Dual values checked in float64, every rounding accounted for; the others exactly."""
        return sum(s.float_rows for s in self.sums.values())

    @property
    def scales(self) -> int:
        """Sums at single scales on which the lower values for every scale rest; they are searched for."""
        free = [part for claim in self.certificate.claims for part in claim.any_scale]
        return sum(len(part.scales) for part in free if part is not None)

    def margins(self, *, proven: bool) -> dict[Place, tuple[str, float]]:
        """(better method or "undecided", ratio of the errors) for every chunk and bit-width that has both methods.

        `proven` counts only what was shown here: achieved errors and dual bounds (all bounds after a rerun).
        """
        found = self.duels(proven=proven)
        return {place: found[place, pair] for place, pair in found if pair == ("quantization", "pruning")}

    def duels(self, *, proven: bool) -> dict[tuple[Place, tuple[str, str]], tuple[str, float]]:
        """The same for every two contestants that are compared, by place and pair of methods."""
        found = {}
        for (first, index, bits), (second, *where) in combinations(self.sums, 2):
            if where == [index, bits]:
                pair = [self.sums[method, index, bits] for method in (first, second)]
                limits = [_limit(sums, proven and not self.rerun) for sums in pair]
                found[(index, bits), (first, second)] = _better(first, second, pair[0].upper, pair[1].upper, *limits)
        return found


def _limit(sums: Sums, proven: bool) -> Fraction:
    """What a rival must stay below: at every scale, which rests on searches, where there is one to choose."""
    if sums.any_scale is not None:
        return Fraction(0) if proven else min(sums.any_scale, sums.lower)
    return (Fraction(0) if sums.dual is None else sums.dual) if proven else sums.lower


def _better(
    first: str, second: str, first_upper: Fraction, second_upper: Fraction, first_lower: Fraction,
    second_lower: Fraction,
) -> tuple[str, float]:  # fmt: skip
    if first_upper < second_lower:
        return first, float(second_lower / first_upper) if first_upper else float("inf")
    if second_upper < first_lower:
        return second, float(first_lower / second_upper) if second_upper else float("inf")
    return "undecided", 1.0


def _meant(method: str, bits: int | None, columns: int, contestant: str = "") -> Feasible | None:
    """The set that a comparison is about; None for methods that are not compared.

    At equal storage the name of the contestant tells what the mask was taken to cost.

    Raises
    ------
    InputError
        A named contestant that is not known, or is called by another name, or has no such meaning at equal storage.
    """
    if bits is None:
        meant = named(contestant)
        if meant.name != contestant or meant.method != method:
            raise InputError(f"contestant {contestant!r} is compared as {method!r}")
        return meant.feasible(columns)
    known = [c for cost in MASK_COSTS for c in at_storage(bits, mask_cost=cost, compound=True) if c.method == method]
    for candidate in known:
        if contestant in ("", candidate.name):
            return candidate.feasible(columns)
    if known:
        raise InputError(f"contestant {contestant!r} is not {method} at {bits} bits: {known[0].name} is meant")
    return None


def verify(
    path: str | Path, *, rerun: bool = False, exactly: bool = False, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Recheck every number of a certificate file.

    Exactly: that the codes or weights are in their set and have at most the error claimed; that `gram − D ⪰ 0` and
    that `(D, y)` prove at least the dual value claimed; that no lower value exceeds what is achieved. Lower values
    that rest on a search are only repeated, unless `rerun` searches again (which loads the solvers).

    Parameters
    ----------
    rerun : bool
        Search again what rests on a search.
    exactly : bool
        Blocks and intervals, the proofs of wide problems, are checked in float64 with an allowance for every rounding;
        True checks them in rational arithmetic as well as all else, which takes seconds a row.
    progress : callable, optional
        Called with the parts done and all parts.

    Returns
    -------
    Verification
        With `failures`, empty when everything that can be checked holds.

    Raises
    ------
    CertificateFileError
        The file is missing, foreign, cut short, altered, malformed or of another version.
    """
    certificate, identity = read(Path(path))
    result = Verification(Path(path), identity, certificate)
    semidefinite: dict[bytes, str] = {}
    tasks = [(claim, *place) for claim in certificate.claims for place in certificate.pieces()]
    for done, (claim, position, group, rows, columns) in enumerate(tasks):
        index = certificate.indices[position]
        part = _Part(certificate, claim, position, group, rows, columns, exactly)
        result.failures += part.check(semidefinite, result.sums.setdefault((claim.method, index, claim.bits), Sums()))
        if group == certificate.groups - 1:
            sums = result.sums[claim.method, index, claim.bits]
            result.failures += why_not_for_every_scale(certificate, claim, position, sums, semidefinite)
        if rerun and not result.failures:
            from .rerunning import why_not_confirmed, why_scales_not_confirmed

            result.failures += why_not_confirmed(certificate, claim, position, group, rows, columns)
            if group == certificate.groups - 1:
                result.failures += why_scales_not_confirmed(certificate, claim, position)
        if progress is not None:
            progress(done + 1, len(tasks))
    result.rerun = rerun and not result.failures
    return result


def why_not_for_every_scale(
    certificate: LayerCertificate, claim: Claim, position: int, sums: Sums, semidefinite: dict[bytes, str]
) -> Iterator[str]:
    """Every reason why the lower value for all scales does not follow from those at single ones; else it is noted."""
    if claim.scale is None:
        return
    sums.any_scale = Fraction(0)
    free = claim.any_scale[position] if claim.any_scale else None
    if free is None:
        return
    where = f"layer {certificate.layer}, chunk {certificate.indices[position]}, {claim.heading}"
    energies: list[list[tuple[Fraction, Fraction]]] = []
    grams = list(certificate.grams[position])
    for place, group, rows, columns in certificate.pieces():
        if place != position:
            continue
        weight, gram = certificate.weight[rows, columns], grams[group]
        energies.append([(e, e) for e in achieved(gram, weight, None, np.zeros(weight.shape))])
        diagonal = np.nextafter(free.floors[group] * gram.diagonal(), np.inf)
        key = b"floor" + position.to_bytes(4, "big") + group.to_bytes(4, "big") + diagonal.tobytes()
        if key not in semidefinite:
            semidefinite[key] = why_not_proven(gram, np.where(gram.diagonal() > 0, diagonal, 0.0))
        if semidefinite[key]:
            yield f"{where}: gram − λ diag(gram), λ = {free.floors[group]!r}: {semidefinite[key]}"
            return
    codes = at_any_scale(claim.feasible[position])
    around = surroundings(codes, grams, energies, [Fraction(float(v)) for v in free.floors])
    value = Fraction(0) if around is None else bound_for_every_scale(free.scales.tolist(), free.sums.tolist(), around)
    if free.lower > value:
        yield f"{where}: the scales prove {float(value)!r} for every scale, not the {free.lower!r} claimed"
    if free.lower > sums.upper:
        yield f"{where}: the lower value for every scale exceeds the error achieved"
    sums.any_scale = Fraction(free.lower)


@dataclass(frozen=True)
class _Part:
    """The rows of one Gram matrix and one contestant."""

    certificate: LayerCertificate
    claim: Claim
    position: int
    group: int
    rows: slice
    columns: slice
    exactly: bool

    @property
    def feasible(self) -> Feasible:
        return self.claim.feasible[self.position]

    def check(self, semidefinite: dict[bytes, str], sums: Sums) -> Iterator[str]:
        """Every claim that is false; what holds goes into `sums`."""
        claim, at = self.claim, (self.position, self.rows)
        weight, x = self.certificate.weight[self.rows, self.columns], claim.x[self.rows, self.columns]
        gram = self.certificate.grams[self.position][self.group]
        scale = claim.scale_of(self.position, self.rows)
        inside = self.feasible.contains(x.astype(float))
        errors = achieved(gram, weight, scale, x)
        proven = self._proven(semidefinite)
        try:
            meant = _meant(claim.method, claim.bits, weight.shape[1], claim.contestant)
        except InputError as refusal:
            yield self._says(0, str(refusal))
            return
        if meant not in (None, self.feasible):
            yield self._says(0, f"the set is {self.feasible}, where {meant} is meant")
        upper, lower, by_dual = claim.upper[at].tolist(), claim.lower[at].tolist(), claim.by_dual[at].tolist()
        for row, error in enumerate(errors):
            if not inside[row]:
                yield self._says(row, f"the weights are not in {self.feasible}")
            if error > upper[row]:
                yield self._says(row, f"the error is {float(error):.17g}, above the {upper[row]!r} claimed")
            # the rounding of a singular Gram may be indefinite, and an error then a trifle below zero
            if lower[row] > max(error, 0):
                yield self._says(row, f"the lower value {lower[row]!r} exceeds the error {float(error):.17g} achieved")
            if claim.proof is not None:
                dual = float(claim.proof.lower[self.position, self.rows.start + row])
                value = proven[row]
                # no error is negative: a value of zero claims nothing
                if dual > 0 and (isinstance(value, str) or value is None or value < dual):
                    shown = value if isinstance(value, str) else f"prove {'nothing' if value is None else float(value)}"
                    yield self._says(row, f"(D, y) {shown}, not the {dual!r} claimed")
                if by_dual[row] and lower[row] > dual:
                    yield self._says(row, f"the lower value {lower[row]!r} exceeds the dual value {dual!r} it rests on")
                sums.dual = None if sums.dual is None else sums.dual + Fraction(dual)
            else:
                sums.dual = None
            sums.rows += 1
            sums.upper += error
            sums.lower += Fraction(lower[row])
            sums.search_rows += not by_dual[row]
            sums.float_rows += isinstance(claim.proof, PartsProof) and not self.exactly

    def _proven(self, semidefinite: dict[bytes, str]) -> list[Fraction | str | None]:
        """What `(D, y)` prove of each row, or why they prove nothing."""
        proof = self.claim.proof
        if proof is None:
            return []
        if isinstance(proof, PartsProof):
            return self._proven_by_parts(proof)
        shared = len(proof.diagonal) == self.certificate.groups
        gram = self.certificate.grams[self.position][self.group]
        diagonal = proof.diagonal[slice(self.group, self.group + 1) if shared else self.rows, self.columns]
        reasons = []
        for d in diagonal:
            key = bytes([0]) + self.position.to_bytes(4, "big") + self.group.to_bytes(4, "big") + d.tobytes()
            if key not in semidefinite:
                semidefinite[key] = why_not_proven(gram, d)
            reasons.append(semidefinite[key])
        rows, columns = self.rows, self.columns
        scale = self.claim.scale_of(self.position, rows)
        weight = self.certificate.weight[rows, columns]
        d = diagonal[0] if shared else diagonal
        values = dual_values(gram, d, proof.y[rows, columns], weight, scale, self.feasible)
        if shared:
            reasons = reasons * len(values)
        return [f"prove nothing: {reason}" if reason else v for reason, v in zip(reasons, values, strict=True)]

    def _proven_by_parts(self, proof: PartsProof) -> list[Fraction | str | None]:
        values: list[Fraction | str | None] = [None] * (self.rows.stop - self.rows.start)
        gram = self.certificate.grams[self.position][self.group]
        for part in proof.parts:
            if part.position == self.position and self.rows.start <= part.rows.start < self.rows.stop:
                weight = self.certificate.weight[part.rows, self.columns]
                scale = self.claim.scale_of(self.position, part.rows)
                found = recheck(gram, weight, scale, self.feasible, part.certificate, exactly=self.exactly)
                values[part.rows.start - self.rows.start : part.rows.stop - self.rows.start] = found
        return values

    def _says(self, row: int, text: str) -> str:
        chunk = self.certificate.indices[self.position]
        return (
            f"layer {self.certificate.layer}, chunk {chunk}, row {self.rows.start + row}, {self.claim.heading}: {text}"
        )
