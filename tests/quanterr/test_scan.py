"""Scans of weights: against plain numpy, the same from every source, small in memory, clear about bad input."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from quanterr.commands.scan import register
from quanterr.distributions import Gaussian, GeneralizedGaussian, Laplace, Logistic, StudentT
from quanterr.errors import InputError
from quanterr.scan import (
    BITS,
    break_even_range,
    fit_families,
    measure,
    open_tensors,
    predicted_better,
    scan,
    scan_frame,
)
from quanterr.scan.formats import floats
from quanterr.scan.table import summary_table, tensor_table

FACTS = {2: 8.873, 3: 15.985, 4: 28.350, 5: 51.771}


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Four weight tensors of different shape and tail, and three tensors that are none."""
    rng = np.random.default_rng(seed)
    return {
        "stem.weight": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "stem.bias": rng.standard_normal(8).astype(np.float32),
        "body.weight": (0.02 * rng.standard_t(3.0, (40, 300))).astype(np.float32),
        "head.weight": rng.laplace(0.001, 0.1, (10, 130)).astype(np.float32),
        "head.positions": np.arange(12).reshape(3, 4),
        "double.weight": 1e-3 * rng.standard_normal((5, 7)),
        "empty.weight": np.zeros((0, 4), dtype=np.float32),
    }


