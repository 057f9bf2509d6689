"""Normalisation over the last axes, put together from the chains that exporters write.

    d = x - mean(x)                          s = sqrt(mean(d * d) + epsilon)
    LayerNormalization   d / s               (PyTorch, Hugging Face)
                         x * g + (bias - mean(x) * g) with g = scale / s       (TensorFlow)
    RMSNormalization     x / s with d = x    (T5, Llama)

A division by s may be a multiplication by its reciprocal, a square a product of equals, a
square root a power; d may be computed twice, operands may stand in either order, casts between
floating-point types anywhere in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.contract import Pass
from dataflow_sim.ingest.rewriting import NodeIndex, casts_to_float, is_whole, rewritten


@dataclass(frozen=True, slots=True)
class _Deviation:
    """A map less its own mean over the last `count` axes."""

    x: str
    count: int


@dataclass(frozen=True, slots=True)
class _Spread:
    """sqrt(mean(of * of) + epsilon), the mean taken over the last `count` axes."""

    of: str
    count: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class _Found:
    """A normalisation that ends at `last`; scale and bias are "" where it has none."""

    op: str
    x: str
    spread: _Spread
    last: Node
    scale: str = ""
    bias: str = ""


def _orders(node: Node) -> Iterator[tuple[str, str]]:
    """The two inputs of a node, as they stand and exchanged."""
    first, second = node.inputs
    yield first, second
    yield second, first


class _Matcher:
    """Recognises the parts of a normalisation, each from the name of its result."""

    def __init__(self, index: NodeIndex) -> None:
        self.index = index

    def _same(self, first: str, second: str) -> bool:
        return self.index.root(first) == self.index.root(second)

    def _mean(self, name: str) -> tuple[str, int] | None:
        """(of, count) where the name is a mean over the last axes, which stay as extents of 1."""
        node = self.index.writer(name, "ReduceMean")
        if node is None or node.attributes.get("keepdims", 1) != 1:
            return None
        rank = len(self.index.shape(node.inputs[0]))
        axes = self.index.axes(node)
        if not axes or axes != tuple(range(rank - len(axes), rank)):
            return None
        return node.inputs[0], len(axes)

    def _deviation(self, name: str) -> _Deviation | None:
        node = self.index.writer(name, "Sub")
        mean = self._mean(node.inputs[1]) if node is not None else None
        if node is None or mean is None or not self._same(mean[0], node.inputs[0]):
            return None
        return _Deviation(node.inputs[0], mean[1])

    def _same_deviation(self, first: _Deviation | None, second: _Deviation | None) -> bool:
        if first is None or second is None:
            return False
        return self._same(first.x, second.x) and first.count == second.count

    def _squared(self, name: str) -> str | None:
        """What the name is the square of."""
        node = self.index.writer(name, "Pow", "Mul")
        if node is None:
            return None
        first, second = node.inputs
        if node.op == "Pow":
            return first if self.index.scalar(second) == 2 else None
        twice = self._same(first, second) or self._same_deviation(
            self._deviation(first), self._deviation(second)
        )
        return first if twice else None

    def _spread_squared(self, name: str) -> _Spread | None:
        node = self.index.writer(name, "Add")
        for mean, constant in _orders(node) if node is not None else ():
            epsilon, averaged = self.index.scalar(constant), self._mean(mean)
            squared = self._squared(averaged[0]) if averaged is not None else None
            if epsilon is not None and epsilon >= 0 and averaged and squared:
                return _Spread(squared, averaged[1], epsilon)
        return None

    def _spread(self, name: str) -> _Spread | None:
        node = self.index.writer(name, "Sqrt", "Pow")
        if node is None or (node.op == "Pow" and self.index.scalar(node.inputs[1]) != 0.5):
            return None
        return self._spread_squared(node.inputs[0])

    def _inverse(self, name: str) -> _Spread | None:
        """The spread that the name is the reciprocal of."""
        node = self.index.writer(name, "Reciprocal", "Div", "Pow")
        if node is None:
            return None
        if node.op == "Pow":
            power = self.index.scalar(node.inputs[1])
            return self._spread_squared(node.inputs[0]) if power == -0.5 else None
        if node.op == "Div" and self.index.scalar(node.inputs[0]) != 1:
            return None
        return self._spread(node.inputs[-1])

    def _quotients(self, node: Node) -> Iterator[tuple[str, _Spread]]:
        """What the node divides by which spread."""
        if node.op == "Div":
            spread = self._spread(node.inputs[1])
            if spread is not None:
                yield node.inputs[0], spread
        for numerator, factor in _orders(node) if node.op == "Mul" else ():
            spread = self._inverse(factor)
            if spread is not None:
                yield numerator, spread

    def divided(self, node: Node) -> _Found | None:
        """The normalisation that ends at a division, without scale and bias."""
        for numerator, spread in self._quotients(node):
            deviation = self._deviation(numerator)
            centred = self._same_deviation(deviation, self._deviation(spread.of))
            if deviation is not None and centred and deviation.count == spread.count:
                return _Found("LayerNormalization", deviation.x, spread, node)
        return None

    def divided_by_root_mean_square(self, node: Node) -> _Found | None:
        """The same where nothing is subtracted."""
        for numerator, spread in self._quotients(node):
            if self._same(numerator, spread.of):
                return _Found("RMSNormalization", numerator, spread, node)
        return None

    def _gain(self, name: str, shape: tuple[int, ...]) -> tuple[_Spread, str] | None:
        """The name as scale / spread: (spread, scale)."""
        spread = self._inverse(name)
        if spread is not None:
            return spread, ""
        node = self.index.writer(name, "Mul")
        for factor, scale in _orders(node) if node is not None else ():
            spread = self._inverse(factor)
            if spread is not None and self.index.spans(scale, shape, spread.count):
                return spread, scale
        return None

    def _is_mean(self, name: str, deviation: _Deviation) -> bool:
        mean = self._mean(name)
        return mean is not None and self._same(mean[0], deviation.x) and mean[1] == deviation.count

    def _is_shifting(self, name: str, deviation: _Deviation, gain: str) -> bool:
        """Whether the name is the mean times the gain."""
        node = self.index.writer(name, "Mul")
        return node is not None and any(
            self._is_mean(mean, deviation) and self._same(other, gain)
            for mean, other in _orders(node)
        )

    def _shift(self, name: str, deviation: _Deviation, gain: str) -> str | None:
        """The bias in `bias - mean * gain`; "" where the name is `-mean * gain`."""
        node = self.index.writer(name, "Sub", "Neg", "Mul")
        if node is None:
            return None
        if node.op == "Sub":
            bias, product = node.inputs
            return bias if self._is_shifting(product, deviation, gain) else None
        if node.op == "Neg":
            return "" if self._is_shifting(node.inputs[0], deviation, gain) else None
        for factor, other in _orders(node):
            negated = self.index.writer(factor, "Neg")
            if negated is not None and self._is_mean(negated.inputs[0], deviation):
                return "" if self._same(other, gain) else None
        return None

    def distributed(self, node: Node) -> _Found | None:
        """The normalisation that ends at the sum (or difference) of TensorFlow's form."""
        shape = self.index.shape(node.outputs[0])
        sums = [node.inputs] if node.op == "Sub" else list(_orders(node))
        for product, rest in sums if node.op in ("Add", "Sub") else ():
            scaled = self.index.writer(product, "Mul")
            for x, gain in _orders(scaled) if scaled is not None else ():
                found = self._gain(gain, shape)
                deviation = self._deviation(found[0].of) if found is not None else None
                if found is None or deviation is None or not self._same(deviation.x, x):
                    continue
                spread, scale = found
                if node.op == "Sub":
                    bias = "" if self._is_shifting(rest, deviation, gain) else None
                else:
                    bias = self._shift(rest, deviation, gain)
                fits = not bias or self.index.spans(bias, shape, spread.count)
                if bias is not None and fits and deviation.count == spread.count:
                    return _Found("LayerNormalization", x, spread, node, scale, bias)
        return None

    def followed(self, node: Node, op: str, count: int) -> tuple[Node, str] | None:
        """The only reader of a node if it is an `op` with one constant per normalised place."""
        reader = self.index.sole_reader(node.outputs[0])
        if reader is not None and casts_to_float(reader) and is_whole(reader):
            node, reader = reader, self.index.sole_reader(reader.outputs[0])
        if reader is None or reader.op != op or not is_whole(reader):
            return None
        constant = self.index.other_input(reader, node.outputs[0])
        fits = self.index.spans(constant, self.index.shape(node.outputs[0]), count)
        return (reader, constant) if fits else None


