"""Which axis of each array is best made the channels of a map: asked of those who read it.

Where nothing else decides it (a network's input, the result of a streamed layer, a copy),
a map is laid out as its first reader wants it: convolutions and pooling read channels on
axis 1, matrix products, attention and most normalisations on the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dataflow_sim.ingest.network import Node, ResolvedNetwork

_SECOND = frozenset(
    (
        *("Conv", "ConvTranspose", "DeformConv", "MaxPool", "AveragePool", "LpPool", "LRN"),
        *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "BatchNormalization", "Resize"),
        *("InstanceNormalization", "GroupNormalization", "GridSample", "RoiAlign", "Upsample"),
        *("DepthToSpace", "SpaceToDepth"),
    )
)
_LAST = frozenset(
    (
        *("MatMul", "Gemm", "LayerNormalization", "RMSNormalization", "Softmax", "LogSoftmax"),
        *("dataflow_sim::Attention", "dataflow_sim::RotaryEmbedding", "LSTM", "GRU", "RNN"),
    )
)


def _of_transpose(node: Node, axis: int, rank: int) -> int | None:
    order = node.attributes.get("perm", tuple(range(rank))[::-1])
    return int(order[axis]) if isinstance(order, tuple) and axis < len(order) else None


def _of_reshape(before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int | None:
    """The axis that stands at the same place of the elements' order, if one does."""
    inner = 1
    for extent in after[axis + 1 :]:
        inner *= extent
    stride = 1
    for place in reversed(range(len(before))):
        if stride == inner and before[place] == after[axis] != 1:
            return place
        stride *= before[place]
    return None


class Preferences:
    """The channel axis that the readers of each name want."""

    def __init__(self, network: ResolvedNetwork) -> None:
        self.shapes = network.shapes
        self.wanted: dict[str, int] = {}
        for node in reversed(network.nodes):
            for position, name in enumerate(node.inputs):
                if name in network.constants or name not in network.shapes:
                    continue
                axis = self._asked(node, position, len(network.shapes[name]))
                if axis is not None:
                    self.wanted[name] = axis  # the first reader comes last here

    def channel_axis(self, name: str) -> int:
        """The axis to make the channels: what readers want, else what arrays of its rank use."""
        rank = len(self.shapes[name])
        usual = max(0, rank - 1) if rank in (1, 3) else 1
        return self.wanted.get(name, min(usual, max(0, rank - 1)))

    def _asked(self, node: Node, position: int, rank: int) -> int | None:
        if node.op in _SECOND:
            return 1 if position == 0 and rank > 1 else None
        if node.op in _LAST:
            return rank - 1 if rank else None
        result = node.outputs[0] if node.outputs else ""
        wanted = self.wanted.get(result)
        if wanted is None or result not in self.shapes:
            return None
        after = self.shapes[result]
        special = _PASSED_ON.get(node.op)
        if special is not None:
            return special(node, wanted, self.shapes[node.inputs[position]], after)
        aligned = wanted - (len(after) - rank)
        return aligned if 0 <= aligned < rank else None


_PASSED_ON: Mapping[str, Callable[[Node, int, tuple[int, ...], tuple[int, ...]], int | None]] = {
    "Transpose": lambda node, axis, before, after: _of_transpose(node, axis, len(before)),
    **dict.fromkeys(
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze"),
        lambda node, axis, before, after: _of_reshape(before, after, axis),
    ),
}
