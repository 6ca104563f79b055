"""Layers as numpy sees them (`Layer`), and the only place where torch becomes numpy (`capture`)."""

from typing import TYPE_CHECKING, Any

from .layer import Chunk, Layer, Piece

if TYPE_CHECKING:
    from .capturing import capture

__all__ = ["Chunk", "Layer", "Piece", "capture"]


def __getattr__(name: str) -> Any:
    """Load torch only when `capture` is asked for."""
    if name == "capture":
        from .capturing import capture

        return capture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
