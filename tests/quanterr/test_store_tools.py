"""`quanterr store` and the failures a result file must survive: full disks, kills, other processes, other files."""

import itertools
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from quanterr import Layer, Store, StoreError, certify, verify
from quanterr.cli import app
from quanterr.proofs.certificates import file_name, read, write
from quanterr.store import require_place

from .conftest import make_layer
from .test_store import KEYS, result, same


def run(*arguments: object) -> Any:
    """The command line in this process, its output on one line."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert not isinstance(done.exception, Exception), done.exception
    return done


def words(text: str) -> str:
    return " ".join(text.split())


def two_runs(path: Path) -> None:
    with Store(path) as store:
        certify([make_layer("first", rows=3, columns=6)], bits=(2, 3, 4), store=store, title="run one")
        certify([make_layer("second", rows=3, columns=6)], bits=(4, 8), store=store, title="run two")


def test_runs_know_their_results(tmp_path: Path) -> None:
    two_runs(tmp_path / "s")
    with Store(tmp_path / "s") as store:
        one, two = store.runs()
        assert (one.id, one.title, two.id, two.title) == (1, "run one", 2, "run two")
        assert one.size > 0 < two.size
        assert store.unused() == (0, 0)
        # both layers hold the same numbers: 4 bits are shared, and pruning at 3 bits keeps what it keeps at 4
        total, kept = len(store), len(store) - store.unused(forget=[1])[0]
        assert 0 < kept < total
        with pytest.raises(StoreError, match=r"has no run 7: `quanterr store ls"):
            store.collect(forget=[1, 7])
        assert len(store.runs()) == 2
        removed, size = store.collect(forget=[1])
        assert (removed, len(store)) == (total - kept, kept)
        assert size > 0
        assert [r.id for r in store.runs()] == [2]
        assert store.collect() == (0, 0)
    again = certify([make_layer("second", rows=3, columns=6)], bits=(4, 8), store=Store(tmp_path / "s"))
    assert len(Store(tmp_path / "s")) == kept
    assert [r.layer for r in again.records] == ["second"] * 4


def test_unfinished_results_are_what_gc_removes(tmp_path: Path) -> None:
    two_runs(tmp_path / "s")
    with Store(tmp_path / "s") as store:
        before = len(store)
        store.put(((key, result(i)) for i, key in enumerate(KEYS)), "search")
    with Store(tmp_path / "s") as store:
        assert store.unused()[0] == len(KEYS)
        size = (tmp_path / "s").stat().st_size
        assert store.collect()[0] == len(KEYS)
        assert (tmp_path / "s").stat().st_size < size
        assert len(store) == before
        assert store.get(KEYS[0], "search") is None


def test_commands(tmp_path: Path) -> None:
    path = tmp_path / "s"
    two_runs(path)
    with Store(path) as store:
        store.put([(KEYS[0], result(0))], "search")
    listed = run("store", "ls", path)
    assert listed.exit_code == 0, listed.stderr
    assert "run one" in words(listed.stdout)
    assert "2-4" in words(listed.stdout)
    assert "4,8" in words(listed.stdout)
    assert "1 (" in words(listed.stdout).split("results,")[1]
    written = run("store", "export", path, "--csv", tmp_path / "t.csv", "--parquet", tmp_path / "t.parquet")
    assert written.exit_code == 0, written.stderr
    frame = pd.read_csv(tmp_path / "t.csv")
    assert frame.run.unique().tolist() == [2]
    assert frame.title.unique().tolist() == ["run two"]
    assert pd.read_parquet(tmp_path / "t.parquet").bits.tolist() == frame.bits.tolist() == [4, 4, 8, 8]
    run("store", "export", path, "--csv", tmp_path / "t.csv", "--run", 1)
    assert pd.read_csv(tmp_path / "t.csv").bits.tolist() == [2, 2, 3, 3, 4, 4]
    dry = run("store", "gc", path)
    assert "1 of " in words(dry.stdout)
    assert "nothing was removed; pass --yes" in words(dry.stdout)
    with Store(path) as store:
        assert store.unused()[0] == 1
    assert "1 result removed" in words(run("store", "gc", path, "--yes").stdout)
    assert "nothing to remove" in words(run("store", "gc", path, "--yes").stdout)
    assert "run 1 will be forgotten" in words(run("store", "gc", path, "--forget", 1).stdout)
    assert len(Store(path).runs()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ls", "absent"), "does not exist"),
        (("ls", "notes.txt"), "not a store"),
        (("gc", "notes.txt", "--yes"), "not a store"),
        (("export", "s", "--csv", "no/folder/t.csv"), "does not exist: make it"),
        (("export", "s"), "nothing to write"),
        (("export", "s", "--csv", "t.csv", "--run", "9"), "no run 9"),
        (("gc", "s", "--forget", "9", "--yes"), "no run 9"),
    ],
)
def test_one_clear_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    two_runs(tmp_path / "s")
    (tmp_path / "notes.txt").write_text("mine " * 999)
    names = ("absent", "notes.txt", "s", "t.csv", "no/folder/t.csv")
    failed = run("store", *(tmp_path / a if a in names else a for a in arguments))
    assert failed.exit_code == 1
    assert message in words(failed.stderr)
    assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine " * 999
    assert not (tmp_path / "absent").exists()
    assert len(Store(tmp_path / "s").runs()) == 2


def test_verify_command(tmp_path: Path) -> None:
    certify([make_layer(rows=3, columns=6)], bits=(2,), certificates=tmp_path / "c", title="a run")
    path = tmp_path / "c" / file_name("toy")
    good = run("verify", tmp_path / "c")
    assert good.exit_code == 0, good.stderr
    assert "layer toy of a run: 3 rows × 6 columns in 1 chunk" in words(good.stdout)
    assert "Needs a rerun: the claimed lower values of 6 row problems" in words(good.stdout)
    again = run("verify", "--rerun", path)
    assert again.exit_code == 0, again.stderr
    assert "Searched again" in words(again.stdout)
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-50])
    broken = run("verify", path, tmp_path / "cut", tmp_path / "absent")
    assert broken.exit_code == 1
    assert broken.stderr.count("error: ") == 2
    assert "Proven here" in words(broken.stdout)
    certificate, _ = read(path)
    certificate.claims[0].lower[0, 1] *= 2
    write(certificate, path)
    refuted = run("verify", path, tmp_path / "cut")
    assert refuted.exit_code == 3
    assert "chunk 0, row 1, quantization at 2 bits: the lower value" in words(refuted.stderr)
    assert "REFUTED" in words(refuted.stdout)
    (tmp_path / "empty").mkdir()
    assert "without any .certificate.npz" in words(run("verify", tmp_path / "empty").stderr)


def test_verify_with_processes(tmp_path: Path) -> None:
    """The same words in the same order."""
    layers = [make_layer(str(seed), rows=2, columns=5, seed=seed) for seed in range(3)]
    certify(layers, bits=(2,), certificates=tmp_path / "c")
    (tmp_path / "cut").write_bytes((tmp_path / "c" / file_name("0")).read_bytes()[:-50])
    arguments = ("verify", tmp_path / "cut", tmp_path / "c", tmp_path / "absent")
    alone, together = run(*arguments), run(*arguments, "--jobs", 2)
    assert (together.exit_code, together.stderr) == (alone.exit_code, alone.stderr) == (1, together.stderr)
    assert together.stdout == alone.stdout
    assert alone.stdout.count("Proven here") == 3


def _limited(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_disk_that_fills_keeps_what_was_stored(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow."""
    path = tmp_path / "s"
    two_runs(path)
    with Store(path) as store:
        before = len(store)
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    with Store(path) as store:
        assert len(store) >= before
        assert len(store.runs()) == 2


