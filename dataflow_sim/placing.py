"""From a file of lifetimes to an address for every buffer: no network, no hardware.

What the search hands back is not believed: that no two buffers overlap that live at one moment,
and that each lies at a multiple of the alignment, is found once more, by going through time.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from dataflow_sim.errors import BuffersDoNotFitError, ScheduleError
from dataflow_sim.lifetimes import read_lifetimes
from dataflow_sim.results_of_placement import Lifetime, PlacementResult
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.placement import WORK, place

__all__ = ["WORK", "place_buffers", "read_lifetimes"]


def place_buffers(
    source: str,
    lifetimes: Sequence[Lifetime],
    capacity_bytes: int | None,
    *,
    alignment_bytes: int = 1,
    work: int = WORK,
) -> PlacementResult:
    """Place the buffers of `source` within a capacity, or as low as it goes without one.

    `work` bounds the search, counted in buffers placed.  Raises BuffersDoNotFitError, and
    ScheduleError where the placement breaks a rule, which is a defect.
    """
    # a life includes its last moment
    lives = [Life(life.size_bytes, life.lower, life.upper - 1) for life in lifetimes]
    placed = place(lives, capacity_bytes, alignment_bytes=alignment_bytes, work=work)
    if capacity_bytes is not None and placed.height_bytes > capacity_bytes:
        raise BuffersDoNotFitError(
            capacity_bytes, placed.live_bytes, placed.least_bytes, placed.height_bytes
        )
    check_placement(lifetimes, placed.addresses, alignment_bytes)
    return PlacementResult(
        source=source,
        capacity_bytes=capacity_bytes,
        alignment_bytes=alignment_bytes,
        lifetimes=tuple(lifetimes),
        offsets=placed.addresses,
        live_peak_bytes=placed.live_bytes,
        least_bytes=placed.least_bytes,
        peak_bytes=placed.height_bytes,
    )


def check_placement(
    lifetimes: Sequence[Lifetime], offsets: Sequence[int], alignment_bytes: int = 1
) -> None:
    """Raise ScheduleError where two buffers overlap, or one lies below 0 or off the alignment."""
    events: list[tuple[int, bool, int]] = []
    for index, (life, offset) in enumerate(zip(lifetimes, offsets, strict=True)):
        if offset < 0 or offset % alignment_bytes:
            raise ScheduleError(
                f"buffer '{life.name}' lies at {offset}, no multiple of {alignment_bytes}"
            )
        # buffers of no bytes lie nowhere
        if life.size_bytes:
            events += ((life.lower, True, index), (life.upper, False, index))
    there: list[tuple[int, int]] = []  # (address, buffer) of those that live, ascending
    for _, begins, index in sorted(events):
        own = (offsets[index], index)
        place_of_own = bisect_left(there, own)
        if not begins:
            del there[place_of_own]
            continue
        for neighbour in there[max(0, place_of_own - 1) : place_of_own + 1]:
            lower, upper = sorted((own, neighbour))
            if lower[0] + lifetimes[lower[1]].size_bytes > upper[0]:
                raise ScheduleError(
                    f"buffers '{lifetimes[lower[1]].name}' and '{lifetimes[upper[1]].name}' "
                    f"overlap at {upper[0]}"
                )
        insort(there, own)
