"""Budget curves as step functions: joining them, taking the best of several.

A front is a pair of arrays, local bytes ascending and DRAM bits strictly descending: with
at least `local[i]` bytes of local memory, `bits[i]` bits move.  Two stretches of a network
that run one after the other need the larger of their memories and move the sum of their
bits, so their joint front is the sum of the two step functions:

    bits ▲  ──┐                 ──┐                     ──┐
         │    └───┐        +      │           =           └──┐
         │        └──────         └───────                   └───┐
         └──────────────► local bytes                            └──

Its breakpoints are those of either, from where both exist.  Every point remembers from
which point of either it came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataflow_sim.schedule.frontier import pareto
from dataflow_sim.schedule.rows import Ints


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """Local bytes ascending, DRAM bits strictly descending, and where each point came from.

    `source` indexes the points of the front before, `choice` those of the option taken,
    `chunk` the options themselves.
    """

    local_bytes: Ints
    dram_bits: Ints
    source: Ints
    choice: Ints
    chunk: Ints


def join(front: Front, local_bytes: Ints, dram_bits: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The sum of a front and an option's: local bytes, bits, source and choice."""
    here = front.local_bytes
    if len(local_bytes) == 1:
        need, more = local_bytes[0], dram_bits[0]
        first = int(np.searchsorted(here, need, "right")) - 1
        if first < 0:
            source = np.arange(len(here))
            return here, front.dram_bits + more, source, np.zeros(len(here), np.int64)
        local = here[first:].copy()
        local[0] = need
        source = np.arange(first, len(here))
        return local, front.dram_bits[first:] + more, source, np.zeros(len(local), np.int64)
    local = np.union1d(here, local_bytes)
    local = local[np.searchsorted(local, max(here[0], local_bytes[0])) :]
    source = np.searchsorted(here, local, "right") - 1
    choice = np.searchsorted(local_bytes, local, "right") - 1
    return local, front.dram_bits[source] + dram_bits[choice], source, choice


def best_of(parts: list[tuple[Ints, Ints, Ints, Ints]]) -> Front:
    """The lower envelope of several joined fronts; the first of equals wins."""
    sizes = [len(part[0]) for part in parts]
    local, bits, source, choice = (np.concatenate(column) for column in zip(*parts, strict=True))
    chunk = np.repeat(np.arange(len(parts)), sizes)
    keep = pareto(local, bits)
    return Front(local[keep], bits[keep], source[keep], choice[keep], chunk[keep])
