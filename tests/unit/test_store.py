"""The store: one writer at a time, a result whole or not at all, whatever happens to the disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dataflow_sim.sweeps.store import STORE, Store, StoreError


def add(store: Store, key: str, status: str = "ok") -> None:
    store.add(key, "run", "{}", {"status": status, "row": {"x": key}}, 0.1)


def add_many(store: Store) -> None:
    for number in range(1000):
        add(store, f"{number}" * 50)


def test_results_stay(tmp_path: Path) -> None:
    with Store(tmp_path / "deep" / "er") as store:
        add(store, "a")
        add(store, "b", "does not fit")
    with Store(tmp_path / "deep" / "er") as store:
        assert len(store) == 2
        assert store.known(["a", "c"]) == {"a"}
        assert store.results(["a", "b", "c"])["b"] == {"status": "does not fit", "row": {"x": "b"}}


def test_nothing_is_stored_twice(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add(store, "a")
        with pytest.raises(sqlite3.IntegrityError):
            add(store, "a")


def test_defects_are_forgotten_and_nothing_else(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for status in ("ok", "does not fit", "error", "defect"):
            add(store, status, status)
        store.forget_defects()
        assert store.known(["ok", "does not fit", "error", "defect"]) == {
            *("ok", "does not fit", "error"),
        }


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    held = r"is held by process \d+ on .*; wait for it, or"
    with Store(tmp_path), pytest.raises(StoreError, match=held):
        Store(tmp_path)
    with Store(tmp_path) as store:
        assert len(store) == 0


def test_a_full_disk_leaves_what_is_stored_intact(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add(store, "a")
        store._database.execute("PRAGMA max_page_count = 4")
        with pytest.raises(StoreError, match=r"database or disk is full.*intact: free some space"):
            add_many(store)
        stored = len(store)
    with Store(tmp_path) as store:
        assert len(store) == stored >= 1
        add(store, "b")


@pytest.mark.parametrize("place", ["/proc/sweep", "/dev/null/sweep"])
def test_a_directory_that_cannot_be_written(place: str) -> None:
    with pytest.raises(StoreError, match=r"cannot be written .*; give another --out directory"):
        Store(Path(place))


@pytest.mark.parametrize("content", [b"not a database, though it is long enough" * 40])
def test_a_file_that_is_no_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STORE).write_bytes(content)
    with pytest.raises(StoreError, match=r"cannot be used .*not a database"):
        Store(tmp_path)
    assert (tmp_path / STORE).read_bytes() == content


def test_another_format_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / STORE) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="is of format 99"):
        Store(tmp_path)
