"""Whole networks: recipes, sequential targets, the judge, files, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

from bounds import LeastSquares, Sparse  # noqa: E402
from quanterr.compression import Recipe, compress, parse_recipe, save, to_frame  # noqa: E402
from quanterr.compression.network import compare, correct_batchnorm, split  # noqa: E402
from quanterr.errors import InputError, LayerError  # noqa: E402
from quanterr.heuristics import irreducible, refit_target  # noqa: E402
from quanterr.layers import capture, capture_pair  # noqa: E402

from .tiny import batches, network  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
TINY = "tests.quanterr.tiny"
HALF = Recipe("alps+swaps", sparsity=0.5)


def perceptron() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(10, 12), nn.ReLU(inplace=True), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4)
    ).double()


def vectors(count: int = 400) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(10, 10, generator=generator, dtype=torch.float64)
    return list((torch.randn(count, 10, generator=generator, dtype=torch.float64) @ mixing).split(50))


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("obq", bits=4),
        Recipe("babai", bits=3, axis="tensor", scale="max"),
        HALF,
        Recipe("exact-obs", sparsity=0.5, pattern="layer"),
        Recipe("exact-obs+obq", sparsity=0.5, bits=4),
        Recipe("sparse-gpt+nearest", sparsity=0.5, bits=4, axis="4", scale="gram"),
        Recipe("local-search", bits=3, symmetric=True, scale="lp"),
        Recipe("wanda+refit", sparsity=0.25),
        Recipe("alps", pattern="2:4"),
        Recipe("sparse-gpt+refit+obq", pattern="2:4", bits=4, damping=0.01),
        Recipe("magnitude", sparsity=0.5, pattern="block:2"),
    ],
    ids=lambda r: r.words(),
)
def test_recipes_on_a_network(recipe: Recipe) -> None:
    """The reported SNR is the judge's, of the weights in the model; nothing else of the model changes."""
    model, inputs = perceptron(), vectors()
    recipes = {"*": recipe, "0": Recipe("keep")}
    outcome = compress(model, inputs, recipes, correct=False)
    assert outcome.corrected == ()
    assert [layer.name for layer in outcome.layers] == ["2", "4"]
    before, after = model.state_dict(), outcome.model.state_dict()
    for name in ("0.weight", "0.bias", "2.bias", "4.bias"):
        assert torch.equal(before[name], after[name])
    assert outcome.untouched == ("0.weight", "0.bias", "2.bias", "4.bias")
    calibration, rest = split(inputs, 0.25)
    assert outcome.calibrated == 300
    assert outcome.comparison.inputs == sum(map(len, rest)) == 100
    for layer, found in zip(capture(model, calibration, ["2", "4"]), outcome.layers, strict=True):
        x = after[f"{layer.name}.weight"].numpy()
        error = LeastSquares(layer.gram, layer.weight, Sparse(layer.columns)).upper(x).sum()
        assert found.snr_db == pytest.approx(10 * np.log10(layer.energy.sum() / error), rel=1e-12)
        assert 0 < found.stored_bytes < found.dense_bytes
        if recipe.pruner is not None:
            kept = {"layer": 0.5, "row": 1 - (recipe.sparsity or 0)}.get(recipe.pattern, 0.5)
            assert found.zeros >= 1 - kept - 1e-9


def test_quantised_weights_are_codes_times_scales() -> None:
    outcome = compress(perceptron(), vectors(), Recipe("obq", bits=3))
    for row in outcome.model.state_dict()["2.weight"].numpy():
        assert len(np.unique(row)) <= 8
    assert outcome.layers[1].stored_bytes == (8 * 12 * 3 + 8 * (32 + 3)) / 8
    plain = Recipe("obq", bits=3, symmetric=True)
    grouped = Recipe("obq", bits=3, axis="5")
    assert plain.stored_bits(np.ones((8, 12))) == 8 * 12 * 3 + 8 * 32
    assert grouped.stored_bits(np.ones((8, 12))) == 8 * 12 * 3 + 8 * 3 * (32 + 3)


def test_bytes_of_masks() -> None:
    weight = np.zeros((2, 8))
    weight[:, ::2] = 1.0
    assert Recipe("magnitude", sparsity=0.5).stored_bits(weight) == 8 * 16 + 16
    assert Recipe("magnitude", pattern="2:4").stored_bits(weight) == 4 * (2 * 16 + 3)
    assert Recipe("magnitude", sparsity=0.5, pattern="block:2").stored_bits(weight) == 16 * 16 + 8
    assert Recipe("magnitude+obq", sparsity=0.5, bits=4).stored_bits(weight) == 8 * 4 + 16 + 2 * 36


# Sequential compression


