"""Calibration inputs arrive as the model expects them, or one line says why not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
image_module = pytest.importorskip("PIL.Image")

from quanterr.errors import InputError  # noqa: E402
from quanterr.inputs import load_inputs  # noqa: E402
from quanterr.layers import capture  # noqa: E402


def save_image(path: Path, width: int, height: int, colour: tuple[int, int, int] = (255, 0, 51)) -> None:
    path.parent.mkdir(exist_ok=True)
    image_module.new("RGB", (width, height), colour).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save_image(tmp_path / "b.png", 60, 40, (0, 0, 0))
    save_image(tmp_path / "a.JPG", 40, 90, (255, 255, 255))
    save_image(tmp_path / "deeper" / "c.png", 33, 33)
    image_module.new("L", (50, 50), 255).save(tmp_path / "d.png")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_folder_in_order_and_normalised(photos: Path) -> None:
    inputs = load_inputs(photos, batch_size=3, size=16)
    assert inputs.count == 4
    assert "4 images" in inputs.description
    batches = list(inputs)
    assert [tuple(b.shape) for b in batches] == [(3, 3, 16, 16), (1, 3, 16, 16)]
    x = torch.cat(batches).double().numpy()
    assert torch.cat(batches).dtype == torch.float32
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for image, pixels in zip(x, ([1, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0.2]), strict=True):
        expected = np.broadcast_to(((pixels - mean) / std)[:, None, None], image.shape)
        np.testing.assert_allclose(image, expected, atol=0.02)
    assert all(torch.equal(a, b) for a, b in zip(inputs, batches, strict=True))


def test_centre_of_the_image_is_taken(tmp_path: Path) -> None:
    pixels = np.zeros((64, 128, 3), dtype=np.uint8)
    pixels[:, 32:96] = 255
    image_module.fromarray(pixels).save(tmp_path / "a.png")
    (batch,) = load_inputs(tmp_path, size=16, mean=(0, 0, 0), std=(1, 1, 1))
    assert float(batch.min()) > 0.9


def test_samples_are_drawn_by_the_seed(photos: Path) -> None:
    some = [torch.cat(list(load_inputs(photos, size=8, samples=2, seed=s))) for s in (0, 0, 1, 2, 3)]
    assert all(len(x) == 2 for x in some)
    assert torch.equal(some[0], some[1])
    assert any(not torch.equal(some[0], x) for x in some[2:])
    assert load_inputs(photos, samples=9).count == 4


def test_array_files(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x)
    torch.save(torch.from_numpy(x), tmp_path / "x.pt")
    for name in ("x.npy", "x.npz", "x.pt"):
        batches = list(load_inputs(tmp_path / name, batch_size=2))
        assert [len(b) for b in batches] == [2, 2, 1]
        np.testing.assert_array_equal(torch.cat(batches).numpy(), x.astype(np.float32))
    (layer,) = capture(torch.nn.Sequential(torch.nn.Linear(3, 2)), load_inputs(tmp_path / "x.npy"))
    assert layer.samples == 5


def test_named_arrays_become_keyword_arguments(tmp_path: Path) -> None:
    ids, mask = np.arange(12, dtype=np.int32).reshape(6, 2), np.ones((6, 2), dtype=np.int64)
    np.savez(tmp_path / "x.npz", input_ids=ids, attention_mask=mask)
    torch.save({"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}, tmp_path / "x.pt")
    for name in ("x.npz", "x.pt"):
        batches = list(load_inputs(tmp_path / name, batch_size=4, samples=5))
        assert [set(b) for b in batches] == [{"input_ids", "attention_mask"}] * 2
        assert [len(b["input_ids"]) for b in batches] == [4, 1]
        assert batches[0]["input_ids"].dtype == torch.int64


SOURCE = """
import torch
def tensor(n=4, fill=0.5): return torch.full((n, 3), fill)
def batches(count): return (torch.ones(3, 2) * i for i in range(count))
def named(): return {"a": torch.ones(4, 2), "b": torch.ones(3, 2)}
def word(): return "word"
def fails(): raise OSError("the disk is gone")
table = [torch.zeros(2, 2), torch.zeros(2, 2)]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "calibration_source.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "calibration_source", raising=False)
    return "calibration_source"


def test_functions(module: str) -> None:
    (batch,) = load_inputs(f"{module}:tensor(n=6, fill=2.0)")
    assert torch.equal(batch, torch.full((6, 3), 2.0))
    assert [len(b) for b in load_inputs(f"{module}:batches(3)")] == [3, 3, 3]
    assert [len(b) for b in load_inputs(f"{module}:batches(3)", samples=4)] == [3, 1]
    assert [len(b) for b in load_inputs(f"{module}:batches(3)", samples=3)] == [3]
    assert len(list(load_inputs(f"{module}:table"))) == 2


def saved(folder: Path, name: str, value: Any) -> str:
    np.save(folder / name, value)
    return str(folder / name)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: str(p / "nothing"), ["nothing", "does not exist"]),
        (lambda p: str(p), ["holds no images"]),
        (lambda p: saved(p, "x.npy", np.zeros((2, 3), dtype=complex)), ["complex128"]),
        (lambda p: saved(p, "x.npy", np.array([["a", "b"]])), ["<U1"]),
        (lambda p: saved(p, "x.npy", np.zeros((2, 3), dtype=bool)), ["bool"]),
        (lambda p: saved(p, "x.npy", np.zeros((2, 3), dtype=np.uint8)), ["bytes", "normalise"]),
        (lambda p: saved(p, "x.npy", np.zeros(3)), ["shape (3,)"]),
        (lambda p: saved(p, "x.npy", np.zeros((0, 3))), ["shape (0, 3)"]),
        (lambda p: saved(p, "x.npy", np.array([[1.0, 2.0], [3.0, np.nan]])), ["input 1", "[1]"]),
        (lambda p: saved(p, "x.npy", np.array([[1.0, 1e300]])), ["input 0"]),
    ],
)
def test_refused_files(tmp_path: Path, make: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_inputs(make(tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz", "a.pt"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match=name):
            load_inputs(tmp_path / name)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"\.npy, \.npz or \.pt"):
        load_inputs(tmp_path / "a.csv")
    (tmp_path / "a.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"a\.png.*cannot be read"):
        list(load_inputs(tmp_path))


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    torch.save({"x": Path("x")}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="cannot be read"):
        load_inputs(tmp_path / "x.pt")
    np.save(tmp_path / "x.npy", np.array([Path("x")]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        load_inputs(tmp_path / "x.npy")


def test_refused_functions(module: str) -> None:
    for call, word in (
        ("named()", "differ in their number of inputs"),
        ("word", "gives a str"),
        ("fails", "OSError: the disk is gone"),
        ("absent", "has no absent"),
        ("tensor(n=len)", "no literal"),
    ):
        with pytest.raises(InputError, match=word):
            load_inputs(f"{module}:{call}")


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"size": 2.5},
        {"samples": 0},
        {"mean": (0.5,)},
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, float("nan"), 1.0)},
    ],
)
def test_refused_options(photos: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        load_inputs(photos, **options)
