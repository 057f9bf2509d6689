"""NetworkGraph: layers in execution order, the tensors between them, frozen once made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import networkx as nx
import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.arrangement import Arrangement
from dataflow_sim.graph.layer import Layer, Tensor, TensorKind, View
from dataflow_sim.graph.quantisation import Quantisation


@dataclass(frozen=True)
class Constant:
    """A constant of the network.

    `value` is None where the file does not carry it; `real` is False for shapes, axes and
    other integers that steer an operator and are neither learned nor fetched.  `quantisation` says
    what integers stand for its numbers, by the file's axes; a value of integers then holds these,
    any other the numbers.
    """

    name: str
    shape: tuple[int, ...]
    value: npt.NDArray[np.generic] | None = None
    real: bool = True
    quantisation: Quantisation | None = None


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a pass of the reader did: its name, what holds after it, the nodes it changed."""

    name: str
    after: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A what-if that ran: as it was asked for, and what it did, a sentence each."""

    text: str
    effects: tuple[str, ...]


class Numbers(NamedTuple):
    """Numbers of rows: a view of maps that the file gives, and how the file sees it."""

    view: View
    axes: Arrangement


@dataclass(frozen=True, slots=True)
class Placement:
    """A map that the file gives: the array of that name (an input, or a constant) lies in
    `tensor` as `axes` says.  With `numbers` row r of it is the one whose number stands there."""

    tensor: str
    array: str
    axes: Arrangement
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A network output as the file names it: a view of maps, and how the file sees it."""

    name: str
    view: View
    axes: Arrangement


@dataclass(frozen=True)
class NetworkGraph:
    """A network ready to be scheduled.

    `layers` are in a topological order; `inputs` and `outputs` name tensors;
    `parameters` counts the learned constants, normalisation statistics excluded;
    `placements` and `results` say how arrays of the file lie in maps; `warnings` are
    sentences for the user, each said once; `passes` tells what the reader made of the
    file; `part` names the first and the last layer of a part of a network (`graph.part`), and is
    empty of a whole one; `unrounded` are sentences on what the file quantises and no tensor,
    segment or step says; `changes` are the what-ifs that it went through.  Widths of tensors are
    counted in bits, `byte_bits` of which make a byte: 8, or more where a compressed element takes
    no whole number of them (`graph.coding`).  Raises NetworkError when a layer reads a tensor that
    no earlier layer writes.
    """

    name: str
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    constants: Mapping[str, Constant] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    passes: tuple[PassReport, ...] = ()
    placements: tuple[Placement, ...] = ()
    results: tuple[Result, ...] = ()
    part: str = ""
    unrounded: tuple[str, ...] = ()
    byte_bits: int = 8
    changes: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        """Freeze the mappings and check the order."""
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "constants", MappingProxyType(dict(self.constants)))
        written = {name for name, t in self.tensors.items() if t.kind is TensorKind.INPUT}
        written |= {name for name, t in self.tensors.items() if t.kind is TensorKind.WEIGHT}
        for layer in self.layers:
            for view in layer.views:
                for segment in view.segments:
                    if segment.tensor not in written:
                        raise NetworkError(
                            f"{self.name}: layer '{layer.name}' reads '{segment.tensor}' "
                            "before any layer writes it"
                        )
            written.update(layer.outputs)

    @cached_property
    def digraph(self) -> nx.DiGraph[str]:
        """Layers as nodes (attribute `layer`), tensors as edges (attribute `tensor`), frozen."""
        graph: nx.DiGraph[str] = nx.DiGraph(name=self.name)
        writer: dict[str, str] = {}
        for layer in self.layers:
            graph.add_node(layer.name, layer=layer)
            for view in layer.views:
                for segment in view.segments:
                    if segment.tensor in writer:
                        graph.add_edge(writer[segment.tensor], layer.name, tensor=segment.tensor)
            writer.update((name, layer.name) for name in layer.outputs)
        nx.freeze(graph)
        return graph

    def with_tensors(self, tensors: Iterable[Tensor]) -> NetworkGraph:
        """The same network with some tensors replaced by others of the same names."""
        merged = dict(self.tensors)
        merged.update((tensor.name, tensor) for tensor in tensors)
        return replace(self, tensors=merged)

    def whole_bits(self, width: int) -> int:
        """A width in bits, rounded up where it is none of whole ones."""
        return -(-width * 8 // self.byte_bits)

    def view_bits(self, layer: Layer) -> int:
        """Width of the layer's input in DRAM, its widest segment's, in whole bits."""
        return self.whole_bits(max(self.tensors[s.tensor].bits for s in layer.input.segments))
