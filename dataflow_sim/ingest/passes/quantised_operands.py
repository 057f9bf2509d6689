"""What the operands and the results of QLinearConv and QLinearMatMul mean.

Both read a map, its scale and zero point, weights, their scale and zero point, and those of the
result.  The convolution may read a bias too: integers of 32 bits whose scale is the product of the
first two, and whose zero point is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto

from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.roundings import stated
from dataflow_sim.ingest.scales import NO_ZERO_POINT, Stated, meaning

# the axis of the weights that has a scale for each index: output channels, or columns
_WEIGHT_AXIS = {"QLinearConv": 0, "QLinearMatMul": -1}
_OTHERWISE = "is read with another scale than it is written with"


@dataclass
class QLinearMeanings:
    """Collects what integers of maps and constants mean from the nodes that read and write them.

    `trouble` says of which names two nodes say different things, or nothing that can be followed.
    """

    network: ResolvedNetwork
    maps: dict[str, Quantisation] = field(default_factory=dict)
    constants: dict[str, Quantisation] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)

    def read(self, node: Node, data: tuple[str, ...]) -> None:
        """Take in a node whose data inputs are `data`: map, weights, and maybe a bias."""
        axis = _WEIGHT_AXIS[node.op]
        scales = [stated(self.network, node.inputs[place]) for place in (1, 4)]
        self._note(data[0], self._meaning(node, data[0], 1, -1))
        self._note(data[1], self._meaning(node, data[1], 4, axis))
        self._note(node.outputs[0], self._meaning(node, node.outputs[0], 6, 1))
        if len(data) == 3 and data[2]:
            self._note(data[2], _of_bias(*scales))

    def _meaning(self, node: Node, name: str, scale: int, axis: int) -> Quantisation | None:
        """What the integers of a name mean, whose scale is the input at a place."""
        zero_point = node.inputs[scale + 1]
        types = self.network.element_types
        return meaning(
            stated(self.network, node.inputs[scale]),
            stated(self.network, zero_point),
            types.get(name, types.get(zero_point, 0)),
            axis,
        )

    def _note(self, name: str, found: Quantisation | None) -> None:
        into = self.constants if name in self.network.constants else self.maps
        if found is None:
            self.trouble.setdefault(
                name, "has a scale or a zero point that its type does not allow"
            )
        elif found.axis is not None and into is self.maps:
            self.trouble.setdefault(name, "is quantised channel by channel")
        elif into.setdefault(name, found) != found:
            self.trouble.setdefault(name, _OTHERWISE)


def _of_bias(of_map: Stated, of_weights: Stated) -> Quantisation | None:
    """What a bias's integers mean: as much as the products of integers that they are added to."""
    scale: Stated = Stated(of_weights.shape, None)
    if of_map.value is not None and of_weights.value is not None:
        product = of_map.value.astype(np.float64).ravel()[:1] * of_weights.value.astype(np.float64)
        scale = Stated(of_weights.shape, product.reshape(of_weights.shape))
    return meaning(scale, NO_ZERO_POINT, TensorProto.INT32)
