"""Width and structured pruning: other numbers of channels."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import floor, log

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.whatif.channels import ChannelClasses, kernel_elements, resized
from dataflow_sim.whatif.contract import Asked, Changed, Option, Stage, WhatIf, number, whole, word

# of a layer no more than this part is taken away, however large it is
_MOST_TAKEN = Fraction(99, 100)
_ROUNDS = 64


def by_size(sizes: list[int], target: Fraction) -> list[Fraction]:
    """Parts to take of each of some layers: in proportion to the logarithm of their sizes.

    s_i = alpha log(size_i), with alpha such that of all elements together the target is taken; no
    layer loses more than 99 %, and what it then keeps too much is taken of the others.
    """
    logs = [log(max(2, size)) for size in sizes]
    capped = [False] * len(sizes)
    total = sum(sizes)
    found = [0.0] * len(sizes)
    for _ in range(_ROUNDS):
        left = float(target) * total - sum(
            float(_MOST_TAKEN) * size for size, full in zip(sizes, capped, strict=True) if full
        )
        weighted = sum(
            size * each for size, each, full in zip(sizes, logs, capped, strict=True) if not full
        )
        alpha = left / weighted if weighted else 0.0
        found = [
            float(_MOST_TAKEN) if full else max(0.0, alpha * each)
            for each, full in zip(logs, capped, strict=True)
        ]
        over = [part > float(_MOST_TAKEN) for part in found]
        if not any(over):
            break
        capped = [full or more for full, more in zip(capped, over, strict=True)]
    return [Fraction(part).limit_denominator(10**6) for part in found]


def nearest(channels: Fraction, multiple: int) -> int:
    """The nearest multiple, at least one of it; of two the larger."""
    return max(multiple, floor(channels / multiple + Fraction(1, 2)) * multiple)


def _changed(
    graph: NetworkGraph, asked: Asked, wanted: Callable[[int, Fraction], int], parts: str
) -> Changed:
    """The network with the channels of every free class as wanted, of the part to take of each."""
    classes = ChannelClasses(graph)
    sizes = kernel_elements(graph)
    free: dict[int, tuple[int, int]] = {}
    for layer in graph.layers:
        elements = sizes.get(layer.output, 0)
        for block in classes.blocks.get(layer.output, ()):
            if not classes.is_fixed(block):
                root = classes.root(block.number)
                _, before = free.get(root, (0, 0))
                free[root] = (block.channels, before + elements)
    if not free:
        raise asked.refused("the network has no channels that could change")
    ratio = asked.part()
    taken = [ratio] * len(free)
    if parts == "size":
        taken = by_size([elements for _, elements in free.values()], ratio)
    new = {
        root: wanted(channels, part)
        for (root, (channels, _)), part in zip(free.items(), taken, strict=True)
    }
    moved = sum(new[root] != channels for root, (channels, _) in free.items())
    found = resized(classes, new)
    fixed = {
        classes.root(block.number)
        for layer in graph.layers
        for block in classes.blocks.get(layer.output, ())
        if classes.is_fixed(block)
    }
    return Changed(
        found,
        (
            f"{moved} of {len(free) + len(fixed)} groups of channels changed, {len(fixed)} are "
            f"fixed; parameters "
            f"{graph.parameters:,} to {found.parameters:,}",
        ),
    )


def _width(graph: NetworkGraph, asked: Asked) -> Changed:
    multiple = asked.whole("multiple")
    return _changed(
        graph, asked, lambda channels, factor: nearest(channels * factor, multiple), "uniform"
    )


def _prune(graph: NetworkGraph, asked: Asked) -> Changed:
    multiple = asked.whole("multiple")

    def kept(channels: int, part: Fraction) -> int:
        return min(channels, nearest(channels * (1 - part), multiple))

    return _changed(graph, asked, kept, asked.word("by"))


_MULTIPLE = Option(
    "multiple", whole(1, 256), 1, "numbers of channels are multiples of it, the nearest"
)

WHAT_IFS = (
    WhatIf(
        "width",
        Stage.STRUCTURE,
        number(Fraction(1, 100), Fraction(16)),
        "multiplier of all numbers of channels",
        "channels that no input, output or operator fixes",
        "each such number of channels is the nearest to so many times what it was",
        change=_width,
        options=(_MULTIPLE,),
    ),
    WhatIf(
        "prune",
        Stage.STRUCTURE,
        number(Fraction(0), Fraction(1), below=True),
        "part of the channels that is pruned",
        "channels that no input, output or operator fixes",
        "that part of them is gone with its kernels, constants and maps",
        change=_prune,
        options=(
            _MULTIPLE,
            Option(
                "by",
                word("uniform", "size"),
                "uniform",
                "the same part of all, or more of larger layers (their size's logarithm)",
            ),
        ),
    ),
)
