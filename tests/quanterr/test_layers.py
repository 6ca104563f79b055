"""What `capture` measures is what the layer does, and what it cannot measure it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from quanterr.errors import InputError, LayerError  # noqa: E402
from quanterr.layers import Layer, accumulate, capture  # noqa: E402


def images(channels: int = 6, batch: int = 5) -> Any:
    return torch.randn(batch, channels, 11, 10, generator=torch.Generator().manual_seed(3))


def rows_of(weight: Any) -> np.ndarray:
    return weight.detach().double().flatten(1).numpy()


def predicted(layer: Layer, change: np.ndarray) -> float:
    """Σ over rows of ΔWᵀ gram ΔW, each row with the Gram matrix of its group."""
    grams = layer.gram.reshape(-1, layer.columns, layer.columns)
    parts = change.reshape(len(grams), -1, layer.columns)
    return float(np.einsum("gri,gij,grj->", parts, grams, parts))


def measured(model: nn.Module, weight: Any, change: Any, batches: list[Any], samples: int) -> float:
    """The mean squared change of the output of the real layer in float64."""
    double = model.double()
    with torch.no_grad():
        before = [double(b.double()) for b in batches]
        weight.data.add_(change)
        after = [double(b.double()) for b in batches]
    return sum(float(((a - b) ** 2).sum()) for a, b in zip(after, before, strict=True)) / samples


CASES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "linear": (lambda: nn.Linear(7, 5), (5, 4, 7)),
    "linear vectors": (lambda: nn.Linear(7, 5, bias=False), (5, 7)),
    "conv1d": (lambda: nn.Conv1d(6, 4, 3, stride=2, padding=1, dilation=2), (5, 6, 20)),
    "conv1d same": (lambda: nn.Conv1d(6, 4, 5, padding="same", dilation=2), (5, 6, 20)),
    "conv1d groups": (lambda: nn.Conv1d(6, 4, 3, groups=2, padding_mode="circular", padding=2), (5, 6, 20)),
    "pointwise": (lambda: nn.Conv2d(6, 8, 1, stride=2), (5, 6, 11, 10)),
    "valid": (lambda: nn.Conv2d(6, 8, (3, 2), padding="valid"), (5, 6, 11, 10)),
    "stride": (lambda: nn.Conv2d(6, 8, (3, 2), stride=(2, 3)), (5, 6, 11, 10)),
    "padding": (lambda: nn.Conv2d(6, 8, 3, padding=(1, 2)), (5, 6, 11, 10)),
    "same": (lambda: nn.Conv2d(6, 8, (3, 5), padding="same", dilation=(2, 1)), (5, 6, 11, 10)),
    "dilation": (lambda: nn.Conv2d(6, 8, 3, dilation=(2, 3), padding=1, stride=2), (5, 6, 11, 10)),
    "reflect": (lambda: nn.Conv2d(6, 8, 3, padding=2, padding_mode="reflect"), (5, 6, 11, 10)),
    "replicate": (lambda: nn.Conv2d(6, 8, 3, padding=(2, 1), padding_mode="replicate"), (5, 6, 11, 10)),
    "circular": (lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular", stride=2), (5, 6, 11, 10)),
    "groups": (lambda: nn.Conv2d(6, 9, (3, 2), groups=3, padding=1), (5, 6, 11, 10)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6, stride=2, padding=1), (5, 6, 11, 10)),
    "depthwise multiplied": (lambda: nn.Conv2d(6, 12, 3, groups=6), (5, 6, 11, 10)),
    "one image": (lambda: nn.Conv2d(6, 8, 3, padding=1), (6, 11, 10)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("block", [2**25, 3000])
def test_gram_predicts_the_change_of_the_output(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity everything rests on, in one block and in many."""
    monkeypatch.setattr(accumulate, "BLOCK_BYTES", block)
    torch.manual_seed(1)
    make, shape = CASES[name]
    module = make()
    x = torch.randn(*shape)
    batches = [x] if name == "one image" else [x[:2], x[2:]]
    (layer,) = capture(nn.Sequential(module), batches)
    change = torch.randn(module.weight.shape, dtype=torch.float64)
    truth = measured(module, module.weight, change, batches, layer.samples)
    assert predicted(layer, rows_of(change)) == pytest.approx(truth, rel=1e-10)
    assert layer.samples == sum(module.double()(b.double()).numel() for b in batches) // layer.rows


