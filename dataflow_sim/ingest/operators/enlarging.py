"""Layers that enlarge maps: transposed convolutions, and resizing by whole factors.

Both are windows that slide over the input with zeros between its elements (`graph.layer.Window`):

    transposed convolution   kernel k, stride s, dilation d, pad p: up s, pad (k - 1) d - p,
                             the kernel in reverse
    nearest, factor f        element x is input x // f: f places that end at x
    linear, factor f         the places nearer than f to where x lies between the elements

What has no such window is streamed: other factors and corners that align, cubic, kernels that are
computed or read by other operators too.
"""

from __future__ import annotations

from dataflow_sim.graph.arrangement import plain
from dataflow_sim.graph.layer import LayerKind, Window
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import Draft
from dataflow_sim.ingest.layers.windows import int_attribute, ints, pair
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.convolutions import add_convolution, map_shape, optional_input
from dataflow_sim.ingest.operators.counts import TRANSPOSED_CONVOLUTION
from dataflow_sim.ingest.operators.row import Merges, Operator

_HALF_PIXEL = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")


def _transposed(builder: GraphBuilder, node: Node) -> None:
    window = _transposed_window(builder, node)
    if window is None:
        macs = TRANSPOSED_CONVOLUTION.count(node, builder.network.shapes)
        builder.stream(node, macs=macs, vectors=(2,))
        return
    add_convolution(builder, node, window)


def _transposed_window(builder: GraphBuilder, node: Node) -> Window | None:
    """The window of a transposed convolution; None where it cannot be a loop nest."""
    size, output = (builder.shape(name)[2:] for name in (node.inputs[0], node.outputs[0]))
    rank = len(size)
    if rank not in (1, 2) or not _fitting_weights(builder, node):
        return None
    kernel = builder.constant_shape(node.inputs[1])[2:]
    ones, zeros = (1,) * rank, (0,) * rank
    strides = ints(node.attributes.get("strides"), ones)
    dilations = ints(node.attributes.get("dilations"), ones)
    more = ints(node.attributes.get("output_padding"), zeros)
    if {len(strides), len(dilations), len(more)} != {rank} or min(*strides, *dilations) < 1:
        return None
    # what a whole transposed convolution makes and the output lacks
    spare = [
        (size[a] - 1) * strides[a] + more[a] + (kernel[a] - 1) * dilations[a] + 1 - output[a]
        for a in range(rank)
    ]
    before = _cropped_before(node, spare)
    if before is None:
        return None
    pads = [(kernel[a] - 1) * dilations[a] - before[a] for a in range(rank)]
    return Window(
        kernel=pair(kernel),
        dilation=pair(dilations),
        pad=pair((*pads, 0)),
        up=pair(strides),
        transposed=True,
    )


def _fitting_weights(builder: GraphBuilder, node: Node) -> bool:
    """Whether kernel and bias are constants of fitting shapes, read in this way alone."""
    weight, bias = node.inputs[1], optional_input(node, 2)
    if not builder.is_constant(weight) or (bias and not builder.is_constant(bias)):
        return False
    channels, outputs = (builder.shape(name)[1] for name in (node.inputs[0], node.outputs[0]))
    groups = int_attribute(builder, node, "group", 1)
    shape = builder.constant_shape(weight)
    if len(shape) != len(builder.shape(node.inputs[0])) or min(shape) < 1 or groups < 1:
        return False
    fits = shape[0] == channels and channels % groups == 0 and shape[1] * groups == outputs
    if bias:
        fits = fits and builder.constant_shape(bias) == (outputs,)
    return fits and all(
        isinstance(reader, Node)
        and reader.op == node.op
        and reader.attributes.get("group", 1) == groups
        for reader in builder.readers[weight]
    )


