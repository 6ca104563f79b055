"""Recheck a certificate in exact arithmetic. Nothing here solves, optimises or trusts a rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from bounds.feasible import Feasible, IntegerBox, Sparse

from .certificates import Claim, LayerCertificate, read
from .exact_rows import achieved, dual_values, why_not_proven

#: Where a verdict is passed: (chunk number in the run, bit-width).
Place = tuple[int, int]


@dataclass
class Sums:
    """One method on one chunk at one bit-width, summed over the rows.

    Attributes
    ----------
    upper : the exact error of the weights in the file: achieved
    dual : lower value proven here, None where the file has no proof of some row
    lower : lower value claimed, which may need a rerun
    search_rows : rows whose claimed lower value rests on a search
    """

    rows: int = 0
    upper: Fraction = Fraction(0)
    dual: Fraction | None = Fraction(0)
    lower: Fraction = Fraction(0)
    search_rows: int = 0


@dataclass
class Verification:
    """What a certificate was found to prove; `failures` names every claim that is false."""

    path: Path
    identity: str
    certificate: LayerCertificate
    sums: dict[tuple[str, int, int], Sums] = field(default_factory=dict)
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

    def margins(self, *, proven: bool) -> dict[Place, tuple[str, float]]:
        """(better method or "undecided", ratio of the errors) for every chunk and bit-width that has both methods.

        `proven` counts only what was shown here: achieved errors and dual bounds (all bounds after a rerun).
        """
        found = {}
        for method, index, bits in self.sums:
            sides = {m: self.sums[m, index, bits] for m in ("quantization", "pruning") if (m, index, bits) in self.sums}
            if method != "quantization" or len(sides) < 2:
                continue
            q, p = sides["quantization"], sides["pruning"]
            found[index, bits] = _better(q.upper, p.upper, *(_limit(s, proven and not self.rerun) for s in (q, p)))
        return found


def _limit(sums: Sums, proven: bool) -> Fraction:
    return (Fraction(0) if sums.dual is None else sums.dual) if proven else sums.lower


def _better(q_upper: Fraction, p_upper: Fraction, q_lower: Fraction, p_lower: Fraction) -> tuple[str, float]:
    if q_upper < p_lower:
        return "quantization", float(p_lower / q_upper) if q_upper else float("inf")
    if p_upper < q_lower:
        return "pruning", float(q_lower / p_upper) if p_upper else float("inf")
    return "undecided", 1.0


def _meant(method: str, bits: int, columns: int) -> Feasible | None:
    """The set that a comparison at equal storage is about; None for methods that are not compared."""
    if method == "quantization":
        return IntegerBox(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return Sparse(columns * bits // 16) if method == "pruning" else None


def verify(
    path: str | Path, *, rerun: bool = False, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Recheck every number of a certificate file.

    Exactly: that the codes or weights are in their set and have at most the error claimed; that `gram − D ⪰ 0` and
    that `(D, y)` prove at least the dual value claimed; that no lower value exceeds what is achieved. Lower values
    that rest on a search are only repeated, unless `rerun` searches again (which loads the solvers).

    Parameters
    ----------
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
        part = _Part(certificate, claim, position, group, rows, columns)
        result.failures += part.check(semidefinite, result.sums.setdefault((claim.method, index, claim.bits), Sums()))
        if rerun and not result.failures:
            from .rerunning import why_not_confirmed

            result.failures += why_not_confirmed(certificate, claim, position, group, rows, columns)
        if progress is not None:
            progress(done + 1, len(tasks))
    result.rerun = rerun and not result.failures
    return result


@dataclass(frozen=True)
class _Part:
    """The rows of one Gram matrix, one method, one bit-width."""

    certificate: LayerCertificate
    claim: Claim
    position: int
    group: int
    rows: slice
    columns: slice

    @property
    def feasible(self) -> Feasible:
        return self.claim.feasible[self.position]

    def check(self, semidefinite: dict[bytes, str], sums: Sums) -> Iterator[str]:
        """Every claim that is false; what holds goes into `sums`."""
        claim, at = self.claim, (self.position, self.rows)
        weight, x = self.certificate.weight[self.rows, self.columns], claim.x[self.rows, self.columns]
        gram = self.certificate.grams[self.position][self.group]
        scale = None if claim.scale is None else claim.scale[self.rows]
        inside = self.feasible.contains(x.astype(float))
        errors = achieved(gram, weight, scale, x)
        proven = self._proven(semidefinite)
        meant = _meant(claim.method, claim.bits, weight.shape[1])
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

    def _proven(self, semidefinite: dict[bytes, str]) -> list[Fraction | str | None]:
        """What `(D, y)` prove of each row, or why they prove nothing."""
        proof = self.claim.proof
        if proof is None:
            return []
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
        scale = None if self.claim.scale is None else self.claim.scale[rows]
        weight = self.certificate.weight[rows, columns]
        d = diagonal[0] if shared else diagonal
        values = dual_values(gram, d, proof.y[rows, columns], weight, scale, self.feasible)
        if shared:
            reasons = reasons * len(values)
        return [f"prove nothing: {reason}" if reason else v for reason, v in zip(reasons, values, strict=True)]

    def _says(self, row: int, text: str) -> str:
        chunk = self.certificate.indices[self.position]
        return (
            f"layer {self.certificate.layer}, chunk {chunk}, row {self.rows.start + row}, {self.claim.method} at "
            f"{self.claim.bits} bits: {text}"
        )