def best_of_grid(w: np.ndarray, bits: int) -> float:
    """Least squared error of 100 scales, one plain numpy expression each."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scales = np.abs(w).max() / max(high, 1) * np.arange(1, 101) / 100
    return min(float(np.sum((w - s * np.clip(np.rint(w / s), low, high)) ** 2)) for s in scales)


def decibels(w: np.ndarray, error: float) -> float:
    return float(10.0 * np.log10(np.sum(w**2) / error)) if error else float("inf")


def grouped(w: np.ndarray, group: int) -> Iterator[np.ndarray]:
    for row in w.reshape(len(w), -1):
        yield from (row[i : i + group] for i in range(0, row.size, group))


@pytest.mark.parametrize("name", ["stem.weight", "body.weight", "head.weight", "double.weight"])
def test_quantisation_is_at_least_as_good_as_a_grid_search_and_its_error_is_exact(name: str) -> None:
    w = weights()[name]
    exact = w.astype(np.float64)
    found = measure(w, BITS, group=64)
    for i, bits in enumerate(BITS):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        scale = found.quant_scale[i]
        codes = np.clip(np.floor(exact / scale + 0.5), low, high)
        assert found.quant_snr_db[i] == pytest.approx(decibels(exact, np.sum((exact - scale * codes) ** 2)), rel=1e-10)
        assert found.quant_zero_fraction[i] == pytest.approx(np.mean(codes == 0), abs=1e-12)
        assert found.quant_snr_db[i] >= decibels(exact, best_of_grid(exact, bits)) - 1e-4
        rows = exact.reshape(len(exact), -1)
        channel = decibels(exact, sum(best_of_grid(row, bits) for row in rows))
        group = decibels(exact, sum(best_of_grid(part, bits) for part in grouped(exact, 64)))
        assert channel - 1e-4 <= found.quant_snr_channel_db[i] < channel + 3.0
        assert group - 1e-4 <= found.quant_snr_group_db[i] < group + 3.0


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_many_weights_by_search_and_few_directly_agree(bits: int) -> None:
    """120,000 weights take the sorted search; the exact optimum of the error lies within 0.002 dB."""
    w = StudentT(4.0).truncate(30.0).sample(120_000, 1).reshape(100, 1200)
    found = measure(w, (bits,))
    scales = found.quant_scale[0] * np.linspace(0.9, 1.1, 81)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    near = min(float(np.sum((w - s * np.clip(np.rint(w / s), low, high)) ** 2)) for s in scales)
    assert found.quant_snr_db[0] >= decibels(w, near) - 2e-3


@pytest.mark.parametrize("name", ["stem.weight", "body.weight", "double.weight"])
def test_pruning_and_kurtosis_against_numpy(name: str) -> None:
    w = weights()[name].astype(np.float64)
    found = measure(weights()[name], (1, *BITS, 16))
    order = np.sort(np.abs(w), axis=None)
    for i, bits in enumerate((1, *BITS, 16)):
        for snr, budget in ((found.prune_snr_db[i], bits), (found.prune_snr_mask_cost_db[i], bits - 1)):
            lost = w.size - w.size * budget // 16
            assert snr == pytest.approx(decibels(w, np.sum(order[:lost] ** 2)), rel=1e-10)
    centred = w - w.mean()
    assert found.kurtosis == pytest.approx(np.mean(centred**4) / np.mean(centred**2) ** 2, rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(exponent=st.integers(-140, 120), seed=st.integers(0, 9))
def test_units_do_not_matter(exponent: int, seed: int) -> None:
    """Powers of two change the scale alone, down to subnormal float32 and up to its largest numbers."""
    w = (np.random.default_rng(seed).integers(-7, 8, (4, 20)) / 8.0).astype(np.float32)
    w[0, 0] = 0.875
    one, other = measure(w, (3,)), measure(np.ldexp(w, exponent), (3,))
    assert other.quant_snr_db == pytest.approx(one.quant_snr_db, rel=1e-12)
    assert other.quant_snr_group_db == pytest.approx(one.quant_snr_group_db, rel=1e-12)
    assert other.prune_snr_db == pytest.approx(one.prune_snr_db, rel=1e-12)
    assert other.quant_scale == pytest.approx(np.ldexp(one.quant_scale, exponent), rel=1e-12)


@pytest.mark.parametrize(
    "dist",
    [Gaussian(0.02), Laplace(0.3), Logistic(1e-3), GeneralizedGaussian(0.6, 2.0), StudentT(3.0, 0.05)],
    ids=lambda d: type(d).__name__,
)
@pytest.mark.parametrize("size", [3000, 60_000])
def test_the_family_that_was_drawn_from_is_found(dist: Gaussian, size: int) -> None:
    best = fit_families(np.sort(dist.sample(size, 7)))[0]
    assert best.family == type(dist).__name__
    assert best.distribution.ppf(0.9) == pytest.approx(dist.ppf(0.9), rel=0.06)


def test_the_likelihood_of_a_fit_is_that_of_its_density() -> None:
    w = np.sort(StudentT(2.5, 0.1, 0.01).sample(2000, 3))
    for fit in fit_families(w):
        shapes = 1 + (fit.family in ("GeneralizedGaussian", "StudentT"))
        bic = shapes * np.log(w.size) / w.size - 2.0 * np.mean(np.log(fit.distribution.pdf(w)))
        assert fit.bic == pytest.approx(bic, rel=1e-9)


def test_a_fit_beats_its_neighbours() -> None:
    w = np.sort(StudentT(4.0, 0.1).sample(3000, 5))
    best = next(f for f in fit_families(w) if f.family == "StudentT")
    mean = float(w.mean())
    scale = float(best.distribution.table[0, 4])
    shape = best.shape
    for df, s in ((shape * 1.03, scale), (shape / 1.03, scale), (shape, scale * 1.01), (shape, scale / 1.01)):
        assert np.log(StudentT(df, s, mean).pdf(w)).mean() < np.log(best.distribution.pdf(w)).mean()


def test_prediction_meets_measurement() -> None:
    """300,000 draws: the closed form of the fit is within 0.25 dB at up to 6 bits, both ways."""
    w = Laplace(0.05).sample(300_000, 2).reshape(300, 1000).astype(np.float32)
    found = measure(w, (2, 3, 4, 5, 6))
    assert found.predicted_quant_snr_db == pytest.approx(found.quant_snr_db, abs=0.25)
    assert found.predicted_prune_snr_db == pytest.approx(found.prune_snr_db, abs=0.1)
    assert found.predicted_zero_fraction == pytest.approx(found.quant_zero_fraction, abs=0.01)


def test_break_even_kurtosis() -> None:
    for bits, kurtosis in FACTS.items():
        assert break_even_range(bits).kurtosis == pytest.approx(kurtosis, abs=5e-4)
        assert predicted_better(kurtosis + 0.01, bits) == "pruning"
        assert predicted_better(kurtosis - 0.01, bits) == "quantization"


# Sources ----------------------------------------------------------------------------------------


def factory() -> dict[str, np.ndarray]:
    return weights()


def module() -> object:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(40, 30))


def write_pt(path: Path) -> Path:
    import torch

    state = {name: torch.from_numpy(w) for name, w in weights().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    return path


def write_safetensors(path: Path, tensors: dict[str, np.ndarray] | None = None) -> Path:
    save = pytest.importorskip("safetensors.numpy").save_file
    save(weights() if tensors is None else tensors, path)
    return path


def write_onnx(path: Path, external: bool) -> Path:
    onnx = pytest.importorskip("onnx")
    tensors = [onnx.numpy_helper.from_array(w, name) for name, w in weights().items()]
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], initializer=tensors))
    onnx.save_model(model, path, save_as_external_data=external, location="weights.data", size_threshold=0)
    return path


@pytest.fixture(scope="module")
def expected() -> list[object]:
    return list(scan(weights()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["pt", "safetensors", "shards", "onnx", "onnx external", "factory"])
def test_every_source_gives_the_same_records(kind: str, expected: list[object], tmp_path: Path) -> None:
    if kind == "pt":
        found = list(scan(write_pt(tmp_path / "w.pt")))
        prefix = "state_dict."
    else:
        prefix = ""
    if kind == "safetensors":
        found = list(scan(write_safetensors(tmp_path / "w.safetensors")))
    elif kind == "shards":
        parts = list(weights().items())
        for i, part in enumerate((parts[:3], parts[3:])):
            write_safetensors(tmp_path / f"{i}.safetensors", dict(part))
        index = {name: f"{int(i >= 3)}.safetensors" for i, name in enumerate(weights())}
        path = tmp_path / "w.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": index}))
        found = list(scan(path))
    elif kind.startswith("onnx"):
        found = list(scan(write_onnx(tmp_path / "w.onnx", external=kind == "onnx external")))
    elif kind == "factory":
        found = list(scan(f"{__name__}:factory"))
    key = lambda r: (r.tensor, r.bits)  # noqa: E731
    ours = sorted((r.__class__(**{**vars(r), "tensor": r.tensor.removeprefix(prefix)}) for r in found), key=key)
    assert ours == sorted(expected, key=key)
    assert {r.tensor for r in ours} == {"stem.weight", "body.weight", "head.weight", "double.weight"}


def test_a_module_and_its_factory() -> None:
    by_factory = scan_frame(f"{__name__}:module", (4,))
    assert by_factory.equals(scan_frame(module(), (4,)))
    assert list(by_factory["shape"]) == ["8x3x3x3", "30x40"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float64"])
def test_small_floats_read_as_torch_reads_them(dtype: str, tmp_path: Path) -> None:
    import torch

    save = pytest.importorskip("safetensors.torch").save_file
    w = torch.randn(16, 33, generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype))
    save({"w": w}, tmp_path / "w.safetensors")
    (tensor,) = open_tensors(tmp_path / "w.safetensors")
    assert tensor.dtype == dtype
    assert np.array_equal(tensor.read(), w.double().numpy())
    from_torch, from_file = scan({"w": w}, (4,)), scan(tmp_path / "w.safetensors", (4,))
    assert list(from_torch) == list(from_file)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_all_codes_of_8_bit_floats(dtype: str) -> None:
    import torch

    codes = np.arange(256, dtype=np.uint8)
    reference = torch.from_numpy(codes).view(getattr(torch, dtype)).float().numpy()
    assert np.array_equal(floats(codes, dtype), reference, equal_nan=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_bfloat16_and_typed_data(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    w = weights()["head.weight"]
    half = onnx.helper.make_tensor("half", onnx.TensorProto.FLOAT16, w.shape, w.astype(np.float16).ravel())
    brain = onnx.helper.make_tensor("brain", onnx.TensorProto.BFLOAT16, w.shape, w.ravel())
    plain = onnx.helper.make_tensor("plain", onnx.TensorProto.FLOAT, w.shape, w.ravel())
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], initializer=[half, brain, plain]))
    onnx.save_model(model, tmp_path / "m.onnx")
    read = {t.name: t.read() for t in open_tensors(tmp_path / "m.onnx")}
    assert np.array_equal(read["plain"], w)
    assert np.array_equal(read["half"], w.astype(np.float16))
    assert read["brain"] == pytest.approx(w, rel=2**-8)


def test_memory_stays_with_the_largest_tensor(tmp_path: Path) -> None:
    """64 tensors of 1 MiB each: less than 24 MiB more than a scan of one of them needs."""
    rng = np.random.default_rng(0)
    tensors = {f"layer{i}.weight": rng.standard_normal((256, 1024), dtype=np.float32) for i in range(64)}
    write_safetensors(tmp_path / "many.safetensors", tensors)
    write_safetensors(tmp_path / "one.safetensors", {"layer0.weight": tensors["layer0.weight"]})
    code = (
        "import resource, sys; from quanterr.scan import scan\n"
        "for _ in scan(sys.argv[1], (2, 8)): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 'torch' in sys.modules)"
    )

    def peak(name: str) -> int:
        command = [sys.executable, "-c", code, str(tmp_path / name)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        kilobytes, torch = run.stdout.split()
        assert torch == "False"
        return int(kilobytes)

    assert peak("many.safetensors") - peak("one.safetensors") < 24 * 1024


# Selection, notes, errors -------------------------------------------------------------------------


def test_selection() -> None:
    def names(**options: object) -> set[str]:
        return {r.tensor for r in scan(weights(), (4,), **options)}

    assert names(include=["*e*d*.weight"]) == {"head.weight"}
    assert names(exclude=["body*", "double*"]) == {"stem.weight", "head.weight"}
    assert names(min_size=1000) == {"body.weight", "head.weight"}
    with pytest.raises(InputError, match="include = 'body': give a list"):
        scan(weights(), include="body")


def test_zero_and_constant_tensors_are_noted() -> None:
    tensors = {"zero": np.zeros((3, 4)), "same": np.full((3, 4), 0.5), "sparse": np.eye(6)}
    tensors["fine"] = weights()["stem.weight"]
    found = {r.tensor: r for r in scan(tensors, (4,))}
    assert np.isnan(found["zero"].quant_snr_db)
    assert found["zero"].better == "neither"
    assert "every weight is zero" in found["zero"].note
    assert "all weights are equal" in found["same"].note
    assert found["same"].fit == "none"
    assert found["same"].quant_snr_db > 100.0
    assert "83% of the weights are zero already" in found["sparse"].note
    assert np.isinf(found["sparse"].prune_snr_db)
    assert found["fine"].note == ""


@pytest.mark.parametrize(("bad", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_a_bad_weight_names_its_tensor(bad: float, word: str) -> None:
    tensors = weights()
    tensors["body.weight"][3, 5] = bad
    with pytest.raises(InputError, match=f"'body.weight' holds {word}.*--exclude 'body.weight'"):
        list(scan(tensors, (4,)))
    assert list(scan(tensors, (4,), exclude=["body*"]))


def test_nothing_to_scan() -> None:
    with pytest.raises(InputError, match=r"of 1 tensors 0 are floats.*nothing to scan"):
        list(scan({"bias": np.ones(3)}))
    with pytest.raises(InputError, match=r"4 are floats.*loosen"):
        list(scan(weights(), include=["nothing*"]))
    with pytest.raises(InputError, match="all 2 weight tensors are zero"):
        list(scan({"a": np.zeros((2, 2)), "b": np.zeros((3, 3))}))
    with pytest.raises(InputError, match="bits = 17"):
        scan(weights(), (17,))
    with pytest.raises(InputError, match="bits is empty"):
        list(scan(weights(), ()))
    with pytest.raises(InputError, match="group = 0"):
        list(scan(weights(), (4,), group=0))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def refused(name: str, content: bytes | None, match: str) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=match):
            list(scan(path))

    refused("no.safetensors", None, "does not exist: give a .safetensors")
    refused("w.txt", b"", "of no kind that is known here")
    refused("short.safetensors", b"\x05", "header does not fit")
    refused("long.safetensors", (1 << 40).to_bytes(8, "little") + b"{}", "header does not fit")
    refused("text.safetensors", (4).to_bytes(8, "little") + b"nope", "no safetensors file")
    refused("list.safetensors", (2).to_bytes(8, "little") + b"[]", "its header is a list")
    refused("bad.pt", b"not a checkpoint", "damaged")
    refused("bad.onnx", b"\xff\xff\xff", "damaged|empty")
    refused("empty.onnx", b"", "empty")
    refused("w.safetensors.index.json", b"{}", "no index")
    refused("x.safetensors.index.json", b'{"weight_map": {"a": "gone.safetensors"}}', "gone.safetensors, which is not")
    whole = write_safetensors(tmp_path / "w.safetensors").read_bytes()
    refused("cut.safetensors", whole[:-100], "cut off")
    with pytest.raises(InputError, match="is a folder"):
        list(scan(tmp_path))
    with pytest.raises(InputError, match="a int holds no tensors"):
        list(scan(3))
    with pytest.raises(InputError, match="gives a int"):
        list(scan("os:getpid"))


def test_a_pickled_network_is_refused_and_not_executed(tmp_path: Path) -> None:
    import torch

    torch.save(module(), tmp_path / "whole.pt")
    with pytest.raises(InputError, match=r"nothing in it is executed.*state_dict"):
        list(scan(tmp_path / "whole.pt"))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds a list, not a state dict"):
        list(scan(tmp_path / "list.pt"))


# Command line -------------------------------------------------------------------------------------


@pytest.fixture
def app() -> Typer:
    app = Typer()
    register(app)
    return app


def test_command(app: Typer, tmp_path: Path, expected: list[object]) -> None:
    import pandas as pd

    path = write_safetensors(tmp_path / "w.safetensors")
    csv = tmp_path / "records.csv"
    run = CliRunner().invoke(app, ["scan", str(path), "--csv", str(csv)], env={"COLUMNS": "160"})
    assert run.exit_code == 0, run.output
    for word in ("body.weight", "40x300", "Weights alone", "4 weight tensors", "28.4", "4/4"):
        assert word in run.output
    table = pd.read_csv(csv, keep_default_na=False, na_values=[""])
    assert len(table) == len(expected)
    by_key = {(r.tensor, r.bits): r for r in expected}
    for row in table.itertuples():
        assert row.quant_snr_db == by_key[row.tensor, row.bits].quant_snr_db


def test_parquet(app: Typer, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    path = write_safetensors(tmp_path / "w.safetensors")
    parquet = tmp_path / "records.parquet"
    run = CliRunner().invoke(app, ["scan", str(path), "--bits", "2,4", "--parquet", str(parquet)])
    assert run.exit_code == 0, run.output
    assert pd.read_parquet(parquet).equals(scan_frame(path, (2, 4)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.safetensors"], "does not exist"),
        (["W", "--bits", "two"], "write a range such as 2-8"),
        (["W", "--bits", "2-20"], "bits = 20"),
        (["W", "--bits", "8-2"], "write a range such as 2-8"),
        (["W", "--bits", "2,3", "--show-bits", "4"], "--show-bits 4 is not among"),
        (["W", "--csv", "no/such/folder.csv"], "does not exist: make it"),
        (["W", "--include", "x"], "no weight tensor was chosen"),
    ],
)
def test_command_refuses(app: Typer, tmp_path: Path, arguments: list[str], message: str) -> None:
    path = write_safetensors(tmp_path / "w.safetensors")
    run = CliRunner().invoke(app, ["scan", *(str(path) if a == "W" else a for a in arguments)])
    assert run.exit_code == 1
    assert message in run.stderr


def test_tables_fit_a_narrow_terminal() -> None:
    name = "encoder.layer.11.attention.output.dense.weight"
    rng = np.random.default_rng(0)
    records = list(scan({name: rng.standard_t(3, size=(30, 40)), "b[red]": rng.normal(size=(30, 40))}, (2, 4, 8)))
    console = Console(width=80, file=io.StringIO())
    console.print(tensor_table(records, 4, 80), summary_table(records, 80))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert f"{name} 30x40" in lines
    assert any(line.startswith("b[red] 30x40") for line in lines)
    assert any(line.split()[:2] == ["quantisation", "better"] for line in lines)
