"""`sweep` as users run it: killed, resumed, two at once, on a cluster, and with wrong input."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest

from dataflow_sim.sweeps import cluster as on_cluster
from dataflow_sim.sweeps.store import STORE
from tests.support.commands import SOURCE, command

STUDY = """
title: widths of a small network
networks: [ds_cnn_s, fsrcnn_s@16]
hardware: bare
axes:
  weight_bits: [4, 8]
  activation_bits: [4, 8]
  local_memory: [16B, 8KiB, 32KiB]
record: [dram_bytes, latency_ms, energy_mj, macs]
questions:
  - pareto: {least: [dram_bytes, local_memory_bytes]}
pictures:
  - {file: bytes, kind: bars, title: Bytes, x: weight_bits, y: dram_bytes, by: network}
"""
_WIDTHS = list(range(1, 17))
# so many points that nothing is through before it is looked at
LONG_STUDY = STUDY.replace("bits: [4, 8]", f"bits: {_WIDTHS}")
POINTS = 2 * 2 * 2 * 3
TASKS = POINTS + 2 * 2 * 2  # runs, facts
TABLES = ("points.csv", "README.md")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def long_study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(LONG_STUDY)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What comes out when nothing happens."""
    directory = tmp_path_factory.mktemp("whole")
    (directory / "study.yaml").write_text(STUDY)
    command("sweep", "study.yaml", "--out", "out", "--processes", "1", cwd=directory)
    return {name: (directory / "out" / name).read_bytes() for name in TABLES}


# as from a terminal, whatever the tests themselves were started by: a shell's job may ignore it
_MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from dataflow_sim.cli.main import main
main()
"""


@contextmanager
def started(cwd: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def stored(directory: Path) -> int:
    """How many results are stored by now."""
    path = directory / STORE
    if not path.exists():
        return 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as database:
        try:
            (found,) = database.execute("SELECT count(*) FROM results").fetchone()
        except sqlite3.OperationalError:  # not made yet
            return 0
    return int(found)


def wait_for(directory: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many results are stored, or the process has ended."""
    end = time.monotonic() + 100
    while stored(directory) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


