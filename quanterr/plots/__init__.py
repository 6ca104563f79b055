"""Figures of results, in one style."""

from .style import COLOURS, MARKERS, STYLE, save

__all__ = ["COLOURS", "MARKERS", "STYLE", "save"]
