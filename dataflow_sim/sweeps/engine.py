"""Computes tasks in parallel and stores each result as it comes.

    tasks not stored ──► executor (processes here, or a cluster) ──► results ──► store, one writer

An executor is handed tasks and yields their results in whatever order they end.  What is asked for
twice is computed once; what is stored is not computed; a worker that dies loses its task, which is
computed once more by itself, and is a `defect` when it dies again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from signal import SIG_IGN, SIGINT, signal

from dataflow_sim.sweeps.store import Store
from dataflow_sim.sweeps.tasks import Task, key_of
from dataflow_sim.sweeps.work import DEFECT, Payload, compute

Progress = Callable[[int, int], None]
Done = tuple[Task, Payload, float]
Executor = Callable[[Sequence[Task]], Iterator[Done]]

_LONGEST_FIRST = ("held", "curve", "run", "facts")
_AHEAD = 2  # tasks that wait for each process


def timed(task: Task) -> tuple[Payload, float]:
    """The result of a task and the seconds that it took."""
    start = time.perf_counter()
    payload = compute(task)
    return payload, time.perf_counter() - start


def one_by_one(tasks: Sequence[Task]) -> Iterator[Done]:
    """Compute in this process."""
    for task in tasks:
        yield (task, *timed(task))


def _begin() -> None:
    """Begin a worker: it ends with its parent, however that ends, and leaves interrupts to it."""
    signal(SIGINT, SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: object) -> None:
    parent.join()  # type: ignore[attr-defined]
    os._exit(1)


def processes(count: int) -> Executor:
    """Compute in so many processes of this machine."""

    def run(tasks: Sequence[Task]) -> Iterator[Done]:
        left, suspects = list(tasks), []
        while left:
            with _pool(min(count, len(left))) as pool:
                trial = _Trial(pool, left)
                yield from trial.results(_AHEAD * count)
            left = trial.left
            suspects += trial.suspects
        for task in suspects:  # one of them killed its worker: each by itself
            with _pool(1) as pool:
                trial = _Trial(pool, [task])
                yield from trial.results(1)
            if trial.suspects:
                yield task, _dead(), 0.0

    return run


def _dead() -> Payload:
    return {
        "status": DEFECT,
        "error": "the process that computed it died twice, perhaps for want of memory",
    }


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Trial:
    """Tasks on a pool of processes until they are done, or one of the processes dies.

    `suspects` are then those that were handed out, `left` those that were not.
    """

    def __init__(self, pool: ProcessPoolExecutor, tasks: Sequence[Task]) -> None:
        self._pool = pool
        self.left = list(reversed(tasks))
        self.suspects: list[Task] = []
        self._running: dict[Future[tuple[Payload, float]], Task] = {}

    def results(self, ahead: int) -> Iterator[Done]:
        """Results as they end, with so many tasks handed out at a time."""
        for _ in range(ahead):
            self._submit()
        while self._running:
            ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
            for future in ended:
                task = self._running.pop(future)
                try:
                    payload, seconds = future.result()
                except BrokenProcessPool:
                    self.suspects.append(task)
                    continue
                yield task, payload, seconds
                self._submit()
        self.left.reverse()

    def _submit(self) -> None:
        if not self.left or self.suspects:
            return
        try:
            self._running[self._pool.submit(timed, self.left[-1])] = self.left[-1]
        except BrokenProcessPool:
            return
        self.left.pop()


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: results that were stored before, and those that it computed."""

    stored: int
    computed: int


def sweep(
    tasks: Iterable[Task], store: Store, executor: Executor, progress: Progress
) -> tuple[dict[Task, str], Swept]:
    """Compute what the store does not have; the key of every task, and what was done.

    Raises InputError where a network or machine cannot be read, and StoreError.
    """
    keys = {task: key_of(task) for task in dict.fromkeys(tasks)}
    store.forget_defects()
    there = store.known(keys.values())
    # tasks of other texts may have one key: the same machine under two names
    missing = {key: task for task, key in keys.items() if key not in there}
    progress(len(there), len(there) + len(missing))
    done = 0
    # what may take long begins first, so that no core waits for it at the end
    ordered = sorted(missing.values(), key=lambda task: _LONGEST_FIRST.index(task.kind))
    for task, payload, seconds in executor(ordered):
        store.add(keys[task], task.kind, task.text, payload, seconds)
        done += 1
        progress(len(there) + done, len(there) + len(missing))
    return keys, Swept(len(there), done)
