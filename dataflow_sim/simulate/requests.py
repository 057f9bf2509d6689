"""Requests: the bursts of DRAM that every transfer of a program asks for, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.region import Box
from dataflow_sim.program.instructions import Load, Program, Store
from dataflow_sim.simulate.address_runs import Runs, runs_of
from dataflow_sim.simulate.arrays import Ints, counted


def _bursts(program: Program, tensor: str, boxes: Sequence[Box], burst: int) -> Runs:
    home = program.homes.get(tensor)
    if home is None:
        raise ProgramError(f"'{tensor}' is moved, but has no place in DRAM")
    return runs_of(home, boxes).bursts(burst)


def _boxes(transfers: Iterable[Load | Store]) -> dict[str, list[Box]]:
    """The boxes of each tensor that move, each once."""
    found: dict[str, dict[Box, None]] = {}
    for each in transfers:
        found.setdefault(each.tensor, {})[each.box] = None
    return {name: list(boxes) for name, boxes in found.items()}


def moved_bits(program: Program, burst: int) -> dict[tuple[str, Box], int]:
    """What DRAM moves for each box of a tensor, in whole bursts of so many units of width.

    Raises ProgramError where a tensor has no home.
    """
    transfers = (each for each in program.instructions if isinstance(each, Load | Store))
    found: dict[tuple[str, Box], int] = {}
    for name, boxes in _boxes(transfers).items():
        totals = _bursts(program, name, boxes, burst).totals(len(boxes)) * burst
        found.update(((name, box), bits) for box, bits in zip(boxes, totals.tolist(), strict=True))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Ranges of bursts that transfers ask for: those of the transfer at place n of a queue are
    numbers `offset[n]` to `offset[n + 1]` of `first` and `count`, addresses ascending."""

    offset: Ints
    first: Ints
    count: Ints

    @property
    def of(self) -> Ints:
        """The place of each range."""
        return np.repeat(np.arange(self.offset.size - 1), np.diff(self.offset))

    @property
    def bursts(self) -> Ints:
        """The bursts of each place."""
        sums = np.concatenate([[0], np.cumsum(self.count)])
        return np.asarray(np.diff(sums[self.offset]), np.int64)


def requests(transfers: Sequence[tuple[Program, Load | Store] | int], burst: int) -> Requests:
    """What transfers in the order of a queue ask for, in bursts of so many units of width.

    A number stands for so many units that are fetched one behind the other, such as commands, in a
    part of DRAM of their own; 0 asks for nothing.  Raises ProgramError where a tensor has no home.
    """
    by_program: dict[int, tuple[Program, list[Load | Store]]] = {}
    top = 0
    for each in transfers:
        if not isinstance(each, int):
            by_program.setdefault(id(each[0]), (each[0], []))[1].append(each[1])
    # of each box: its number, and its ranges as those from one on
    number: dict[tuple[int, str, Box], int] = {}
    firsts, counts, sizes = [], [], []
    for key, (program, moved) in by_program.items():
        ends = (home.start + home.size for home in program.homes.values())
        top = max(top, *ends) if program.homes else top
        for name, boxes in _boxes(moved).items():
            found = _bursts(program, name, boxes, burst)
            for box in boxes:
                number[key, name, box] = len(number)
            firsts.append(found.start)
            counts.append(found.stop - found.start)
            sizes.append(np.bincount(found.of, minlength=len(boxes)))
    behind = -(-top // burst)
    fetched = [each for each in transfers if isinstance(each, int) and each]
    edges = np.concatenate([[0], np.cumsum(np.array(fetched, np.int64))])
    first, last = edges[:-1] // burst, -(-edges[1:] // burst)
    firsts.append(first + behind)
    counts.append(last - first)
    sizes.append(np.ones(len(fetched), np.int64))
    sizes.append(np.zeros(1, np.int64))  # of what asks for nothing
    size = np.concatenate(sizes)
    begin = np.concatenate([[0], np.cumsum(size)])[:-1]
    own, nothing = len(number), size.size - 1
    which = []
    for each in transfers:
        if not isinstance(each, int):
            which.append(number[id(each[0]), each[1].tensor, each[1].box])
        elif each:
            which.append(own)
            own += 1
        else:
            which.append(nothing)
    chosen = np.array(which, np.int64)
    offset = np.concatenate([[0], np.cumsum(size[chosen])])
    place, within = counted(size[chosen])
    ranges = begin[chosen][place] + within
    return Requests(offset, np.concatenate(firsts)[ranges], np.concatenate(counts)[ranges])
