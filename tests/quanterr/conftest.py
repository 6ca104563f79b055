"""Layers small enough for every test, correlated like real ones."""

from collections.abc import Iterator

import numpy as np
import pytest

from quanterr import Layer

from .browser import PROGRAM, Browser


def make_layer(name: str = "toy", rows: int = 6, columns: int = 12, groups: int = 1, seed: int = 0) -> Layer:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(groups, columns, columns)) / columns**0.5 + np.eye(columns)
    inputs = rng.normal(size=(groups, 400, columns)) @ mixing
    gram = np.einsum("gsi,gsj->gij", inputs, inputs) / 400
    return Layer(name, rng.standard_t(4, size=(rows, columns)), gram if groups > 1 else gram[0], 400)


@pytest.fixture
def layer() -> Layer:
    return make_layer()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(PROGRAM or "", tmp_path_factory.mktemp("profile")) as opened:
        yield opened
