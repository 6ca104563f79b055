"""Results that can be drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawn(ABC):
    """A result with a figure; matplotlib is loaded when it is asked for."""

    @abstractmethod
    def plot(self) -> Figure:
        """The figure."""

    def save_figure(self, stem: str | Path) -> list[Path]:
        """Write `plot()` as `stem.pdf`, `stem.svg` and `stem.png`.

        Raises
        ------
        QuanterrError
            The folder cannot be written.
        """
        from ..plots import save

        return save(self.plot(), stem)
