"""Units on a real Dask scheduler with worker processes: the same bits, lost workers, other versions, large Grams."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import quanterr.execution.cluster
import quanterr.execution.running
from quanterr import Progress, QuanterrError, Store, certify
from quanterr.execution.cluster import ClusterExecutor, connected, run_task, versions
from quanterr.proofs.certificates import file_name
from quanterr.units import RowResults, Unit, solve_unit

from .conftest import make_layer
from .test_certify import _timeless

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parent.parent.parent
WORKERS = 4
FAILURES = 1


def _start(*arguments: object, path: Path = ROOT) -> subprocess.Popen[str]:
    environment = {
        **os.environ, "PYTHONPATH": str(path), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(FAILURES)
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments)], env=environment, text=True, cwd=path,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def start_scheduler() -> tuple[subprocess.Popen[str], str]:
    """A scheduler and the address that it prints."""
    process = _start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"Scheduler at: +(\S+)", line)
        if found:
            return process, found.group(1)
    raise AssertionError("the scheduler did not start")


def start_worker(address: str, name: str, path: Path = ROOT) -> subprocess.Popen[str]:
    return _start(
        "worker", address, "--name", name, "--nthreads", 1, "--no-nanny", "--no-dashboard", "--death-timeout", 60,
        "--memory-limit", 0, path=path,
    )  # fmt: skip


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.communicate()


@contextmanager
def scheduler() -> Iterator[str]:
    process, address = start_scheduler()
    try:
        yield address
    finally:
        end(process)


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[ClusterExecutor, dict[str, subprocess.Popen[str]]]]:
    """A scheduler and workers by name; the tests that kill some come last."""
    with scheduler() as address:
        workers = {str(i): start_worker(address, str(i)) for i in range(WORKERS)}
        try:
            with connected(address) as executor:
                executor.client.wait_for_workers(WORKERS, timeout=120)
                yield executor, workers
        finally:
            end(*workers.values())


Cluster = tuple[ClusterExecutor, dict[str, subprocess.Popen[str]]]
LAYERS = [make_layer("a", 7, 10), make_layer("b", 6, 9, groups=3, seed=1)]


def test_the_same_bits_as_here(cluster: Cluster, tmp_path: Path) -> None:
    here = _timeless(certify(LAYERS, bits=(2, 4), chunk=6, certificates=tmp_path / "here"))
    for executor in (cluster[0], cluster[0].client, cluster[0].client.get_executor()):
        there = certify(LAYERS, bits=(2, 4), chunk=6, executor=executor, certificates=tmp_path / "there")
        assert _timeless(there) == here
    for layer in LAYERS:
        mine, theirs = ((tmp_path / place / file_name(layer.name)).read_bytes() for place in ("here", "there"))
        assert mine == theirs


def test_the_command(cluster: Cluster, tmp_path: Path) -> None:
    from .test_cli import TINY, here

    address = cluster[0].client.scheduler.address
    done = here(
        "certify", "--model", f"{TINY}:Unreached", "--inputs", f"{TINY}:vectors", "--layers", "used", "--bits", "4",
        "--out", tmp_path / "s", "--scheduler", address,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert f"{WORKERS} workers with {WORKERS} threads at {address}" in done.stdout
    with Store(tmp_path / "s") as store:
        assert len(store.runs()) == 1


def test_large_arrays_travel_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer("wide", 1200, 20)
    here = _timeless(certify([layer], bits=(4, 5), chunk=None))
    sent: list[Any] = []
    executor, submit = cluster[0], cluster[0].client.submit

    def counted(fn: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(fn)
        return submit(fn, *args, **kwargs)

    monkeypatch.setattr(executor.client, "submit", counted)
    monkeypatch.setattr(quanterr.execution.cluster, "LARGE", layer.gram.nbytes)
    assert _timeless(certify([layer], bits=(4, 5), chunk=None, executor=executor)) == here
    names = [fn.__name__ for fn in sent]
    assert names.count("Block") == 1 + 7  # the Gram, and the weights of seven batches of rows
    assert names.count("run_task") == 2 * 7
    deadline = time.monotonic() + 20
    while (left := executor.client.run_on_scheduler(_tasks)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, "arrays and results stay on the cluster after the run"


def _tasks(dask_scheduler: Any) -> list[str]:
    return list(map(str, dask_scheduler.tasks))


def test_one_thread_each(cluster: Cluster) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        certify(LAYERS[:1], bits=(2,), executor=pool)
        assert set(pool.submit(threads).result()) == {1}
    certify(LAYERS[:1], bits=(2,), chunk=2, executor=cluster[0])
    assert {n for found in cluster[0].client.run(threads).values() for n in found} == {1}


def threads() -> list[int]:
    """Of every library of linear algebra in this process."""
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info()]


def test_loky() -> None:
    loky = pytest.importorskip("loky")
    with closing_loky(loky) as executor:
        there = certify(LAYERS, bits=(2,), chunk=6, executor=executor)
    assert _timeless(there) == _timeless(certify(LAYERS, bits=(2,), chunk=6))


@contextmanager
def closing_loky(loky: Any) -> Iterator[Executor]:
    executor = loky.ProcessPoolExecutor(2)
    try:
        yield executor
    finally:
        executor.shutdown()


def test_a_killed_worker_costs_nothing_but_time(cluster: Cluster, tmp_path: Path) -> None:
    """Every key is put once, and the bits are those of a run without misfortune."""
    executor, workers = cluster
    layers = [make_layer(str(seed), 40, 34, seed=seed) for seed in range(6)]
    here = _timeless(certify(layers, bits=(3, 4)))
    path = tmp_path / "s"
    killed: list[str] = []

    def kill(now: Progress) -> None:
        if now.rows_done > now.rows_total // 4 and not killed:
            names = {address: str(w["name"]) for address, w in executor.client.scheduler_info(-1)["workers"].items()}
            killed.extend(names[address] for address, keys in executor.client.processing().items() if keys)
            workers[killed[0]].send_signal(signal.SIGKILL)

    with Store(path) as store:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE puts (key TEXT)")
            connection.execute(
                "CREATE TRIGGER log AFTER INSERT ON results BEGIN INSERT INTO puts VALUES (new.key); END"
            )
            connection.commit()
        there = certify(layers, bits=(3, 4), executor=executor, store=store, progress=kill)
        stored = len(store)
    assert workers[killed[0]].wait(10) == -signal.SIGKILL
    assert _timeless(there) == here
    with closing(sqlite3.connect(path)) as connection:
        puts = [key for (key,) in connection.execute("SELECT key FROM puts")]
    assert len(puts) == len(set(puts)) == stored == 6 * 2 * 2


def deadly(unit: Unit) -> list[RowResults]:
    """Takes its worker with it."""
    if unit.layer == "deadly" and unit.scaled:  # one unit alone, which leaves workers for what follows
        os._exit(1)
    return solve_unit(unit)


def test_a_unit_that_kills_its_workers_is_named(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [make_layer("harmless", 40, 34), make_layer("deadly", 2, 20)]
    with Store(tmp_path / "s") as store:
        # Dask also suspects what waits in line at a worker that dies: nothing else may
        certify(layers[:1], bits=(3, 4), executor=cluster[0], store=store)
        monkeypatch.setattr(quanterr.execution.running, "solve_unit", deadly)
        with pytest.raises(
            QuanterrError, match=r"layer deadly, chunk 0, rows 0–1: a worker process died .*more memory a worker"
        ):
            certify(layers, bits=(3, 4), executor=cluster[0], store=store)
        monkeypatch.undo()
        report = certify(layers, bits=(3, 4), executor=cluster[0], store=store)
    assert _timeless(report) == _timeless(certify(layers, bits=(3, 4)))


def test_a_lost_scheduler_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    layers = [make_layer(str(seed), 40, 34, seed=seed) for seed in range(4)]
    process, address = start_scheduler()
    worker = start_worker(address, "0")

    def kill(now: Progress) -> None:
        if now.rows_done > now.rows_total // 4:
            process.kill()

    try:
        with Store(tmp_path / "s") as store:
            with (
                pytest.raises(QuanterrError, match=r"connection to the workers was lost; what was solved is kept"),
                connected(address) as executor,
            ):
                certify(layers, bits=(3, 4), executor=executor, store=store, progress=kill)
            assert len(store) > 0
    finally:
        end(worker, process)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    altered, absent = tmp_path / "altered", tmp_path / "absent"
    for package in ("bounds", "quanterr"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, altered / package, ignore=ignored)
    with (altered / "bounds" / "gram.py").open("a") as stream:
        stream.write("# another version\n")
    (absent / "quanterr").mkdir(parents=True)
    (absent / "quanterr" / "__init__.py").write_text("raise ImportError('no quanterr on this machine')")
    with scheduler() as address:
        for path, message in (
            (altered, r"worker tcp://\S+ has quanterr \S+ \(sources \w+\) where this process has .*same versions"),
            (absent, r"worker tcp://\S+ cannot run quanterr .*install the same version there"),
        ):
            worker = start_worker(address, "0", path)
            try:
                with distributed.Client(address, set_as_default=False) as client:
                    client.wait_for_workers(1, timeout=120)
                    with pytest.raises(QuanterrError, match=message):
                        ClusterExecutor(client.get_executor())
            finally:
                end(worker)
    task = pickle.dumps((len, ([],), {}))
    with pytest.raises(QuanterrError, match=r"worker on \S+ has numpy \S+ where this process has numpy 9:"):
        run_task({**versions(), "numpy": "numpy 9"}, task)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quanterr.execution.cluster, "PATIENCE", 1)
    with pytest.raises(QuanterrError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 .*`dask scheduler`"):
        connected("tcp://127.0.0.1:1").__enter__()
