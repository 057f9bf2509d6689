"""Attention, ours and ONNX's: queries against keys and values, and states that grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from dataflow_sim.graph.arrangement import CHANNEL, Arrangement, Factor, arranged
from dataflow_sim.graph.layer import View
from dataflow_sim.graph.meaning import ATTENTION as MEANING
from dataflow_sim.graph.meaning import OWN, Input, Seen
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import SweepKind
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import JoinedValue, Value
from dataflow_sim.ingest.layers.meanings import element_of
from dataflow_sim.ingest.layers.sweeps import Role, Waiting, roles_of, swept
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.convolutions import optional_input
from dataflow_sim.ingest.operators.counts import ATTENTION, STANDARD_ATTENTION
from dataflow_sim.ingest.operators.row import Operator

_QUERY = {"B": -4, "G": -3, "P": -2}
_KEY = {"B": -4, "G": -3, "N": -2}
_MASK = {**_QUERY, "N": -1}


def _attention(builder: GraphBuilder, node: Node) -> None:
    """Queries against keys and values; the scores stay where they are made."""
    query, key, value = (builder.streamed_values(name) for name in node.inputs[:3])
    masks = [(name, builder.streamed_values(name)) for name in node.inputs[3:]]
    operands = _Operands(query, key, value, masks)
    macs = ATTENTION.count(node, builder.network.shapes)
    result = _attended(builder, node)
    _attend(builder, node, operands, macs, Role(*result, _QUERY))


@dataclass(frozen=True, slots=True)
class _Operands:
    """Queries, the parts of keys and of values, and masks, all with their heads apart.

    A mask comes with its name, and has no value where it is no map and not fetched.  `past` is
    how many of the keys are there before the first query's own.
    """

    query: tuple[Value, ...]
    key: tuple[Value, ...]
    value: tuple[Value, ...]
    masks: list[tuple[str, tuple[Value, ...]]]
    past: int = 0

    @property
    def parts(self) -> list[int]:
        """How many of the keys each part has."""
        return [value.shape[-2] for value in self.key]

    @property
    def legal(self) -> bool:
        """Whether they are what a sweep walks: values that lie in the parts that keys lie in."""
        alike = all(
            len({(*v.shape[:-2], v.shape[-1]) for v in each}) == 1
            for each in (self.key, self.value)
        )
        return len(self.query) == 1 and [v.shape[-2] for v in self.value] == self.parts and alike


def _attend(
    builder: GraphBuilder, node: Node, operands: _Operands, macs: int, result: Role
) -> None:
    """An attention as a sweep; each view once, where an operand is given twice alike."""
    parts = operands.parts
    pairs: list[tuple[Value, Role]] = []

    def seen(values: tuple[Value, ...], loops: Mapping[str, int], several: bool) -> Input:
        found = []
        for value, role in zip(values, roles_of(values, loops, parts=several), strict=True):
            known = [n for n, (v, r) in enumerate(pairs) if (v.view, r) == (value.view, role)]
            if not known:
                pairs.append((value, role))
            found.append(Seen(known[0] if known else len(pairs) - 1, value.axes))
        return Input(tuple(found))

    several = len(parts) > 1
    inputs: list[Input] = [seen(operands.query, _QUERY, False)]
    inputs += [seen(each, _KEY, several) for each in (operands.key, operands.value)]
    for name, values in operands.masks:
        element = element_of(builder.network, node, name)
        found = seen(values, _MASK, False) if values else Input(constant=name)
        inputs.append(replace(found, element=element))
    batch, heads, queries, depth = (prod(f.extent for f in axis) for axis in result.axes.axes)
    waiting = Waiting(SweepKind.ATTENTION, batch * heads * queries * (depth + 2))
    roles = [role for _, role in pairs]
    sweep = swept(roles, [result], waiting, parts) if operands.legal else None
    joined = _joined_heads(builder, node, (result.shape, result.axes))
    views = [value.view for value, _ in pairs]
    draft = builder.stream_views(node, views, macs, joined, sweep)
    meaning = builder.meaning(node, MEANING, tuple(inputs), OWN)
    draft.meaning = replace(meaning.stating(past=operands.past), results=(result.axes,))


def _joined_heads(
    builder: GraphBuilder, node: Node, result: tuple[Shape4, Arrangement]
) -> tuple[Shape4, Arrangement]:
    """The result as the file sees it: heads apart, or side by side."""
    if len(builder.shape(node.outputs[0])) == 4:
        return result
    return builder.usual(node.outputs[0])


def _attended(builder: GraphBuilder, node: Node) -> tuple[Shape4, Arrangement]:
    """The result lies like the queries: heads and their values as channels, pixels as there."""
    batch, heads, queries, depth = builder.shape(node.outputs[0])
    query = builder.values.get(node.inputs[0])
    head, inner = (Factor(CHANNEL, heads, depth),), (Factor(CHANNEL, depth, 1),)
    if query is not None:
        _, _, h, w = query.view.shape
        n = query.view.shape[0]
        pixels = [query.axes.axes[axis] for axis in (0, 2)]
        factors = [factor for each in pixels for factor in each]
        elements = prod(factor.extent for factor in factors)
        if all(factor.axis != CHANNEL for factor in factors) and elements == n * h * w:
            return (n, heads * depth, h, w), Arrangement((pixels[0], head, pixels[1], inner))
    shape, axes = arranged((batch, queries, heads * depth), 2)
    return shape, Arrangement((axes.axes[0], head, axes.axes[1], inner))


def _standard_attention(builder: GraphBuilder, node: Node) -> None:
    """As above, with its own past and present: a present that only the host takes is a state."""
    macs = STANDARD_ATTENTION.count(node, builder.network.shapes)
    pasts, presents = node.inputs[4:6], node.outputs[1:3]
    states = all(name in builder.network.inputs for name in pasts) and all(
        builder.readers.get(name) == [None] for name in presents
    )
    grows = states and len(pasts) == len(presents) == 2 and len(node.outputs) == 3
    fresh = not any(node.inputs[4:]) and builder.read_outputs(node) == node.outputs[:1]
    if not (grows or fresh):
        builder.stream(node, macs=macs)
        return
    alone = replace(node, outputs=node.outputs[:1])
    operands = _apart(builder, node)
    shape, axes = builder.usual(node.outputs[0])
    result = _heads_apart(Value(View((), shape), axes), _heads(node, 0))
    if operands is None or result is None:
        builder.stream(alone, macs=macs)
    else:
        _attend(builder, alone, operands, macs, Role(shape, result.axes, _QUERY))
    if grows:
        for past, name, present in zip(pasts, node.inputs[1:3], presents, strict=True):
            builder.joined[present] = JoinedValue((builder.value(past), builder.value(name)))


def _heads(node: Node, place: int) -> int | None:
    """The heads of an operand that lie side by side; None where nothing says so."""
    heads = node.attributes.get("kv_num_heads" if place else "q_num_heads")
    return heads if isinstance(heads, int) and heads > 0 else None


def _heads_apart(value: Value, heads: int | None) -> Value | None:
    """A value as (batch, heads, tokens, depth); None where its heads cannot be told apart."""
    if len(value.shape) == 4:
        return value
    if len(value.shape) != 3 or heads is None or value.shape[2] % heads:
        return None
    batch, tokens, channels = value.shape
    axes = value.axes.reshaped((batch, tokens, heads, channels // heads))
    return None if axes is None else Value(value.view, axes.transposed((0, 2, 1, 3)))


def _apart(builder: GraphBuilder, node: Node) -> _Operands | None:
    """The operands of ONNX's attention behind a past, which is the first part of its keys."""
    apart = []
    for place, name in enumerate(node.inputs[:3]):
        values = builder.streamed_values(name)
        found = _heads_apart(values[0], _heads(node, place)) if len(values) == 1 else None
        if found is None:
            return None
        apart.append(found)
    pasts = [builder.streamed_values(name) for name in node.inputs[4:6] if name]
    if any(len(each) != 1 for each in pasts):
        return None
    name = optional_input(node, 3)
    masks = [(name, builder.streamed_values(name))] if name else []
    keys, values = pasts or [(), ()]
    past = sum(value.shape[-2] for value in keys)
    return _Operands((apart[0],), (*keys, apart[1]), (*values, apart[2]), masks, past)


_KEYS_AGAIN = "queries once, keys and values as tiling allows, or the other way round"

ROWS = (
    Operator("dataflow_sim::Attention", "attention", _attention, ATTENTION, _KEYS_AGAIN),
    Operator("Attention", "attention", _standard_attention, STANDARD_ATTENTION, _KEYS_AGAIN),
)
