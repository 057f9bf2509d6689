"""A network as its nodes: every shape known, every constant found, nothing placed yet.

What the passes (`ingest.passes`) rewrite and the operators' rules (`ingest.operators`) turn
into layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataflow_sim.graph.network import Constant
from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.graph.quantisation import Quantisation


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX node; `inputs` holds "" where an optional input is left out.

    `places` are those of its results among the operator's, where some are left out before others.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    places: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ResolvedNetwork:
    """Nodes that compute feature maps, in execution order, with all shapes and constants.

    `opset` is the version of the standard operator set; `sources` maps each constant to the
    learned constant that it is derived from, `parts` one made of several to all of them;
    `bits` holds the widths that the file itself states, by name: of whatever is no 32 or 64-bit
    float, and `element_types` what these elements are, as ONNX numbers them.  `quantisations` say
    of maps to what integers they are rounded when they are made, and `unrounded` are sentences on
    what else the file quantises.  `folded` names the nodes that computed constants, `dead` those
    that no output needs,
    `left_out` those whose shapes depend on data, with their operators; of the outputs
    `handed_over` are maps that only such nodes read.  `statements` are what the user is told of
    how the file was taken.
    """

    name: str
    opset: int
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, Constant]
    sources: Mapping[str, str]
    bits: Mapping[str, int] = field(default_factory=dict)
    element_types: Mapping[str, int] = field(default_factory=dict)
    quantisations: Mapping[str, Quantisation] = field(default_factory=dict)
    unrounded: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folded: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    handed_over: frozenset[str] = frozenset()
    statements: tuple[str, ...] = ()
