"""Where the time of a timeline goes: what each engine does, and what it waits for.

The engine of steps, between the end of a step and the start of the next:

    steps      ██████··········████████······███     · waits
    done of       w    m  m  s    w  m    m          every instant of a wait belongs to the
                                                     transfer that is done next, whichever that is

    weights    that transfer loads weights        buffer    it stores results: their buffer is to
    maps       it loads maps, inputs or sums                be free, or it stands in the queue
    commands   it fetches commands                end       no step is left

A bus, between what it serves, waits for

    buffer     a step, whose buffer the next load takes     compute   a step, whose result is stored
    set-up     the set-up of a transfer, a DMA channel, another bus   end   nothing is left to move

So what an engine does and what it waits for add up to the latency, to the femtosecond, which is
asserted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.simulate.arrays import Ints
from dataflow_sim.simulate.precedence import Precedence
from dataflow_sim.simulate.timeline import Durations, Timeline

Floats = npt.NDArray[np.float64]
STEP_CAUSES = ("weights", "maps", "buffer", "commands")
BUS_CAUSES = ("buffer", "compute", "set-up", "end")


@dataclass(frozen=True, slots=True, eq=False)
class Waits:
    """Femtoseconds that engines wait: of each step before it starts, by (cause, step), and behind
    the last one; of each bus in all, by (bus, cause)."""

    steps: Ints
    end: int
    buses: Ints


def waits(found: Precedence, durations: Durations, timeline: Timeline, causes: Ints) -> Waits:
    """What engines wait for; `causes` has for each transfer an index of STEP_CAUSES.

    Raises ProgramError where times do not add up to the latency.
    """
    before = timeline.before
    steps = np.stack(
        [
            _up_to(timeline.start, timeline.done, causes == cause)
            - _up_to(before, timeline.done, causes == cause)
            for cause in range(len(STEP_CAUSES))
        ]
    )
    last = int(timeline.end[-1]) if timeline.end.size else 0
    end = timeline.latency - last
    if (steps.sum(axis=0) != timeline.start - before).any() or (steps < 0).any():
        raise ProgramError("the waits of steps do not add up to the time between them")
    buses = np.stack(
        [
            _bus_waits(found, timeline, times, served)
            for times, served in zip(durations.buses, timeline.served, strict=True)
        ]
    )
    busy = durations.buses.sum(axis=1)
    if (buses.sum(axis=1) + busy != timeline.latency).any():
        raise ProgramError("what a bus moves and waits for does not add up to the latency")
    return Waits(steps, end, buses)


def _up_to(instants: Ints, done: Ints, chosen: npt.NDArray[np.bool_]) -> Ints:
    """Of the time up to each instant the part that belongs to chosen transfers."""
    if not done.size:
        return np.zeros_like(instants)
    begins = np.concatenate([[0], done[:-1]])
    own = np.concatenate([[0], np.cumsum(np.where(chosen, done - begins, 0))])
    place = np.searchsorted(done, instants, side="left")
    inside = np.minimum(place, done.size - 1)
    partly = np.where((place < done.size) & chosen[inside], instants - begins[inside], 0)
    return np.asarray(own[place] + partly, np.int64)


def _bus_waits(found: Precedence, timeline: Timeline, times: Ints, served: Ints) -> Ints:
    used = np.flatnonzero(times)
    if not used.size:
        return np.array([0, 0, 0, timeline.latency], np.int64)
    free = np.concatenate([[0], (served + times)[used[:-1]]])
    gap = served[used] - free
    step_end = np.append(timeline.end, 0)[found.after_step[used]]
    for_step = np.clip(step_end - free, 0, gap)
    loads = found.stores[used] == 0
    behind = timeline.latency - int((served + times)[used[-1]])
    by_cause = (for_step[loads].sum(), for_step[~loads].sum(), (gap - for_step).sum(), behind)
    return np.array(by_cause, np.int64)


def by_layer(found: Precedence, of_steps: Ints, layers: int) -> Ints:
    """Sums over the steps of each layer; of several rows each by itself."""
    sums = np.zeros((layers, *of_steps.shape[:-1]), np.int64)
    np.add.at(sums, found.layer, of_steps.T)
    return sums.T


def served_within(times: Ints, served: Ints, from_fs: Ints, to_fs: Ints) -> Ints:
    """Of each span [from, to) the time in which a bus serves something."""
    return _served_before(times, served, to_fs) - _served_before(times, served, from_fs)


def _under_way(times: Ints, served: Ints, instants: Ints) -> tuple[Ints, Ints, Ints]:
    """Of a bus the transfers that use it, which of them began last at each instant, and for how
    long it has been served; the first, for no time, where none has begun."""
    used = np.flatnonzero(times)
    begins = served[used]
    begun = np.searchsorted(begins, instants, side="right")
    last = np.maximum(begun - 1, 0)
    elapsed = np.where(begun == 0, 0, np.clip(instants - begins[last], 0, times[used][last]))
    return used, last, elapsed


def _served_before(times: Ints, served: Ints, instants: Ints) -> Ints:
    if not times.any():
        return np.zeros_like(instants)
    used, last, elapsed = _under_way(times, served, instants)
    whole = np.concatenate([[0], np.cumsum(times[used])])
    return np.asarray(whole[last] + elapsed, np.int64)


def bits_before(bits: Ints, times: Ints, served: Ints, instants: Ints) -> Floats:
    """Bits that a bus has moved up to each instant, each transfer at an even rate."""
    if not times.any():
        return np.zeros(instants.shape)
    used, last, elapsed = _under_way(times, served, instants)
    whole = np.concatenate([[0], np.cumsum(bits[used])])
    return whole[last] + elapsed / times[used][last] * bits[used][last]
