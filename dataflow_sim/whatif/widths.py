"""Bits of weights and feature maps: all, by kind, by layer, or as many as an average allows."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

from dataflow_sim.graph.layer import Tensor
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.whatif.contract import (
    Asked,
    Changed,
    Kind,
    Option,
    Stage,
    WhatIf,
    number,
    whole,
    word,
)
from dataflow_sim.whatif.selecting import SELECTION, at_width, chosen_layers, kernels, maps

_MOST_BITS = 16


def average_bits(tensors: Iterable[Tensor]) -> Fraction:
    """Bits of an element on average."""
    sizes = [(tensor.elements, tensor.bits) for tensor in tensors]
    elements = sum(size for size, _ in sizes)
    return Fraction(sum(size * bits for size, bits in sizes), elements or 1)


def _weight_bits(graph: NetworkGraph, asked: Asked) -> Changed:
    found = [each.tensor for each in kernels(graph, chosen_layers(graph, asked))]
    bits = asked.whole()
    elements = sum(tensor.elements for tensor in found)
    return Changed(
        graph.with_tensors(at_width(tensor, bits) for tensor in found),
        (f"{elements:,} weights of {len(found)} kernels have {bits} bits",),
    )


def _activation_bits(graph: NetworkGraph, asked: Asked) -> Changed:
    found, bits = maps(graph, chosen_layers(graph, asked)), asked.whole()
    return Changed(
        graph.with_tensors(at_width(tensor, bits) for tensor in found),
        (f"{len(found)} feature maps have {bits} bits",),
    )


def _binary(graph: NetworkGraph, asked: Asked) -> Changed:
    """Weights of one bit; with maps of one bit too their products are XNOR and counting."""
    layers = chosen_layers(graph, asked)
    weights = [each.tensor for each in kernels(graph, layers)]
    changed = [at_width(tensor, 1) for tensor in weights]
    told = f"{sum(t.elements for t in weights):,} weights have 1 bit"
    if asked.word() == "xnor":
        found = [t for t in maps(graph, layers) if t.name not in (*graph.inputs, *graph.outputs)]
        changed += [at_width(tensor, 1) for tensor in found]
        told += f", and {len(found)} feature maps; the network's inputs and outputs keep theirs"
    return Changed(graph.with_tensors(changed), (told,))


def assigned(sizes: list[int], target: Fraction, levels: tuple[int, ...]) -> list[int]:
    """Bits for each of some kernels, at most the target on average: the largest kernels first.

    All begin at the highest level; the largest kernel that is at it goes to the next, and so on
    until the average is met; only when all are at a level does any go to the one after.
    """
    bits = [levels[0]] * len(sizes)
    total, budget = sum(sizes) * levels[0], sum(sizes) * target
    order = sorted(range(len(sizes)), key=lambda place: (-sizes[place], place))
    for high, low in pairwise(levels):
        for place in order:
            if total <= budget:
                return bits
            bits[place] = low
            total -= sizes[place] * (high - low)
    return bits


def _levels(text: str) -> tuple[int, ...] | None:
    parts = text.split("/")
    if not all(part.isascii() and part.isdigit() and len(part) <= 2 for part in parts):
        return None
    found = tuple(int(part) for part in parts)
    legal = len(found) > 1 and all(1 <= bits <= _MOST_BITS for bits in found)
    return found if legal and list(found) == sorted(set(found), reverse=True) else None


def _mixed_precision(graph: NetworkGraph, asked: Asked) -> Changed:
    found = [each.tensor for each in kernels(graph, chosen_layers(graph, asked))]
    target, levels = asked.part(), asked.options["levels"]
    assert isinstance(levels, tuple)
    if not found:
        raise asked.refused("there are no kernels")
    if target < levels[-1]:
        raise asked.refused(f"an average of {float(target):g} bits is below the lowest level")
    bits = assigned([tensor.elements for tensor in found], target, levels)
    changed = [at_width(tensor, each) for tensor, each in zip(found, bits, strict=True)]
    counts = ", ".join(f"{bits.count(level)} at {level}" for level in levels)
    average = float(average_bits(changed))
    return Changed(
        graph.with_tensors(changed),
        (f"{average:.3f} bits a weight on average; of {len(found)} kernels {counts} bits",),
    )


WHAT_IFS = (
    WhatIf(
        "weight_bits",
        Stage.WIDTHS,
        whole(1, _MOST_BITS),
        "bits of a weight",
        "kernels, and constants that are read like maps",
        "each has elements of so many bits, in place of the machine's or the file's",
        change=_weight_bits,
        options=SELECTION,
    ),
    WhatIf(
        "activation_bits",
        Stage.WIDTHS,
        whole(1, _MOST_BITS),
        "bits of an element of a feature map",
        "feature maps that layers make, and inputs that they read",
        "each has elements of so many bits, in place of the machine's or the file's",
        change=_activation_bits,
        options=SELECTION,
    ),
    WhatIf(
        "mixed_precision",
        Stage.WIDTHS,
        number(Fraction(1), Fraction(_MOST_BITS)),
        "bits of a weight on average, the largest kernels narrowed first",
        "kernels, and constants that are read like maps",
        "each has one of the levels, and all together no more on average",
        change=_mixed_precision,
        options=(
            Option(
                "levels",
                Kind("8/4/2, descending", _levels),
                (8, 4, 2),
                "bits to choose from, descending",
            ),
            *SELECTION,
        ),
    ),
    WhatIf(
        "binary",
        Stage.WIDTHS,
        word("weights", "xnor"),
        "weights of one bit, or these and feature maps",
        "kernels, and feature maps between layers",
        "each has elements of one bit; scales of channels stay among the constants",
        change=_binary,
        options=SELECTION,
    ),
)
