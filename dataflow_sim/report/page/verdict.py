"""The verdict on a run in three sentences: what limits it, how far from the floor, what to change.

What a change brings is read off the results where they hold it: another memory off the curve, a
quicker machine off the timeline.  What they do not hold is told as what it can bring at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataflow_sim.report.curves import point_at
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_costs import MAP_READS, WEIGHTS
from dataflow_sim.results_of_curves import CurveResult
from dataflow_sim.results_of_review import Review
from dataflow_sim.results_of_time_study import Sensitivity
from dataflow_sim.results_of_timeline import TimelineResult
from dataflow_sim.traffic import Reason
from dataflow_sim.units import format_bytes, format_capacity

WORTH = 0.005  # a change that brings less is not worth a word
_MOST_REASONS = 2
_ENGINES = {
    "compute": "the array",
    "dram": "DRAM",
    "flash": "the flash",
    "system cache": "the system cache",
    "local memory": "the port of local memory",
}
_TWICE = {
    "bandwidth": "twice the DRAM bandwidth",
    "memory": "twice the local memory",
    "MACs": "twice the MACs a cycle",
    "clock": "twice the clock",
}


@dataclass(frozen=True, slots=True)
class Lever:
    """A change, and the part of the DRAM bytes or the time that it saves; `surety` is empty where
    the results hold the changed run, else `at most` or `about`."""

    what: str
    saved: float
    surety: str = ""

    def __str__(self) -> str:
        """As part of a sentence."""
        return f"{self.what} saves {self.surety and self.surety + ' '}{self.saved:.1%}"


def verdict(review: Review) -> tuple[str, str, str]:
    """Bound by what, how far from the floor, what to change first."""
    return _bound(review.run), _distance(review.run), _change(review)


def _bound(run: RunResult) -> str:
    took = f"A frame takes {duration(run.latency_s)} and {run.energy.total_pj / 1e9:,.3f} mJ"
    found = run.timeline
    if found is None:
        return f"{took}, by the closed form: its program is too long to be timed."
    busy = {each.name: each.busy_s / found.latency_s for each in found.engines}
    shares = ", ".join(f"{_ENGINES.get(name, name)} {part:.0%}" for name, part in busy.items())
    if found.limited_by == "latency":
        limit = "limited by neither engine alone: they wait for each other"
    else:
        limit = f"limited by {_ENGINES.get(found.limited_by, found.limited_by)}"
    return f"{took}, {limit} (busy: {shares}).{_rate(found)}"


def _rate(found: TimelineResult) -> str:
    asked = found.verdict
    if asked is None:
        return ""
    reached = f"{asked.frames_per_second:g} frames a second"
    if asked.verdict == "fits":
        return f" It reaches {reached}."
    return (
        f" It misses {reached} ({asked.verdict}): {asked.reached_frames_per_second:,.1f} at most."
    )


def duration(seconds: float) -> str:
    """A time in the unit in which it reads best."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= factor:
            return f"{seconds / factor:,.3f} {unit}"
    return f"{seconds * 1e6:,.3f} us"


def _distance(run: RunResult) -> str:
    total, floor = run.traffic.total_bytes, run.compulsory_bytes
    moved = f"It moves {format_bytes(total)} over the DRAM interface"
    if total <= floor:
        return (
            f"{moved}, the compulsory floor of {format_bytes(floor)}: weights, input and output "
            "cross it once each, and no map does."
        )
    ends = {Reason.WEIGHT_FETCH, Reason.INPUT_READ, Reason.OUTPUT_WRITE}
    above = {r: v for r, v in run.traffic.by_reason.items() if v and r not in ends}
    first = sorted(above, key=lambda reason: -above[reason])[:_MOST_REASONS]
    most = " and ".join(f"{format_bytes(above[each])} of {each.value}" for each in first)
    told = f"; above it are mostly {most}" if first else ""
    return f"{moved}, {total / floor:.3f} times the floor of {format_bytes(floor)}{told}."


def byte_levers(review: Review) -> list[Lever]:
    """What saves DRAM bytes, the most first."""
    levers = [each for each in _byte_levers(review) if each.saved >= WORTH]
    return sorted(levers, key=lambda each: -each.saved)


def _byte_levers(review: Review) -> Iterator[Lever]:
    run = review.run
    total = run.traffic.total_bytes
    maps = run.traffic.of(*MAP_READS, Reason.MAP_SPILL)
    if run.policy != "merged" and maps:
        # refetched weights may go, too, but nothing below the floor
        above = 1 - run.compulsory_bytes / total
        yield Lever("merging layers (--policy merged)", above, "at most")
    curve = own_curve(review)
    if curve is not None:
        twice = 2 * run.capacity_bytes
        point = point_at(curve, twice)
        assert point is not None
        saved = 1 - point.traffic.total_bytes / total
        yield Lever(f"twice the local memory ({format_capacity(twice)})", saved)
    fetched = run.traffic.of(Reason.WEIGHT_FETCH)
    if fetched:
        halved = f"half the bits a weight, on {run.traffic.of(*WEIGHTS) / total:.0%} of the bytes,"
        yield Lever(halved, run.traffic.of(*WEIGHTS) / total / 2, "about")


def own_curve(review: Review) -> CurveResult | None:
    """The curve that the run is a point of; None where it moves other bytes than a point does, as
    under another objective, or with a cache beside DRAM."""
    for curve in review.curves:
        point = point_at(curve, review.run.capacity_bytes)
        if curve.policy == review.run.policy and point is not None:
            return curve if point.traffic == review.run.traffic else None
    return None


def time_levers(latency_s: float, sensitivity: Sequence[Sensitivity]) -> list[Lever]:
    """What saves time, the most first."""
    levers = [
        Lever(_TWICE[each.resource], 1 - each.latency_s / latency_s)
        for each in sensitivity
        if each.factor > 1 and each.latency_s is not None
    ]
    return sorted((each for each in levers if each.saved >= WORTH), key=lambda each: -each.saved)


def _change(review: Review) -> str:
    of_bytes = byte_levers(review)
    timed = review.over_time
    of_time = [] if timed is None else time_levers(review.run.latency_s, timed.sensitivity)
    told = []
    if of_bytes:
        told.append(f"{of_bytes[0]} of the DRAM bytes")
    if of_time:
        told.append(f"{of_time[0]} of the time")
    if not told:
        return "No change that these results tell of saves more than half a percent."
    return f"To change first: {'; '.join(told)}."
