"""From scenarios to their results: what to compute, computed, and what follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dataflow_sim.results_of_studies import (
    ClaimResult,
    PictureResult,
    Row,
    ShownTable,
    StudyResult,
    Value,
)
from dataflow_sim.scenario.expressions import Evaluator, plain
from dataflow_sim.scenario.machines import machine_named, overrides_of
from dataflow_sim.scenario.model import Picture, Shown
from dataflow_sim.scenario.reading import Scenario
from dataflow_sim.scenario.table import Table, derived, relative
from dataflow_sim.study.judging import judged
from dataflow_sim.study.questions import answered
from dataflow_sim.sweeps.engine import Executor, Progress, sweep
from dataflow_sim.sweeps.rows import Tables
from dataflow_sim.sweeps.store import Store
from dataflow_sim.sweeps.tasks import Kind, Task, finders, kinds_of, task_of
from dataflow_sim.sweeps.work import DEFECT, OK, machine_columns

_TABLES: Mapping[str, str] = {"points": "", "layers": "layer", "breakpoints": "curve"}


@dataclass(frozen=True, slots=True)
class _Planned:
    """A scenario with the tasks of each of its points, by kind, and its machines' columns."""

    scenario: Scenario
    tasks: tuple[Mapping[Kind, Task], ...]
    machines: tuple[Mapping[str, float | int], ...]


def _planned(scenario: Scenario) -> _Planned:
    file = scenario.file
    wanted = finders(file.record, file.record_layers)
    curves = [task_of("curve", point.settings) for point in scenario.points]
    sharing = Counter(curves)
    tasks, machines = [], []
    for point, curve in zip(scenario.points, curves, strict=True):
        settings = point.settings
        machine = machine_named(str(settings.hardware), overrides_of(settings))
        shared = sharing[curve] > 1
        kinds = kinds_of(wanted, machine, settings, shared=shared, curves=file.curves)
        tasks.append({kind: task_of(kind, settings) for kind in kinds})
        machines.append(machine_columns(machine))
    return _Planned(scenario, tuple(tasks), tuple(machines))


def count_tasks(scenario: Scenario) -> Mapping[str, int]:
    """How many tasks of each kind a scenario computes, those that points share once."""
    plan = _planned(scenario)
    return Counter(task.kind for task in {t: None for own in plan.tasks for t in own.values()})


def run_scenarios(
    scenarios: Sequence[Scenario], store: Store, executor: Executor, progress: Progress
) -> list[StudyResult]:
    """Compute what the store does not have, for all scenarios together, and what follows.

    Raises InputError, and StoreError where results cannot be kept.
    """
    plans = [_planned(scenario) for scenario in scenarios]
    every = [task for plan in plans for tasks in plan.tasks for task in tasks.values()]
    keys, swept = sweep(every, store, executor, progress)
    found = []
    for plan in plans:
        own = {task for tasks in plan.tasks for task in tasks.values()}
        results = store.results(keys[task] for task in own)
        tables = Tables(plan.scenario.file, plan.scenario.points)
        for point, tasks, machine in zip(
            plan.scenario.points, plan.tasks, plan.machines, strict=True
        ):
            tables.add(point, machine, {k: dict(results[keys[t]]) for k, t in tasks.items()})
        found.append(_concluded(plan.scenario, tables.tables(), swept.stored, swept.computed))
    return found


def _concluded(
    scenario: Scenario, tables: Mapping[str, Table], stored: int, computed: int
) -> StudyResult:
    file = scenario.file
    tables = {
        **tables,
        "": derived(tables[""], _columns(file.derive)),
        "layer": derived(tables["layer"], _columns(file.derive_layers)),
    }
    status = [row["status"] for row in tables[""].rows]
    return StudyResult(
        name=scenario.name,
        title=file.title,
        description=file.description,
        points=tables[""],
        layers=tables["layer"],
        breakpoints=tables["curve"],
        checked=judged(tables, file.measure, file.expect),
        answers=tuple(answered(tables[""], question) for question in file.questions),
        shown=tuple(_shown(tables, each) for each in file.tables),
        pictures=tuple(_picture(tables, each) for each in file.pictures),
        claim=None
        if file.claim is None
        else ClaimResult(
            source=file.claim.source,
            says=file.claim.says,
            expected=file.claim.expected,
            verdict=file.claim.verdict,
            because=file.claim.because,
            decision=file.claim.decision,
        ),
        failed=sum(each != OK for each in status),
        defects=sum(each == DEFECT for each in status),
        stored=stored,
        computed=computed,
    )


def _columns(given: Mapping[str, str]) -> dict[str, Callable[[Table], Value]]:
    """Further columns by name, each from its expression."""

    def of(text: str) -> Callable[[Table], Value]:
        return lambda row: plain(Evaluator({"": row}).value(text))

    return {name: of(text) for name, text in given.items()}


def _shown(tables: Mapping[str, Table], shown: Shown) -> ShownTable:
    chosen = tables[_TABLES[shown.of]]
    if shown.relative_to:
        chosen = relative(chosen, shown.relative_to, shown.columns)
    chosen = chosen.where(shown.where)
    rows: list[Row] = [{name: row[name] for name in shown.columns} for row in chosen.rows]
    return ShownTable(
        shown.title,
        tuple(shown.columns),
        tuple(rows[: shown.limit]),
        max(0, len(rows) - shown.limit),
    )


def _picture(tables: Mapping[str, Table], picture: Picture) -> PictureResult:
    chosen = tables[_TABLES[picture.of]]
    if picture.relative_to:
        chosen = relative(chosen, picture.relative_to, picture.y)
    chosen = chosen.where(picture.where)
    names = dict.fromkeys((*picture.by, picture.x, *picture.y))
    return PictureResult(
        file=picture.file,
        kind=picture.kind,
        title=picture.title,
        x=picture.x,
        y=tuple(picture.y),
        by=tuple(picture.by),
        log=tuple(picture.log),
        x_label=picture.x_label,
        y_label=picture.y_label,
        limit_line=picture.limit_line,
        rows=tuple({name: row[name] for name in names} for row in chosen.rows),
    )
