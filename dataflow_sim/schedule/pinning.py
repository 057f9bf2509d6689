"""Left-over memory: which tilings gain from channels that stay, and how many of them.

Model.  A tiling with some channels of its kernel, or of its input, pinned (`closed_form`) takes
the bytes of those channels and saves what they were fetched again.  In (local bytes, DRAM
bits) its points lie on a line that falls by (fetches - 1) per byte:

    DRAM   │╲ · tiling A: 8 fetches          A tiling undercut by another one's line nowhere,
    bits   │ ╲   ╲                           or by the frontier everywhere, is never expanded.
           │  ╲·· ╲ B: 3 fetches
           └──────────── local bytes

Channels are pinned in `PARTS` equal parts at most (every channel where there are fewer), so
that a frontier gains tens of points and not thousands.  Either the kernel or the input is
pinned: the one that is fetched most often per byte gains most until it stays whole, and then
another tiling is as good.  Spilled partial sums are not combined with pinning, nor are nests of
more than `MAXIMUM_STEPS` steps: memory that they leave serves larger tiles, of far fewer steps.
Kept sums come with the smallest tile of input channels.  What is fetched once in any case is not
pinned; with an alignment that could save memory, where all that stays fills one unit in part and
two slots of a tile fill two.

Exact for that space.  A tiling is left out only where
  - the same with one size less of output channels moves no more: it then takes less memory,
    and is fetched as often; or
  - a lower bound of its points is nowhere below the frontier so far.  The bound counts all
    that pinning saves, every buffer but the pinned tensor's at its size, and that one at what
    is left of a tile.
What is left is costed by the closed form like any other tiling.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dataflow_sim.schedule.closed_form import (
    Bools,
    Costs,
    Ints,
    TileArrays,
    evaluate,
    open_channels,
    pinned_plane,
)
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.types import PartialSums

PARTS = 64
MAXIMUM_STEPS = 1 << 13
_STRIDE = 8  # parts that are ruled out together


def can_pin_input(problem: LayerProblem) -> bool:
    """Whether the channels of the input can stay: all from DRAM, of one width."""
    channels = problem.input_channels
    whole = problem.input_dram_channels == channels
    return (
        not problem.plain
        and whole
        and problem.input_fetched_bits == channels * problem.input_dram_bits
    )


def pinned_counts(channels: int) -> Ints:
    """Numbers of channels that may be pinned, ascending."""
    return np.unique(channels * np.arange(1, min(PARTS, channels) + 1) // min(PARTS, channels))


class Side:
    """One of the two tensors of a block of tilings: what pinning a channel takes and saves."""

    def __init__(self, problem: LayerProblem, on_input: bool, tiles: TileArrays) -> None:
        self.on_input = on_input
        if on_input:
            self.channels = problem.input_channels
            self.tile = tiles.input_channels
            self.fetched_bits, self.local_bits = problem.input_dram_bits, problem.input_bits
            self.elements = pinned_plane(problem)
            self.open = tiles.plane.input_largest
        else:
            self.channels = problem.output_channels
            self.tile = tiles.output_channels
            self.fetched_bits, self.local_bits = problem.kernel_bits, problem.kernel_local_bits
            self.elements = problem.input_channels * problem.kernel_area
            self.open = tiles.input_channels * problem.kernel_area
        self.byte_bits = problem.memory.byte_bits
        self.counts = pinned_counts(self.channels)

    def saved_bits(self, costs: Costs) -> Ints:
        """Bits that pinning a channel saves."""
        if self.on_input:
            fetched = costs.input_elements
        else:
            fetched = costs.kernel_elements // self.channels
        return np.maximum(0, fetched - self.elements) * self.fetched_bits

    def tile_bytes(self, costs: Costs) -> Ints:
        """Bytes of the buffer of the tensor's tile."""
        return costs.input_bytes if self.on_input else costs.kernel_bytes

    def pin(
        self, tiles: TileArrays, shape: tuple[int, ...], places: Ints, counts: Ints
    ) -> TileArrays:
        """Tilings at some places of a block of a shape with so many channels pinned, flat."""
        index = np.unravel_index(places, shape)

        def at(values: Ints) -> Ints:
            return np.asarray(np.broadcast_to(values, shape)[index], np.int64)

        none = np.zeros(len(places), np.int64)
        return TileArrays(
            group=at(tiles.group),
            output_channels=at(tiles.output_channels),
            input_channels=at(tiles.input_channels),
            plane=tiles.plane.take(at(np.arange(len(tiles.plane.trips)))),
            pinned_outputs=none if self.on_input else counts,
            pinned_inputs=counts if self.on_input else none,
        )


