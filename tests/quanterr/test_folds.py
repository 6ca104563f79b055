"""One pass, many Gram matrices: each part is what `capture` measures on its inputs alone, and they add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from quanterr.errors import InputError, LayerError  # noqa: E402
from quanterr.layers import Layer, LayerFolds, capture, capture_folds  # noqa: E402

from .tiny import network  # noqa: E402


def images(count: int, seed: int = 1) -> Any:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def model() -> nn.Module:
    return network().double()


@pytest.mark.parametrize(
    ("inputs", "folds", "group", "sizes"),
    [
        (7, 16, 1, (1,) * 7),
        (16, 16, 1, (1,) * 16),
        (17, 16, 1, (2,) * 8 + (1,)),
        (21, 4, 1, (8, 8, 5)),
        (17, 4, 1, (8, 9)),
        (28, 16, 2, (1,) * 14),
        (36, 4, 3, (4, 4, 4)),
        (5, 2, 4, (2,)),
        (6, 2, 4, (1, 1)),
        (1, 2, 1, (1,)),
    ],
)
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_parts_are_consecutive_whole_inputs(
    inputs: int, folds: int, group: int, sizes: tuple[int, ...], batch: int
) -> None:
    """Every part, whatever the batches: the Gram matrix of `capture` on exactly its inputs; the sum is the whole."""
    pictures = images(inputs)
    for found, whole in zip(
        capture_folds(model(), pictures.split(batch), folds=folds, group=group),
        capture(model(), pictures),
        strict=True,
    ):
        assert found.sources == sizes
        assert np.abs(found.layer.gram - whole.gram).max() <= 1e-12 * np.abs(whole.gram).max()
        assert (found.layer.name, found.layer.samples, found.layer.notes) == (whole.name, whole.samples, whole.notes)
        ends = np.minimum(np.cumsum(sizes) * group, inputs)
        for part, (first, last) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
            alone = next(x for x in capture(model(), pictures[first:last]) if x.name == whole.name)
            mine = found.part([part])
            assert mine.samples == alone.samples
            assert np.abs(mine.gram - alone.gram).max() <= 1e-12 * np.abs(alone.gram).max()
        again = found.part(range(found.folds))
        assert np.abs(again.gram - whole.gram).max() <= 1e-12 * np.abs(whole.gram).max()


def test_masks_and_words_go_with_their_inputs() -> None:
    """Mappings are cut entry by entry; what has no axis for inputs is passed on; padding counts nowhere."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 3, dtype=torch.float64)

        def forward(self, x: Any, attention_mask: Any, flag: bool, table: Any) -> Any:
            assert flag
            assert table.shape == (2, 2)
            return self.inner(x)

    x = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.ones(6, 5)
    mask[::2, 3:] = 0
    batch = {"x": x, "attention_mask": mask, "flag": True, "table": torch.zeros(2, 2)}
    (found,) = capture_folds(Words(), [batch], folds=6)
    assert found.samples == (3, 5, 3, 5, 3, 5)
    kept = x[2, :3].numpy()
    assert np.allclose(found.sums[2], kept.T @ kept)


def test_a_tuple_is_cut_argument_by_argument() -> None:
    pictures = images(6)
    whole = capture(model(), pictures)
    for batch in ((pictures,), [pictures]):
        for found, layer in zip(capture_folds(model(), [batch], folds=4), whole, strict=True):
            assert found.sources == (2, 2, 2)
            assert np.abs(found.layer.gram - layer.gram).max() <= 1e-12 * np.abs(layer.gram).max()


def test_bad_inputs_are_named() -> None:
    pictures = images(6)
    for folds in (0, 3, -2, True, 2.5):
        with pytest.raises(InputError, match="an even number of parts"):
            capture_folds(model(), pictures, folds=folds)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 or more"):
        capture_folds(model(), pictures, group=0)
    with pytest.raises(InputError, match="no calibration batches"):
        capture_folds(model(), [])
    with pytest.raises(InputError, match="without any array"):
        capture_folds(model(), [{"flag": True}])
    with pytest.raises(LayerError, match="no layer matches"):
        capture_folds(model(), pictures, ["nowhere"])
    pictures[4, 1, 2, 3] = float("nan")
    with pytest.raises(LayerError, match="first in sample 4 of batch 0"):
        capture_folds(model(), pictures, folds=4)


def test_impossible_folds_are_refused() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 10, 3))
    sums = np.einsum("fsi,fsj->fij", x, x)
    layer = Layer("toy", rng.normal(size=(2, 3)), sums.sum(0) / 40, 40)
    good = LayerFolds(layer, sums, (10,) * 4, (1,) * 4)
    assert good.part([1, 3]).samples == 20
    assert not good.sums.flags.writeable
    bad = sums.copy()
    bad[2, 0, 0] = np.nan
    damped = Layer("toy", layer.weight, layer.gram, 40, damping=0.1)
    cases = [
        (layer, sums[:0], (), (), "parts of shape"),
        (layer, sums[:, :2], (10,) * 4, (1,) * 4, "parts of shape"),
        (layer, sums, (10,) * 3, (1,) * 4, "counts of vectors"),
        (layer, sums, (10,) * 4, (1, 1, 1, 0), "are not the 40 vectors"),
        (layer, sums, (10, 10, 10, 9), (1,) * 4, "are not the 40 vectors"),
        (layer, bad, (10,) * 4, (1,) * 4, "part 2"),
        (layer, 1.001 * sums, (10,) * 4, (1,) * 4, "do not add up"),
        (damped, sums, (10,) * 4, (1,) * 4, "is damped"),
    ]
    for whole, parts, samples, sources, words in cases:
        with pytest.raises(LayerError, match=words):
            LayerFolds(whole, parts, samples, sources)
    sums[0] = 0
    silent = LayerFolds(Layer("toy", layer.weight, sums.sum(0) / 30, 30), sums, (0, 10, 10, 10), (1,) * 4)
    with pytest.raises(LayerError, match="no input reaches it"):
        silent.part([0])
