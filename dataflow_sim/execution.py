"""One execution of a replay: a program run to its end or to a limit of time, and what is told.

The bytes that cross the DRAM interface are held against the ledger's count of the program, and
results element by element against what they should be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.analyses import widths
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.program.instructions import Program
from dataflow_sim.results_of_replay import Execution
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import occupancy
from dataflow_sim.simulate.replay import GoOn, Replayed

Array = npt.NDArray[Any]


class Clock:
    """Tells when time is up, from when it is first asked, and shows how far a replay is."""

    def __init__(self, seconds: float | None, progress: Callable[[int, int], None]) -> None:
        self.seconds = seconds
        self.start: float | None = None
        self.progress = progress

    def __call__(self, done: int, total: int) -> bool:
        """Whether to go on."""
        self.progress(done, total)
        if self.start is None:
            self.start = time.monotonic()
        return self.seconds is None or time.monotonic() - self.start < self.seconds


def executed(
    numbers: str,
    graph: NetworkGraph,
    program: Program,
    run: Callable[[GoOn], Replayed],
    compare: Callable[[Replayed, Execution], Execution],
    clock: GoOn,
) -> Execution:
    """Execute a program, compare results, and hold its traffic against the ledger's."""
    weight_bits, activation_bits = widths(graph)
    ledger = count(program)
    found = Execution(
        numbers,
        weight_bits,
        activation_bits,
        capacity_bytes=program.capacity_bytes,
        peak_bytes=occupancy(program).peak_bytes,
        instructions=len(program.instructions),
        ledger_bits=sum(ledger.traffic_bits.values()),
    )
    try:
        replayed = run(clock)
    except ProgramError as error:
        return replace(found, fault=str(error))
    moved = sum(replayed.dram.moved_bits.values())
    found = replace(
        found, executed=replayed.executed, moved_bits=moved, whole_layers=replayed.whole
    )
    found = compare(replayed, found)
    if found.different and not found.fault:
        fault = f"{found.different:,} of {found.elements:,} results differ"
        found = replace(found, fault=fault)
    if found.complete and moved != found.ledger_bits and not found.fault:
        fault = (
            f"{moved:,} bits crossed the DRAM interface, the ledger counts {found.ledger_bits:,}"
        )
        found = replace(found, fault=fault)
    return found


def compared(found: Execution, pairs: Mapping[str, tuple[Array, Array]]) -> Execution:
    """With what was compared: by name results and what they should be, NaN where none is yet."""
    elements = different = 0
    largest, where = 0.0, ""
    for name, (mine, theirs) in pairs.items():
        there = ~np.isnan(mine.astype(np.float64))
        one, other = mine[there].astype(np.float64), theirs[there].astype(np.float64)
        size = float(np.abs(other).max(initial=0.0)) or 1.0
        apart = np.where(one == other, 0.0, np.abs(one - other) / size)
        apart = np.where(np.isnan(apart), np.inf, apart)
        elements += one.size
        beyond = int((apart > found.tolerance).sum())
        if beyond and not where:
            where = f"{beyond:,} of {one.size:,} elements of '{name}' differ"
        different += beyond
        largest = max(largest, float(apart.max(initial=0.0)))
    return replace(
        found, elements=elements, different=different, largest_difference=largest, fault=where
    )


def maps_made(
    graph: NetworkGraph, replayed: Replayed, whole: Mapping[str, Array]
) -> dict[str, tuple[Array, Array]]:
    """All maps that layers make, as they are in DRAM and as they should be."""
    made = [name for layer in graph.layers for name in layer.outputs]
    return {name: (replayed.tensors[name], whole[name]) for name in made}
