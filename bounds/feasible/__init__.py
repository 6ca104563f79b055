"""Feasible sets: one file for each compression format."""

from .base import Feasible
from .integer_box import IntegerBox
from .sparse import Sparse

__all__ = ["Feasible", "IntegerBox", "Sparse"]
