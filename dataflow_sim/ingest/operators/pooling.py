"""Pooling and reductions: in the producing convolution where it can be, else a layer."""

from __future__ import annotations

from dataflow_sim.graph.arrangement import Arrangement, Factors, plain
from dataflow_sim.graph.layer import LayerKind, Pooling, Window
from dataflow_sim.graph.region import Shape4
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft, Value, whole_view
from dataflow_sim.ingest.layers.reductions import over_channels, over_plane, reduced_axes
from dataflow_sim.ingest.layers.windows import ints, node_window
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.convolutions import map_shape
from dataflow_sim.ingest.operators.row import Merges, Operator, streamed

_POOLING_OF = {"ReduceMean": "average", "ReduceMax": "max"}


def _pool(
    builder: GraphBuilder,
    node: Node,
    value: Value,
    pooling: Pooling,
    out: Shape4,
    axes: Arrangement,
) -> None:
    """Pool in the producing convolution, if only this node reads it; else a layer."""
    name = node.inputs[0]
    producer = builder.draft_of(name)
    if (
        builder.folds
        and producer is not None
        and producer.kind is LayerKind.CONVOLUTION
        and producer.pool is None
        and not producer.operands
        and (producer.window.plane is None or _takes_all(pooling, producer.body_shape))
        and builder.alone(name, node)
    ):
        producer.pool = pooling
        producer.pool_node = (node.name, node.op, producer.end)
        producer.output_shape = out
        producer.end = node.outputs[0]
        view = whole_view(value.view.segments[0].tensor, out)
        builder.values[node.outputs[0]] = Value(view, axes)
        return
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CHANNELWISE,
        input=value.view,
        body_shape=value.view.shape,
        output_shape=out,
        end=node.outputs[0],
        groups=out[1],
        pre=value.pre,
        pool=pooling,
    )
    builder.add(draft, axes)


def _takes_all(pooling: Pooling, body: Shape4) -> bool:
    """Whether a single window pools the whole plane: rows and columns of a volume alike."""
    return pooling.window.kernel == body[2:] and pooling.window.pad == (0, 0)


def _window_pool(builder: GraphBuilder, node: Node) -> None:
    kernel = ints(node.attributes.get("kernel_shape"), ())
    rank = len(builder.shape(node.inputs[0]))
    if (
        rank not in (3, 4)
        or len(kernel) != rank - 2
        or builder.read_outputs(node) != node.outputs[:1]
    ):
        builder.stream(node, data=1)
        return
    window, pad_end = node_window(builder, node, kernel)
    value = builder.planes(node.inputs[0])
    op = "max" if node.op == "MaxPool" else "average"
    count = bool(node.attributes.get("count_include_pad", 0))
    out = map_shape(builder.shape(node.outputs[0]))
    _pool(builder, node, value, Pooling(op, window, count, pad_end), out, plain(out, rank))


def _global_pool(builder: GraphBuilder, node: Node) -> None:
    """Over the whole plane; of more than two spatial axes likewise."""
    rank = len(builder.shape(node.inputs[0]))
    value = builder.value(node.inputs[0])
    axes = tuple(range(2, rank))
    if not over_plane(value, axes):
        value = builder.rearrange(node.inputs[0], 1)
    op = "max" if node.op == "GlobalMaxPool" else "average"
    _pool_plane(builder, node, value, op, axes)


def _pool_plane(
    builder: GraphBuilder, node: Node, value: Value, op: str, axes: tuple[int, ...]
) -> None:
    n, c, h, w = value.view.shape
    window = Window(kernel=(h, w), stride=(h, w))
    _pool(
        builder,
        node,
        value,
        Pooling(op, window),
        (n, c, 1, 1),
        _without(builder, node, value, axes),
    )


def _without(builder: GraphBuilder, node: Node, value: Value, axes: tuple[int, ...]) -> Arrangement:
    """The file's axes once some of them are reduced: of one index, or gone."""
    kept = len(builder.shape(node.outputs[0])) == len(value.shape)
    found: list[Factors] = []
    for axis, factors in enumerate(value.axes.axes):
        if axis not in axes:
            found.append(factors)
        elif kept:
            found.append(())
    return Arrangement(tuple(found))


def _reduce(builder: GraphBuilder, node: Node) -> None:
    """Over the plane pooling, over the channels one pass over pixels, else streamed."""
    axes = reduced_axes(builder, node)
    name = node.inputs[0]
    if name in builder.values and axes is not None:
        value = builder.value(name)
        if node.op in _POOLING_OF and over_plane(value, axes):
            _pool_plane(builder, node, value, _POOLING_OF[node.op], axes)
            return
        if over_channels(value, axes):
            n, _, h, w = value.view.shape
            draft = Draft(
                name=node.name,
                op=node.op,
                kind=LayerKind.PIXELWISE,
                input=value.view,
                body_shape=(n, 1, h, w),
                end=node.outputs[0],
                pre=value.pre,
            )
            builder.add(draft, _without(builder, node, value, axes))
            return
    builder.stream(node, data=1)


_REDUCTIONS = (
    *("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1"),
    *("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
)
_HALO = "input with halo"

ROWS = (
    Operator("MaxPool", "pooling", _window_pool, reads=_HALO, merges=Merges.BY_ROWS, data=1),
    Operator("AveragePool", "pooling", _window_pool, reads=_HALO, merges=Merges.BY_ROWS, data=1),
    Operator("GlobalAveragePool", "pooling", _global_pool, merges=Merges.BY_ROWS),
    Operator("GlobalMaxPool", "pooling", _global_pool, merges=Merges.BY_ROWS),
    *(
        Operator(name, "pooling or reduction", _reduce, merges=Merges.BY_ROWS, data=1)
        for name in _REDUCTIONS
    ),
    *(streamed(name, "pooling") for name in ("LpPool", "GlobalLpPool", "MaxUnpool")),
    *(
        streamed(name, "reduction", data=1)
        for name in ("ArgMax", "ArgMin", "CumSum", "CumProd", "TopK")
    ),
    *(streamed(name, "sampling") for name in ("RoiAlign", "MaxRoiPool")),
)
