"""What the integers of a file's constants mean: those that it dequantises before it reads them.

The reader evaluates what computes constants, if they are few, so that of
`weights ─ DequantizeLinear` only the numbers are left.  Here the integers that stood for them are
kept in mind, through an Identity and a Transpose too, and stand for the numbers where these are
too many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.ingest.file.nodes import is_standard
from dataflow_sim.ingest.scales import NO_ZERO_POINT, Stated, integer_attribute, meaning
from dataflow_sim.ingest.shapes.resolver import Resolver, attributes_of

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Meant:
    """What a constant's integers mean, and these integers where the file has them."""

    meaning: Quantisation
    integers: Array | None


def constant_meanings(resolver: Resolver) -> dict[str, Meant]:
    """What integers stand for the numbers of constants, by name."""
    found: dict[str, Meant] = {}
    for reader in resolver.readers:
        node = reader.node
        if not is_standard(node) or not node.output or node.output[0] not in resolver.constants:
            continue
        known = None
        if node.op_type == "DequantizeLinear" and len(node.input) > 1:
            known = _dequantised(resolver, node)
        elif node.op_type == "Identity" and node.input:
            known = found.get(node.input[0])
        elif node.op_type == "Transpose" and node.output[0] in resolver.shapes:
            known = _transposed(resolver, node, found.get(node.input[0]))
        if known is not None:
            found[node.output[0]] = known
    return found


def _stated(resolver: Resolver, name: str) -> Stated:
    return Stated(resolver.shapes.get(name, ()), resolver.values.get(name))


def _dequantised(resolver: Resolver, node: onnx.NodeProto) -> Meant | None:
    attributes = attributes_of(node)
    kind, integers = resolver.types.get(node.input[0]), resolver.values.get(node.input[0])
    zero_point = _stated(resolver, node.input[2]) if any(node.input[2:3]) else NO_ZERO_POINT
    found = meaning(
        _stated(resolver, node.input[1]),
        zero_point,
        kind.tensor_type.elem_type if kind is not None else 0,
        integer_attribute(attributes, "axis", 1),
        integer_attribute(attributes, "block_size", 0),
    )
    fits = integers is not None and integers.shape == resolver.shapes.get(node.output[0])
    return None if found is None else Meant(found, integers if fits else None)


def _transposed(resolver: Resolver, node: onnx.NodeProto, before: Meant | None) -> Meant | None:
    """The same integers with their axes in another order."""
    if before is None or before.meaning.block:
        return None
    rank = len(resolver.shapes[node.output[0]])
    order = attributes_of(node).get("perm", tuple(range(rank))[::-1])
    if not isinstance(order, tuple) or sorted(order) != list(range(rank)):
        return None
    places = [int(place) for place in order]
    found = before.meaning
    if found.axis is not None:
        found = replace(found, axis=places.index(found.axis % rank))
    integers = before.integers
    return Meant(found, None if integers is None else integers.transpose(places))
