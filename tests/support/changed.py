"""Networks with what-ifs on machines."""

from __future__ import annotations

from functools import lru_cache

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.pipeline import RunOptions, curve, load_network
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
