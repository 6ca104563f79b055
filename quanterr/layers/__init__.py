"""Layers as numpy sees them (`Layer`), and the only place where torch becomes numpy (`capture`)."""

from typing import TYPE_CHECKING, Any

from .folds import LayerFolds
from .layer import Chunk, Layer, Piece
from .pair import LayerPair

if TYPE_CHECKING:
    from .capturing import capture
    from .folding import capture_folds
    from .pairing import capture_pair

__all__ = ["Chunk", "Layer", "LayerFolds", "LayerPair", "Piece", "capture", "capture_folds", "capture_pair"]


def __getattr__(name: str) -> Any:
    """Load torch only when one of the captures is asked for."""
    if name == "capture":
        from .capturing import capture

        return capture
    if name == "capture_folds":
        from .folding import capture_folds

        return capture_folds
    if name == "capture_pair":
        from .pairing import capture_pair

        return capture_pair
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
