"""Search again what a certificate only repeats. The one part of checking that trusts the solvers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from bounds import BatchSearch, BranchAndBound, Gram, LocalSearch, ProblemError
from bounds.result import CLOSED
from bounds.verbs import Search

from ..grams import shared_gram
from ..scale_free import rows_at_scale
from ..units import solve_rows
from .certificates import Claim, LayerCertificate

SEARCHES: dict[str, Callable[..., Search]] = {
    "BatchSearch": BatchSearch, "BranchAndBound": BranchAndBound, "LocalSearch": LocalSearch,
}  # fmt: skip


def why_not_confirmed(
    certificate: LayerCertificate, claim: Claim, position: int, group: int, rows: slice, columns: slice
) -> Iterator[str]:
    """Every row whose search does not give the claimed lower value again, up to the tolerance 1e-6 of `CLOSED`.

    Another processor or version may round otherwise, so that the last digits differ.
    """
    where = f"layer {certificate.layer}, chunk {certificate.indices[position]}, {claim.heading}"
    budget: dict[str, Any] = {
        name: math.inf if value is None else value for name, value in claim.search.items() if name != "method"
    }
    scale = claim.scale_of(position, rows)
    try:
        search = SEARCHES[claim.search["method"]](**budget)
        gram, weight = Gram(certificate.grams[position][group]), certificate.weight[rows, columns]
        found = solve_rows(gram, weight, claim.feasible[position], search, scale)
    except (ProblemError, TypeError, KeyError) as error:
        yield f"{where}: cannot be searched again: {error}"
        return
    claimed = claim.lower[position, rows]
    for row, (lower, upper, again) in enumerate(zip(claimed, found.error_upper, found.error_lower, strict=True)):
        if lower > upper:
            yield f"{where}, row {rows.start + row}: the search finds error {upper!r}, below the lower value {lower!r}"
        elif not claim.by_dual[position, rows][row] and again < lower * (1 - CLOSED):
            yield f"{where}, row {rows.start + row}: the search proves {again!r} only, not the {lower!r} claimed"


def why_scales_not_confirmed(certificate: LayerCertificate, claim: Claim, position: int) -> Iterator[str]:
    """Every scale at which the search does not give the lower value again on which those for all scales rest."""
    free = claim.any_scale[position] if claim.any_scale else None
    if free is None:
        return
    budget = {name: math.inf if v is None else v for name, v in claim.search.items() if name != "method"}
    search = SEARCHES[claim.search["method"]](**budget)
    parts = [
        (shared_gram(certificate.grams[position][group]), rows, columns)
        for place, group, rows, columns in certificate.pieces() if place == position
    ]  # fmt: skip
    for scale, claimed in zip(free.scales.tolist(), free.sums.tolist(), strict=True):
        again = sum(
            rows_at_scale(gram, certificate.weight[rows, columns], claim.feasible[position], search, scale)[0].sum()
            for gram, rows, columns in parts
        )
        if again < claimed * (1 - CLOSED):
            yield (
                f"layer {certificate.layer}, chunk {certificate.indices[position]}, {claim.heading}: at the scale "
                f"{scale!r} the search proves {again!r} only, not the {claimed!r} claimed"
            )