@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 1}, {"stride": 2, "groups": 6}])
def test_static_same_padding_is_seen(options: dict[str, int]) -> None:
    utils = pytest.importorskip("efficientnet_lite_pytorch.utils")
    torch.manual_seed(1)
    module = utils.Conv2dStaticSamePadding(6, 6, 3, image_size=(11, 10), **options)
    x = images()
    (layer,) = capture(nn.Sequential(module), [x])
    change = torch.randn(module.weight.shape, dtype=torch.float64)
    truth = measured(module, module.weight, change, [x], layer.samples)
    assert predicted(layer, rows_of(change)) == pytest.approx(truth, rel=1e-10)


def test_transformers_conv1d_is_transposed() -> None:
    module = pytest.importorskip("transformers.pytorch_utils").Conv1D(5, 7)
    x = torch.randn(4, 3, 7)
    (layer,) = capture(nn.Sequential(module), [x])
    assert layer.weight.shape == (5, 7)
    np.testing.assert_array_equal(layer.weight, module.weight.detach().double().numpy().T)
    assert any("transposed" in note for note in layer.notes)
    change = torch.randn(7, 5, dtype=torch.float64)
    assert predicted(layer, change.numpy().T) == pytest.approx(
        measured(module, module.weight, change, [x], layer.samples), rel=1e-10
    )


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_projection_is_reached(batch_first: bool) -> None:
    """Its product runs inside one function of torch, and torch's fast path would skip it."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    layers = {layer.name: layer for layer in capture(encoder, [x])}
    assert set(layers) == {"self_attn.out_proj", "linear1", "linear2"}
    attention = encoder.self_attn.eval()
    change = torch.randn(8, 8, dtype=torch.float64)

    class Attention(nn.Module):
        def forward(self, q: Any) -> Any:
            return attention(q, q, q, need_weights=False)[0]

    truth = measured(Attention(), attention.out_proj.weight, change, [x], layers["self_attn.out_proj"].samples)
    assert predicted(layers["self_attn.out_proj"], rows_of(change)) == pytest.approx(truth, rel=1e-10)


def test_parametrised_weight_is_recognised() -> None:
    torch.manual_seed(0)
    module = nn.utils.parametrizations.weight_norm(nn.Linear(7, 5))
    x = torch.randn(20, 7)
    (layer,) = capture(nn.Sequential(module), [x])
    np.testing.assert_allclose(layer.gram, (x.double().T @ x.double()).numpy() / 20, rtol=1e-12)
    np.testing.assert_allclose(layer.weight, module.weight.detach().double().numpy())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Any) -> Any:
        return self.b(self.a(x) + self.a(2 * x))


def test_shared_weights_add_up_over_calls() -> None:
    torch.manual_seed(0)
    model, x = Twice().double(), torch.randn(6, 4, dtype=torch.float64)
    (layer,) = capture(model, [x])
    with torch.no_grad():
        seen = torch.cat([x, 2 * x, model.a(x) + model.a(2 * x)])
    assert layer.name == "a"
    assert layer.samples == 18
    np.testing.assert_allclose(layer.gram, (seen.T @ seen).numpy() / 18, rtol=1e-12)
    assert any("shared with b" in note for note in layer.notes)
    for names in (["a"], ["b"]):
        (alone,) = capture(model, [x], names)
        assert [alone.name] == names
        assert any("shared with" in note for note in alone.notes)
        np.testing.assert_array_equal(alone.gram, layer.gram)


class Encoder(nn.Module):
    """Reads (batch, tokens), has a layer for each token, one on flattened tokens and one on the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.token = nn.Linear(4, 4)
        self.flat = nn.Linear(4, 4)
        self.first = nn.Linear(4, 4)
        self.turned = nn.Linear(4, 4)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        x = self.token(self.table(input_ids))
        self.flat(self.table(input_ids).flatten(0, 1))
        self.turned(x.transpose(0, 1))
        return self.first(x[:, 0])


