"""Where results stay: one SQLite file, one writer at a time, results by the key of their task.

A result is stored whole in one transaction or not at all; it is inserted, never replaced, so that
nothing can be computed twice unseen.  The writer holds a lock that the operating system takes back
when it dies, however it dies.  Results of other code, machines or networks have other keys.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from dataflow_sim.errors import InputError

STORE = "results.sqlite"
_FORMAT = 1
_MADE = """
CREATE TABLE IF NOT EXISTS results (
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    task TEXT NOT NULL,
    status TEXT NOT NULL,
    payload TEXT NOT NULL,
    seconds REAL NOT NULL
) WITHOUT ROWID;
"""
_AGAIN = ("defect",)  # what another try may mend
_MOST_KEYS = 500  # in one question to the file


class StoreError(InputError):
    """The store cannot be opened, written or shared."""


class Store:
    """The results of a directory, open for one writer.

    Raises StoreError where the directory or the file cannot be used, and while another sweep
    writes there, naming it.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / STORE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = self._hold(directory / f"{STORE}.lock")
        except OSError as error:
            raise StoreError(
                f"'{directory}' cannot be written ({error.strerror}); give another --out directory"
            ) from None
        try:
            self._database = sqlite3.connect(self.path, isolation_level=None, timeout=60.0)
            self._prepare()
        except sqlite3.Error as error:
            self._lock.close()
            raise StoreError(
                f"'{self.path}' cannot be used ({error}); give another --out directory"
            ) from None
        except StoreError:
            self._lock.close()
            raise

    def _hold(self, path: Path) -> IO[str]:
        """Take the lock, or tell who has it."""
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            file.close()
            raise StoreError(
                f"'{path.parent}' is held by {holder}, which writes there; wait for it, or give "
                "another --out directory"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        return file

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise StoreError(
                f"'{self.path}' is of format {version}, this program writes {_FORMAT}; give "
                "another --out directory"
            )
        self._database.execute(f"PRAGMA user_version={_FORMAT}")
        self._database.executescript(_MADE)

    def __enter__(self) -> Store:
        """The store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, and let others write."""
        self.close()

    def close(self) -> None:
        """Close the file and give the lock back."""
        self._database.close()
        self._lock.close()

    def __len__(self) -> int:
        """How many results there are."""
        (found,) = self._database.execute("SELECT count(*) FROM results").fetchone()
        return int(found)

    def forget_defects(self) -> None:
        """Delete what failed by a defect or was lost, so that it is computed again."""
        marks = ",".join("?" * len(_AGAIN))
        self._write(f"DELETE FROM results WHERE status IN ({marks})", _AGAIN)

    def known(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that there are results for."""
        there = {key for (key,) in self._database.execute("SELECT key FROM results")}
        return there & set(keys)

    def results(self, keys: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """The results of some keys; those that there are none for are left out."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(wanted), _MOST_KEYS):
            some = wanted[start : start + _MOST_KEYS]
            marks = ",".join("?" * len(some))
            asked = f"SELECT key, payload FROM results WHERE key IN ({marks})"
            found |= {key: json.loads(text) for key, text in self._database.execute(asked, some)}
        return found

    def add(
        self, key: str, kind: str, task: str, payload: Mapping[str, Any], seconds: float
    ) -> None:
        """Store a result.  Raises StoreError where it cannot be; what is stored stays as it is."""
        text = json.dumps(payload, ensure_ascii=False)
        self._write(
            "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)",
            (key, kind, task, payload["status"], text, seconds),
        )

    def _write(self, statement: str, values: Iterable[Any]) -> None:
        try:
            self._database.execute(statement, tuple(values))
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise StoreError(
                f"'{self.path}' cannot be written ({error}); what is stored is intact: free some "
                "space, then --resume goes on"
            ) from None