def alive(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def killed_and_resumed(study: Path, times: int, seed: int) -> None:
    """Kill the sweep at random moments, and go on until it is through."""
    chance = random.Random(seed)
    before = 0
    for _ in range(times):
        with started(study, "sweep", "study.yaml", "--out", "out", "--resume") as process:
            wait_for(study / "out", before + chance.randint(1, TASKS // times), process)
            time.sleep(chance.random() * 0.2)
            process.kill()
            process.wait()
            end = time.monotonic() + 20
            while alive(process.pid) and time.monotonic() < end:
                time.sleep(0.05)
            assert not alive(process.pid)  # its workers went with it
        now = stored(study / "out")
        assert now >= before
        before = now
    done = command(
        *("sweep", "study.yaml", "--out", "out", "--resume", "--processes", "2"), cwd=study
    )
    assert f"{TASKS - before} computed, {before} stored before" in done.stdout


def test_killed_and_resumed_it_is_as_if_nothing_had_happened(
    study: Path, whole: dict[str, bytes]
) -> None:
    killed_and_resumed(study, 2, seed=1)
    assert {name: (study / "out" / name).read_bytes() for name in TABLES} == whole


@pytest.mark.slow
def test_killed_ten_times(study: Path, whole: dict[str, bytes]) -> None:
    killed_and_resumed(study, 10, seed=2)
    assert {name: (study / "out" / name).read_bytes() for name in TABLES} == whole


def test_an_interrupt_keeps_what_is_stored(long_study: Path) -> None:
    with started(long_study, "sweep", "study.yaml", "--out", "out") as process:
        wait_for(long_study / "out", 3, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip() == "interrupted; what was computed is stored in out, --resume goes on"
    assert stored(long_study / "out") >= 3


def test_two_at_once_into_one_store(long_study: Path) -> None:
    with started(long_study, "sweep", "study.yaml", "--out", "out") as process:
        wait_for(long_study / "out", 1, process)
        second = command("sweep", "study.yaml", "--out", "out", "--resume", cwd=long_study, code=2)
        assert f"'out' is held by process {process.pid} on" in second.stderr
        assert process.poll() is None


def test_tables_have_units_and_types(study: Path, whole: dict[str, bytes]) -> None:
    command("sweep", "study.yaml", "--out", "out", "--processes", "1", cwd=study)
    table = pd.read_csv(study / "out" / "points.csv")
    typed = pd.read_parquet(study / "out" / "points.parquet")
    assert list(table.columns) == list(typed.columns)
    assert len(table) == len(typed) == POINTS
    assert typed["dram_bytes"].dtype == "Int64"
    assert typed["latency_ms"].dtype == "Float64"
    assert (typed["dram_bytes"].dropna() == table["dram_bytes"].dropna()).all()
    fits = table["status"] == "ok"
    assert (table.loc[~fits, "status"] == "does not fit").all()
    assert (~fits).sum() == POINTS // 3
    assert table.loc[~fits, "error"].str.contains("its smallest tiling needs").all()
    assert (study / "out" / "bytes.svg").exists()
    assert whole["points.csv"] == (study / "out" / "points.csv").read_bytes()


def test_going_on_computes_nothing_anew(study: Path) -> None:
    first = command("sweep", "study.yaml", "--processes", "1", cwd=study)
    assert f"{TASKS} computed, 0 stored before; written to results/study" in first.stdout
    assert "8 of 24 points failed; the column `error` says why" in first.stderr
    refused = command("sweep", "study.yaml", cwd=study, code=2)
    assert "'results/study' holds results already; give --resume to go on" in refused.stderr
    again = command("sweep", "study.yaml", "--resume", "--json", cwd=study)
    assert len(json.loads(again.stdout)["points"]) == POINTS


def test_the_same_bytes_in_two_processes_on_another_hash_seed(
    study: Path, whole: dict[str, bytes]
) -> None:
    command("sweep", "study.yaml", "--out", "out", "--processes", "2", cwd=study, seed="1")
    assert {name: (study / "out" / name).read_bytes() for name in TABLES} == whole


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nowhere.yaml",), "scenario file 'nowhere.yaml' does not exist"),
        (("study.yaml", "--processes", "0"), "--processes is 0; from 1 to 1024"),
        (("study.yaml", "--out", "/proc/x"), "'/proc/x' cannot be written"),
        (("study.yaml", "--out", "study.yaml"), "'study.yaml' cannot be written"),
        (("study.yaml", "--out", " "), "--out is empty"),
        (("study.yaml", "--cluster", "x", "--processes", "2"), "give one of them"),
    ],
)
def test_bad_input(study: Path, arguments: tuple[str, ...], why: str) -> None:
    done = command("sweep", *arguments, cwd=study, code=2)
    assert why in done.stderr
    left = {path.name for path in study.iterdir()}
    assert left <= {"study.yaml", "results"}


def test_an_expectation_that_is_not_met_ends_with_one(study: Path) -> None:
    text = "title: t\nnetwork: ds_cnn_s\nhardware: bare\nrecord: [macs]\nexpect:\n  - {label: a, "
    (study / "a.yaml").write_text(text + "value: macs(), above: 1}")
    (study / "b.yaml").write_text(text + "value: macs(), above: 1e12}")
    assert "met" in command("sweep", "a.yaml", "--processes", "1", cwd=study).stdout
    differs = command("sweep", "b.yaml", "--processes", "1", cwd=study, code=1)
    assert "differs" in differs.stdout


# ------------------------------------------------------------ a cluster


def test_no_scheduler(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_cluster, "_CONNECT", "1s")
    address = ("--cluster", "tcp://127.0.0.1:1")
    done = command("sweep", "study.yaml", *address, cwd=study, code=2)
    assert "--cluster tcp://127.0.0.1:1: no scheduler answers there" in done.stderr


@contextmanager
def cluster(cwd: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler with so many workers on the loopback, each a process of its own."""
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    found = cwd / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    tool = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    local = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    begun = [
        subprocess.Popen([*tool, *local, "--scheduler-file", str(found)], cwd=cwd, **quiet)  # type: ignore[call-overload]
    ]
    try:
        end = time.monotonic() + 60
        while not (found.exists() and found.stat().st_size) and time.monotonic() < end:
            time.sleep(0.05)
        address = json.loads(found.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard"]
        more = ["--nthreads", "1", "--no-nanny", "--host", "127.0.0.1"]
        begun += [
            subprocess.Popen([*worker, *more], cwd=cwd, **quiet)  # type: ignore[call-overload]
            for _ in range(workers)
        ]
        yield address, begun[1:]
    finally:
        for process in begun:
            process.kill()
            process.wait()


def test_on_a_cluster_and_a_worker_that_dies(study: Path, whole: dict[str, bytes]) -> None:
    with cluster(study, 2) as (address, workers):
        time.sleep(4)  # for both to be there
        with started(study, "sweep", "study.yaml", "--out", "out", "--cluster", address) as process:
            wait_for(study / "out", 5, process)
            workers[0].kill()
            out, told = process.communicate(timeout=110)
    assert process.returncode == 0, told
    assert f"{TASKS} computed, 0 stored before" in out
    assert {name: (study / "out" / name).read_bytes() for name in TABLES} == whole
