"""Networks with what-ifs on machines, and schedules that are held fixed while widths change."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dataflow_sim import holding
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.holding import HeldFixed
from dataflow_sim.pipeline import RunOptions, curve, load_network, prepare
from dataflow_sim.results_of_curves import CurveResult
from dataflow_sim.whatif import parse


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


def held_fixed(
    before: NetworkGraph, after: NetworkGraph, hardware: Hardware, policy: str = "merged"
) -> HeldFixed:
    """The schedule of one network with the widths of another, under a policy."""
    return holding.held_fixed(before, after, hardware, RunOptions(policy=policy))
