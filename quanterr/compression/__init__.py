"""Whole networks compressed layer by layer, with judged errors."""

from .compressing import LayerOutcome, Outcome, compress
from .network import Comparison
from .recipe import Recipe, parse_recipe
from .writing import save, to_frame

__all__ = ["Comparison", "LayerOutcome", "Outcome", "Recipe", "compress", "parse_recipe", "save", "to_frame"]
