"""From the name of a built-in network to what is told of it: no hardware, no schedule."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from dataflow_sim.errors import InputError
from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.inspection import inspect
from dataflow_sim.networks import (
    BUILT_IN,
    BuiltIn,
    build_network,
    find_network,
    input_shapes,
    numbers_of,
    output_shapes,
)
from dataflow_sim.results_of_networks import Comparison, NetworkSummary, Setting


def tasks() -> tuple[str, ...]:
    """The tasks of the built-in networks, in the order of the catalogue."""
    return tuple(dict.fromkeys(row.task for row in BUILT_IN.values()))


def summaries(
    task: str | None, progress: Callable[[str, int, int], None]
) -> tuple[NetworkSummary, ...]:
    """All built-in networks, or those of a task.  Raises InputError for an unknown task."""
    if task is not None and task not in tasks():
        raise InputError(f"--task {task[:60]}: one of {', '.join(tasks())}")
    rows = [row for row in BUILT_IN.values() if task in (None, row.task)]
    found = []
    for done, row in enumerate(rows):
        progress("reading networks", done, len(rows))
        found.append(summary(row.name))
    return tuple(found)


def summary(name: str, *, with_published: bool = False) -> NetworkSummary:
    """A built-in network at the numbers of its name; raises NetworkError for a wrong one.

    With `with_published` it also counts the network at every size that a source gives.
    """
    row = find_network(name)
    numbers = numbers_of(name)
    model = build_network(name)
    facts = inspect(graph_from_model(model, name))
    return NetworkSummary(
        name=name,
        pattern=row.pattern,
        task=row.task,
        description=row.description,
        source=row.source,
        deviations=row.deviations,
        settings=tuple(
            Setting(
                name=parameter.name,
                value=numbers.get(parameter.name, parameter.default),
                default=parameter.default,
                limits=parameter.limits,
                meaning=parameter.meaning,
            )
            for parameter in row.parameters
        ),
        inputs=input_shapes(model),
        outputs=output_shapes(model),
        layers=len(facts.layers),
        parameters=facts.parameters,
        macs=facts.macs,
        operations_per_weight_byte=facts.operations_per_weight_byte,
        live_peak_elements=facts.live_peak_elements,
        published=comparisons(row) if with_published else (),
    )


def comparisons(row: BuiltIn) -> tuple[Comparison, ...]:
    """Every published figure of a network beside the count here."""
    found = []
    for each in row.published:
        parameters, macs = _counts(f"{row.name}@{each.at}" if each.at else row.name)
        for what, published, counted in (
            ("parameters", each.parameters, parameters),
            ("MACs", each.macs, macs),
        ):
            if published is not None:
                found.append(
                    Comparison(what, each.at, published, counted, each.source, each.because)
                )
    return tuple(found)


@lru_cache(maxsize=1024)
def _counts(name: str) -> tuple[int, int]:
    """Parameters and MACs."""
    graph = graph_from_model(build_network(name), name)
    return graph.parameters, sum(map(layer_macs, graph.layers))
