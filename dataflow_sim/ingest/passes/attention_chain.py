"""From attention's second product back to its first one, through the softmax.

    scores  = q ─ MatMul ─ k transposed      scaled, reshaped, masks added to it
    weights = Softmax over the last axis of scores
    result  = weights ─ MatMul ─ v

Whatever lies between must be read by nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.passes.attention_masks import Mask, broadcasts, filler_of
from dataflow_sim.ingest.passes.attention_operands import RESHAPES, factor_of
from dataflow_sim.ingest.rewriting import NodeIndex, casts_to_float, is_whole

_LONGEST_PATH = 48
_SOFTMAX_OF_LAST_AXIS = 13  # from this operator set on the last axis is the default


@dataclass(frozen=True, slots=True)
class Scores:
    """What a softmax reads: a product, scaled, and the masks added to it, the last one last."""

    product: Node
    nodes: tuple[Node, ...]
    factor: float = 1.0
    masks: tuple[Mask, ...] = ()

    def behind(self, node: Node) -> Scores:
        """The scores as a node hands them on."""
        return replace(self, nodes=(*self.nodes, node))


@dataclass(frozen=True, slots=True)
class Chain:
    """All nodes of an attention but what lies before its operands; `last` writes its result."""

    scores: Scores
    softmax: Node
    product: Node
    last: Node
    nodes: tuple[Node, ...]


class Matcher:
    """Recognises attention from its second product."""

    def __init__(self, index: NodeIndex) -> None:
        self.index = index

    def _hands_on(self, node: Node) -> bool:
        """Whether a node's result has the elements of its first input in the same order."""
        if not is_whole(node):
            return False
        if node.op == "Dropout":
            training = node.inputs[2] if len(node.inputs) > 2 else ""
            masks = node.outputs[1:]
            read = any(name in self.index.readers or name in self.index.outputs for name in masks)
            return not read and (not training or self.index.scalar(training) == 0)
        return node.op in RESHAPES or casts_to_float(node)

    def _is_softmax(self, node: Node) -> bool:
        if node.op != "Softmax" or not is_whole(node):
            return False
        rank = len(self.index.shape(node.inputs[0]))
        newer = self.index.network.opset >= _SOFTMAX_OF_LAST_AXIS
        return node.attributes.get("axis", -1 if newer else 1) in (-1, rank - 1)

    def _weights(self, name: str) -> tuple[Node, tuple[Node, ...]] | None:
        """The softmax behind a name, and the nodes up to it."""
        nodes: list[Node] = []
        while self.index.sole_reader(name) is not None:
            node = self.index.producer(name)
            if node is None:
                return None
            nodes.append(node)
            if self._is_softmax(node):
                return node, tuple(nodes)
            if not self._hands_on(node):
                return None
            name = node.inputs[0]
        return None

    def _scores(self, name: str, left: int = _LONGEST_PATH) -> Scores | None:
        """What a name that only one node reads holds, if it holds scores."""
        node = self.index.producer(name)
        if node is None or not left or self.index.sole_reader(name) is None or not is_whole(node):
            return None
        if node.op == "MatMul":
            return Scores(node, (node,))
        if self._hands_on(node):
            inner = self._scores(node.inputs[0], left - 1)
            return inner.behind(node) if inner is not None else None
        factor = factor_of(self.index, node)
        if factor is not None:
            inner = self._scores(factor[0], left - 1)
            if inner is None or (inner.masks and factor[1] != 1):
                return None
            return replace(inner.behind(node), factor=inner.factor * factor[1])
        return self._masked(node, left - 1)

    def _masked(self, node: Node, left: int) -> Scores | None:
        """Scores with the mask that a node adds to them."""
        domain = self.index.shape(node.outputs[0])
        choices: list[tuple[str, Mask]] = []
        if node.op == "Add" and node.inputs[0] != node.inputs[1]:
            for scores, added in (node.inputs, node.inputs[::-1]):
                choices.append((scores, Mask(added, domain)))
        if node.op == "Where" and len(node.inputs) == 3:
            condition, first, second = node.inputs
            for scores, other, kept in ((first, second, True), (second, first, False)):
                filler = filler_of(self.index, other)
                if filler is not None:
                    choices.append((scores, Mask(condition, domain, filler, kept)))
        for scores, mask in choices:
            if self.index.is_constant(scores) or self.index.shape(scores) != domain:
                continue
            if broadcasts(self.index.shape(mask.name), domain):
                inner = self._scores(scores, left)
                if inner is not None:
                    return replace(inner.behind(node), masks=(*inner.masks, mask))
        return None

    def chain(self, product: Node) -> Chain | None:
        """The attention whose second product this is, if it has heads apart."""
        if not is_whole(product) or product.inputs[0] == product.inputs[1]:
            return None
        weights = self._weights(product.inputs[0])
        scores = self._scores(weights[0].inputs[0]) if weights is not None else None
        if weights is None or scores is None:
            return None
        last, nodes = product, (*scores.nodes, *weights[1], product)
        if len(self.index.shape(product.outputs[0])) != 4:
            reader = self.index.sole_reader(product.outputs[0])
            if reader is None or reader.op not in RESHAPES or not is_whole(reader):
                return None
            last, nodes = reader, (*nodes, reader)
        chain = Chain(scores, weights[0], product, last, nodes)
        return chain if self._is_consistent(chain) else None

    def _is_consistent(self, chain: Chain) -> bool:
        """Whether scores, weights and result have the same heads, rows and columns."""
        shape, scores = self.index.shape, chain.scores.product
        result, before = shape(chain.last.outputs[0]), shape(scores.outputs[0])
        weights = shape(chain.product.inputs[0])
        if len(result) != 4 or min(len(before), len(weights)) < 2:
            return False
        rows, columns = before[-2:]
        if shape(chain.softmax.inputs[0])[-1] != columns or weights[-2:] != (rows, columns):
            return False
        product = shape(chain.product.outputs[0])
        heads = prod(result[:2])
        return result[2:] == product[-2:] and heads == prod(before[:-2]) == prod(product[:-2])