def sides(problem: LayerProblem, sums: PartialSums, tiles: TileArrays) -> tuple[Side, ...]:
    """The tensors of which channels may stay: the kernel, the input, or none."""
    if problem.groups > 1 or not problem.has_kernel or sums is PartialSums.SPILLED:
        return ()
    may_pin = ((False, problem.fetches_kernel), (True, can_pin_input(problem)))
    which = [on_input for on_input, able in may_pin if able]
    return tuple(Side(problem, on_input, tiles) for on_input in which)


def _useful(problem: LayerProblem, tiles: TileArrays, bits: Ints, allowed: Bools) -> Bools:
    """Tilings of which the one with a size less of output channels moves more, or is not allowed.

    The whole axis stays: a tile that never changes has one buffer, all smaller ones may have
    two.
    """
    useful = np.ones(bits.shape, bool)
    useful[1:] = (bits[1:] < bits[:-1]) | ~allowed[:-1]
    useful |= np.asarray(tiles.output_channels == problem.output_channels, bool)
    return useful


def pinned_tilings(
    problem: LayerProblem,
    order: str,
    sums: PartialSums,
    tiles: TileArrays,
    costs: Costs,
    legal: Bools,
    local_bytes: Ints,
    dram_bits: Ints,
) -> Iterator[tuple[TileArrays, Costs]]:
    """Tilings of a block with channels pinned that may undercut a frontier, one by one.

    The frontier ascends in `local_bytes` and descends in `dram_bits`.  The arrays that come
    back are flat.
    """
    which = sides(problem, sums, tiles)
    if not which:
        return
    allowed = legal & (costs.steps <= MAXIMUM_STEPS)
    useful = allowed & _useful(problem, tiles, costs.dram_bits, allowed)
    for side in which:
        saved = np.broadcast_to(side.saved_bits(costs), legal.shape)
        places = np.flatnonzero(useful & (saved > 0))
        if not len(places):
            continue
        index = np.unravel_index(places, legal.shape)

        def at(values: Ints, index: tuple[Ints, ...] = index) -> Ints:
            return np.asarray(np.broadcast_to(values, legal.shape)[index], np.int64)

        rest = at(costs.local_bytes) - at(side.tile_bytes(costs))
        found = _below(
            side,
            (rest, at(costs.dram_bits), at(saved), at(side.tile), at(side.open)),
            (local_bytes, dram_bits),
        )
        if not len(found):
            continue
        chosen, counts = found.T
        flat = side.pin(tiles, legal.shape, places[chosen], counts)
        yield flat, evaluate(problem, order, sums, flat)[0]


def _below(side: Side, tilings: tuple[Ints, ...], frontier: tuple[Ints, Ints]) -> Ints:
    """(tiling, channels pinned) whose lower bound is below the frontier, as rows.

    `tilings` are the bytes of all other buffers, DRAM bits, bits saved by a channel, tile, and
    elements of a channel of a tile.
    """
    rest, bits, saved, tile, open_elements = tilings
    local_bytes, dram_bits = frontier
    counts = side.counts
    trips = -(-side.channels // tile)

    def undercut(which: Ints, first: Ints, last: Ints) -> Bools:
        """Whether the frontier is no worse than the memory of `first` with the bits of `last`."""
        left = open_channels(tile[which], first, side.channels) * open_elements[which]
        held = first * side.elements
        byte = side.byte_bits
        least = rest[which] + left * side.local_bits // byte + held * side.local_bits // byte
        fewest = bits[which] - last * saved[which]
        place = np.searchsorted(local_bytes, least, "right") - 1
        return np.asarray((place >= 0) & (dram_bits[place] <= fewest), bool)

    starts = np.arange(0, len(counts), _STRIDE)
    ends = np.minimum(starts + _STRIDE, len(counts)) - 1
    which, run = (a.ravel() for a in np.indices((len(bits), len(starts))))
    alive = ~undercut(which, counts[starts][run], counts[ends][run])
    which, run = which[alive], run[alive]
    part = (starts[run][:, None] + np.arange(_STRIDE)).ravel()
    which = np.repeat(which, _STRIDE)
    inside = part < len(counts)
    which, pinned = which[inside], counts[part[inside]]
    streams = (trips[which] - pinned // tile[which] > 1) | (pinned == side.channels)
    which, pinned = which[streams], pinned[streams]
    alive = ~undercut(which, pinned, pinned)
    return np.stack([which[alive], pinned[alive]], axis=1)
