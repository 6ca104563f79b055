"""Certificates: what is written proves what was claimed, and no alteration goes unnoticed."""

import dataclasses
import io
import json
import math
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bounds
import quanterr
from quanterr import CertificateFileError, Layer, certify, verify
from quanterr.contestants import Method, feasible_set
from quanterr.proofs.certificates import FORMAT, LayerCertificate, file_name, read, write
from quanterr.proofs.verifying import Verification, _meant

from .conftest import make_layer
from .second_checker import check

ROOT = Path(__file__).parent.parent.parent


def certified(folder: Path, layer: Layer | None = None, **options: Any) -> Path:
    chosen = make_layer(rows=4, columns=9, groups=2) if layer is None else layer
    certify([chosen], **{"bits": (2, 4), "chunk": 5, **options}, certificates=folder)
    return folder / file_name(chosen.name)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certified(tmp_path_factory.mktemp("certificates"))


def second_opinion(path: Path) -> bool:
    try:
        check(path)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("dual", ["diagonal", "semidefinite", "none"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_what_is_written_holds(dual: str, groups: int, tmp_path: Path) -> None:
    layer = make_layer(rows=4, columns=9, groups=groups)
    path = certified(tmp_path, layer, dual=dual)
    result = verify(path)
    assert result.holds, result.failures
    problems = layer.rows * 2 * 2 * 2
    assert check(path) == (problems, 0 if dual == "none" else problems)
    assert (result.row_bounds, result.search_rows) == (problems, problems)
    report = certify([layer], bits=(2, 4), chunk=5)
    verdicts = {(v.chunk, v.bits): v.outcome.value for v in report.judged()}
    assert {place: name for place, (name, _) in result.margins(proven=False).items()} == verdicts
    for record in report.records:
        sums = result.sums[record.method, record.chunk, record.bits]
        assert float(sums.lower) == pytest.approx(record.error_lower, rel=1e-12)
        assert float(sums.upper) <= record.error_upper <= float(sums.upper) * (1 + 1e-9)
        assert (sums.dual is None) == (dual == "none")
        assert sums.dual is None or sums.dual <= sums.upper


def test_a_dual_bound_alone_decides_a_clear_verdict(tmp_path: Path) -> None:
    path = certified(tmp_path, make_layer(rows=8, columns=12), bits=(8,), chunk=None)
    proven = verify(path).margins(proven=True)[0, 8]
    claimed = verify(path).margins(proven=False)[0, 8]
    assert proven[0] == claimed[0] == "quantization"
    assert 1 < proven[1] <= claimed[1]
    assert verify(certified(tmp_path, dual="none")).margins(proven=True)[0, 2][0] == "undecided"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, file: Path) -> None:
    assert certified(tmp_path, jobs=2).read_bytes() == file.read_bytes()


def test_a_stored_run_gives_the_same_certificate(tmp_path: Path, file: Path) -> None:
    with quanterr.Store(tmp_path / "s") as store:
        certified(tmp_path / "first", store=store)
        assert certified(tmp_path / "second", store=store).read_bytes() == file.read_bytes()


def test_open_rows_rest_on_the_dual_bound(tmp_path: Path) -> None:
    layer = make_layer(rows=4, columns=24, seed=3)
    path = certified(tmp_path, layer, bits=(4,), chunk=None, search=bounds.BranchAndBound(max_nodes=1))
    result = verify(path)
    assert result.holds, result.failures
    assert result.search_rows < result.row_bounds
    assert check(path) == (8, 8)


def test_refused_chunks_are_missing(tmp_path: Path) -> None:
    good = make_layer(rows=3, columns=12)
    gram = good.gram.copy()
    gram[0, 0] = -1.0
    path = certified(tmp_path, Layer("half", good.weight, gram, 400), chunk=6, skip_refused=True)
    result = verify(path)
    assert result.holds
    assert result.certificate.chunks == ((6, 12),)
    assert set(result.margins(proven=False)) == {(1, 2), (1, 4)}
    assert check(path) == (12, 12)


def test_dependent_inputs_have_a_search_and_no_dual_bound_of_pruning(tmp_path: Path) -> None:
    layer = make_layer(rows=3, columns=5)
    twice = np.array([0, 1, 2, 3, 4, 4])
    wide = Layer("twins", layer.weight[:, twice], layer.gram[np.ix_(twice, twice)], layer.samples)
    path = certified(tmp_path, wide, chunk=None)
    result = verify(path, rerun=True)
    assert result.holds, result.failures
    assert second_opinion(path)
    pruning, codes = (result.sums[method, 0, 4] for method in ("pruning", "quantization"))
    assert 0 == pruning.dual < pruning.lower <= pruning.upper
    assert 0 < codes.lower <= codes.upper


def test_rerun_confirms_and_refutes(tmp_path: Path, file: Path) -> None:
    again = verify(file, rerun=True)
    assert again.holds, again.failures
    assert again.rerun
    assert again.margins(proven=True) == again.margins(proven=False)

    def lie(certificate: LayerCertificate) -> None:
        """Worse codes with an honest error, and a lower value just below it."""
        claim = next(c for c in certificate.claims if c.name == "quantization-2")
        claim.x[0, :5] = 0
        claim.by_dual[0, 0] = False
        error = certificate.weight[0, :5] @ certificate.grams[0][0] @ certificate.weight[0, :5]
        claim.upper[0, 0], claim.lower[0, 0] = error * (1 + 1e-12), error * (1 - 1e-12)

    path = rewritten(file, tmp_path / "lie.npz", lie)
    assert verify(path).holds
    assert second_opinion(path)
    found = verify(path, rerun=True)
    assert not found.holds
    assert "row 0: the search finds error" in found.failures[0]


def rewritten(source: Path, path: Path, change: Callable[[LayerCertificate], None]) -> Path:
    """A certificate altered by someone who recomputes every hash."""
    certificate, _ = read(source)
    change(certificate)
    write(certificate, path)
    return path


FALSE = {
    "upper": lambda v: v * (1 - 1e-6),
    "lower": lambda v: v * (1 + 1e-5),
    "dual": lambda v: v * (1 + 1e-9) + 1e-9,
}


@pytest.mark.parametrize("name", FALSE)
def test_every_false_number_is_refuted(name: str, file: Path, tmp_path: Path) -> None:
    """One by one, and with every hash recomputed: the arithmetic itself must object."""
    genuine, _ = read(file)
    for claim, (_, chunk, row) in _places(genuine):

        def change(certificate: LayerCertificate, at: tuple[int, int] = (chunk, row), which: str = claim) -> None:
            altered = next(c for c in certificate.claims if c.name == which)
            array = altered.proof.lower if name == "dual" and altered.proof else getattr(altered, name, None)
            array[at] = FALSE[name](array[at])

        path = rewritten(file, tmp_path / "altered.npz", change)
        result = verify(path)
        assert len(result.failures) == 1, (claim, chunk, row)
        assert f"chunk {chunk}, row {row}, " in result.failures[0]
        assert not second_opinion(path)


def _places(certificate: LayerCertificate) -> list[tuple[str, tuple[int, int, int]]]:
    rows = len(certificate.weight)
    return [
        (claim.name, (i, chunk, row))
        for i, claim in enumerate(certificate.claims)
        for chunk in range(len(certificate.chunks))
        for row in range(rows)
    ]


@pytest.mark.parametrize("name", ["weight", "x", "y", "diagonal", "scale", "gram"])
def test_both_checkers_agree_on_every_altered_number(name: str, file: Path, tmp_path: Path) -> None:
    """An altered statement may still be true: then both must see the same."""
    genuine, _ = read(file)
    seen = set()
    rng = np.random.default_rng(0)
    for trial in range(15):
        claim = int(rng.integers(len(genuine.claims)))
        bump = float(rng.choice([1e-3, 0.5, 3.0, -3.0]))

        def change(certificate: LayerCertificate, claim: int = claim, bump: float = bump) -> None:
            chosen = certificate.claims[claim]
            assert chosen.proof is not None
            array = {
                "weight": certificate.weight, "x": chosen.x, "y": chosen.proof.y, "diagonal": chosen.proof.diagonal,
                "scale": certificate.claims[0].scale, "gram": certificate.grams[claim % 2][0],
            }[name]  # fmt: skip
            place = tuple(rng.integers(array.shape))
            array[place] += max(1, int(bump)) if array.dtype.kind == "i" else bump
            if name == "gram":
                array[place[::-1]] = array[place]
            if name == "scale":
                array[place] = abs(array[place])

        path = rewritten(file, tmp_path / "altered.npz", change)
        holds = verify(path).holds
        assert holds == second_opinion(path), trial
        seen.add(holds)
    assert False in seen


def test_a_byte_that_matters_never_flips_unnoticed(file: Path, tmp_path: Path) -> None:
    """What may change is what says nothing: time stamps, attributes and versions in the directory of the archive."""
    whole, content, path = file.read_bytes(), _content(file), tmp_path / "flipped.npz"
    for place in sorted({*range(0, 200, 3), *range(len(whole) - 300, len(whole)), *range(0, len(whole), 29)}):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        try:
            read(path)
        except CertificateFileError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert _content(path) == content, place


def _content(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_cut_short(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    path = tmp_path / "short.npz"
    for length in [0, 1, 100, *range(0, len(whole), len(whole) // 50)]:
        path.write_bytes(whole[:length])
        with pytest.raises(CertificateFileError, match=r"cut short or altered.*copy it again"):
            verify(path)


def test_foreign_files(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CertificateFileError, match="cannot be read: No such file"):
        verify(tmp_path / "absent")
    with pytest.raises(CertificateFileError, match="cannot be read: Is a directory"):
        verify(tmp_path)
    path = tmp_path / "foreign"
    path.write_text("a poem")
    with pytest.raises(CertificateFileError, match="not a certificate"):
        verify(path)
    with path.open("wb") as stream:
        np.savez(stream, a=np.zeros(3))
    with pytest.raises(CertificateFileError, match="a zip file, but not a certificate of quanterr"):
        verify(path)


def repacked(file: Path, path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """Header and arrays changed at will, all hashes recomputed."""
    from quanterr.proofs.archive import read_archive, write_archive

    header, arrays, _ = read_archive(file, FORMAT, 1)
    change(header, arrays)
    write_archive(path, header, arrays)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, a: h.update(version=2), "certificate format 2, this quanterr reads 1"),
        (lambda h, a: h.update(format="other"), "not a certificate of quanterr"),
        (lambda h, a: h.pop("rows"), "malformed certificate"),
        (lambda h, a: h.update(rows=3), "malformed certificate"),
        (lambda h, a: h.update(rows="four"), "malformed certificate"),
        (lambda h, a: h["claims"][0].update(proof={"kind": "block"}), "kind 'block', which this version cannot check"),
        (lambda h, a: h["claims"][0].update(proof=None), "malformed certificate"),
        (lambda h, a: h["claims"][0].update(feasible=[{"set": "IntegerBox", "low": 3, "high": 2}] * 2), "empty"),
        (lambda h, a: h["claims"][2].update(feasible=[{"set": "Sparse", "keep": 6}] * 2), "exceeds the 5 columns"),
        (lambda h, a: h["claims"][0].update(feasible=[{"set": "Gram"}] * 2), "unknown set 'Gram'"),
        (lambda h, a: h["claims"].append(h["claims"][0]), "two claims of one name"),
        (lambda h, a: h["chunks"][1].update(columns=[4, 9]), "overlap"),
        (lambda h, a: h["chunks"][1].update(index=0), "not ascending"),
        (lambda h, a: h.update(weight_sha256="0" * 64), "weight_sha256 is of another weight"),
        (lambda h, a: h["chunks"][0].update(gram_sha256="0" * 64), "gram_sha256 is not of gram/0"),
        (lambda h, a: a.update(more=np.zeros(3)), "nothing refers to"),
        (lambda h, a: a.pop("weight"), "malformed certificate"),
        (lambda h, a: a["quantization-2/scale"].__setitem__(0, 0.0), "not positive"),
        (lambda h, a: a["pruning-4/upper"].__setitem__((0, 0), math.nan), "NaN or infinity"),
        (lambda h, a: a["pruning-4/y"].__setitem__((0, 0), math.inf), "NaN or infinity"),
        (lambda h, a: a.update({"pruning-4/x": a["pruning-4/x"].astype(complex)}), "has type complex"),
        (lambda h, a: a.update({"pruning-4/nodes": a["pruning-4/nodes"][:1]}), "has type int64"),
    ],
)
def test_malformed_files(change: Callable[..., Any], message: str, file: Path, tmp_path: Path) -> None:
    with pytest.raises(CertificateFileError, match=message):
        verify(repacked(file, tmp_path / "m.npz", lambda h, a: change(h, a)))


def test_members_may_not_be_added_or_doubled(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "more.npz"
    for name in ("weight.npy", "stowaway.npy"):
        path.write_bytes(file.read_bytes())
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings(action="ignore"):
            archive.writestr(name, b"")
        with pytest.raises(CertificateFileError, match="altered"):
            verify(path)


def test_pickles_are_never_loaded(file: Path, tmp_path: Path) -> None:
    path = repacked(file, tmp_path / "p.npz", lambda h, a: None)
    content = _content(path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object))
    content["weight.npy"] = buffer.getvalue()
    _pack(path, content)
    with pytest.raises(CertificateFileError, match="Object arrays cannot be loaded"):
        verify(path)


def _pack(path: Path, content: dict[str, bytes]) -> None:
    from hashlib import sha256

    header = json.loads(content["header.json"])
    header["members"] = {name: sha256(data).hexdigest() for name, data in content.items() if name != "header.json"}
    content["header.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = sha256(content["header.json"]).hexdigest().encode()
        for name, data in content.items():
            archive.writestr(name, data)


def test_a_comparison_is_about_equal_storage(file: Path, tmp_path: Path) -> None:
    for method in Method:
        for bits in range(1, 17):
            assert _meant(method.value, bits, 36) == feasible_set(method, bits, 36)
    wider = [{"set": "IntegerBox", "low": -8, "high": 7}] * 2
    result = verify(repacked(file, tmp_path / "w.npz", lambda h, a: h["claims"][0].update(feasible=wider)))
    assert "where IntegerBox(low=-2, high=1) is meant" in result.failures[0]


def test_names_of_files_are_safe_and_distinct() -> None:
    assert file_name("layer1.0.conv") == "layer1.0.conv.certificate.npz"
    odd = ["a/b", "a_b", "a b", "../../etc", ".hidden", "", "x" * 300, "x" * 301, "Ünï"]
    names = {file_name(name) for name in odd}
    assert len(names) == len(odd)
    assert all("/" not in name and not name.startswith(".") and len(name) < 200 for name in names)


def test_unwritable_places_and_bad_options(tmp_path: Path, layer: Layer) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CertificateFileError, match=r"cannot be written: .*choose another folder"):
        certified(tmp_path / "file", layer)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(quanterr.QuanterrError, match="dual = 'best': choose one of diagonal"):
        certified(tmp_path, layer, dual="best")


def test_checking_needs_no_solver(file: Path, tmp_path: Path) -> None:
    """Not even installed: a numba that cannot be imported stands in the way."""
    (tmp_path / "numba.py").write_text("raise ImportError('no numba on this machine')")
    code = (
        "import sys; from quanterr.cli import app; app(['verify', sys.argv[1]], standalone_mode=False);"
        "print(*(m for m in sys.modules if m.startswith(('bounds.exact', 'bounds.relaxation', 'bounds.kernels',"
        "'numba', 'torch', 'pandas'))), sep=',')"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code, file], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Proven here" in done.stdout
    assert done.stdout.endswith("\n\n"), done.stdout[-300:]


def test_every_public_name_has_a_home() -> None:
    from quanterr import _HOMES

    assert set(_HOMES) <= set(quanterr.__all__)
    assert set(bounds._SOLVERS) <= set(bounds.__all__)
    for package in (quanterr, bounds):
        assert all(hasattr(package, name) for name in package.__all__)
        with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
            getattr(package, "nonsense")  # noqa: B009
    assert callable(quanterr.certify)
    assert callable(quanterr.scan)


def test_verification_is_a_plain_value(file: Path) -> None:
    result = verify(file)
    assert isinstance(result, Verification)
    assert dataclasses.asdict(result)["identity"] == verify(file).identity
    assert len(result.identity) == 64
