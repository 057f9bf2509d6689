"""Parts of a network whose shapes depend on data: named, and cut off.

How many boxes survive a suppression is known only once the network has run.  Such a node and
everything behind it is left out; what the rest hands over to it becomes an output.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.nodes import Reader, is_standard, titled

# Operators whose output has a shape that depends on values, and the inputs whose values it
# depends on: if none is given, on all of them and always.
DATA_DEPENDENT: Mapping[str, tuple[int, ...]] = {
    "AffineGrid": (1,),  # as large as an input says
    "BlackmanWindow": (0,),  # as long as an input says
    "CenterCropPad": (1,),  # as large as an input says
    "Col2Im": (1, 2),  # as large as an input says
    "Compress": (),  # as long as there are conditions that hold
    "ConstantOfShape": (0,),  # as large as an input says
    "DFT": (1,),  # as long as an input says
    "Expand": (1,),  # as large as an input says
    "HammingWindow": (0,),  # as long as an input says
    "HannWindow": (0,),  # as long as an input says
    "If": (),  # its branches may differ in shape
    "ImageDecoder": (),  # as large as the picture inside the bytes
    "Loop": (),  # scan outputs are as long as there are iterations
    "MaxUnpool": (2,),  # as large as an input says
    "MelWeightMatrix": (0, 1),  # as large as inputs say
    "NonMaxSuppression": (),  # as many rows as boxes survive
    "NonZero": (),  # as many columns as elements are not zero
    "OneHot": (1,),  # as deep as an input says
    "Pad": (1, 3),  # as much larger as an input says, on axes that another names
    "Range": (0, 1, 2),  # as long as its bounds are apart
    "ReduceL1": (1,),  # without the axes that an input names; so for all reductions
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),  # as an input says
    "Resize": (1, 2, 3),  # scaled to what inputs say; the first are scales in old versions
    "STFT": (1, 3),  # steps and frame length are inputs
    "Scan": (),  # its body may give any shape
    "Slice": (1, 2, 3, 4),  # bounds, axes and steps are inputs
    "Split": (1,),  # into the lengths that an input says
    "Squeeze": (1,),  # without the axes that an input names
    "StringSplit": (),  # as wide as the text with the most pieces
    "Tile": (1,),  # as often as an input says
    "TopK": (1,),  # as many as an input says
    "Unique": (),  # as many as values are different
    "Unsqueeze": (1,),  # with the axes that an input names
    "Upsample": (1,),  # by factors that an input holds
}
# These rearrange or rename; a network of nothing else computes nothing.
_FREE = frozenset(
    (
        *("Cast", "Dropout", "Expand", "Flatten", "Identity", "Reshape", "Shape", "Size"),
        *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    )
)


def is_data_dependent(node: onnx.NodeProto, constants: Container[str]) -> bool:
    """Whether the values of maps decide the shape of what the node writes."""
    if not is_standard(node) or node.op_type not in DATA_DEPENDENT:
        return False
    positions = DATA_DEPENDENT[node.op_type]
    deciding = [node.input[each] for each in positions if each < len(node.input)]
    return not positions or any(name and name not in constants for name in deciding)


def shapeless_output(
    node: onnx.NodeProto, shapes: Container[str], read: Container[str]
) -> str | None:
    """The first output that is read, or comes first, and has no known shape."""
    for name in node.output:
        if name and name not in shapes and (name in read or name == node.output[0]):
            return str(name)
    return None


def split_tails(
    live: Sequence[Reader],
    shapes: Container[str],
    constants: Container[str],
    read: Container[str],
    label: str,
) -> tuple[list[Reader], list[Reader]]:
    """The live nodes whose shapes are static, and those to cut off, both in order.

    A node without a shape that does not depend on data is left among the static ones.  Raises
    NetworkError where nothing that computes is static.
    """
    lost: set[str] = set()
    static: list[Reader] = []
    cut: list[Reader] = []
    for reader in live:
        node = reader.node
        missing = shapeless_output(node, shapes, read) is not None
        behind = bool(lost) and any(name in lost for name in reader.names)
        if behind or (missing and is_data_dependent(node, constants)):
            cut.append(reader)
            lost.update(name for name in node.output if name)
        else:
            static.append(reader)
    if cut and all(is_standard(each.node) and each.node.op_type in _FREE for each in static):
        raise NetworkError(
            f"{label}: the shapes behind {titled(cut[0].node)} depend on data, and nothing is "
            "computed before it; no static part is left to simulate"
        )
    return static, cut


def outputs_of_static_part(
    static: Sequence[Reader], cut: Sequence[Reader], outputs: Sequence[str]
) -> tuple[str, ...]:
    """The outputs that are still computed, then the maps handed over to what is cut off."""
    lost = {name for reader in cut for name in reader.node.output}
    handed_over = {name for reader in cut for name in reader.names}
    kept = dict.fromkeys(name for name in outputs if name not in lost)
    for reader in static:
        kept.update((name, None) for name in reader.node.output if name in handed_over)
    return tuple(kept)
