"""Real photographs that ship inside the wheels of scikit-image and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bounds.gram import Array

from .packages import require

if TYPE_CHECKING:
    from PIL.Image import Image

SKIMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "color.png",
    "ihc.png",
    "grass.png",
    "brick.png",
    "camera.png",
    "coins.png",
)
SKLEARN = ("china.jpg", "flower.jpg")
NAMES = tuple(name.split(".")[0] for name in SKIMAGE + SKLEARN)


def photographs() -> list[Image]:
    """Fourteen RGB photographs, in the order of `NAMES`; nothing is downloaded."""
    pil = require("PIL.Image", "pillow")
    data = Path(require("skimage.data", "scikit-image").__file__).parent
    images = Path(require("sklearn.datasets", "scikit-learn").__file__).parent / "images"
    paths = [data / name for name in SKIMAGE] + [images / name for name in SKLEARN]
    return [pil.open(path).convert("RGB") for path in paths]


def crops(size: int, seed: int = 0, each: int = 2) -> Array:
    """(14 · each, 3, size, size) pixels 0 … 255: of each photograph the central square, the others of 70 % of its side.

    Bicubic. The positions of the smaller squares are random and follow from `seed` and `each` alone. Crops of a
    photograph lie side by side.
    """
    rng = np.random.default_rng(seed)
    pixels = []
    for image in photographs():
        width, height = image.size
        side = min(width, height)
        part = int(side * 0.7)
        squares = [((width - side) // 2, (height - side) // 2, side)]
        squares += [
            (int(rng.integers(0, width - part + 1)), int(rng.integers(0, height - part + 1)), part)
            for _ in range(each - 1)
        ]
        for x, y, edge in squares:
            square = image.crop((x, y, x + edge, y + edge)).resize((size, size), 3)
            pixels.append(np.asarray(square, dtype=np.float64).transpose(2, 0, 1))
    return np.stack(pixels)
