"""All that a report tells of a run, as plain frozen data: the run, its curves, edges, and time."""

from __future__ import annotations

from dataclasses import dataclass

from dataflow_sim.results import RunResult
from dataflow_sim.results_of_curves import CurveResult
from dataflow_sim.results_of_time_study import Roofline, Sensitivity, Series, TimedStay

SCHEMA = "dataflow_sim.review/1"


@dataclass(frozen=True, slots=True)
class Edge:
    """A map from the layer that makes it, None for an input of the network, to one that reads it.

    `way` is `rows` inside a merged group, `resident` where the whole map stays in local memory in
    between, else `dram`.
    """

    tensor: str
    producer: str | None
    consumer: str
    size_bytes: int
    way: str


@dataclass(frozen=True, slots=True)
class Track:
    """What one engine does, from when, for how long, in nanoseconds: `names[of[i]]` each time.

    Neighbours of one name are joined where there are many: `events` is how many there were.
    """

    name: str
    events: int
    names: tuple[str, ...]
    of: tuple[int, ...]
    start_ns: tuple[float, ...]
    duration_ns: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OverTime:
    """The first frame over time: roofline, what more of a resource buys, rates, buffers, tracks.

    There are no sensitivities where each of them would take a run of its own.
    """

    roofline: Roofline
    sensitivity: tuple[Sensitivity, ...]
    series: Series
    stays: tuple[TimedStay, ...]
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """A run with what stands beside it.

    `curves` are the budget curves of the run's policy and of `layerwise`, none where the machine
    has several banks; `edges` are in network order; `over_time` is None where the program was not
    timed.
    """

    run: RunResult
    curves: tuple[CurveResult, ...]
    edges: tuple[Edge, ...]
    over_time: OverTime | None
    schema: str = SCHEMA
