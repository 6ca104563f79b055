"""One SQLite file that keeps every solved unit: keyed by content, safe to kill, shared by processes."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

import numpy as np

from bounds import Status

from .errors import StoreError
from .units import STATUSES, RowResults

APPLICATION = 0x716E7452
SCHEMA = 3
_CREATE = """
CREATE TABLE results (
    key TEXT PRIMARY KEY, search TEXT NOT NULL, open_rows INTEGER NOT NULL, seconds REAL NOT NULL, arrays BLOB NOT NULL
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, title TEXT NOT NULL, records TEXT NOT NULL,
    facts TEXT NOT NULL
);
CREATE TABLE uses (run INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (run, key)) WITHOUT ROWID;
"""
_UNUSED = "key NOT IN (SELECT key FROM uses WHERE run NOT IN (SELECT value FROM json_each(?)))"
_ARRAYS = ("error_upper", "error_lower", "error_start", "status", "x", "dual", "nodes")


@dataclass(frozen=True)
class Run:
    """A finished run: `records` are the dicts of `Report.to_dicts`, `size` the bytes of the results it uses."""

    id: int
    created: str
    title: str
    records: list[dict[str, Any]]
    size: int


def require_place(path: Path) -> None:
    """A store is there, or can be made there: known before hours of work, and nothing is left behind.

    Raises
    ------
    StoreError
        As `Store`.
    """
    if path.exists():
        Store(path).close()
        if not _writable(path):
            raise StoreError(f"{path}: it is read-only; choose another file")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}; choose another file") from error


def _address(path: Path) -> str:
    """As a URI. A published file stands alone and doesn't change: read it without SQLite's own files beside it."""
    alone = path.is_file() and not _writable(path) and not path.with_name(path.name + "-wal").exists()
    return path.absolute().as_uri() + ("?immutable=1" if alone else "")


def _writable(path: Path) -> bool:
    try:
        with path.open("r+b"):
            return True
    except OSError:
        return False


class Store:
    """Results on disk. Each `put` is one transaction: `kill -9` loses at most the unit in flight.

    Parameters
    ----------
    path : str or Path
        Created with its folder when missing. A file that may not be written can be read, also in such a folder.

    Raises
    ------
    StoreError
        The folder cannot be written, or the file is not a store, is damaged, or has another version's schema.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._used: set[str] = set()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the folder {self.path.parent}: {error.strerror}; choose another file"
            ) from error
        with self._explained():
            self._connection = sqlite3.connect(_address(self.path), uri=True, timeout=60, isolation_level=None)
            self._open()

    def _open(self) -> None:
        ask = self._connection.execute
        ask("BEGIN")  # one view of all three, while another process may be creating the file
        application = ask("PRAGMA application_id").fetchone()[0]
        version = ask("PRAGMA user_version").fetchone()[0]
        tables = ask("SELECT count(*) FROM sqlite_master").fetchone()[0]
        ask("COMMIT")
        if application == 0 and tables == 0:
            # Two processes may meet here: the one that gets the lock creates, the other then finds the tables.
            ask("PRAGMA auto_vacuum = INCREMENTAL")
            ask("PRAGMA journal_mode = WAL")
            ask("BEGIN IMMEDIATE")
            if ask("PRAGMA application_id").fetchone()[0] == 0:
                for statement in _CREATE.split(";\n"):
                    ask(statement)
                ask(f"PRAGMA application_id = {APPLICATION}")
                ask(f"PRAGMA user_version = {SCHEMA}")
            ask("COMMIT")
            return
        if application != APPLICATION:
            raise StoreError(f"{self.path} is an SQLite file of another program; choose another file")
        if version != SCHEMA:
            raise StoreError(
                f"{self.path} has store version {version}, this is version {SCHEMA}; "
                "choose another file (nothing was changed)"
            )
        ask("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            remedy = {
                "file is not a database": "it is not a store; choose another file",
                "database disk image is malformed": "it is damaged; move it away and run again",
                "unable to open database file": "check that the folder exists and can be written",
                "attempt to write a readonly database": "it is read-only; choose another file",
                "disk I/O error": "check the disk and the free space on it; everything stored so far is kept",
                "database or disk is full": "free some disk space and run again; everything stored so far is kept",
            }.get(text, "everything stored so far is kept")
            raise StoreError(f"{self.path}: {text}: {remedy}") from error

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def get(self, key: str, search: str) -> RowResults | None:
        """The result under a content key, or None; one with open rows counts only for the `search` that left them."""
        with self._explained():
            row = self._connection.execute(
                "SELECT arrays, seconds FROM results WHERE key = ? AND (open_rows = 0 OR search = ?)", (key, search)
            ).fetchone()
        if row is None:
            return None
        self._used.add(key)
        try:
            return RowResults(**_unpacked(row[0]), seconds=row[1])
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.path}: result {key[:12]}… is damaged ({error}); move the file away") from error

    def holds(self, key: str, search: str) -> bool:
        """Whether `get` would find it."""
        with self._explained():
            found = self._connection.execute(
                "SELECT 1 FROM results WHERE key = ? AND (open_rows = 0 OR search = ?)", (key, search)
            ).fetchone()
        return found is not None

    def put(self, items: Iterable[tuple[str, RowResults]], search: str) -> None:
        """Keep the results of `search` in one transaction."""
        rows = []
        for key, result in items:
            open_rows = int(np.count_nonzero(result.status != STATUSES.index(Status.CLOSED)))
            rows.append((key, search, open_rows, result.seconds, _packed(result)))
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", rows)
        self._used.update(row[0] for row in rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, whatever stops it."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def add_run(self, title: str, records: list[dict[str, Any]], facts: dict[str, Any] | None = None) -> None:
        """Keep the table of a finished run and the facts of its layers, so that no command after it needs the model.

        Kept as well is which results it used: all that were got or put since the last run was added.
        """
        with self._transaction() as connection:
            row = (title, json.dumps(records), json.dumps(facts or {}))
            new = connection.execute("INSERT INTO runs (title, records, facts) VALUES (?, ?, ?)", row)
            connection.executemany("INSERT INTO uses VALUES (?, ?)", ((new.lastrowid, k) for k in sorted(self._used)))
        self._used.clear()

    def extend_run(self, title: str, facts: dict[str, Any]) -> None:
        """Replace the facts of the newest run of that title; results that were got or put since count as its own.

        Raises
        ------
        StoreError
            There is no such run.
        """
        with self._transaction() as connection:
            run = connection.execute("SELECT max(id) FROM runs WHERE title = ?", (title,)).fetchone()[0]
            if run is None:
                raise StoreError(f"{self.path} holds no finished run called {title!r}")
            connection.execute("UPDATE runs SET facts = ? WHERE id = ?", (json.dumps(facts), run))
            connection.executemany("INSERT OR IGNORE INTO uses VALUES (?, ?)", ((run, k) for k in sorted(self._used)))
        self._used.clear()

    def runs(self) -> list[Run]:
        """All finished runs, the oldest first.

        Raises
        ------
        StoreError
            The file is damaged.
        """
        with self._explained():
            rows = self._connection.execute(
                "SELECT id, created, title, records, (SELECT coalesce(sum(length(arrays)), 0) FROM uses JOIN results "
                "USING (key) WHERE run = runs.id) FROM runs ORDER BY id"
            ).fetchall()
        try:
            return [Run(i, created, title, json.loads(records), size) for i, created, title, records, size in rows]
        except ValueError as error:
            raise StoreError(f"{self.path}: the table of a run is damaged ({error}); move the file away") from error

    def unused(self, forget: Iterable[int] = ()) -> tuple[int, int]:
        """How many results no finished run uses, those in `forget` not counted, and their bytes."""
        with self._explained():
            found = self._connection.execute(
                f"SELECT count(*), coalesce(sum(length(arrays)), 0) FROM results WHERE {_UNUSED}",
                (json.dumps(list(forget)),),
            ).fetchone()
        return int(found[0]), int(found[1])

    def collect(self, forget: Iterable[int] = ()) -> tuple[int, int]:
        """Forget runs by number, remove what no run uses then and give the space back; how many results and bytes.

        A run that another process has not finished yet loses what it stored so far and would solve it again.

        Raises
        ------
        StoreError
            A run that is not there; nothing is removed then.
        """
        with self._transaction() as connection:
            for run in forget:
                connection.execute("DELETE FROM uses WHERE run = ?", (run,))
                if connection.execute("DELETE FROM runs WHERE id = ?", (run,)).rowcount == 0:
                    raise StoreError(f"{self.path} has no run {run}: `quanterr store ls {self.path}` lists them")
            removed = self.unused()
            connection.execute(f"DELETE FROM results WHERE {_UNUSED}", ("[]",))
        with self._explained():
            # not VACUUM, which needs the size of the file once more, where the disk may be full
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return removed

    def last_run(self) -> tuple[str, list[dict[str, object]]]:
        """Title and records of the newest finished run.

        Raises
        ------
        StoreError
            If no run has finished.
        """
        with self._explained():
            row = self._connection.execute("SELECT title, records FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        if row is None:
            raise StoreError(
                f"{self.path} holds no finished run: run `quanterr certify … --out {self.path}` again to finish it"
            )
        return row[0], json.loads(row[1])

    def last_facts(self) -> dict[str, object]:
        """What `Report.facts` said of the newest finished run; empty where its caller gave none."""
        with self._explained():
            row = self._connection.execute("SELECT facts FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        found: dict[str, object] = json.loads(row[0]) if row and row[0] else {}
        return found

    def __len__(self) -> int:
        with self._explained():
            return int(self._connection.execute("SELECT count(*) FROM results").fetchone()[0])


def _packed(result: RowResults) -> bytes:
    """Types and shapes as a line of JSON, then the entries, then those of `x` that are not zero: doubles that no
    compression makes smaller. A fraction of the time and size of an `.npz`."""
    arrays = {name: np.ascontiguousarray(getattr(result, name)) for name in _ARRAYS}
    meant = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    x, rest = arrays["x"], b""
    if x.dtype.kind == "i" and np.array_equal(codes := x.astype(np.int16), x):
        arrays["x"] = codes
    elif x.dtype == np.float64:
        filled = x.view(np.int64) != 0  # minus zero is not zero
        arrays["x"], rest = np.packbits(filled), x[filled].tobytes()
    header = {name: (*meant[name], array.dtype.str, array.size) for name, array in arrays.items()}
    entries = [json.dumps(header).encode(), b"\n", *(array.tobytes() for array in arrays.values())]
    return zlib.compress(b"".join(entries), 1) + zlib.compress(rest, 0)


def _unpacked(blob: bytes) -> dict[str, Any]:
    """The arrays by name; whatever else the bytes are raises `zlib.error`, `ValueError`, `KeyError` or `TypeError`."""
    first = zlib.decompressobj()
    data = first.decompress(blob)
    rest = zlib.decompress(first.unused_data)
    start = data.index(b"\n") + 1
    header, found = json.loads(data[:start]), {}
    for name in _ARRAYS:
        kind, shape, stored_kind, size = header[name]
        stored = np.frombuffer(data, stored_kind, size, start)
        start += stored.nbytes
        found[name] = array = np.zeros(shape, kind)
        if array.dtype.kind == "f" and stored.dtype == np.uint8:
            array[np.unpackbits(stored, count=array.size).reshape(shape).astype(np.bool_)] = np.frombuffer(rest, kind)
        else:
            array[...] = stored.reshape(shape)
    return found
