"""Who is better than every other contestant, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..contestants import Method, at_storage, same_but_budget
from .report import Duel, Record, Report


@dataclass(frozen=True)
class Winner:
    """The contestant that is proven better than all others of one chunk, if there is one.

    Attributes
    ----------
    bits : as in `Record`
    method : of the winner, or empty
    margin_db : by how much it is better than the next one, proven; without a winner minus the least overlap that keeps
        one from being it
    unbeaten : methods that none is proven better than, in the order of the records
    at_scale : who would be the winner if no contestant might change its scale; empty where there is one
    """

    layer: str
    chunk: int
    bits: int | None
    method: str
    margin_db: float
    unbeaten: tuple[str, ...]
    at_scale: str = ""


def winners(report: Report) -> Iterator[Winner]:
    """One for every (layer, chunk, bits) with two contestants or more; what differs by its budget alone is no rival."""
    groups: dict[tuple[str, int, int | None], list[Duel]] = {}
    for duel in report.pairs():
        if same_but_budget(duel.first.method, duel.second.method):
            continue
        groups.setdefault((duel.first.layer, duel.first.chunk, duel.first.bits), []).append(duel)
    for (layer, chunk, bits), duels in groups.items():
        methods = list(dict.fromkeys(side.method for duel in duels for side in (duel.first, duel.second)))
        short = {method: min(_lead(duel, method) for duel in duels if _fights(duel, method)) for method in methods}
        beaten = {_other(duel, duel.better) for duel in duels if duel.better}
        leads = [m for m in methods if all(duel.better == m for duel in duels if _fights(duel, m))]
        here = [m for m in methods if all(m in (d.better, d.at_scale) for d in duels if _fights(d, m))]
        winner = leads[0] if leads else ""
        yield Winner(
            layer, chunk, bits, winner, short[winner] if winner else max(short.values()),
            tuple(m for m in methods if m not in beaten), "" if winner else "".join(here),
        )  # fmt: skip


def mask_cost(records: tuple[Record, ...]) -> int | None:
    """Bits a weight that pruning paid for its mask at equal storage; None where it is not known, or nothing was."""
    for record in records:
        if record.method == Method.PRUNING and record.bits is not None and record.contestant:
            return int(record.contestant == at_storage(record.bits, mask_cost=1)[1].name)
    return None


def _fights(duel: Duel, method: str) -> bool:
    return method in (duel.first.method, duel.second.method)


def _other(duel: Duel, method: str) -> str:
    return duel.second.method if duel.first.method == method else duel.first.method


def _lead(duel: Duel, method: str) -> float:
    """Proven margin over the other one, minus the overlap where undecided, minus the other's margin where beaten."""
    return -duel.margin_db if duel.better and duel.better != method else duel.margin_db
