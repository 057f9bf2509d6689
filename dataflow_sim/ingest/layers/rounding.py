"""To which integers the maps of a quantised network are rounded while layers are put together.

A name that a layer ends with is a tensor, rounded when it is written.  Where something is folded
behind it, the layer rounds on the way.  A name for several maps, or for one that has another name
in memory, is in none: who reads it rounds what it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dataflow_sim.graph.layer import Segment, View
from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.ingest.layers.drafts import Draft, Value
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.passes.roundings import kept_by


class MapRoundings:
    """What is known of the names of a network, and of those that layers give to copies."""

    def __init__(self, network: ResolvedNetwork, drafts: Sequence[Draft]) -> None:
        self.network = network
        self.drafts = drafts
        self.known = dict(network.quantisations)
        self.bits: dict[str, int] = {}

    def of_name(self, name: str) -> Quantisation | None:
        """How a name is rounded."""
        return self.known.get(name)

    def width(self, name: str) -> int | None:
        """Bits of a name as the file states them, under an earlier name of the same map too."""
        return self.network.bits.get(name) or self.bits.get(name)

    def keep(self, node: Node) -> None:
        """Note what a node writes that has no other numbers than it reads."""
        for name in kept_by(node):
            known = self.known.get(node.inputs[0])
            if known is not None:
                self.known.setdefault(name, known.alone)

    def can_rename(self, before: str, after: str) -> bool:
        """Whether a tensor can take a map's later name; what is known of the one is, of the other.

        It cannot where both names are rounded, and not alike.
        """
        known = self.known.get(before)
        if known is None:
            return True
        if not _is_done(known, self.known.get(after, known)):
            return False
        self.known[after] = known
        width = self.width(before)
        if width is not None:
            self.bits[after] = width
        return True

    def copied(self, draft: Draft) -> None:
        """Note what a copy holds, and in how many bits; a pre-activation stands behind it."""
        found = {self._of_segment(segment) for segment in draft.input.segments}
        if draft.post:
            found = {draft.post.steps[-1].rounded}
        if len(found) == 1:
            (known,) = found
            if known is not None:
                self.known[draft.end] = known.alone
                self.bits[draft.end] = known.bits

    def settled(self, name: str, value: Value) -> Value:
        """The value of a name, rounded by those who read it unless that is done before."""
        own = self.known.get(name)
        if own is None:
            return value
        if value.pre:
            last = value.pre.steps[-1].rounded
            if _is_done(last, own):
                return value
            return replace(value, pre=value.pre.ending(own.behind(last)))
        segments = tuple(
            segment
            if _is_done(self._of_segment(segment), own)
            else replace(segment, rounded=own.behind(segment.rounded))
            for segment in value.view.segments
        )
        return replace(value, view=View(segments, value.view.shape))

    def _of_segment(self, segment: Segment) -> Quantisation | None:
        """How what is read of a segment is rounded at last."""
        if segment.rounded is not None:
            return segment.rounded
        kind, place = segment.tensor[0], segment.tensor[1:]
        if kind == "=":
            return self.known.get(place)
        if kind != "@":
            return None
        index, _, extra = place.partition(".")
        draft = self.drafts[int(index)]
        return self.known.get(draft.extra[int(extra)][0] if extra else draft.end)


def _is_done(known: Quantisation | None, own: Quantisation) -> bool:
    """Whether numbers that were rounded in a known way are as `own` rounds them."""
    return known is not None and (known == own or known.alone == own)


def kernel_meaning(
    meaning: Quantisation | None, draft: Draft, shape: tuple[int, ...]
) -> Quantisation | None:
    """What the integers of a draft's kernel mean, whose constant has the given shape in the file.

    The kernel has output channels first; scales along anything else are none of its own.
    """
    if meaning is None or meaning.axis is None:
        return meaning
    outputs = len(shape) - 1 if draft.weight_transposed else 0
    if draft.window.transposed:
        outputs = 1 if draft.groups == 1 else -1
    if meaning.block or meaning.axis % len(shape) != outputs:
        return None
    return replace(meaning, axis=0)
