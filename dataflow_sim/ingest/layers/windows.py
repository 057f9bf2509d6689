"""Sliding windows of convolutions and pooling: attributes read, and checked against shapes."""

from __future__ import annotations

from dataclasses import dataclass

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.layer import PlaneWindow, Window
from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.network import Node

Pair = tuple[int, int]


def ints(value: Attribute | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute of several integers, or the default."""
    return tuple(int(v) for v in value) if isinstance(value, tuple) else default


def int_attribute(builder: GraphBuilder, node: Node, name: str, default: int) -> int:
    """An integer attribute of a node, or the default.  Raises NetworkError for another type."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' ({node.op}) has {name}={value!r}, "
            "no integer"
        )
    return value


def pair(values: tuple[int, ...]) -> Pair:
    """One or two extents as (rows, columns)."""
    return (values[0], values[1] if len(values) > 1 else 1)


@dataclass(frozen=True, slots=True)
class _Slide:
    """What a node says of its window, axis by axis; `pads` are those before, then those behind."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]


def node_window(builder: GraphBuilder, node: Node, kernel: tuple[int, ...]) -> tuple[Window, Pair]:
    """The sliding window of a node with 1 or 2 spatial axes, and its padding at the end."""
    slide, rank = _slide(builder, node, kernel), len(kernel)
    extra = () if rank == 2 else (0,)
    pads = pair((*slide.pads[:rank], *extra))
    window = Window(pair(kernel), pair(slide.strides), pair(slide.dilations), pads)
    return window, pair((*slide.pads[rank:], *extra))


def volume_window(builder: GraphBuilder, node: Node, kernel: tuple[int, ...]) -> Window:
    """The sliding window of a node with 3 spatial axes, depth as rows and planes as columns.

    Where it has one tap in the plane and moves element by element, columns are like any others.
    """
    slide = _slide(builder, node, kernel)
    taps, plane = slide.kernel[1] * slide.kernel[2], None
    if taps > 1 or max(slide.strides[1:]) > 1 or any((*slide.pads[1:3], *slide.pads[4:])):
        _, _, _, *size = builder.shape(node.inputs[0])
        _, _, _, *body = builder.shape(node.outputs[0])
        inside = Window(
            kernel=pair(slide.kernel[1:]),
            stride=pair(slide.strides[1:]),
            dilation=pair(slide.dilations[1:]),
            pad=pair(slide.pads[1:3]),
        )
        plane = PlaneWindow(pair(tuple(size)), pair(tuple(body)), inside)
    return Window(
        kernel=(slide.kernel[0], taps),
        stride=(slide.strides[0], 1),
        dilation=(slide.dilations[0], 1),
        pad=(slide.pads[0], 0),
        plane=plane,
    )


def _slide(builder: GraphBuilder, node: Node, kernel: tuple[int, ...]) -> _Slide:
    """The attributes of a window, checked against the extents of input and output."""
    rank = len(kernel)
    ones = (1,) * rank
    lengths = {"kernel_shape": rank, "strides": rank, "dilations": rank, "pads": 2 * rank}
    for key, length in lengths.items():
        given = node.attributes.get(key, (0,) * length)
        legal = isinstance(given, tuple) and all(isinstance(v, int) for v in given)
        if not legal or (isinstance(given, tuple) and len(given) != length):
            raise NetworkError(
                f"{builder.network.name}: node '{node.name}' ({node.op}) has {key}={given!r}; it "
                f"needs {length} integers"
            )
    stated = ints(node.attributes.get("kernel_shape"), kernel)
    if stated != kernel:
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' ({node.op}) has kernel_shape={stated}, "
            f"its weights are {kernel}"
        )
    strides = ints(node.attributes.get("strides"), ones)
    dilations = ints(node.attributes.get("dilations"), ones)
    pads = ints(node.attributes.get("pads"), (0,) * (2 * rank))
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise NetworkError(
            f"{builder.network.name}: node '{node.name}' ({node.op}) has auto_pad={auto!r}"
        )
    if auto == "VALID":
        pads = (0,) * (2 * rank)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        size = builder.network.shapes[node.inputs[0]][2:]
        out = builder.network.shapes[node.outputs[0]][2:]
        total = [
            max(0, (out[a] - 1) * strides[a] + (kernel[a] - 1) * dilations[a] + 1 - size[a])
            for a in range(rank)
        ]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = (*small, *large) if auto == "SAME_UPPER" else (*large, *small)
    for axis in range(rank):
        if min(kernel[axis], strides[axis], dilations[axis]) < 1 or min(pads) < 0:
            raise NetworkError(
                f"{builder.network.name}: node '{node.name}' ({node.op}) has kernel {kernel}, "
                f"strides {strides}, dilations {dilations}, pads {pads}; kernel, strides and "
                "dilations start at 1, pads at 0"
            )
    _check_extents(builder, node, kernel, strides, dilations, pads)
    return _Slide(kernel, strides, dilations, pads)


def _check_extents(
    builder: GraphBuilder,
    node: Node,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
) -> None:
    """The node's output must have the extents that its window gives."""
    sizes = builder.network.shapes[node.inputs[0]][2:]
    outputs = builder.network.shapes[node.outputs[0]][2:]
    for axis, (size, output) in enumerate(zip(sizes, outputs, strict=True)):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        before, after = pads[axis], pads[axis + len(kernel)]
        span = size + before + after - reach
        legal = {span // strides[axis] + 1}
        if node.attributes.get("ceil_mode"):
            rounded = -(-span // strides[axis]) + 1
            # a file may state windows that begin behind the map, or leave them out
            legal |= {rounded, min(rounded, (size + before - 1) // strides[axis] + 1)}
        if span < 0 or output not in legal:
            raise NetworkError(
                f"{builder.network.name}: node '{node.name}' ({node.op}) slides a window of "
                f"{reach} over {size} elements padded by {before} and {after} with stride "
                f"{strides[axis]}, which gives no {output} outputs along axis {axis + 2}"
            )
