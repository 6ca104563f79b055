"""When a local search stops: after so many rounds, or at a wall-clock time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """`rounds` (None: no limit) and a share of `seconds`, from now on; round 0 always runs."""

    rounds: int | None
    deadline: float

    @classmethod
    def of(cls, rounds: int | None, seconds: float) -> Budget:
        return cls(rounds, time.monotonic() + seconds)

    @property
    def over(self) -> bool:
        return self.deadline < math.inf and time.monotonic() >= self.deadline

    def numbers(self) -> Iterator[int]:
        """0, then 1, 2, … while the budget lasts."""
        count = 0
        while count == 0 or ((self.rounds is None or count <= self.rounds) and not self.over):
            yield count
            count += 1
