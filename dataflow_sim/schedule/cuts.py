"""Where a schedule may stand between two groups: the cuts of the network.

A *cut* is a set of layers that holds, with a layer, every layer that it reads from: what may be
done when the rest is still to do.  A group takes the schedule from one cut to another; the
layers between them are convex, and every convex set of layers lies between two cuts.  In a
chain the cuts are the prefixes; beside each other's branches multiply:

        ┌── b ── c ──┐        {} {a} {ab} {ad} {abc} {abd} {abcd} {abcde}
    a ──┤            ├── e
        └── d ───────┘        a chain a b c d e has no {ad} and no {abd}

Orders need no search of their own: a path from the empty cut to the full one is one.

The cuts multiply with the width of the network.  It falls into *stretches* between layers
that all earlier ones come before and all later ones behind; a stretch has all of its cuts
where they are few, the smallest stretches first, until `most_cuts` are spent.  Of any other
stretch only the cuts along two orders are taken, the network's own and the one that
`order` finds for the lowest peak of whole maps; `complete` is then False.

Source: schedules as paths through the lattice of order ideals, e.g. Ahn et al., "Ordering Chaos"
(MLSys 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.order import Precedence, lowest_peak_order

# so many cuts are always taken, and more of a network of which a quarter more than its
# layers are more
MAXIMUM_CUTS = 160


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """The cuts of a network as bit sets of layers, fewer layers first, then by number.

    `steps` holds for each cut the layers that may come next and the cuts they lead to, in
    the network's order; the first cut is empty, the last one full.
    """

    done: tuple[int, ...]
    steps: tuple[tuple[tuple[int, int], ...], ...]
    complete: bool

    @property
    def layers(self) -> int:
        """Layers of the network."""
        return self.done[-1].bit_length()


def prefixes(layers: int) -> Cuts:
    """The cuts of the network's own order alone."""
    return cuts_along(range(layers))


def cuts_along(order: Sequence[int]) -> Cuts:
    """The cuts along one order of all layers."""
    done = [0]
    for index in order:
        done.append(done[-1] | 1 << index)
    steps = [((index, place + 1),) for place, index in enumerate(order)]
    return Cuts(tuple(done), (*steps, ()), complete=False)


def find_cuts(graph: NetworkGraph) -> Cuts:
    """The cuts of a network, all of them where they are few."""
    precedence = Precedence(graph)
    layers = len(graph.layers)
    borders = precedence.necks()
    stretches = list(pairwise(borders))
    spare = max(MAXIMUM_CUTS, layers + layers // 4 + 1) - (layers + 1)
    found: dict[int, set[int]] = {}
    complete = True
    # a stretch of n layers in one order adds nothing to the layers + 1 cuts that there are
    for start, stop in sorted(stretches, key=lambda s: (s[1] - s[0], s)):
        within = _all_cuts(precedence, start, stop, spare + stop - start)
        if within is None:
            complete = False
            within = _cuts_of_two_orders(graph, precedence, start, stop)
        spare -= len(within) - (stop - start)
        found[start] = within
    done = {0}.union(*found.values())
    ordered = sorted(done, key=lambda cut: (cut.bit_count(), cut))
    number = {cut: place for place, cut in enumerate(ordered)}
    ends = dict(stretches)
    start = stop = 0
    steps = []
    for cut in ordered:
        place = cut.bit_count()
        start, stop = (place, ends[place]) if place in ends else (start, stop)
        steps.append(
            tuple(
                (layer, number[cut | 1 << layer])
                for layer in precedence.ready(cut, start, stop)
                if cut | 1 << layer in number
            )
        )
    return Cuts(tuple(ordered), tuple(steps), complete)


def _all_cuts(precedence: Precedence, start: int, stop: int, most: int) -> set[int] | None:
    """All cuts between two necks but the first, None where there are more than `most`."""
    first = (1 << start) - 1
    found: set[int] = set()
    wave = {first}
    for _ in range(stop - start):
        wave = {cut | 1 << i for cut in wave for i in precedence.ready(cut, start, stop)}
        found |= wave
        if len(found) > most:
            return None
    return found


def _cuts_of_two_orders(
    graph: NetworkGraph, precedence: Precedence, start: int, stop: int
) -> set[int]:
    found = set()
    for order in (range(start, stop), lowest_peak_order(graph, precedence, start, stop)):
        cut = (1 << start) - 1
        for layer in order:
            cut |= 1 << layer
            found.add(cut)
    return found
