"""Feasible sets: one file for each compression format."""

from .base import Feasible
from .block_sparse import BlockSparse
from .codebook import Codebook
from .integer_box import IntegerBox
from .n_of_m import NofM
from .scaled import AnyScale, in_code_units
from .sparse import Sparse
from .sparse_integer_box import SparseIntegerBox

__all__ = [
    "AnyScale",
    "BlockSparse",
    "Codebook",
    "Feasible",
    "IntegerBox",
    "NofM",
    "Sparse",
    "SparseIntegerBox",
    "in_code_units",
]