def test_padded_tokens_do_not_count() -> None:
    torch.manual_seed(0)
    model = Encoder()
    ids = torch.randint(0, 10, (3, 5))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    batch = {"input_ids": ids, "attention_mask": mask}
    layers = {layer.name: layer for layer in capture(model, [batch])}
    x = model.table(ids).detach().double()[mask.bool()]
    for name in ("token", "flat"):
        np.testing.assert_allclose(layers[name].gram, (x.T @ x).numpy() / 11, rtol=1e-12)
        assert layers[name].samples == 11
    assert layers["first"].samples == 3
    assert not layers["first"].notes
    assert layers["turned"].samples == 15
    assert any("mask not applied" in note for note in layers["turned"].notes)
    assert capture(model, [batch], ["token"], mask=None)[0].samples == 15


def test_float32_inputs_are_summed_in_float64() -> None:
    x = torch.full((1, 1), 1.0 + 2.0**-20)
    (layer,) = capture(nn.Sequential(nn.Linear(1, 1)), [x])
    assert layer.gram[0, 0] == (1.0 + 2.0**-20) ** 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: Any) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 3)).to(dtype), (300 * torch.randn(9, 6)).to(dtype)
    (layer,) = capture(model, [x])
    np.testing.assert_allclose(layer.gram, (x.double().T @ x.double()).numpy() / 9, rtol=1e-12)


def test_batches_of_every_kind_and_the_same_bits_again() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(6, 8, 3)), images()
    given = [[x], x, x.numpy(), [x.numpy()], [(x,)], [[x]], [{"input": x}], iter([x])]
    grams = [capture(model, batches)[0].gram for batches in given]
    assert all(np.array_equal(gram, grams[0]) for gram in grams)
    assert np.array_equal(grams[0], grams[0].T)


def test_globs_choose_and_take_out() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)))
    x = torch.randn(4, 3)
    assert [layer.name for layer in capture(model, [x])] == ["0", "2.0", "2.1"]
    assert [layer.name for layer in capture(model, [x], ["2.*", "!*.1"])] == ["2.0"]
    assert [layer.name for layer in capture(model, [x], ["!0"])] == ["2.0", "2.1"]
    assert [layer.name for layer in capture(model, [x], "2.1")] == ["2.1"]


def test_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.Dropout(), nn.Sequential(nn.Linear(8, 4)))
    model[1].eval()
    flags = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    seen: list[int] = []
    capture(model, [images()] * 3, progress=seen.append)
    assert seen == [1, 2, 3]
    with pytest.raises(InputError):
        capture(model, [torch.randn(2, 5, 11, 10)])
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_uninformative_inputs_are_named() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.0
    x[:, 4] = 0.3
    x[:, 5] = x[:, 2]
    (layer,) = capture(nn.Sequential(nn.Linear(6, 2)), [x])
    assert layer.notes == (
        "dead inputs (always zero): column 1 (1 of 6 columns)",
        "constant inputs: column 4 (1 of 6 columns)",
        "duplicated inputs: column 5 = 2 (1 of 6 columns)",
    )
    y = images()
    y[:, 2] = 0.0
    (layer,) = capture(nn.Sequential(nn.Conv2d(6, 6, 3, groups=6)), [y])
    assert layer.notes == ("dead inputs (always zero): group 2: all (9 of 54 columns)",)


def test_ordinary_inputs_need_no_notes() -> None:
    assert capture(nn.Sequential(nn.Conv2d(6, 6, 3, groups=2)), [images() + 100.0])[0].notes == ()


