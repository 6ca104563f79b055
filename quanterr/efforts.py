"""How much work a problem too wide for exact search gets, from both sides."""

from __future__ import annotations

from dataclasses import dataclass

from bounds import BlockSplit, DiagonalSplit, LocalSearch
from bounds.verbs import Relaxation, Search

from .contestants import Method
from .errors import QuanterrError


@dataclass(frozen=True)
class Effort:
    """What finds points and what bounds them from below, for each method. Counts of rounds: reproducible."""

    search: dict[Method, Search]
    relaxation: dict[Method, Relaxation]


#: The first pass, on everything: it decides most comparisons at 4 bits and more.
QUICK = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=0, beam=64), Method.PRUNING: LocalSearch(rounds=0)},
    {Method.QUANTIZATION: DiagonalSplit(rounds=60), Method.PRUNING: DiagonalSplit(rounds=60)},
)
NORMAL = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=1, beam=256), Method.PRUNING: LocalSearch(rounds=1)},
    {Method.QUANTIZATION: BlockSplit(width=24, rounds=6), Method.PRUNING: BlockSplit(width=8, rounds=6)},
)
THOROUGH = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=10), Method.PRUNING: LocalSearch(rounds=10)},
    {Method.QUANTIZATION: BlockSplit(width=32, rounds=12), Method.PRUNING: BlockSplit(width=8, rounds=12)},
)
EFFORTS = {"quick": QUICK, "normal": NORMAL, "thorough": THOROUGH}


def effort(name: str) -> Effort:
    """The effort of that name.

    Raises
    ------
    QuanterrError
        An unknown name.
    """
    if name not in EFFORTS:
        raise QuanterrError(f"effort = {name!r}: choose one of {', '.join(EFFORTS)}")
    return EFFORTS[name]