def _cropped_before(node: Node, spare: list[int]) -> tuple[int, ...] | None:
    """Elements cropped before the first, of those to `spare` on each axis; None where unclear."""
    rank = len(spare)
    auto = node.attributes.get("auto_pad", "NOTSET")
    pads = ints(node.attributes.get("pads"), ())
    if min(spare) < 0:
        return None
    if auto == "SAME_UPPER":
        return tuple(total // 2 for total in spare)
    if auto == "SAME_LOWER" or ("output_shape" in node.attributes and not pads):
        return tuple(total - total // 2 for total in spare)
    if auto == "VALID" or not pads:
        pads = (0,) * (2 * rank)
    fits = len(pads) == 2 * rank and min(pads) >= 0
    if not fits or any(pads[a] + pads[a + rank] != spare[a] for a in range(rank)):
        return None
    return pads[:rank]


def _resize(builder: GraphBuilder, node: Node) -> None:
    factors = _whole_factors(builder, node)
    mode = str(node.attributes.get("mode", "nearest"))
    coordinates = _coordinates(builder, node, mode)
    if factors is None or coordinates is None:
        builder.stream(node, data=1)
        return
    value = builder.value(node.inputs[0])
    shape = map_shape(builder.shape(node.outputs[0]))
    windows = [_resizing_window(factor, mode, coordinates) for factor in factors]
    draft = Draft(
        name=node.name,
        op=node.op,
        kind=LayerKind.CHANNELWISE,
        input=value.view,
        body_shape=shape,
        end=node.outputs[0],
        groups=shape[1],
        window=Window(
            kernel=(windows[0][0], windows[1][0]), pad=(windows[0][1], windows[1][1]), up=factors
        ),
        pre=value.pre,
        attributes=(("mode", mode), ("coordinates", coordinates)),
    )
    builder.add(draft, plain(shape, len(value.shape)))


def _resizing_window(factor: int, mode: str, coordinates: str) -> tuple[int, int]:
    """Taps and padding along an axis, as at the head of this module."""
    if factor == 1:
        return 1, 0
    if mode == "nearest":
        return factor, factor - 1
    if coordinates == "asymmetric":
        return 2 * factor - 1, factor - 1
    if factor % 2:
        return 2 * factor - 1, 3 * (factor - 1) // 2
    return 2 * factor, 3 * factor // 2 - 1


def _coordinates(builder: GraphBuilder, node: Node, mode: str) -> str | None:
    """How places correspond, "half_pixel" or "asymmetric"; None where no window says it."""
    old = node.op == "Upsample" or builder.network.opset < 11
    attributes = {} if old else node.attributes
    stated = str(attributes.get("coordinate_transformation_mode", "half_pixel"))
    rounding = str(attributes.get("nearest_mode", "round_prefer_floor"))
    if old:
        stated, rounding = "asymmetric", "floor"
    if attributes.get("antialias", 0) or attributes.get("exclude_outside", 0):
        return None
    if stated in _HALF_PIXEL:
        # with whole factors no place lies half-way between two elements
        fits = mode == "linear" or rounding in ("round_prefer_floor", "round_prefer_ceil")
        return "half_pixel" if fits and mode in ("nearest", "linear") else None
    fits = mode == "linear" or (mode == "nearest" and rounding == "floor")
    return stated if stated == "asymmetric" and fits else None


def _whole_factors(builder: GraphBuilder, node: Node) -> tuple[int, int] | None:
    """By which whole factors rows and columns are multiplied; None where that is not all."""
    name = node.inputs[0]
    if name not in builder.values or not builder.value(name).planes:
        return None
    before, after = builder.shape(name), builder.shape(node.outputs[0])
    if min(before) < 1 or any(new % old for old, new in zip(before, after, strict=True)):
        return None
    factors = [new // old for old, new in zip(before, after, strict=True)]
    if factors[:2] != [1, 1] or max(factors) == 1:
        return None
    if node.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    stated = _stated_scales(builder, node)
    axes = ints(node.attributes.get("axes"), tuple(range(len(before))))
    if stated is None or (stated and stated != [factors[axis] for axis in axes]):
        return None
    rows, columns = (*factors[2:], 1)[:2]
    return rows, columns


def _stated_scales(builder: GraphBuilder, node: Node) -> list[float] | None:
    """The factors that the file states, none where it states sizes; None where unknown."""
    given = node.attributes.get("scales")
    if isinstance(given, tuple):
        return [float(scale) for scale in given]
    scales = optional_input(node, 1 if len(node.inputs) == 2 else 2)
    if not scales:
        return []
    constant = builder.network.constants.get(scales)
    if constant is None or constant.value is None:
        return None
    return [float(scale) for scale in constant.value.ravel()]


ROWS = (
    Operator(
        "ConvTranspose",
        "transposed convolution",
        _transposed,
        TRANSPOSED_CONVOLUTION,
        "input with halo; 3-D or computed kernel: every input once",
        Merges.BY_ROWS,
        vectors=(2,),
    ),
    *(
        Operator(
            name,
            "enlarging or data movement",
            _resize,
            reads="by whole factors input with halo, else every input once",
            merges=Merges.BY_ROWS,
            data=1,
        )
        for name in ("Resize", "Upsample")
    ),
)
