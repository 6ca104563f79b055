"""The worked example of the documentation runs as printed."""

import re
from pathlib import Path

import numpy as np
import pytest

import bounds

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-format.md"


def test_adding_a_format() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    mixed = names["MixedPrecision"]
    same = mixed(bits=(2, 2, 2))  # type: ignore[operator]
    rng = np.random.default_rng(1)
    gram, target = np.eye(3) + 0.3, rng.normal(size=(5, 3))
    one = bounds.lower_bound(bounds.LeastSquares(gram, target, same), bounds.DiagonalSplit())
    other = bounds.lower_bound(bounds.LeastSquares(gram, target, bounds.IntegerBox(-2, 1)), bounds.DiagonalSplit())
    np.testing.assert_allclose(one.value, other.value, rtol=1e-3)
    with pytest.raises(bounds.ProblemError, match="give one for each"):
        bounds.LeastSquares(gram, target, mixed(bits=(2, 2)))  # type: ignore[operator]
