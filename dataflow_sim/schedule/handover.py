"""Rows handed over: where a resident map that dies gives its rows to one that is made.

Model.  A map that is whole in local memory lies row by row.  While the merged group runs that reads
a map X for the last time and makes a map M that stays, rows of X die one by one and rows of M are
born.  M lies below X, so that its rows grow into the place of those that are dead:

    address ▲  ┌ row H-1 of X ┐   ┌ row H-1 of X ┐
            │  │     ...      │   │ row i  of X  │  <- the first row that still lives
            │  │ row 0  of X  │   │ row j  of M  │  <- made while it lives
            │  ├──────────────┤   │     ...      │
            │  │  (distance)  │   │ row 0  of M  │
            │  └──────────────┘   └──────────────┘
               the group begins        later

Row j of M may be made while row i of X still lives if it ends below it: with rows of m and x bytes
the distance d between the begins of both maps is at least

    d  =  max(0, max over j of (j + 1) m - i(j) x)        i(j): first row of X that lives in the
                                                          firing that makes row j of M

and the two take max(|M|, d + |X|) bytes instead of |M| + |X|.  Maps whose rows are no whole bytes,
or no multiple of the alignment of local memory, stay apart: each row becomes a buffer.

Assumed: the place of both maps is reserved for the whole group.  Ignored: more than one pair in a
group; layers alone, and groups by tiles of the plane; M above X, which saves nothing, since rows
are made and die in the same order.

Source: overlapping a layer's input and output is common for microcontrollers, e.g. Blacker et al.,
"Diagonal memory optimisation" (2020); distances by rows of a merged group are this project's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataflow_sim.graph.layer import Tensor
from dataflow_sim.schedule.map_rows import MapRows
from dataflow_sim.schedule.merging import Bools, Way
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.timetable import RowTables, Timetable
from dataflow_sim.schedule.types import Handover, MemoryOptions


def distances(taken: MapRows, made: MapRows, row_bytes: tuple[int, int]) -> Ints:
    """How far the begins of two maps must be apart, at each height of a group.

    `row_bytes` are those of whole rows of both.
    """
    dead, born = np.atleast_2d(taken.death), np.atleast_2d(made.birth)
    there, new = row_bytes
    ends = (np.arange(born.shape[1]) + 1) * new
    found = []
    for death, birth in zip(dead, born, strict=True):
        first = np.searchsorted(np.maximum.accumulate(death), birth)
        some = first < len(death)
        found.append(max(0, int((ends - first * there)[some].max(initial=0))))
    return np.array(found, np.int64)


def savings(tables: RowTables, taken: MapRows, made: MapRows) -> tuple[Ints, Ints]:
    """At each height of a group how far apart two maps must be, and the bytes saved by that."""
    tensors, memory = tables.graph.tensors, tables.memory
    one, other = tensors[taken.name], tensors[made.name]
    there, new = row_bytes(one, memory), row_bytes(other, memory)
    if there is None or new is None:
        nothing = np.zeros(len(np.atleast_2d(made.birth)), np.int64)
        return nothing, nothing
    apart = distances(taken, made, (there, new))
    return apart, saved_bytes(there * one.shape[2], new * other.shape[2], apart)


def saved_bytes(taken_bytes: int, made_bytes: int, distance_bytes: Ints | int) -> Ints:
    """What two maps take less at a distance than apart."""
    both = np.maximum(made_bytes, np.asarray(distance_bytes) + taken_bytes)
    return np.asarray(np.maximum(taken_bytes + made_bytes - both, 0), np.int64)


def row_bytes(tensor: Tensor, memory: MemoryOptions) -> int | None:
    """Bytes of a row of a map in local memory, None where they are no multiple of the alignment."""
    bits = tensor.elements // tensor.shape[2] * tensor.local_bits
    unit = memory.byte_bits * memory.alignment_bytes
    return bits // memory.byte_bits if bits % unit == 0 else None


def handed_over(pair: tuple[str, str], way: Way, kept: Sequence[str]) -> Handover | None:
    """What a way says of a map that dies and one that is made, if it is by rows.

    Maps that are `kept`, loaded whole for this group alone, stay whole: read row by row they
    take less at the same cost, so that no more than a tie comes to this.
    """
    if way.hands is None or pair[0] in kept:
        return None
    return Handover(*pair, way.hands[2])


def handed_over_again(hands: Handover | None, walk: object) -> Handover | None:
    """What a group hands over when it runs in another way: by rows at another distance, else
    nothing."""
    if hands is None or not isinstance(walk, Timetable):
        return None
    apart, _ = savings(walk.tables, walk.maps[hands.taken], walk.maps[hands.made])
    return hands._replace(distance_bytes=int(apart[0]))


def pair_of(tables: RowTables, taken: Sequence[str], made: Sequence[str]) -> tuple[str, str] | None:
    """Of maps that die and maps that are made the pair that could save most, first of equals."""
    tensors, memory = tables.graph.tensors, tables.memory
    pairs = [
        (min(tensors[one].elements * tensors[one].local_bits, other_bits), one, other)
        for one in taken
        for other in made
        for other_bits in [tensors[other].elements * tensors[other].local_bits]
        if row_bytes(tensors[one], memory) is not None
        and row_bytes(tensors[other], memory) is not None
    ]
    if not pairs:
        return None
    _, one, other = max(pairs, key=lambda pair: pair[0])
    return one, other


def pairs_by_choice(
    tables: RowTables,
    sources: Sequence[str],
    targets: Sequence[str],
    dies: Sequence[bool],
    outside: Bools,
    going: Bools,
) -> dict[tuple[int, int], Bools]:
    """Pairs of maps that may hand over rows, by their places among the maps from outside and the
    outgoing ones of a group, each with the choices of resident maps for which it is they.

    `outside` (choices, sources) and `going` (choices, targets, 2) tell what is resident, as in
    `MergedGroup.table`; the choices of a pair are (choices, choices, 1).
    """
    found: dict[tuple[int, int], Bools] = {}
    for p, q in np.ndindex(len(outside), len(going)):
        taken = [n for n, here, dead in zip(sources, outside[p], dies, strict=True) if here & dead]
        made = [name for name, here in zip(targets, going[q, :, 0], strict=True) if here]
        pair = pair_of(tables, taken, made)
        if pair is not None:
            key = (sources.index(pair[0]), targets.index(pair[1]))
            found.setdefault(key, np.zeros((len(outside), len(going), 1), bool))[p, q] = True
    return found