def _fill(path: Path) -> None:
    store = Store(path)
    _limited(path.stat().st_size + 4096)
    with pytest.raises(StoreError, match=r"free some disk space|free space on it"):
        store.put(((key + str(i), result(i)) for i, key in enumerate(KEYS * 5)), "search")
    layer = make_layer(rows=40, columns=20)
    folder = path.parent / "c"
    certify([layer], bits=(2,), certificates=folder)
    genuine = (folder / file_name("toy")).read_bytes()
    _limited(2000)
    with pytest.raises(ValueError, match="cannot be written"):
        certify([layer], bits=(2, 3), certificates=folder)
    assert [p.name for p in folder.iterdir()] == [file_name("toy")]
    assert (folder / file_name("toy")).read_bytes() == genuine


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_read_only_places(tmp_path: Path, layer: Layer) -> None:
    two_runs(tmp_path / "s")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError):
            Store(tmp_path / "new")
        with pytest.raises(ValueError, match="cannot be written"):
            certify([layer], bits=(2,), certificates=tmp_path)
    finally:
        tmp_path.chmod(0o700)


WORK = """
import sys; from pathlib import Path; sys.path.insert(0, {root!r})
from quanterr import Store
from tests.quanterr.test_store import KEYS, result
from tests.quanterr.conftest import make_layer
from quanterr import certify
layers = [make_layer(str(s), rows=3, columns=6, seed=s) for s in (0, 1)]
certify(layers, bits=(2,))
print("ready", flush=True)
for i in range(10**6):
    with Store(sys.argv[1]) as store:
        store.put([(KEYS[i % 40], result(i % 40))], "search")
        store.get(KEYS[i % 40], "search")
        if i % 3 == 0:
            store.add_run("run", [])
        if i % 5 == 0:
            store.collect([r.id for r in store.runs()[:-2]])
    certify([layers[i % 2]], bits=(2,), certificates=sys.argv[2])
"""