def test_pairs_hold_the_moments_of_both_networks() -> None:
    dense, other = perceptron(), perceptron()
    with torch.no_grad():
        other[0].weight.mul_(0.7)
    inputs = torch.cat(vectors())
    x, y = (torch.relu(net[0](inputs)).detach().numpy() for net in (dense, other))
    (pair,) = capture_pair(dense, other, vectors(), ["2"])
    np.testing.assert_allclose(pair.dense.gram, x.T @ x / len(x), rtol=1e-12)
    np.testing.assert_allclose(pair.compressed.gram, y.T @ y / len(x), rtol=1e-12)
    np.testing.assert_allclose(pair.cross, y.T @ x / len(x), rtol=1e-12)
    assert pair.compressed.samples == 400
    np.testing.assert_array_equal(pair.compressed.weight, dense[2].weight.detach().numpy())


def test_pairs_of_convolutions_agree_with_captures() -> None:
    """With itself every moment is the Gram matrix, groups included."""
    model = network()
    for alone, pair in zip(capture(model, batches()), capture_pair(model, network(), batches()), strict=True):
        for gram in (pair.dense.gram, pair.compressed.gram, pair.cross):
            np.testing.assert_allclose(gram, alone.gram, rtol=1e-12, atol=1e-15)


def test_refitted_target_is_linear_regression() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((300, 6)), rng.standard_normal((4, 6))
    y = x @ (np.eye(6) + 0.2 * rng.standard_normal((6, 6))) + 0.3 * rng.standard_normal((300, 6))
    gram, cross = y.T @ y / 300, y.T @ x / 300
    target = np.asarray(refit_target(w, gram, cross))
    np.testing.assert_allclose(target, np.linalg.lstsq(y, x @ w.T, rcond=None)[0].T, rtol=1e-9)
    floor = np.asarray(irreducible(w, x.T @ x / 300, target, gram))
    np.testing.assert_allclose(floor, ((x @ w.T - y @ target.T) ** 2).mean(axis=0), rtol=1e-9)
    other = rng.standard_normal((4, 6))
    error = np.einsum("ri,ij,rj->r", other - target, gram, other - target)
    np.testing.assert_allclose(floor + error, ((x @ w.T - y @ other.T) ** 2).mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(refit_target(w, x.T @ x, x.T @ x), w, rtol=1e-9)


def test_refitted_target_of_dependent_inputs() -> None:
    """The residual is that of least squares, and a dead input keeps its weight."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((50, 5)), rng.standard_normal((3, 5))
    y = x.copy()
    y[:, 3], y[:, 1] = y[:, 0], 0.0
    target = np.asarray(refit_target(w, y.T @ y / 50, y.T @ x / 50))
    best = y @ np.linalg.lstsq(y, x @ w.T, rcond=None)[0]
    np.testing.assert_allclose(y @ target.T, best, atol=1e-9)
    np.testing.assert_array_equal(target[:, 1], w[:, 1])


def test_sequential_gives_each_layer_its_real_inputs() -> None:
    """The network's own error on the calibration inputs is the last layer's; going one by one lowers it."""
    model, inputs = perceptron(), vectors()
    recipe = Recipe("alps+swaps", sparsity=0.6)
    calibration, _ = split(inputs, 0.25)
    apart, together = (compress(model, inputs, recipe, sequential=s, correct=False) for s in (False, True))
    seen = [compare(model, outcome.model, calibration, "cpu") for outcome in (apart, together)]
    last = together.layers[-1]
    x = torch.cat(calibration)
    with torch.no_grad():
        dense, after = model(x) - model[4].bias, together.model(x) - model[4].bias
    snr = 10 * np.log10(float((dense**2).sum() / ((dense - after) ** 2).sum()))
    assert last.snr_db == pytest.approx(snr, abs=1e-6)
    assert seen[1].snr_db > seen[0].snr_db


def test_corrected_biases_keep_the_mean_output() -> None:
    """Alone, each layer's mean output on the calibration inputs is the dense one's; in sequence the network's is."""
    model, inputs = perceptron(), vectors()
    calibration = torch.cat(split(inputs, 0.25)[0])
    recipe = Recipe("nearest", bits=3)
    outcome = compress(model, inputs, {"2": recipe})
    assert outcome.corrected == ("2.bias",)
    assert "2.bias" not in outcome.untouched
    torch.testing.assert_close(outcome.model[:3](calibration).mean(0), model[:3](calibration).mean(0))
    together = compress(model, inputs, recipe, sequential=True).model
    torch.testing.assert_close(together(calibration).mean(0), model(calibration).mean(0))


def test_corrected_biases_of_grouped_convolutions() -> None:
    model = network()
    outcome = compress(model, batches(), {"2": Recipe("nearest", bits=2)})
    calibration = torch.cat(split(batches(), 0.25)[0])
    before, after = (net[:3](calibration).mean((0, 2, 3)) for net in (model, outcome.model))
    torch.testing.assert_close(before, after)


def normed() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(10, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()


def test_batch_norms_move_as_their_inputs_do() -> None:
    """One batch: what a norm gives has the mean and variance it had, though the running ones are another data set's."""
    model, inputs = normed(), torch.cat(vectors())
    with torch.no_grad():
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2.0)
    outcome = compress(model, [inputs], {"0": Recipe("magnitude", sparsity=0.5)})
    assert outcome.corrected == ("1",)
    before, after = (net.eval()[:2](inputs[:300]) for net in (model, outcome.model))
    torch.testing.assert_close(after.mean(0), before.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.var(0), before.var(0), rtol=1e-4, atol=1e-6)
    kept = compress(model, [inputs], HALF, correct=False)
    assert kept.corrected == ()
    assert torch.equal(kept.model[1].running_mean, model[1].running_mean)


def test_equal_networks_are_not_corrected() -> None:
    """Statistics taken afresh would differ; momentum, mode and hooks stay as they were."""
    model, twin = normed(), normed()
    for net in (model, twin):
        net[1].running_mean.fill_(0.3)
        net[1].running_var.fill_(1.7)
    assert correct_batchnorm(model, twin, vectors(), "cpu") == ("1",)
    assert torch.equal(twin[1].running_mean, model[1].running_mean)
    assert torch.equal(twin[1].running_var, model[1].running_var)
    assert twin[1].momentum == 0.1
    assert twin.training
    assert not twin[1]._forward_pre_hooks


def test_layers_with_few_inputs_are_damped_and_say_so() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(40, 8)).double(), [torch.randn(60, 40, dtype=torch.float64)]
    (layer,) = compress(model, inputs, Recipe("babai", bits=4)).layers
    assert layer.samples == 45
    assert layer.recipe.damping == 1.0
    assert "damping 1" in layer.recipe.words()
    assert "45 input vectors for 40 columns" in layer.notes[-1]
    (layer,) = compress(model, inputs, Recipe("nearest", bits=4)).layers
    assert layer.recipe.damping == 0.01
    assert layer.notes == ()


