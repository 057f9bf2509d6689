"""What the commands that run many points share: where they compute, and how far they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from dataflow_sim.errors import InputError

if TYPE_CHECKING:
    from dataflow_sim.results_of_studies import StudyResult
    from dataflow_sim.sweeps.engine import Executor

Command = TypeVar("Command", bound=Callable[..., Any])

_MOST_PROCESSES = 1024
_OPTIONS = (
    click.option(
        "--processes",
        type=int,
        metavar="N",
        help="Processes on this machine.  [default: one for each of its cores]",
    ),
    click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Compute on the workers of this dask.distributed scheduler (extra: cluster).",
    ),
)


def where_options(command: Command) -> Command:
    """--processes and --cluster: the command receives them as they are."""
    result: Any = command
    for option in reversed(_OPTIONS):
        result = option(result)
    return cast(Command, result)


def executor_of(processes: int | None, cluster: str | None) -> Executor:
    """Where tasks are computed.  Raises InputError."""
    from dataflow_sim.sweeps import engine
    from dataflow_sim.sweeps.cluster import cluster as on_cluster

    if cluster is not None:
        if processes is not None:
            raise InputError("--processes and --cluster: give one of them")
        return on_cluster(cluster)
    if processes is not None and not 1 <= processes <= _MOST_PROCESSES:
        raise InputError(f"--processes is {processes}; from 1 to {_MOST_PROCESSES}")
    return engine.processes(processes or os.cpu_count() or 1)


def store_directory(out: str | None, name: str, *, resume: bool) -> Path:
    """Where results stay: as asked, else `results/NAME`.

    Raises InputError where results are stored already and nobody asked to go on.
    """
    from dataflow_sim.sweeps.store import STORE

    directory = Path(out) if out is not None else Path("results") / name
    if not resume and (directory / STORE).exists():
        raise InputError(
            f"'{directory}' holds results already; give --resume to go on from them, or another "
            "--out directory"
        )
    return directory


def shipped_studies(
    folder: str, names: Sequence[str], store: str | None, executor: Executor
) -> list[StudyResult]:
    """The shipped scenarios of a folder with these names, or all of them, with their results.

    Results are kept in `store`, or thrown away.  Raises InputError for a name that is not there.
    """
    from dataflow_sim.cli.render import SweepProgress
    from dataflow_sim.scenario.reading import read_scenario
    from dataflow_sim.scenario.shipped import shipped_scenarios
    from dataflow_sim.studies import run_scenarios
    from dataflow_sim.sweeps.store import Store

    shipped = shipped_scenarios(folder)
    unknown = [each for each in names if each not in shipped]
    if unknown:
        raise InputError(f"no {', '.join(unknown)} in {folder}; there are {', '.join(shipped)}")
    scenarios = [read_scenario(shipped[name]) for name in (dict.fromkeys(names) or shipped)]
    with (
        TemporaryDirectory() as thrown_away,
        Store(Path(store or thrown_away)) as kept,
        SweepProgress(folder) as progress,
    ):
        return run_scenarios(scenarios, kept, executor, progress)
