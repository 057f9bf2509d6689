"""Networks with what-ifs on machines, and schedules that are held fixed while widths change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import lcm

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.pipeline import RunOptions, curve, load_network, memory_options, prepare
from dataflow_sim.program.lowering import lower
from dataflow_sim.results_of_costs import WEIGHTS, DramTraffic
from dataflow_sim.results_of_curves import CurveResult
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.simulate.ledger import count
from dataflow_sim.traffic import Reason
from dataflow_sim.whatif import parse

MAPS = (Reason.MAP_SPILL, Reason.MAP_FILL, Reason.MAP_REFILL)


@lru_cache(maxsize=64)
def changed(network: str, *what_ifs: str) -> NetworkGraph:
    """A network with some what-ifs."""
    return load_network(network, what_ifs=parse(what_ifs))


def machine(name: str = "bare", **keys: str) -> Hardware:
    """A shipped machine with some keys set; `__` stands for the dots."""
    return load_hardware(name, {key.replace("__", "."): value for key, value in keys.items()})


def curve_of(graph: NetworkGraph, hardware: Hardware, policy: str = "merged") -> CurveResult:
    """The budget curve."""
    return curve(graph, hardware, RunOptions(policy=policy))


def stored_bytes(graph: NetworkGraph, hardware: Hardware, kernels: Sequence[str] = ()) -> float:
    """DRAM bytes of all kernels, or of some, on a machine; per-channel constants not among them."""
    graph = prepare(graph, hardware, RunOptions())
    names = kernels or [layer.weight for layer in graph.layers if layer.weight is not None]
    tensors = [graph.tensors[name] for name in dict.fromkeys(names)]
    return sum(tensor.elements * tensor.bits for tensor in tensors) / graph.byte_bits


@dataclass(frozen=True)
class Held:
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


def in_units(graph: NetworkGraph, byte_bits: int) -> NetworkGraph:
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


def _traffic(by_key: dict[Reason, int]) -> DramTraffic:
    return DramTraffic({reason: by_key.get(reason, 0) for reason in Reason})


def held_fixed(
    before: NetworkGraph, after: NetworkGraph, hardware: Hardware, policy: str = "merged"
) -> Held:
    """Compare at the machine's own memory.

    The program stays as it is, buffer by buffer; only how many bits an element has in DRAM, and
    what the DMA unpacks it to, is the changed network's.  That is legal while no element takes more
    of local memory than before.
    """
    one, other = (prepare(graph, hardware, RunOptions()) for graph in (before, after))
    unit = lcm(one.byte_bits, other.byte_bits)
    one, other = in_units(one, unit), in_units(other, unit)
    memory = memory_options(hardware, one.byte_bits)
    program = lower(one, schedule_network(one, memory, policy))
    tensors = {name: other.tensors.get(name, tensor) for name, tensor in program.tensors.items()}
    assert all(tensors[n].local_bits <= t.local_bits for n, t in program.tensors.items())
    found = []
    for each in (
        count(program),
        count(replace(program, tensors=tensors)),
        count(lower(other, schedule_network(other, memory, policy))),
    ):
        totals: dict[Reason, int] = {}
        for key, value in each.traffic_bytes().items():
            totals[key.reason] = totals.get(key.reason, 0) + value
        found.append(_traffic(totals))
    return Held(*found)