def test_errors_on_inputs_held_out() -> None:
    model, inputs = perceptron(), vectors()
    outcome = compress(model, inputs, Recipe("obq", bits=3))
    rest = split(inputs, 0.25)[1]
    for layer, found in zip(capture(model, rest), outcome.layers, strict=True):
        step = outcome.model.state_dict()[f"{found.name}.weight"].numpy() - layer.weight
        error = np.einsum("ri,ij,rj->", step, layer.gram, step)
        assert found.held_out_db == pytest.approx(10 * np.log10(layer.energy.sum() / error), rel=1e-9)
    assert compress(model, inputs, HALF, sequential=True).layers[0].held_out_db is None


def test_groups_of_inputs_stay_together() -> None:
    before, after = split([torch.arange(7), torch.arange(7, 12)], 0.3, group=3)
    assert torch.cat(before).tolist() == list(range(9))
    assert torch.cat(after).tolist() == [9, 10, 11]


def test_sentences_are_compared_by_the_mean_of_their_tokens() -> None:
    class Tokens(nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.shift = shift

        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            return x + self.shift * (attention_mask == 0)[:, :, None]  # padding differs, nothing else

    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    seen = compare(Tokens(0.0), Tokens(5.0), [{"x": torch.randn(2, 3, 4), "attention_mask": mask}], "cpu")
    assert seen.snr_db == float("inf")
    assert seen.cosine == pytest.approx(1.0)
    assert seen.agreement is None


def trained() -> tuple[nn.Module, list[Tensor]]:
    """A network that reads digits, and 512 of them."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = torch.from_numpy(digits.images[order] / 16.0).float()[:, None]
    labels = torch.from_numpy(digits.target[order])
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(12):
        for some in torch.randperm(1280).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[some]), labels[some]).backward()
            optimizer.step()
    return model.eval(), list(images[1280:].split(64))


def test_a_trained_network_keeps_its_answers() -> None:
    model, inputs = trained()
    eight = compress(model, inputs, Recipe("nearest", bits=8))
    assert eight.comparison.agreement is not None
    assert eight.comparison.agreement > 0.95
    plain = compress(model, inputs, Recipe("nearest", bits=4, symmetric=True), correct=False)
    best = compress(model, inputs, Recipe("local-search", bits=4, axis="16"), sequential=True)
    assert best.comparison.snr_db > plain.comparison.snr_db + 3.0
    assert best.comparison.agreement is not None
    assert best.comparison.agreement > 0.9


def test_first_sequential_layer_is_the_independent_one() -> None:
    model, inputs = perceptron(), vectors()
    apart, together = (compress(model, inputs, HALF, sequential=s) for s in (False, True))
    torch.testing.assert_close(apart.model[0].weight, together.model[0].weight, rtol=1e-9, atol=1e-12)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


@pytest.mark.parametrize("sequential", [False, True])
def test_shared_weights_are_compressed_once_and_stay_shared(sequential: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    outcome = compress(Tied(), [torch.randn(60, 6)], HALF, sequential=sequential)
    assert [layer.name for layer in outcome.layers] == ["first"]
    assert outcome.model.first.weight is outcome.model.second.weight
    assert any("shared with second" in note for note in outcome.layers[0].notes)
    save(outcome, tmp_path / "tied.safetensors")


def test_saved_file_loads_into_the_network(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file

    model = network()
    outcome = compress(model, batches(), {"*": HALF, "2": Recipe("obq", bits=4)})
    path = tmp_path / "tiny.safetensors"
    assert save(outcome, path, "tiny") == path.stat().st_size
    twin = network()
    twin.load_state_dict(load_file(path))
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), outcome.model.parameters(), strict=True))
    with safe_open(path, "pt") as file:
        account = json.loads(file.metadata()["quanterr"])
    assert [layer["name"] for layer in account["layers"]] == ["0", "2", "4", "5"]
    frame = to_frame(outcome)
    assert frame.method.tolist() == ["alps+swaps", "obq", "alps+swaps", "alps+swaps"]
    assert os.listdir(tmp_path) == ["tiny.safetensors"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = compress(perceptron(), vectors(), HALF)
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", broken)
    with pytest.raises(InputError, match="disk full"):
        save(outcome, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["net.safetensors"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magic", "none of"),
        ("obq", "how many bits"),
        ("obq,bits=99", "bits"),
        ("alps", "how much"),
        ("alps,sparsity=1.5", "sparsity"),
        ("alps,sparsity=0.5,pattern=3", "pattern"),
        ("alps,pattern=4:2", "pattern"),
        ("obq+alps,bits=4,sparsity=0.5", "only come last"),
        ("refit,sparsity=0.5", "begin with a pruner"),
        ("alps+babai,bits=4,sparsity=0.5", "fill pruned weights"),
        ("alps,sparsity=half", "no value"),
        ("obq,bits=4,symmetric=maybe", "no value"),
        ("obq,bits=4,axis=0", "channel or tensor"),
        ("alps,sparse=0.5", "no option"),
        ("obq,bits=4,axis=row", "channel or tensor"),
    ],
)
def test_bad_recipes_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_recipe(text)


def test_bad_networks_are_refused_by_name() -> None:
    model = network()
    with pytest.raises(LayerError, match=r"layer '0'.*columns do not divide"):
        compress(model, batches(), Recipe("alps", pattern="2:4"))
    with pytest.raises(LayerError, match="no layer matches 'nine'"):
        compress(model, batches(), {"nine": HALF})
    with pytest.raises(InputError, match="nothing to compress"):
        compress(model, batches(), Recipe("keep"))
    with pytest.raises(InputError, match="cannot be split"):
        compress(perceptron(), [torch.zeros(1, 10).double()], HALF)
    with pytest.raises(InputError, match="held out"):
        compress(model, batches(), HALF, held_out=1.0)
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(LayerError, match="anew"):
        compress(normed, [torch.randn(20, 4)], HALF)


def test_split_cuts_batches_of_any_kind() -> None:
    given = [{"a": torch.arange(4), "b": torch.arange(4)}, {"a": torch.arange(4, 8), "b": torch.arange(4)}]
    before, after = split(given, 0.4)
    assert torch.cat([b["a"] for b in before]).tolist() == [0, 1, 2, 3, 4]
    assert torch.cat([b["a"] for b in after]).tolist() == [5, 6, 7]
    before, after = split([(torch.arange(3), torch.arange(3))], 0.5)
    assert before[0][0].tolist() == [0]
    assert after[0][1].tolist() == [1, 2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "quanterr", "compress", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)


def test_command_line(tmp_path: Path) -> None:
    out = tmp_path / "tiny.safetensors"
    done = run(
        "--model", f"{TINY}:network", "--inputs", f"{TINY}:batches", "--method", "alps+swaps", "--sparsity", "0.5",
        "--set", "2:obq,bits=4", "--set", "5:keep", "--sequential", "-o", out, "--csv", tmp_path / "tiny.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "obq 4 bits" in done.stdout
    assert "Whole network on 12 inputs held out" in done.stdout
    assert "on the first 36 inputs" in done.stdout
    assert "5.weight" in done.stdout
    assert out.stat().st_size > 1000
    assert len((tmp_path / "tiny.csv").read_text().splitlines()) == 4
    bad = run("--model", f"{TINY}:network", "--inputs", f"{TINY}:batches", "--method", "alps", "-o", out)
    assert bad.returncode == 1
    assert "say how much" in bad.stderr
    assert run("--preset", "efficientnet-lite0", "--bits", "4", "-o", tmp_path / "no" / "x").returncode == 1