def test_damping_is_reported_and_off_by_default() -> None:
    model, x = nn.Sequential(nn.Conv2d(6, 6, 3, groups=2)), images()
    (plain,) = capture(model, [x])
    (damped,) = capture(model, [x], damping=0.01)
    mean = np.diagonal(plain.gram, axis1=1, axis2=2).mean()
    assert plain.damping == 0.0
    assert damped.damping == pytest.approx(0.01 * mean)
    np.testing.assert_allclose(damped.gram - plain.gram, np.broadcast_to(damped.damping * np.eye(27), (2, 27, 27)))
    assert any("damped" in note for note in damped.notes)


class Aside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Linear(3, 3)
        self.auxiliary = nn.Linear(3, 3)
        self.up = nn.ConvTranspose1d(3, 3, 2)

    def forward(self, x: Any) -> Any:
        return self.main(x)


def broken(**weights: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].weight.data[1, 2] = weights["value"]
    return model


def poisoned(value: float) -> Any:
    x = torch.randn(4, 3)
    x[2, 1] = value
    return x


@pytest.mark.parametrize(
    ("error", "words", "model", "batches", "options"),
    [
        (LayerError, ["'manin'", "did you mean 'main'"], Aside(), [torch.randn(4, 3)], {"names": ["manin"]}),
        (LayerError, ["'auxiliary'", "never reach", "!auxiliary"], Aside(), [torch.randn(4, 3)], {}),
        (LayerError, ["'up'", "ConvTranspose1d", "supported"], Aside(), [torch.randn(4, 3)], {"names": ["up"]}),
        (LayerError, ["leave no layer"], Aside(), [torch.randn(4, 3)], {"names": ["main", "!main"]}),
        (LayerError, ["no layer that can be captured", "ReLU"], nn.ReLU(), [torch.randn(4, 3)], {}),
        (LayerError, ["'0'", "row 1, column 2", "nan"], broken(value=float("nan")), [torch.randn(4, 3)], {}),
        (LayerError, ["'main'", "sample 2 of batch 1"], Aside(), [torch.randn(4, 3), poisoned(float("nan"))], {}),
        (LayerError, ["'main'", "sample 2 of batch 0"], Aside(), [poisoned(float("-inf"))], {}),
        (LayerError, ["'0'", "load them"], nn.Sequential(nn.LazyLinear(3)), [torch.randn(4, 3)], {}),
        (LayerError, ["never reach", "empty"], Aside(), [torch.randn(0, 3)], {"names": ["main"]}),
        (InputError, ["no calibration batches"], Aside(), [], {}),
        (InputError, ["batch 1", "shape (4, 2)", "'main'"], Aside(), [torch.randn(4, 3), torch.randn(4, 2)], {}),
        (InputError, ["inputs, labels"], Aside(), [(torch.randn(4, 3), torch.zeros(4))], {}),
        (InputError, ["unexpected keyword", "y shape (4, 3)"], Aside(), [{"y": torch.randn(4, 3)}], {}),
        (InputError, ["damping"], Aside(), [torch.randn(4, 3)], {"damping": -1.0}),
        (InputError, ["damping"], Aside(), [torch.randn(4, 3)], {"damping": float("nan")}),
    ],
)
def test_refusals_name_place_and_remedy(
    error: type[Exception], words: list[str], model: nn.Module, batches: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(error) as caught:
        capture(model, batches, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def make_layer(rows: int, channels: int, taps: int, groups: int, seed: int = 0) -> Layer:
    rng = np.random.default_rng(seed)
    columns = channels * taps
    x = rng.standard_normal((groups, 2 * columns, columns))
    gram = np.einsum("gsi,gsj->gij", x, x) / (2 * columns)
    weight = rng.standard_normal((rows * groups, columns))
    return Layer("test", weight, gram if groups > 1 else gram[0], samples=2 * columns, taps=taps)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 3),
    channels=st.integers(1, 9),
    taps=st.sampled_from([1, 4, 9]),
    groups=st.integers(1, 3),
    width=st.one_of(st.none(), st.integers(1, 90)),
)
def test_chunks_cut_the_layer_exactly_once(rows: int, channels: int, taps: int, groups: int, width: int | None) -> None:
    layer = make_layer(rows, channels, taps, groups)
    chunks = list(layer.chunks(width))
    columns = [c for chunk in chunks for c in range(chunk.columns.start, chunk.columns.stop)]
    assert columns == list(range(layer.columns))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert len({chunk.label for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        size = chunk.columns.stop - chunk.columns.start
        assert size <= (width or layer.columns)
        if width is None or width >= taps:
            assert chunk.columns.start % taps == 0
            assert size % taps == 0
        seen = [r for piece in chunk.pieces for r in range(piece.rows.start, piece.rows.stop)]
        assert seen == list(range(layer.rows))
        for group, piece in enumerate(chunk.pieces):
            full = layer.gram[group] if groups > 1 else layer.gram
            np.testing.assert_array_equal(piece.gram, full[chunk.columns, chunk.columns])
            np.testing.assert_array_equal(piece.weight, layer.weight[piece.rows, chunk.columns])


def test_widths_of_the_paper() -> None:
    assert [chunk.label for chunk in make_layer(2, 8, 9, 1).chunks(36)] == ["0:36", "36:72"]
    assert [chunk.label for chunk in make_layer(2, 6, 9, 1).chunks(35)] == ["0:27", "27:54"]
    assert [chunk.label for chunk in make_layer(2, 80, 1, 1).chunks(36)] == ["0:36", "36:72", "72:80"]
    assert [chunk.label for chunk in make_layer(2, 2, 9, 1).chunks(6)] == ["0:6", "6:9", "9:15", "15:18"]


@pytest.mark.parametrize("groups", [1, 3])
def test_energy(groups: int) -> None:
    layer = make_layer(2, 4, 1, groups)
    expected = [w @ layer.gram.reshape(groups, 4, 4)[r // 2] @ w for r, w in enumerate(layer.weight)]
    np.testing.assert_allclose(layer.energy, expected, rtol=1e-13)
    assert layer.groups == groups


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"weight": np.ones(4)}, "(rows, columns)"),
        ({"gram": np.eye(3)}, "4 columns"),
        ({"gram": np.ones((3, 4, 4))}, "3 groups"),
        ({"samples": 0}, "samples"),
        ({"taps": 3}, "channels of 3"),
        ({"weight": np.full((2, 4), np.nan)}, "weight holds nan at (0, 0)"),
        ({"gram": np.full((4, 4), np.inf)}, "Gram matrix holds inf"),
    ],
)
def test_impossible_layers_are_refused(changes: dict[str, Any], word: str) -> None:
    good: dict[str, Any] = {"name": "test", "weight": np.ones((2, 4)), "gram": np.eye(4), "samples": 5}
    Layer(**good)
    with pytest.raises(LayerError) as caught:
        Layer(**good | changes)
    assert word in str(caught.value)
    assert "'test'" in str(caught.value)


@pytest.mark.parametrize("width", [0, -3, 2.5, True])
def test_impossible_widths_are_refused(width: Any) -> None:
    with pytest.raises(LayerError, match="chunk width"):
        list(make_layer(1, 4, 1, 1).chunks(width))


def test_arrays_of_a_layer_cannot_be_changed() -> None:
    weight = np.ones((2, 4))
    layer = Layer("test", weight, np.eye(4), 5)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0, 0] = 2.0
    weight[0, 0] = 1.0  # the caller's own array stays writable


def test_layer_needs_no_torch() -> None:
    code = "import sys, quanterr.layers as l; assert 'torch' not in sys.modules; l.capture; sys.modules['torch']"
    subprocess.run([sys.executable, "-c", code], check=True)


MEMORY = """
import resource, sys, torch
from torch import nn
from quanterr.layers import capture
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3, groups=16))
capture(model, (torch.randn(4, 16, 64, 64) for _ in range(3)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
capture(model, (torch.randn(4, 16, 64, 64) for _ in range(60)))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_memory_does_not_grow_with_the_batches() -> None:
    """Sixty batches of 1 MB, whose patches would take 1 GB, against three."""
    done = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 12.0
