"""What is added to attention's scores, as tensors that broadcast to (B, H, T, S).

Scores may be reshaped before something is added to them: a mask then broadcasts to the shape
that they have there, and is reshaped to do the same to theirs.

    shifted windows    scores (W * B, H, T, T) ─ Reshape ─► (B, W, H, T, T)
                       mask      (W, 1, T, T) ◄─ Reshape ─ (1, W, 1, T, T)       where B is 1

A choice between the scores and a very negative number is the addition of that number: no
softmax tells them apart but in rows where nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.passes.additions import Additions
from dataflow_sim.ingest.rewriting import NodeIndex

Shape = tuple[int, ...]

# exp of it is 0 in every format of floating-point numbers, scores of some hundreds included
LARGEST_FILLER = -1000.0


@dataclass(frozen=True, slots=True)
class Mask:
    """A tensor that is added to scores of the shape `domain`.

    With a filler it is a condition: scores stay where it is `kept`, elsewhere they are filled.
    """

    name: str
    domain: Shape
    filler: np.generic | None = None
    kept: bool = True


def filler_of(index: NodeIndex, name: str) -> np.generic | None:
    """The very negative number that a constant holds, however often; None if it does not."""
    constant = index.network.constants.get(name)
    if constant is None or constant.value is None or not constant.value.size:
        return None
    value = constant.value
    if value.dtype.kind in "biuOSU" or not np.all(value == value.flat[0]):
        return None
    filler: np.generic = value.flat[0]
    return filler if float(filler) <= LARGEST_FILLER else None


def broadcasts(shape: Shape, domain: Shape) -> bool:
    """Whether a tensor broadcasts to a shape and does not enlarge it."""
    missing = len(domain) - len(shape)
    pairs = zip((1,) * missing + shape, domain, strict=True) if missing >= 0 else ()
    return missing >= 0 and all(own in (1, extent) for own, extent in pairs)


def refitted(mask: Shape, domain: Shape, target: Shape) -> Shape | None:
    """The shape in which a mask of one domain broadcasts to another shape of the same elements.

    None where the mask would have to be repeated, or where axes are cut at other places.
    """
    own = (1,) * (len(domain) - len(mask)) + mask
    pieces = [(extent, extent == k) for extent, k in zip(domain, own, strict=True) if extent > 1]
    pieces.reverse()
    found: list[int] = []
    for extent in target:
        need, kinds = extent, set()
        while need > 1:
            if not pieces:
                return None
            piece, span = pieces.pop()
            inner, outer = max(piece, need), min(piece, need)
            if inner % outer:
                return None
            kinds.add(span)
            if piece > need:
                pieces.append((piece // need, span))
            need = max(1, need // piece)
        if len(kinds) > 1:
            return None
        found.append(extent if kinds == {True} else 1)
    return None if pieces else tuple(found)


def _trimmed(shape: Shape) -> Shape:
    """Without leading extents of 1."""
    leading = next((axis for axis, extent in enumerate(shape) if extent > 1), len(shape))
    return shape[leading:]


class Masks:
    """Makes tensors of masks: constants, and nodes in the place of one that is removed."""

    def __init__(self, additions: Additions, place: Node) -> None:
        self.additions = additions
        self.place = place

    def tensor(self, mask: Mask, target: Shape) -> str:
        """A name that broadcasts to the target and is to be added; the mask must fit it."""
        own = self.additions.shape(mask.name)
        shape = refitted(own, mask.domain, target)
        assert shape is not None
        if len(own) <= len(target) and _trimmed(shape) == _trimmed(own):
            shape = own
        name = mask.name
        if mask.filler is not None:
            name = self._chosen(mask, mask.filler, shape)
        if self.additions.shape(name) == shape:
            return name
        return self.additions.once(("Reshape", name, shape), lambda: self._reshaped(name, shape))

    def _reshaped(self, name: str, shape: Shape) -> str:
        constant = self.additions.constants.get(name)
        if constant is not None:
            value = None if constant.value is None else constant.value.reshape(shape)
            return self.additions.constant(name, "mask", value, shape, like=name)
        base = self.place.name
        inputs = (name, self.additions.steering(base, *shape))
        return self.additions.node("Reshape", inputs, shape, (base, "mask"), self.place)

    def _chosen(self, mask: Mask, filler: np.generic, shape: Shape) -> str:
        """A tensor that is 0 where a condition keeps the scores, and its filler elsewhere."""
        zero: np.generic = filler.dtype.type(0)
        key = (mask.name, mask.kept, float(filler), str(filler.dtype))
        if mask.name not in self.additions.constants:
            return self.additions.once(key, lambda: self._choice(mask, zero, filler))
        return self.additions.once(
            (*key, shape), lambda: self._chosen_already(mask, zero, filler, shape)
        )

    def _chosen_already(
        self, mask: Mask, zero: np.generic, filler: np.generic, shape: Shape
    ) -> str:
        known = self.additions.constants[mask.name].value
        value = None if known is None else np.where(known == mask.kept, zero, filler).reshape(shape)
        return self.additions.constant(mask.name, "mask", value, shape)

    def _choice(self, mask: Mask, zero: np.generic, filler: np.generic) -> str:
        kept, dropped = self._number("kept", zero), self._number("dropped", filler)
        inputs = (mask.name, kept, dropped) if mask.kept else (mask.name, dropped, kept)
        shape, named = self.additions.shape(mask.name), (self.place.name, "mask")
        return self.additions.node("Where", inputs, shape, named, self.place, like=dropped)

    def _number(self, label: str, number: np.generic) -> str:
        key = (label, float(number), str(number.dtype))
        value, base = np.array(number), self.place.name
        return self.additions.once(key, lambda: self.additions.constant(base, label, value, ()))