def test_killed_at_any_instant(tmp_path: Path) -> None:
    """Puts, runs, collections and certificates, killed again and again: what is there is whole."""
    path, folder, root = tmp_path / "s", tmp_path / "c", str(Path(__file__).parent.parent.parent)
    rng = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WORK.format(root=root), path, folder], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1 + 0.4 * rng.random())
        process.kill()
        process.communicate()
        with Store(path) as store:
            assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            found = [store.get(key, "search") for key in KEYS]
            assert all(same(result(i), kept) for i, kept in enumerate(found) if kept is not None)
            assert store.runs() is not None
        for certificate in folder.glob("*.npz"):
            assert verify(certificate).holds
    assert any(found)
    assert list(folder.glob("*.npz"))


def test_gc_beside_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "s"
    Store(path).close()
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(path,))
    writer.start()
    collected = 0
    deadline = time.monotonic() + 60
    while writer.is_alive() and time.monotonic() < deadline:
        with Store(path) as store:
            collected += store.collect()[0]
        time.sleep(0.01)
    writer.join(10)
    assert writer.exitcode == 0
    with Store(path) as store:
        assert len(store) + collected == len(KEYS)
        assert len(store.runs()) == 1


def _write(path: Path) -> None:
    with Store(path) as store:
        for i, key in enumerate(KEYS):
            store.put([(key, result(i))], "search")
            time.sleep(0.02)
        store.add_run("run", [])


RUN = """
import sys; sys.path.insert(0, {root!r})
from quanterr import Store, certify
from tests.quanterr.conftest import make_layer
layers = [make_layer(str(seed), rows=30, columns=20, seed=seed) for seed in range(8)]
with Store(sys.argv[1]) as store:
    certify(layers, bits=(2, 3), store=store, progress=lambda now: print(now.rows_done, now.rows_reused, flush=True))
"""


def test_what_was_reported_is_found_again(tmp_path: Path) -> None:
    """A run that is killed again and again loses what is in flight, no more, and ends as one that was left alone."""
    root, path, rng = str(Path(__file__).parent.parent.parent), tmp_path / "s", random.Random(1)
    reported = 0
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN.format(root=root), path], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        done, reused = map(int, process.stdout.readline().split())
        assert done == reused >= reported
        if attempt < 3:
            for line in itertools.islice(process.stdout, rng.randrange(1, 5)):
                reported = int(line.split()[0])
            time.sleep(0.03 * rng.random())
            process.kill()
        process.communicate()
    layers = [make_layer(str(seed), rows=30, columns=20, seed=seed) for seed in range(8)]
    with Store(path) as store:
        records = store.runs()[-1].records  # a machine may be quick enough to finish before it is killed
    assert [{**r, "seconds": 0} for r in records] == [
        {**r, "seconds": 0} for r in certify(layers, bits=(2, 3)).to_dicts()
    ]


def test_two_runs_share_a_file(tmp_path: Path) -> None:
    root, path = str(Path(__file__).parent.parent.parent), tmp_path / "s"
    both = [
        subprocess.Popen([sys.executable, "-c", RUN.format(root=root), path], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    with Store(path) as store:
        assert len(store) == 8 * 2 * 2
        one, two = ([{**record, "seconds": 0} for record in run.records] for run in store.runs())
        assert one == two
        assert store.unused() == (0, 0)


def test_many_create_one_file(tmp_path: Path) -> None:
    for attempt in range(5):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(_touch, [tmp_path / str(attempt)] * 8))
        assert made == [1] * 8


def _touch(path: Path) -> int:
    with Store(path) as store:
        store.put([(KEYS[0], result(0))], "search")
        return len(store)


def test_a_folder_that_may_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        two_runs(folder / "s")
        before = (folder / "s").read_bytes()
        folder.chmod(0o555)
        (folder / "s").chmod(0o444)
        process = multiprocessing.get_context("spawn").Process(target=_as_nobody, args=(folder,))
        process.start()
        process.join(60)
        folder.chmod(0o755)
        assert process.exitcode == 0
        assert [path.name for path in folder.iterdir()] == ["s"]
        assert (folder / "s").read_bytes() == before


def _as_nobody(folder: Path) -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(StoreError, match=r"can be written|choose another file"):
        Store(folder / "new")
    with pytest.raises(StoreError, match="read-only"):
        Store(folder / "s").put([(KEYS[0], result(0))], "search")
    with Store(folder / "s") as published:
        assert [run.title for run in published.runs()] == ["run one", "run two"]
    with pytest.raises(StoreError, match="read-only"):
        require_place(folder / "s")
    failed = run("certify", "--model", "no.such:network", "--inputs", "x", "--out", folder / "new")
    assert failed.exit_code == 1
    assert "cannot be written: Permission denied; choose another file" in words(failed.stderr)
