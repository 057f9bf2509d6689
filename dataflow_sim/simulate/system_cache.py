"""A cache between local memory and DRAM: which tensors stay in it, and what that spares DRAM.

A tensor that is in the cache from the layer that moves it first to the layer that moves it last is
read and written there: a feature map is never in DRAM, a weight tensor or an input is read from
DRAM once and again from the cache.

    layer      1     2     3     4     5
    map a      w ─────────── r                      spilled in 1, filled in 3
    kernel b               f ─ f                    fetched twice by layer 3
    taken      a     a     a+b                      never above the capacity

Which do, is chosen as a careful programmer would: what spares most for the room and the time that
it takes comes first, and stays if it fits at all its layers beside what stays already.
Assumed: whole tensors, no conflicts, no lines; partial sums and network outputs pass it by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataflow_sim.graph.layer import Tensor, TensorKind
from dataflow_sim.graph.region import Box
from dataflow_sim.program.instructions import Load, Program
from dataflow_sim.simulate.grid import Grid
from dataflow_sim.traffic import Reason, TrafficKey

# what the cache takes off DRAM of a tensor that it holds
_SPARED = {
    TensorKind.MAP: frozenset({Reason.MAP_SPILL, Reason.MAP_FILL, Reason.MAP_REFILL}),
    TensorKind.WEIGHT: frozenset({Reason.WEIGHT_REFETCH}),
    TensorKind.INPUT: frozenset({Reason.INPUT_REFETCH}),
}
# what DRAM moves besides, and the cache takes in on the way
_TAKEN_IN = frozenset({Reason.WEIGHT_FETCH, Reason.INPUT_READ})


@dataclass(frozen=True, slots=True)
class Held:
    """What a cache holds: the tensors, and its largest content in bytes."""

    tensors: frozenset[str]
    peak_bytes: int

    def spares(self, tensors: Mapping[str, Tensor], key: TrafficKey) -> bool:
        """Whether what moves for this reason moves in and out of the cache alone."""
        kind = tensors[key.tensor].kind if key.tensor in tensors else TensorKind.PARTIAL_SUM
        return key.tensor in self.tensors and key.reason in _SPARED.get(kind, ())


NOTHING_HELD = Held(frozenset(), 0)


@dataclass(slots=True)
class _Candidate:
    size_bytes: int
    first: int
    last: int
    spared_bits: int

    def worth(self) -> float:
        return self.spared_bits / (self.size_bytes * (self.last - self.first + 1))


def held(
    moved: Sequence[Mapping[TrafficKey, int]],
    tensors: Mapping[str, Tensor],
    capacity_bytes: int,
    byte_bits: int,
) -> Held:
    """What a cache holds; `moved` are the bits of each layer by tensor and reason, as they run."""
    found: dict[str, _Candidate] = {}
    for place, layer in enumerate(moved):
        for key, bits in layer.items():
            tensor = tensors.get(key.tensor)
            spared = _SPARED.get(tensor.kind, frozenset()) if tensor is not None else frozenset()
            if tensor is None or key.reason not in spared | _TAKEN_IN or not bits:
                continue
            size = -(-tensor.elements * tensor.bits // byte_bits)
            each = found.setdefault(key.tensor, _Candidate(size, place, place, 0))
            each.last = place
            each.spared_bits += bits if key.reason in spared else 0
    taken: dict[int, int] = defaultdict(int)
    chosen: set[str] = set()
    for name, each in sorted(found.items(), key=lambda item: (-item[1].worth(), item[0])):
        places = range(each.first, each.last + 1)
        if each.spared_bits and all(taken[p] + each.size_bytes <= capacity_bytes for p in places):
            chosen.add(name)
            for place in places:
                taken[place] += each.size_bytes
    return Held(frozenset(chosen), max(taken.values(), default=0))


def loaded_again(program: Program, tensors: frozenset[str]) -> dict[int, int]:
    """Bits of each load, by instruction, that some load before it has brought: of weights and
    inputs among these tensors."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    loads: list[tuple[int, Load]] = []
    for index, ins in enumerate(program.instructions):
        if not isinstance(ins, Load) or ins.tensor not in tensors:
            continue
        if program.tensors[ins.tensor].kind in (TensorKind.WEIGHT, TensorKind.INPUT):
            boxes[ins.tensor].append(ins.box)
            loads.append((index, ins))
    grids = {name: Grid(found) for name, found in boxes.items()}
    seen = {name: grid.empty() for name, grid in grids.items()}
    again = {}
    for index, load in loads:
        cells = grids[load.tensor].cells(load.box)
        there = seen[load.tensor][cells]
        elements = int(grids[load.tensor].volume[cells][there].sum())
        again[index] = elements * program.tensors[load.tensor].bits
        seen[load.tensor][cells] = True
    return again