def _with_scale_and_bias(matcher: _Matcher, found: _Found) -> _Found:
    """The normalisation with the multiplication and the addition that follow it."""
    last, scale, bias = found.last, "", ""
    following = matcher.followed(last, "Mul", found.spread.count)
    if following is not None:
        last, scale = following
    if found.op == "LayerNormalization":
        following = matcher.followed(last, "Add", found.spread.count)
        if following is not None:
            last, bias = following
    return _Found(found.op, found.x, found.spread, last, scale, bias)


def _matched(matcher: _Matcher, node: Node) -> Iterator[_Found]:
    """The normalisations that may end at a node or right behind it, the better ones first."""
    divided = matcher.divided(node)
    if divided is not None:
        yield _with_scale_and_bias(matcher, divided)
    distributed = matcher.distributed(node)
    if distributed is not None:
        yield distributed
    root_mean_square = matcher.divided_by_root_mean_square(node)
    if root_mean_square is not None:
        yield _with_scale_and_bias(matcher, root_mean_square)


def _new_node(found: _Found) -> Node:
    biased = found.op == "LayerNormalization" and found.bias
    return Node(
        name=found.last.name,
        op=found.op,
        inputs=(found.x, found.scale, found.bias) if biased else (found.x, found.scale),
        outputs=found.last.outputs,
        attributes={
            "axis": -found.spread.count,
            "epsilon": found.spread.epsilon,
            "stash_type": 1,
        },
    )


