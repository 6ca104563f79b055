"""One SQLite file that keeps every solved unit: keyed by content, safe to kill, shared by processes."""

from __future__ import annotations

import io
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

from bounds import Status

from .errors import StoreError
from .units import STATUSES, RowResults

APPLICATION = 0x716E7452
SCHEMA = 1
_CREATE = """
CREATE TABLE results (
    key TEXT PRIMARY KEY, search TEXT NOT NULL, open_rows INTEGER NOT NULL, seconds REAL NOT NULL, arrays BLOB NOT NULL
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, title TEXT NOT NULL, records TEXT NOT NULL,
    facts TEXT
);
"""
_ARRAYS = ("error_upper", "error_lower", "error_start", "status", "x", "dual")


class Store:
    """Results on disk. Each `put` is one transaction: `kill -9` loses at most the unit in flight.

    Parameters
    ----------
    path : str or Path
        Created with its folder when missing.

    Raises
    ------
    StoreError
        The folder cannot be written, or the file is not a store, is damaged, or has another version's schema.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the folder {self.path.parent}: {error.strerror}; choose another --out"
            ) from error
        with self._explained():
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._open()

    def _open(self) -> None:
        ask = self._connection.execute
        application = ask("PRAGMA application_id").fetchone()[0]
        version = ask("PRAGMA user_version").fetchone()[0]
        if application == 0 and ask("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            # Two processes may meet here: the one that gets the lock creates, the other then finds the tables.
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
            raise StoreError(f"{self.path} is an SQLite file of another program; choose another --out")
        if version != SCHEMA:
            raise StoreError(
                f"{self.path} has store version {version}, this is version {SCHEMA}; "
                "choose another --out (nothing was changed)"
            )
        ask("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            remedy = {
                "file is not a database": "it is not a store; choose another --out",
                "database disk image is malformed": "it is damaged; move it away and run again",
                "unable to open database file": "check that the folder exists and can be written",
                "attempt to write a readonly database": "it is read-only; choose another --out",
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
        try:
            with np.load(io.BytesIO(zlib.decompress(row[0])), allow_pickle=False) as arrays:
                return RowResults(**{name: arrays[name] for name in _ARRAYS}, seconds=row[1])
        except (zlib.error, ValueError, KeyError, OSError) as error:
            raise StoreError(f"{self.path}: result {key[:12]}… is damaged ({error}); move the file away") from error

    def put(self, items: Iterable[tuple[str, RowResults]], search: str) -> None:
        """Keep the results of `search` in one transaction."""
        rows = []
        for key, result in items:
            buffer = io.BytesIO()
            np.savez(buffer, **{name: getattr(result, name) for name in _ARRAYS})
            open_rows = int(np.count_nonzero(result.status != STATUSES.index(Status.CLOSED)))
            rows.append((key, search, open_rows, result.seconds, zlib.compress(buffer.getvalue(), 1)))
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def add_run(self, title: str, records: list[dict[str, object]], facts: dict[str, object] | None = None) -> None:
        """Keep the table of a finished run and the facts of its layers, so that no command after it needs the model."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if not self._keeps_facts():
                    self._connection.execute("ALTER TABLE runs ADD COLUMN facts TEXT")
                row = (title, json.dumps(records), json.dumps(facts or {}))
                self._connection.execute("INSERT INTO runs (title, records, facts) VALUES (?, ?, ?)", row)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

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
        """What `Report.facts` said of the newest finished run; empty where nothing was kept with it."""
        with self._explained():
            if not self._keeps_facts():
                return {}
            row = self._connection.execute("SELECT facts FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        found: dict[str, object] = json.loads(row[0]) if row and row[0] else {}
        return found

    def _keeps_facts(self) -> bool:
        """Stores made before runs kept facts lack the column: they are read as they are, and get it with a new run."""
        return any(column[1] == "facts" for column in self._connection.execute("PRAGMA table_info(runs)"))

    def __len__(self) -> int:
        with self._explained():
            return int(self._connection.execute("SELECT count(*) FROM results").fetchone()[0])
