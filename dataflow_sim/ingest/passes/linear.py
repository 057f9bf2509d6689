"""A product with a matrix and the addition of a bias as one fully connected layer."""

from __future__ import annotations

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.rewriting import NodeIndex, is_whole, rewritten


def _addition(index: NodeIndex, product: Node) -> Node | None:
    """The only reader of a product with a constant matrix, if it adds one value per output.

    None where the product is rounded before.
    """
    map_, matrix = product.inputs
    constant = index.network.constants.get(matrix)
    if constant is None or len(constant.shape) != 2 or len(index.shape(map_)) != 2:
        return None
    reader = index.sole_reader(product.outputs[0])
    if reader is None or reader.op != "Add" or not is_whole(reader):
        return None
    if product.outputs[0] in index.network.quantisations:
        return None
    bias = index.other_input(reader, product.outputs[0])
    return reader if index.spans(bias, index.shape(product.outputs[0]), 1) else None


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    index = NodeIndex(network)
    removed: list[Node] = []
    added: list[tuple[Node, Node]] = []
    for product in network.nodes:
        last = _addition(index, product) if product.op == "MatMul" and is_whole(product) else None
        if last is None:
            continue
        inputs = (*product.inputs, index.other_input(last, product.outputs[0]))
        attributes = {"alpha": 1.0, "beta": 1.0}
        removed.append(product)
        added.append((Node(last.name, "Gemm", inputs, last.outputs, attributes), last))
    return rewritten(network, removed, added), tuple(new.name for new, _ in added)


LINEAR = Pass(
    "linear",
    before=(
        "a fully connected layer on a map of rank 2 may be a MatMul by a constant matrix whose "
        "result, not rounded to integers, nothing but an Add of one constant value per output reads"
    ),
    after="each such pair is one Gemm (map, matrix, bias) with alpha and beta 1",
    rewrite=_rewrite,
)