def _rewrite(network: ResolvedNetwork) -> tuple[ResolvedNetwork, tuple[str, ...]]:
    index = NodeIndex(network)
    matcher = _Matcher(index)
    removed: dict[int, Node] = {}
    added: list[tuple[Node, Node]] = []
    for node in network.nodes:
        if node.op not in ("Div", "Mul", "Add", "Sub") or not is_whole(node):
            continue
        for found in _matched(matcher, node):
            found = replace(found, x=index.plain(found.x))
            inner = index.between(found.last, (found.x, index.root(found.x)))
            same_shape = index.shape(found.x) == index.shape(found.last.outputs[0])
            if inner is None or not same_shape or any(id(each) in removed for each in inner):
                continue
            removed.update((id(each), each) for each in inner)
            added.append((_new_node(found), found.last))
            break
    changed = tuple(new.name for new, _ in added)
    return rewritten(network, removed.values(), added), changed


LAYER_NORM = Pass(
    "layer_norm",
    before=(
        "a normalisation over the last axes may be a chain of ReduceMean, Sub, Mul, Pow, Add, "
        "Sqrt, Reciprocal, Div and casts that nothing else reads"
    ),
    after=(
        "each such chain is one LayerNormalization (x, scale, bias) or RMSNormalization "
        "(x, scale) with axis, epsilon and stash_type, scale and bias being constants of one "
        "value per normalised place, or left out"
    ),
    rewrite=_rewrite,
)
