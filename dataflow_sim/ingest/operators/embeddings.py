"""Embeddings: rows of a table for tokens, and positions as rotations of what is there.

An embedding reads as many rows of its table as are asked for, at most all of them.  Where the table
has at least as many, the DMA brings for each token its row, and the layer copies rows; a smaller
table is read whole, and its rows are picked in local memory:

    rows for each token    numbers B P    table B P N    result B P N      columns of a row as N
    a smaller table        numbers B P    table     N    result B P N

A rotation needs the cosines and sines of a position for all heads: heads are its columns, so that
these stay while the heads of a row go by.

    rotary embedding       x B P N        cos, sin B P   result B P N
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from dataflow_sim.graph.arrangement import CHANNEL, ROW, Arrangement, Factor, arranged
from dataflow_sim.graph.meaning import EMBEDDING, OWN, Input, Seen
from dataflow_sim.graph.region import Shape4
from dataflow_sim.graph.sweep import SweepKind
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Value
from dataflow_sim.ingest.layers.meanings import given, inputs_of
from dataflow_sim.ingest.layers.sweeps import Role, Waiting, swept
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.row import Operator, streaming

_NUMBERS = {"B": -2, "P": -1}
_ROWS = {"B": -3, "P": -2, "N": -1}
_COLUMNS = {"N": -1}
_PRODUCT = Waiting(SweepKind.PRODUCT)


def look_up(builder: GraphBuilder, node: Node, axis: int) -> None:
    """Rows of a constant table by their numbers."""
    data, indices = node.inputs[:2]
    shape, asked = builder.constant_shape(data), builder.shape(indices)
    rows, channels = min(shape[axis], prod(asked)), prod(shape) // shape[axis]
    numbers = builder.streamed_values(indices)
    axes = Arrangement(((Factor(ROW, rows, 1),), (Factor(CHANNEL, channels, 1),)))
    views = [value.view for value in numbers]
    if not builder.fetched(data) or axis or len(shape) != 2 or len(numbers) > 1:
        if builder.fetched(data):
            views.append(builder.constant_map(data, (1, channels, rows, 1), None))
        draft = builder.stream_views(node, views)
        draft.meaning = builder.meaning(node, node.op, _of_all(builder, node, numbers))
        return
    picked = prod(asked) <= shape[0]
    lies: tuple[Shape4, Arrangement] = ((1, channels, rows, 1), axes)
    if picked and len(asked) > 1:
        lies = arranged((*asked, channels), len(asked))
    known = all(s.tensor.startswith("=") for value in numbers for s in value.view.segments)
    by = numbers[0] if picked and known and numbers else None
    place = None if picked and by is None else lies[1]
    view = builder.constant_map(data, lies[0], place, by)
    table = Role(*lies, _ROWS if picked else _COLUMNS)
    result = builder.usual(node.outputs[0])
    roles = [Role(value.view.shape, value.axes, _NUMBERS) for value in numbers]
    sweep = swept([*roles, table], [Role(*result, _ROWS)], _PRODUCT)
    draft = builder.stream_views(node, [*views, view], 0, result, sweep)
    if place is None:
        draft.meaning = builder.meaning(node, node.op, _of_all(builder, node, numbers))
        return
    inputs = (Input((Seen(len(views), lies[1]),)), _of_all(builder, node, numbers)[1])
    meaning = builder.meaning(node, EMBEDDING, inputs, OWN)
    draft.meaning = meaning.stating(picked=int(picked))


def _of_all(builder: GraphBuilder, node: Node, numbers: tuple[Value, ...]) -> tuple[Input, Input]:
    """The inputs of a look-up in all of the table, whatever of it is read."""
    found = given(builder.network, node, node.inputs[1], list(enumerate(numbers)))
    assert found is not None
    return Input(constant=node.inputs[0]), found


def _rotary(builder: GraphBuilder, node: Node) -> None:
    """Rows of x with the angles of their positions; the result lies like x."""
    values = [builder.streamed_values(name) for name in node.inputs]
    if len(node.inputs) != 3 or len(values[0]) != 1 or node.inputs[0] in builder.joined:
        _STREAMED(builder, node)
        return
    read = [(place, value) for place, each in enumerate(values) for value in each]
    x = values[0][0]
    roles = [Role(v.view.shape, v.axes, _LOOPS) for _, v in read]
    sweep = swept(roles, [Role(x.view.shape, x.axes, _LOOPS)], _PRODUCT)
    views = [value.view for _, value in read]
    draft = builder.stream_views(node, views, 0, (x.view.shape, x.axes), sweep)
    inputs = inputs_of(builder.network, node, read)
    assert inputs is not None
    draft.meaning = builder.meaning(node, draft.op, inputs, OWN)


_LOOPS: Mapping[str, int] = {"B": -4, "N": -3, "P": -2}
_STREAMED = streaming()

ROWS = (
    Operator(
        "dataflow_sim::RotaryEmbedding",
        "rotation of rows",
        _rotary,
        reads="every input once",
    ),
)
