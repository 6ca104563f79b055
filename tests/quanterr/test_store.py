"""The store: nothing lost, nothing foreign touched."""

import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from quanterr import Store, StoreError
from quanterr.units import RowResults

KEYS = [f"{i:064x}" for i in range(40)]


def result(seed: int, status: int = 0) -> RowResults:
    rng = np.random.default_rng(seed)
    rows = 5
    return RowResults(
        rng.random(rows) + 1, rng.random(rows), rng.random(rows) + 2, np.full(rows, status, np.int8),
        rng.integers(-8, 8, (rows, 4)).astype(np.int32), np.zeros(rows, np.bool_), 0.25, rng.integers(0, 99, rows),
    )  # fmt: skip


def same(a: RowResults, b: RowResults | None) -> bool:
    return b is not None and all(np.array_equal(getattr(a, f), getattr(b, f)) for f in vars(a))


def test_round_trip_and_resume(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "store.sqlite"
    with Store(path) as store:
        store.put(((k, result(i)) for i, k in enumerate(KEYS)), "search")
        assert len(store) == len(KEYS)
    with Store(path) as again:
        assert all(same(result(i), again.get(k, "search")) for i, k in enumerate(KEYS))
        assert again.get("absent", "search") is None


def test_open_rows_count_only_for_the_search_that_left_them(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.put([(KEYS[0], result(0, status=1)), (KEYS[1], result(1))], "small budget")
        assert store.get(KEYS[0], "large budget") is None
        assert store.get(KEYS[0], "small budget") is not None
        assert store.get(KEYS[1], "large budget") is not None
        store.put([(KEYS[0], result(7))], "large budget")
        assert same(result(7), store.get(KEYS[0], "small budget"))


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 100)
    with pytest.raises(StoreError, match="not a store; choose another file"):
        Store(text)
    assert text.read_text() == "not a database " * 100
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = other.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Store(other)
    assert other.read_bytes() == before


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"version 99.*choose another file"):
        Store(path)


def test_truncated_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path) as store:
        store.put(((k, result(i)) for i, k in enumerate(KEYS)), "search")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        _read_all(path)


def _read_all(path: Path) -> None:
    with Store(path) as store:
        for key in KEYS:
            store.get(key, "search")


def test_damaged_result_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path) as store:
        store.put([(KEYS[0], result(0))], "search")
        store._connection.execute("UPDATE results SET arrays = x'00112233'")
        with pytest.raises(StoreError, match="is damaged"):
            store.get(KEYS[0], "search")


def test_unusable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the folder"):
        Store(tmp_path / "file" / "s")
    with pytest.raises(StoreError, match="can be written"):
        Store(tmp_path)


def test_full_disk_keeps_what_was_stored(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.put([(KEYS[0], result(0))], "search")
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="free some disk space"):
            store.put(((k, result(i)) for i, k in enumerate(KEYS)), "search")
        assert same(result(0), store.get(KEYS[0], "search"))


def _write_forever(path: Path) -> None:
    with Store(path) as store:
        for i, key in enumerate(KEYS):
            store.put([(key, result(i))], "search")
            time.sleep(0.02)


def test_killed_and_concurrent_writers(tmp_path: Path) -> None:
    path = tmp_path / "s"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_forever, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (not path.exists() or _count(path) < 5):
        time.sleep(0.02)
    os.kill(writers[0].pid or 0, signal.SIGKILL)
    for writer in writers:
        writer.join(60)
    assert writers[1].exitcode == 0
    with Store(path) as store:
        assert all(same(result(i), store.get(k, "search")) for i, k in enumerate(KEYS))


def _count(path: Path) -> int:
    try:
        with Store(path) as store:
            return len(store)
    except StoreError:
        return 0
