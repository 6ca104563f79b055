"""How long a run takes and how much memory a worker: estimates, corrected by what is measured on the way."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable

from bounds import BlockSplit, LocalSearch

from ..efforts import ByShape
from ..layers.layer import Layer
from ..units import Unit

BORROWED = 0.2


def work(unit: Unit) -> float:
    """Expected processor seconds of a unit: of use for the order, and before anything is measured.

    Best-subset trees grow tenfold every twelve columns. Each Gram matrix costs by itself; of what is prepared for all
    rows of a wide unit its parts count their share. Half or twice as much is usual, and more where the inputs are
    ill-conditioned.
    """
    if unit.wide:
        prepared, solving = expected(unit.whole or unit)
        return (prepared + solving) * unit.rows / (unit.whole or unit).rows
    problems, columns = unit.scales.size, float(unit.columns)
    each = 2.5e-5 if unit.scaled else 1.5e-5 + 3e-4 * 10 ** ((min(columns, 72) - 36) / 12)
    return problems * each + 4e-4 * len(unit.pieces) * len(unit.scales)


def expected(unit: Unit) -> tuple[float, float]:
    """Processor seconds of a wide unit: to prepare its Gram matrices and tune their `D`s, and for the rows themselves.

    From layers of 320 to 1,536 columns at the normal effort, of 384 at the thorough.
    """
    width, codes = unit.columns / 384, unit.scaled
    prepared, row = 0.6 * width**3, 6e-4 * width**2.2
    if isinstance(unit.search, LocalSearch):
        row = (0.06 if codes else 0.02) * (unit.search.rounds or 1) * width**1.2
    relaxation = unit.relaxation.shared(unit.columns) if isinstance(unit.relaxation, ByShape) else unit.relaxation
    if isinstance(relaxation, BlockSplit):
        prepared += (15 if codes else 8) * width**1.5
        row += (0.33 if codes else 0.11) * (1 + (2 if codes else 1.3) * relaxation.row_rounds) * width**1.2
    else:
        prepared += 0.02 * getattr(relaxation, "tune", 0) * width**3
        row += 2.5e-3 * width**1.8 + 0.02 * getattr(relaxation, "row_rounds", 0) * width**2.7
    return prepared * len(unit.pieces), row * unit.scales.size


def kind(unit: Unit) -> Hashable:
    """Units of a kind are expected to take `work` times the same factor."""
    return (*_family(unit), unit.columns, len(unit.pieces) > 1)


def _family(unit: Unit) -> tuple[Hashable, ...]:
    return unit.scaled, type(unit.search).__name__, type(unit.relaxation).__name__


class Forecast:
    """Processor time that units still need, by the rates of those that are done.

    A kind of which little is known borrows from its family (same methods, other sizes), and that from all: each level
    counts what the one above it says like a fifth of a unit of its own.
    """

    def __init__(self, units: Iterable[Unit]) -> None:
        self._left: defaultdict[Hashable, float] = defaultdict(float)
        self._families: dict[Hashable, Hashable] = {}
        self._done: defaultdict[Hashable, tuple[float, float, int]] = defaultdict(lambda: (0.0, 0.0, 0))
        #: When the first and the last unit ended (seconds), and processor seconds of all but the first.
        self._spent, self._first, self._last = 0.0, 0.0, 0.0
        for unit in units:
            self._left[kind(unit)] += work(unit)
            self._families[kind(unit)] = _family(unit)

    def add(self, unit: Unit, seconds: float, elapsed: float) -> None:
        """A unit is done in so many processor seconds, so long (seconds) after the start."""
        self.drop(unit)
        expected = work(unit)
        if self._done["all"][2]:
            self._spent, self._last = self._spent + seconds, elapsed
        else:
            self._first = self._last = elapsed
        for level in (("kind", kind(unit)), ("family", _family(unit)), "all"):
            before, took, count = self._done[level]
            self._done[level] = before + expected, took + seconds, count + 1

    def drop(self, unit: Unit) -> None:
        """A unit needs no more time."""
        self._left[kind(unit)] -= work(unit)

    @property
    def left(self) -> float:
        """Expected processor seconds of the units that are not done."""
        return sum(max(left, 0.0) * self._factor(name) for name, left in self._left.items())

    def wall_time(self, workers: int) -> float:
        """Seconds that so many workers still need, at the speed since the first unit was done: cores are shared.

        Starting the workers does not count, nor does what is in flight, which is as much at the end as at the start.
        """
        speed = self._spent / (self._last - self._first) if self._last > self._first else math.inf
        return self.left / min(speed, max(workers, 1)) if self.left else 0.0

    def _factor(self, name: Hashable) -> float:
        factor = 1.0
        for level in ("all", ("family", self._families[name]), ("kind", name)):
            expected, took, count = self._done[level]
            if count:
                borrowed = BORROWED * expected / count
                factor = (took + factor * borrowed) / (expected + borrowed)
        return factor


def memory(layers: Iterable[Layer], width: int | None) -> int:
    """Bytes of a worker at the widest problem.

    A worker that has solved a few chunks holds 260 to 320 MiB, most of it Python, the compiled searches and the Gram
    matrices it keeps; the quick effort of a wide problem, from 384 to 4,096 columns, about 16 matrices of the size of
    its Gram.
    """
    widest = max(chunk.columns.stop - chunk.columns.start for layer in layers for chunk in layer.chunks(width))
    return int(290 * 2**20 + 16 * 8 * widest**2)
