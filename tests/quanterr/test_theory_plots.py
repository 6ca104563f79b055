"""The figures: written as three formats, the same bytes twice, with the facts in them."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from typer import Typer
from typer.testing import CliRunner

from quanterr.commands.scan import register
from quanterr.distributions import Gaussian
from quanterr.errors import InputError
from quanterr.expected import quantization_error, zero_fraction
from quanterr.figures import (
    CREDIT,
    Points,
    density_ratio,
    draw_all,
    figure_1,
    figure_2,
    figure_3_left,
    figure_3_right,
    figure_5,
    natural_sparsity,
    preference_share,
    read_points,
    truncated_student,
)
from quanterr.grids import IntegerGrid

NAMES = ("figure_1", "figure_2", "figure_3_left", "figure_3_right", "figure_5", "natural_sparsity")


def words(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 tensors × 7 bit-widths as published, pruning better above a kurtosis of 7 · 2^(bits − 2), and odd ones."""
    rng = np.random.default_rng(0)
    lines = ["model,tensor,bits,excess_kurtosis,quant_snr_db,prune_snr_db,prune_snr_mask_cost_db,quant_zero_fraction"]
    for tensor in range(200):
        kurtosis = 3.0 + rng.lognormal(1.0, 1.2)
        for bits in range(2, 9):
            quant = 6.0 * bits - 4.0
            prune = quant + (1.0 if kurtosis > 7.0 * 2 ** (bits - 2) else -1.0)
            lines.append(f"net,t{tensor},{bits},{kurtosis - 3.0},{quant},{prune},{prune},{0.9 / bits}")
    for bits in range(2, 9):
        lines += [f"net,dead,{bits},inf,9,1,1,0.5", f"net,sparse,{bits},1,9,inf,inf,0.9"]
        lines.append(f"net,odd,{bits},-3,9,1,1,0.5")
    path = tmp_path_factory.mktemp("data") / "model_zoo_weight_snr.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def points(records: Path) -> Points:
    return read_points(records)


def test_figure_1_has_both_snrs() -> None:
    text = words(figure_1())
    assert "19.26 dB" in text
    assert "5.58 dB" in text
    assert "75 % pruned to zero" in text


def test_figure_2_has_the_break_even_kurtoses() -> None:
    text = words(figure_2())
    for fact in ("8.873", "15.985", "28.350", "51.771"):
        assert fact in text
    assert "kurtosis" in text
    assert "dB" in text


def test_figure_5_marks_them_on_the_curve() -> None:
    figure = figure_5()
    assert "4 bits: 28.4" in words(figure)
    curve = figure.axes[0].get_lines()[1]
    middle = len(curve.get_xdata()) // 2
    reach = float(curve.get_xdata()[middle])
    assert curve.get_ydata()[middle] == pytest.approx(truncated_student(reach).kurtosis())


def test_what_is_compared(points: Points) -> None:
    """The infinite and the impossible kurtosis and the infinite SNR go where they belong."""
    assert points.bits.size == 7 * 203
    assert points.compared.sum() == 7 * 201
    assert points.placed.sum() == 7 * 200
    share = preference_share(points)
    for bits in range(2, 9):
        chosen = points.compared & (points.bits == bits)
        assert share[bits] == pytest.approx(np.mean(points.quant_snr_db[chosen] > points.prune_snr_db[chosen]))
    assert f"2 bits: {share[2]:.1%}" in words(figure_3_left(points))


def test_density_ratio_against_two_loops() -> None:
    rng = np.random.default_rng(1)
    kurtosis, better, at = rng.lognormal(2.0, 0.7, 50), rng.random(50) < 0.3, np.array([2.0, 7.0, 30.0])
    share, tensors = density_ratio(kurtosis, better, at)
    logs = np.log(kurtosis)
    quartiles = np.percentile(logs, [25, 75])
    width = 0.9 * min(logs.std(), (quartiles[1] - quartiles[0]) / 1.34) * 50**-0.2
    for i, place in enumerate(at):
        kernels = [float(np.exp(-0.5 * ((np.log(place) - x) / width) ** 2)) for x in logs]
        assert tensors[i] == pytest.approx(sum(kernels))
        assert share[i] == pytest.approx(sum(k for k, b in zip(kernels, better, strict=True) if b) / sum(kernels))


def test_the_kernel_estimate_crosses_where_the_records_do(points: Points) -> None:
    chosen = points.placed & (points.bits == 2)
    share, _ = density_ratio(
        points.kurtosis[chosen], points.prune_snr_db[chosen] > points.quant_snr_db[chosen], np.array([4.0, 7.0, 12.0])
    )
    assert share[0] < 0.1
    assert 0.3 < share[1] < 0.7
    assert share[2] > 0.9
    assert "break-even names the winner" in words(figure_3_right(points))


def test_natural_sparsity(points: Points) -> None:
    table = natural_sparsity(points)
    assert list(table["paper (printed)"]) == [13, 16, 20, 27, 35, 46, 59]
    four = table.set_index("bits").loc[4]
    assert four["torchvision model zoo"] == pytest.approx(100 * points.quant_zero_fraction[points.bits == 4].mean())
    scales = np.linspace(0.25, 0.45, 401)
    best = scales[int(np.argmin(quantization_error(Gaussian(), IntegerGrid(4), scales)))]
    assert four["Gaussian"] == pytest.approx(100 * float(zero_fraction(Gaussian(), IntegerGrid(4), best)), abs=0.05)


def test_all_figures_twice(records: Path, tmp_path: Path) -> None:
    first, second = draw_all(tmp_path / "a", data=records), draw_all(tmp_path / "b", data=records)
    expected = {f"{name}{suffix}" for name in NAMES for suffix in (".pdf", ".svg", ".png")} | {"captions.md"}
    assert {p.name for p in first} == expected
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    captions = (tmp_path / "a" / "captions.md").read_text()
    assert CREDIT in captions
    for fact in ("8.873", "15.985", "28.350", "51.771", "1,407 of 1,421 records"):
        assert fact in captions


def test_figures_of_a_scan(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    network = {f"layer{i}.weight": rng.standard_t(2.0 + i, (20, 30)) for i in range(6)}
    draw_all(tmp_path, model=network)
    captions = (tmp_path / "captions.md").read_text()
    assert "42 of 42 records" in captions
    assert CREDIT not in captions


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("a,b\n1,2\n", "lacks the columns bits, quant_snr_db"),
        ("bits,kurtosis,quant_snr_db,prune_snr_db,quant_zero_fraction\n", "has no lines"),
        ("bits,kurtosis,quant_snr_db,prune_snr_db,quant_zero_fraction\n4,inf,1,1,0\n", "nothing to draw"),
        ("", "is no CSV file"),
    ],
)
def test_data_that_cannot_be_drawn(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_points(path)
    app = Typer()
    register(app)
    run = CliRunner().invoke(app, ["figures", "--data", str(path), "-o", str(tmp_path / "out")])
    assert run.exit_code == 1
    assert not (tmp_path / "out").exists()
