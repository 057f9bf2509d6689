"""A schedule held fixed while the widths of elements change: what codes alone are worth.

The program of the network before its what-ifs stays as it is, buffer by buffer; only how many bits
an element has in DRAM, and what the DMA unpacks it to, is the changed network's.  That is legal
while no element takes more of local memory than before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import lcm

from dataflow_sim.errors import InputError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.preparation import RunOptions, memory_options, prepare
from dataflow_sim.program.instructions import Program
from dataflow_sim.program.lowering import lower
from dataflow_sim.results_of_costs import WEIGHTS, DramTraffic
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.simulate.ledger import count
from dataflow_sim.traffic import Reason

MAPS = (Reason.MAP_SPILL, Reason.MAP_FILL, Reason.MAP_REFILL)


@dataclass(frozen=True, slots=True)
class HeldFixed:
    """DRAM traffic of a network before and after a change, the schedule the same, and after it
    was searched anew."""

    before: DramTraffic
    fixed: DramTraffic
    anew: DramTraffic

    def weights(self) -> tuple[int, int, int]:
        """Bytes of weights of the three."""
        return (self.before.of(*WEIGHTS), self.fixed.of(*WEIGHTS), self.anew.of(*WEIGHTS))

    def maps(self) -> tuple[int, int, int]:
        """Bytes of feature maps between layers of the three."""
        return (self.before.of(*MAPS), self.fixed.of(*MAPS), self.anew.of(*MAPS))


def _in_units(graph: NetworkGraph, byte_bits: int) -> NetworkGraph:
    """The same widths, counted in smaller parts of a bit."""
    more = byte_bits // graph.byte_bits
    tensors = [
        replace(
            tensor,
            bits=more * tensor.bits,
            unpacked_bits=None if tensor.unpacked_bits is None else more * tensor.unpacked_bits,
        )
        for tensor in graph.tensors.values()
    ]
    return replace(graph.with_tensors(tensors), byte_bits=byte_bits)


def _counted(program: Program) -> DramTraffic:
    totals = dict.fromkeys(Reason, 0)
    for key, value in count(program).traffic_bytes().items():
        totals[key.reason] += value
    return DramTraffic(totals)


def held_fixed(
    before: NetworkGraph, after: NetworkGraph, hardware: Hardware, options: RunOptions
) -> HeldFixed:
    """Compare at the machine's own memory.

    Raises InputError where the change is not of widths alone, or makes an element wider.
    """
    one, other = (prepare(graph, hardware, options) for graph in (before, after))
    unit = lcm(one.byte_bits, other.byte_bits)
    one, other = _in_units(one, unit), _in_units(other, unit)
    _check(one, other)
    memory = memory_options(hardware, one.byte_bits)
    program = lower(one, schedule_network(one, memory, options.policy))
    tensors = {name: other.tensors.get(name, tensor) for name, tensor in program.tensors.items()}
    return HeldFixed(
        before=_counted(program),
        fixed=_counted(replace(program, tensors=tensors)),
        anew=_counted(lower(other, schedule_network(other, memory, options.policy))),
    )


def _check(before: NetworkGraph, after: NetworkGraph) -> None:
    """Refuse what a program cannot keep its schedule through."""
    shapes: list[Mapping[str, tuple[int, ...]]] = [
        {name: tuple(tensor.shape) for name, tensor in graph.tensors.items()}
        for graph in (before, after)
    ]
    if shapes[0] != shapes[1]:
        raise InputError(
            "a schedule is held fixed while widths change; these what-ifs change shapes or layers"
        )
    for name, tensor in before.tensors.items():
        if after.tensors[name].local_bits > tensor.local_bits:
            raise InputError(
                f"a schedule is held fixed while widths do not grow; '{name}' takes more of local "
                "memory than before"
            )
