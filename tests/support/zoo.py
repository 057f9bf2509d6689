"""The built-in networks, at their defaults and at the smallest size that their names allow."""

from __future__ import annotations

from functools import lru_cache

import onnx

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks import BUILT_IN, BuiltIn, build_network


@lru_cache(maxsize=8)
def graph_of(name: str) -> NetworkGraph:
    """A built-in network as the reader sees it."""
    return graph_from_model(build_network(name), name)


def smallest(row: BuiltIn) -> str:
    """The name of a network with every number at its least."""
    least = [f"{each.name}={min(each.choices or (each.least,))}" for each in row.parameters]
    return f"{row.name}@{'-'.join(least)}" if least else row.name


def smallest_model(name: str) -> onnx.ModelProto:
    """A network with every number at its least."""
    return build_network(smallest(BUILT_IN[name]))
