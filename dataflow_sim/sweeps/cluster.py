"""Computes tasks on an existing cluster of dask.distributed (extra: cluster).

The scheduler hands a task out again when its worker dies.  Workers must run the same code: their
results would else be stored under keys that are not theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from dataflow_sim.errors import InputError
from dataflow_sim.sweeps.engine import Done, Executor, timed
from dataflow_sim.sweeps.tasks import Task, code_version
from dataflow_sim.sweeps.work import DEFECT

_CONNECT = "15s"


def _client(address: str) -> Any:
    try:
        from distributed import Client as Connection
    except ImportError:
        raise InputError(
            "--cluster needs the extra `cluster`: pip install 'dataflow-sim[cluster]'"
        ) from None
    try:
        connection: Any = Connection
        return connection(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise InputError(
            f"--cluster {address}: no scheduler answers there ({str(error)[:120]}); start one with "
            "`dask scheduler` and give the address that it prints"
        ) from None


def _check_workers(client: Any, address: str) -> None:
    """Raise InputError unless there are workers, all with this code."""
    versions = client.run(code_version)
    if not versions:
        raise InputError(
            f"--cluster {address}: the scheduler has no workers; start some with "
            f"`dask worker {address}`"
        )
    other = sorted(worker for worker, version in versions.items() if version != code_version())
    if other:
        raise InputError(
            f"--cluster {address}: {', '.join(other[:3])} run other code of dataflow_sim than this "
            "process; install the same there"
        )


def cluster(address: str) -> Executor:
    """Compute on the workers of a scheduler.  Raises InputError where that cannot be."""

    def run(tasks: Sequence[Task]) -> Iterator[Done]:
        with closing(_client(address)) as client:
            from distributed import as_completed

            ended: Any = as_completed
            _check_workers(client, address)
            running = {client.submit(timed, task, pure=False): task for task in tasks}
            for future in ended(list(running), loop=client.loop):
                task = running.pop(future)
                if future.status == "finished":
                    yield (task, *future.result())
                    continue
                error = future.exception()
                yield task, {"status": DEFECT, "error": f"{type(error).__name__}: {error}"}, 0.0

    return run
